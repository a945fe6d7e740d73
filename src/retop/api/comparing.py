"""`compare`, and what it gives; `resume`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retop.api.arguments import (
    build_request,
    build_setting,
    default_folder,
    interrupted_folder,
    repeatable_arguments,
    with_short_forms,
)
from retop.api.notices import warn
from retop.comparison import compare_backbones, make_plan
from retop.comparison.compare import AUDIT, PLAN, check_folder, claim_folder
from retop.comparison.request import Baseline, ComparisonRequest
from retop.data import Dataset, open_dataset
from retop.data.audit import audit_dataset, say_findings
from retop.device import DeviceName, PrecisionName
from retop.errors import DamagedError, OutputError, RetopError, RunError, SchemaError, UsageError
from retop.events import Listener, Notice
from retop.pipeline import Setting, only_process_in, refuse_if_held
from retop.predictor import Predictor
from retop.recipe import Recipe
from retop.records import SPLIT, ComparisonRecord, PlanRecord, read_record, write_record, write_split
from retop.records.lock import Held
from retop.records.storing import writing
from retop.report import comparison_html, write_all_figures, write_report
from retop.schema import from_plain, remove_partial_files
from retop.stopping import Stop, stop_on_signals
from retop.training.tracking import TrackerName, check_trackers


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        record: what comparison.json holds.
        folder: where everything was written.
    """

    record: ComparisonRecord
    folder: Path

    @property
    def recommended(self) -> Path:
        """The model folder of the recommended backbone, of its first seed.

        Raises:
            UsageError: no fine-tuned backbone finished.
        """
        for row in self.record.rows:
            if row.name == self.record.recommended:
                return self.folder / row.runs[0] / "model"
        raise UsageError(f"{self.folder} has no recommended model: no fine-tuned backbone finished")

    def load(self) -> Predictor:
        """The recommended model, ready to predict."""
        return Predictor(self.recommended)

    def _repr_html_(self) -> str:
        return comparison_html(self.record)


