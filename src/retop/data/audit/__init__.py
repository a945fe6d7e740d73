"""The audit: what is wrong, or odd, with the images of a location. From the index alone; no image is opened again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retop.data.audit.classes import find_class_troubles, find_empty_folders
from retop.data.audit.copies import find_alike_embeddings, find_copies, find_group_leaks, find_near_copies
from retop.data.audit.examined import Examined
from retop.data.audit.files import find_left_out, find_lying_names, find_small, find_unreadable
from retop.data.audit.giveaway import FEWEST_IMAGES, find_give_aways
from retop.data.audit.rules import (
    ALIKE_EMBEDDINGS,
    CROWDED,
    GIVE_AWAY,
    GROUP_LEAK,
    IMBALANCE,
    LEAK,
    MISSING_CLASS,
    NEAR_CONFLICT,
    NEAR_LEAK,
    RULES,
    Rule,
)
from retop.data.dataset import Dataset
from retop.data.opening import check_own_split, split_survey
from retop.data.sources.names import shown
from retop.data.survey import Survey
from retop.errors import DataError
from retop.events import Listener, Notice, ignore
from retop.recipe import DataRecipe, ImbalanceRecipe
from retop.records import AuditRecord, Finding

__all__ = ["RULES", "as_followed", "audit_dataset", "audit_survey", "exclusions", "say_findings"]

_GRAVITY = ("error", "warning", "note")
_BEFORE_RUNS = {rule.code: rule.before_runs for rule in RULES}
_OF_SPLITS = (LEAK, NEAR_LEAK, MISSING_CLASS, GROUP_LEAK)
Embeddings = tuple[Sequence[str], NDArray[np.float32]]


def audit_survey(
    survey: Survey, recipe: DataRecipe, embeddings: Embeddings | None = None, listener: Listener = ignore
) -> AuditRecord:
    """Audit what was surveyed, whether or not it can be trained on.

    Args:
        survey: the images.
        recipe: how they would be split, where they have no split of their own.
        embeddings: paths and vectors [N, F] of a network, to find copies that the hash misses.
        listener: is told why the images cannot be split, where they cannot.

    Returns:
        The findings.

    Raises:
        UsageError: an option does not fit the data.
    """
    own_split = pc.unique(survey.table["split"]).to_pylist() != [None]
    if not own_split or recipe.split_file is not None:
        try:
            return audit_dataset(split_survey(survey, recipe, listener), embeddings)
        except DataError as error:
            # What cannot be split can be audited all the same, but for what concerns splits.
            unchecked = ", ".join(rule.code for rule in _OF_SPLITS)
            listener(Notice("warning", f"A run could not split these images, so {unchecked} are not checked: {error}"))
    else:
        check_own_split(survey, recipe, listener)
    return _audit(survey, Examined(survey.readable.sort_by("path")), embeddings)


def audit_dataset(dataset: Dataset, embeddings: Embeddings | None = None) -> AuditRecord:
    """Audit the images of a run in the split that they are in.

    Args:
        dataset: the images.
        embeddings: as in `audit_survey`.

    Returns:
        The findings.
    """
    survey = dataset.survey
    sides = dataset.split_table().select(["path", "split", "fold"])
    if dataset.folds:
        # Every image is tested in one fold: there are no sides.
        sides = sides.set_column(1, "split", pa.nulls(sides.num_rows, pa.string()))
    table = survey.readable.drop_columns(["split"]).join(sides, "path", join_type="inner")
    return _audit(survey, Examined(table.sort_by("path")), embeddings)


def exclusions(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str]]:
    """What ``--write-exclusions`` writes: path, code and name of the finding, each path once.

    Args:
        findings: of the audit, or of a diagnosis.
    """
    seen = set()
    for finding in findings:
        for path in finding.evidence.get("exclude", ()):
            if path not in seen:
                seen.add(path)
                yield path, finding.code, finding.name


def say_findings(record: AuditRecord, listener: Listener, imbalance: ImbalanceRecipe | None = None) -> None:
    """The short form before a run: what nobody has said yet and cannot wait.

    Args:
        record: of the audit.
        listener: receives a notice for each.
        imbalance: of the recipe; who follows the advice of D10 does not hear it again.
    """
    followed = {IMBALANCE.code} if imbalance not in (None, ImbalanceRecipe()) else set()
    for finding in (finding for finding in record.findings if finding.code not in followed):
        level = _BEFORE_RUNS[finding.code]
        if level is not None:
            listener(
                Notice(
                    level, f"{finding.code} {finding.name}: {finding.seen}. {finding.fix[0].upper()}{finding.fix[1:]}"
                )
            )


def as_followed(findings: Sequence[Finding], imbalance: ImbalanceRecipe) -> tuple[Finding, ...]:
    """The findings as they are told after a run: D10 does not advise what the run's recipe does.

    Args:
        findings: of the audit.
        imbalance: of the recipe.
    """
    if imbalance == ImbalanceRecipe():
        return tuple(findings)
    done = "classes are drawn" if imbalance.sampling == "balanced" else "classes are weighted"
    fix = f"{done} accordingly in these runs; judge by balanced accuracy and per class"
    return tuple(replace(one, fix=fix) if one.code == IMBALANCE.code else one for one in findings)


def _audit(survey: Survey, images: Examined, embeddings: Embeddings | None) -> AuditRecord:
    findings: list[Finding] = [
        *find_unreadable(survey),
        *find_lying_names(images),
        *find_copies(images),
        *find_near_copies(images),
        *find_class_troubles(images),
        *find_empty_folders(survey.leftovers),
        *find_give_aways(images),
        *find_small(images),
        *find_group_leaks(images),
        *find_left_out(survey.leftovers),
    ]
    if embeddings is not None:
        findings += find_alike_embeddings(images, *embeddings)
    unknown = _not_checked(survey, images, embeddings)
    return AuditRecord(
        location=shown(survey.source.location),
        images=len(images),
        classes=tuple(pc.unique(images.table["label"]).sort().to_pylist()),
        findings=tuple(sorted(findings, key=lambda finding: (_GRAVITY.index(finding.severity), finding.code))),
        checked=tuple(rule.code for rule in RULES if rule not in unknown),
    )


def _not_checked(survey: Survey, images: Examined, embeddings: Embeddings | None) -> list[Rule]:
    """Rules that lack what they look at: their silence says nothing."""
    classes = pc.count_distinct(images.table["label"]).as_py()
    split = bool((images.parts() >= 0).any())
    grouped = images.table["group"].null_count < len(images)
    lacking = {
        (NEAR_LEAK, NEAR_CONFLICT, CROWDED): not survey.decoded,
        (ALIKE_EMBEDDINGS,): embeddings is None,
        (*_OF_SPLITS, ALIKE_EMBEDDINGS): not split,
        (GROUP_LEAK,): not grouped,
        (GIVE_AWAY,): len(images) < FEWEST_IMAGES or classes < 2,
    }
    return [rule for rules, lacks in lacking.items() if lacks for rule in rules]
