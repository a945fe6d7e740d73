"""Contenders in order, with ties: nobody is ranked above another without evidence."""

# N images, S seeds

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from retop.errors import RunError
from retop.evaluation import (
    bootstrap_seeds_and_images,
    compare_pair,
    correct_pairs,
    measure,
    right_answers,
    wilson_interval,
)
from retop.recipe import Recipe
from retop.records import ComparisonRow, Metrics, PairedComparison, Predictions, RunRecord, SeedSummary

Kind = Literal["fine-tuned", "scratch", "probe"]


@dataclass(frozen=True)
class Contender:
    """A backbone or a baseline with all its seeds."""

    name: str
    """``vgg16``, ``scratch``, ``probe-vgg16``."""

    kind: Kind
    """As in run.json."""

    runs: tuple[RunRecord, ...]
    """One per seed, or with folds one per seed and fold, seed by seed; at least one."""

    predictions: tuple[Predictions, ...]
    """One per seed, on the ranked split, in the order of `runs`; with folds, the answers of all folds together."""

    run_folders: tuple[str, ...]
    """Folders of the runs relative to comparison.json, in the order of `runs`."""


def rank(
    contenders: Sequence[Contender], recipe: Recipe, leaked: frozenset[str] = frozenset()
) -> tuple[tuple[ComparisonRow, ...], tuple[PairedComparison, ...]]:
    """Rank contenders on the images that all of them answered.

    A contender's rank is 1 + the number of contenders established as better: more accurate, with a paired p-value
    below 0.05 after Holm's correction. The pairs of backbones are one family of tests and the pairs with a baseline
    another, so that asking for baselines takes nothing away from what is said of the backbones.

    Args:
        contenders: in any order, names all different.
        recipe: the comparison's recipe; backbones with another one are marked.
        leaked: images with copies in train or validation; accuracy is given without them too.

    Returns:
        The rows by rank, then accuracy, then name; and every pair, in the order of the rows.

    Raises:
        RunError: a contender has no run or not one set of predictions per run, two share a name, or they answered
            different splits, images or labels.
    """
    _check(contenders)
    rights = _align(contenders)
    accuracy = {name: float(right_sn.mean()) for name, right_sn in rights.items()}
    names = sorted(rights, key=lambda name: (-accuracy[name], name))
    by_name = {contender.name: contender for contender in contenders}
    backbones = {name for name, contender in by_name.items() if contender.kind == "fine-tuned"}
    pairs = _corrected(
        tuple(compare_pair(rights[first], rights[second], (first, second)) for first, second in combinations(names, 2)),
        backbones,
    )
    ranks = _ranks(names, pairs)
    ordered = sorted(names, key=lambda name: (ranks[name], names.index(name)))
    rows = tuple(
        _row(by_name[name], rights[name], ranks[name], _tied_with(name, ordered, ranks, pairs), recipe, leaked)
        for name in ordered
    )
    return rows, pairs


def recommended(contenders: Sequence[Contender]) -> str | None:
    """The fine-tuned contender with the best validation accuracy; test is not looked at.

    Equal accuracies are decided by the lower validation log loss, then by name: never by a clock, so that the same
    runs always recommend the same backbone.

    Args:
        contenders: in any order.

    Returns:
        Its name; None where nothing was fine-tuned.
    """
    candidates = [contender for contender in contenders if contender.kind == "fine-tuned"]
    return min(candidates, key=_validation_key).name if candidates else None


def _validation_key(contender: Contender) -> tuple[float, float, str]:
    accuracy = float(np.mean([run.validation.accuracy.value for run in contender.runs]))
    log_loss = float(np.mean([run.validation.log_loss for run in contender.runs]))
    return -accuracy, log_loss, contender.name


def _check(contenders: Sequence[Contender]) -> None:
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise RunError(f"contenders need different names; received {', '.join(sorted(names))}")
    for contender in contenders:
        counts = len(contender.runs), len(contender.predictions), len(contender.run_folders)
        runs, answered, folders = counts
        if not runs or folders != runs or not answered or runs % answered:
            raise RunError(
                f"{contender.name} needs one set of predictions for each of its seeds, one folder for each of its "
                f"runs, and at least one run; received {runs} runs, {answered} sets of predictions, "
                f"{folders} folders"
            )
    splits = {predictions.split for contender in contenders for predictions in contender.predictions}
    if len(splits) > 1:
        raise RunError(f"contenders must be ranked on one split; received predictions on {', '.join(sorted(splits))}")