def compare(
    data: str | Path,
    backbones: Sequence[str],
    *,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe = "default",
    settings: Mapping[str, Any] | None = None,
    epochs: tuple[int, int] | None = None,
    thaw: str | int | None = None,
    views: int | None = None,
    precision: PrecisionName | None = None,
    seeds: int | Sequence[int] = 1,
    baselines: Sequence[Baseline] = (),
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    log: Sequence[TrackerName] = (),
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Fine-tune several backbones on a folder of labelled images and compare them.

    Args:
        data: the folder: ``train/``, ``validation/`` and perhaps ``test/`` with one sub-folder per class, or just
            one sub-folder per class.
        backbones: names: ``vgg16``, ``resnet50``, ``inception_v3``, ``xception``, or any of timm's.
        weights: None for the hub; a folder or ``.safetensors`` file; ``"random"``.
        recipe: a preset's name, a YAML file, or a recipe.
        settings: changes to the recipe, ``{"stage2.epochs": 5}``; with a backbone's name in front for that one alone,
            ``{"vgg16.thaw": "block4"}``.
        epochs: of the head, and of the late layers; short for the settings ``stage1.epochs`` and ``stage2.epochs``,
            which win.
        thaw: where stage 2 begins to train: ``"last"``, a number of groups from the end, a group's name, ``"all"``,
            ``"none"``; short for the setting ``thaw``.
        views: per training image, 1 for no augmentation; short for ``views.count``.
        precision: of training, ``"auto"``, ``"fp32"``, ``"bf16"``; short for ``precision``.
        seeds: how many, or which.
        baselines: ``"probe"``, ``"scratch"``.
        out: folder of the comparison; None for ``runs/<data>-<time>``. An interrupted comparison goes on in its
            folder; without `out`, in the newest one that the same call has begun.
        device: ``auto`` takes a GPU if there is one.
        cache: True or ``"on"`` for the usual activation store, False or ``"off"`` for none, or a folder.
        cache_limit_bytes: most that the store may hold; None for half of the free disk.
        log: trackers that receive the numbers of every run: ``"tensorboard"``, ``"mlflow"``.
        listener: receives progress and notices; without one, warnings come as Python warnings.
        on_plan: receives the plan and the output folder before the work begins.

    Returns:
        The comparison, which also shows itself in a notebook.

    Raises:
        UsageError: options contradict each other or do not exist.
        DataError: the images cannot be used.
        BackboneError: no such network, or no weights.
        RunError: the output folder holds something else, cannot be written or is in use, or no run finished.
        StoppedError: Ctrl-C or SIGTERM; everything is saved, and `resume` goes on.
    """
    arguments = dict(locals())
    settings = with_short_forms(settings, epochs, thaw, views, precision)
    request = build_request(backbones, weights, recipe, settings, seeds, baselines)
    setting = build_setting(request.recipe, device, cache, cache_limit_bytes, listener)
    setting = replace(setting, log=check_trackers(log))
    dataset = open_dataset(data, request.recipe.data, listener)
    request = replace(request, folds=len(dataset.folds) or None)
    begun_with = repeatable_arguments(arguments, request)
    folder = Path(out) if out is not None else _folder(data, begun_with, request, dataset, setting)
    refuse_if_held(folder)
    audit = audit_dataset(dataset)
    say_findings(audit, listener, request.recipe.imbalance)
    prepared = check_folder(folder, request, dataset, setting)
    if prepared is None:
        prepared = replace(make_plan(request, dataset, setting, folder), arguments=begun_with)
    with only_process_in(folder, setting.command, listener) as held, stop_on_signals() as stop:
        claim_folder(folder, prepared)
        remove_partial_files(folder)
        with writing(folder):
            write_record(folder / AUDIT, audit)
            write_split(folder / SPLIT, dataset.split_table())
        if on_plan is not None:
            on_plan(prepared, folder)
        setting = replace(setting, stop=stop, still_ours=held.check)
        record = compare_backbones(request, dataset, prepared, setting, folder)
        _write_pictures(folder, held, stop, listener)
    return Comparison(record, folder)


def resume(
    run: str | Path, *, listener: Listener = warn, on_plan: Callable[[PlanRecord, Path], None] | None = None
) -> Comparison:
    """Go on with a comparison that was interrupted, with the arguments that began it.

    Args:
        run: folder of the comparison, or of one of its runs.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        What `compare` would have returned.

    Raises:
        RunError: the folder holds no comparison.
        RetopError: as `compare`.
    """
    if not str(run).strip():
        raise UsageError("the folder to go on with is empty; give the one that --out (out=) named")
    folder = next((each for each in (Path(run), Path(run).absolute().parent) if (each / PLAN).is_file()), None)
    if folder is None:
        raise RunError(f"{run} holds no comparison: it has no {PLAN}. Give the folder that --out (out=) named")
    try:
        arguments = dict(read_record(PlanRecord, folder / PLAN).arguments)
    except DamagedError as error:
        raise DamagedError(
            f"{error}. Run the same command again with --out {folder}: it makes the plan anew and goes on"
        ) from error
    if not arguments:
        raise RunError(f"{folder / PLAN} does not say how it was begun; run the same command again with --out {folder}")
    try:
        arguments["recipe"] = from_plain(Recipe, arguments["recipe"])
        inspect.signature(compare).bind(**arguments)
    except (KeyError, TypeError, SchemaError) as error:
        raise RunError(
            f"{folder / PLAN} was written by another version of retop ({error}); run the same command again with "
            f"--out {folder}"
        ) from error
    return compare(**arguments, out=folder, listener=listener, on_plan=on_plan)


def _write_pictures(folder: Path, held: Held, stop: Stop, listener: Listener) -> None:
    """Figures and page.

    Raises:
        OutputError: they cannot be written, or the folder was deleted.
        StoppedError: somebody asked to stop.
    """
    with writing(folder):
        try:
            for write in (write_all_figures, _write_page):
                stop.check()
                held.check()
                write(folder, listener)
        except (OSError, RetopError):
            # Whatever it was, a folder that is gone says more.
            held.check()
            raise


def _folder(
    data: str | Path, begun_with: dict[str, Any], request: ComparisonRequest, dataset: Dataset, setting: Setting
) -> Path:
    """Where the same call was interrupted, or a new folder."""
    found = interrupted_folder(data, begun_with)
    if found is None:
        return default_folder(data)
    try:
        check_folder(found, request, dataset, setting)
    except RunError as error:
        setting.listener(Notice("note", f"begun anew, since what the same call began cannot go on: {error}"))
        return default_folder(data)
    setting.listener(Notice("note", f"goes on where the same call was interrupted: {found}. --out (out=) begins anew"))
    return found


def _write_page(folder: Path, listener: Listener) -> None:
    try:
        write_report([folder])
    except OutputError:
        raise
    except RetopError as error:
        # The comparison is finished and on disk; a page can be written again at any time.
        listener(Notice("warning", f"no report was written: {error}. Try again: retop report {folder}"))