def _align(contenders: Sequence[Contender]) -> dict[str, npt.NDArray[np.bool_]]:
    """Right answers [S, N] of each contender, with the images in one order."""
    rights: dict[str, npt.NDArray[np.bool_]] = {}
    reference: tuple[str, dict[str, str]] | None = None
    for contender in contenders:
        # With folds, the answers of several runs are one set of predictions, named after the first of them.
        folders = contender.run_folders[:: len(contender.run_folders) // len(contender.predictions)]
        for folder, predictions in zip(folders, contender.predictions, strict=True):
            labels = _labels(predictions, folder)
            reference = reference or (folder, labels)
            if labels != reference[1]:
                raise RunError(_difference(reference, (folder, labels)))
        rights[contender.name] = np.stack([_right_by_path(predictions) for predictions in contender.predictions])
    return rights


def _labels(predictions: Predictions, folder: str) -> dict[str, str]:
    named = (predictions.classes[label] for label in predictions.labels_n)
    labels = dict(zip(predictions.paths, named, strict=True))
    if len(labels) < len(predictions.paths):
        raise RunError(f"the predictions of {folder} hold an image twice; every image must be counted exactly once")
    return labels


def _right_by_path(predictions: Predictions) -> npt.NDArray[np.bool_]:
    order = sorted(range(len(predictions.paths)), key=predictions.paths.__getitem__)
    return right_answers(predictions)[order]


def _difference(first: tuple[str, dict[str, str]], second: tuple[str, dict[str, str]]) -> str:
    missing, extra = sorted(first[1].keys() - second[1].keys()), sorted(second[1].keys() - first[1].keys())
    other_label = sorted(path for path, label in first[1].items() if second[1].get(path, label) != label)
    parts = [
        f"{len(paths)} {what}, e.g. {paths[0]}"
        for what, paths in (
            (f"images only in {first[0]}", missing),
            (f"images only in {second[0]}", extra),
            ("images with another label", other_label),
        )
        if paths
    ]
    return (
        f"{first[0]} and {second[0]} cannot be compared, for they were measured on different images: "
        f"{'; '.join(parts)}. Run the comparison again on one copy of the data (into another --out)"
    )


def _corrected(pairs: tuple[PairedComparison, ...], backbones: set[str]) -> tuple[PairedComparison, ...]:
    """Holm's correction within each family, in the order of the pairs."""
    between = [{pair.first, pair.second} <= backbones for pair in pairs]
    families = [
        iter(correct_pairs(tuple(pair for pair, inside in zip(pairs, between, strict=True) if inside is family)))
        for family in (False, True)
    ]
    return tuple(next(families[inside]) for inside in between)


def _ranks(names: Sequence[str], pairs: tuple[PairedComparison, ...]) -> dict[str, int]:
    worse = [
        pair.second if pair.difference.value > 0 else pair.first
        for pair in pairs
        if pair.established and pair.difference.value != 0
    ]
    return {name: 1 + worse.count(name) for name in names}


def _tied_with(
    name: str, ordered: Sequence[str], ranks: dict[str, int], pairs: tuple[PairedComparison, ...]
) -> tuple[str, ...]:
    told_apart = {frozenset((pair.first, pair.second)) for pair in pairs if pair.established}
    return tuple(
        other
        for other in ordered
        if other != name and ranks[other] == ranks[name] and frozenset((name, other)) not in told_apart
    )


def _row(
    contender: Contender,
    right_sn: npt.NDArray[np.bool_],
    place: int,
    tied_with: tuple[str, ...],
    recipe: Recipe,
    leaked: frozenset[str],
) -> ComparisonRow:
    first = contender.runs[0]
    kept_right_n = _without(contender.predictions[0], leaked)
    leaks = len(kept_right_n) < len(contender.predictions[0].paths)
    return ComparisonRow(
        name=contender.name,
        kind=contender.kind,
        rank=place,
        tied_with=tied_with,
        runs=contender.run_folders,
        input_size=(first.network.preprocessing.height, first.network.preprocessing.width),
        parameters_trained=first.network.parameters_trained,
        metrics=_ranked_metrics(contender),
        seeds=_seed_summary(contender, right_sn),
        validation_accuracy=float(np.mean([run.validation.accuracy.value for run in contender.runs])),
        stage1_accuracy=_stage_accuracy(contender, 1) if contender.kind == "fine-tuned" else None,
        stage2_accuracy=_stage_accuracy(contender, 2),
        seconds=_mean_seconds(contender),
        recipe_differs=contender.kind == "fine-tuned" and not all(_same(run.recipe, recipe) for run in contender.runs),
        without_leaks=wilson_interval(int(kept_right_n.sum()), len(kept_right_n))
        if leaks and len(kept_right_n)
        else None,
        num_without_leaks=len(kept_right_n) if leaks else None,
    )


def _same(one: Recipe, other: Recipe) -> bool:
    """Whether two runs were asked for alike; how far a stage was lengthened depends on the data alone."""
    stages = one.stage1.same_but_for_length(other.stage1) and one.stage2.same_but_for_length(other.stage2)
    return stages and one == replace(other, stage1=one.stage1, stage2=one.stage2)


def _without(predictions: Predictions, leaked: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Whether each image that has no copy in train and validation is answered rightly."""
    return right_answers(predictions)[[path not in leaked for path in predictions.paths]]


def _ranked_metrics(contender: Contender) -> Metrics:
    run, predictions = contender.runs[0], contender.predictions[0]
    recorded = run.test if predictions.split == "test" else run.validation
    folded = len(contender.runs) > len(contender.predictions)
    if not folded and recorded is not None and recorded.split == predictions.split:
        return recorded
    return measure(predictions, run.precision.get("evaluation", "float32"))


def _seed_summary(contender: Contender, right_sn: npt.NDArray[np.bool_]) -> SeedSummary:
    accuracies = tuple(float(right_n.mean()) for right_n in right_sn)
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return SeedSummary(
        tuple(dict.fromkeys(run.seed for run in contender.runs)),
        accuracies,
        bootstrap_seeds_and_images(right_sn),
        spread,
    )


def _stage_accuracy(contender: Contender, number: int) -> float | None:
    values = [stage.validation_accuracy for run in contender.runs for stage in run.stages if stage.stage == number]
    return float(np.mean(values)) if values else None


def _mean_seconds(contender: Contender) -> dict[str, float]:
    """Mean seconds by part over the seeds, folds together; what is computed once from the frozen part is prefix."""
    parts = {"prefix": ("prefix", "features"), "stage 1": ("stage 1",), "stage 2": ("stage 2",)}
    parts["evaluation"] = ("evaluation",)
    timings = [timing for run in contender.runs for timing in run.timings]
    seconds = {
        name: sum(timing.seconds for timing in timings if timing.part in members) for name, members in parts.items()
    }
    seconds["total"] = sum(timing.seconds for timing in timings)
    return {name: value / len(contender.predictions) for name, value in seconds.items()}
