"""Run a comparison: every run, serially; then the ranking."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from retop.comparison.finished import differs_from, read_whole_run
from retop.comparison.ranking import Contender, rank, recommended
from retop.comparison.request import ComparisonRequest
from retop.comparison.schedule import planned_runs, remaining_plan
from retop.comparison.statements import describe
from retop.data import Dataset
from retop.device import naming_memory
from retop.errors import DamagedError, OutputError, RunError, RunExistsError, StoppedError
from retop.events import Notice
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.pipeline.environment import describe_environment
from retop.records import (
    AuditRecord,
    ComparisonRecord,
    Environment,
    FailedRun,
    FinishedRun,
    PlannedRun,
    PlanRecord,
    Predictions,
    RunRecord,
    leaked_test_images,
    merge_predictions,
    read_record,
    write_record,
)
from retop.records.lock import is_leftover
from retop.records.storing import writing
from retop.schema import differences, to_plain
from retop.training import Checkpoints

COMPARISON, PLAN, AUDIT = "comparison.json", "plan.json", "audit.json"


def compare_backbones(
    request: ComparisonRequest, dataset: Dataset, plan: PlanRecord, setting: Setting, folder: Path
) -> ComparisonRecord:
    """Make every run of a comparison, rank them, and write comparison.json.

    Runs that are finished in the folder are kept. A run that fails does not stop the others.

    Args:
        request: the comparison.
        dataset: the images.
        plan: as `make_plan` gave it.
        setting: device, store and listener.
        folder: where to; as `claim_folder` left it.

    Returns:
        The record; `failed` names the runs that did not finish.

    Raises:
        RunError: no run finished.
        OutputError: the folder cannot be written.
        StoppedError: somebody asked to stop; what is finished is kept, what is at work is saved.
    """
    environment = describe_environment(setting.runtime, setting.command)
    finished: dict[str, FinishedRun] = {}
    failed: list[FailedRun] = []
    for run in request.runs():
        setting.stop.check()
        try:
            finished[run.name] = _finish(run, dataset, setting, folder, plan)
        # These end the whole comparison: somebody asked for it, or no other run could be written either.
        except (StoppedError, OutputError):
            raise
        # Hours of other runs must not be lost to whatever one backbone, its library or its device may raise.
        except Exception as error:  # noqa: BLE001
            failed.append(FailedRun(run.name, f"{type(error).__name__}: {error}"))
            setting.listener(Notice("warning", f"{run.name} failed: {error}"))
    if not finished:
        raise RunError("; ".join(f"{run.name}: {run.error}" for run in failed))
    record = _rank(request, dataset, environment, folder, finished, failed)
    setting.still_ours()
    with writing(folder):
        write_record(folder / COMPARISON, record)
    return record


def check_folder(folder: Path, request: ComparisonRequest, dataset: Dataset, setting: Setting) -> PlanRecord | None:
    """Make sure, before anything is computed, that a folder is free or belongs to the same comparison.

    Args:
        folder: where the comparison is to be written.
        request: the comparison.
        dataset: its images.
        setting: device of the runs that are still to be made.

    Returns:
        What is left of the plan of the comparison that the folder holds; None for a folder that is free.

    Raises:
        RunExistsError: it holds something else, or runs that were made with other versions than what is left would be.
        RunError: it cannot be read, or it lies among the images.
        BackboneError: a network or its weights cannot be had.
    """
    _refuse_among_images(folder, dataset)
    if (folder / PLAN).is_file():
        before = _read_plan(folder, request, dataset, setting)
        if before is None:
            return None
        if changed := _differences(before, dataset.record.fingerprint, planned_runs(request)):
            raise RunExistsError(_other(folder, changed))
        _check_versions(folder, request, setting)
        return remaining_plan(before, folder)
    with writing(folder):
        # A process that was killed while it claimed the folder has lost nothing in it.
        if folder.exists() and not all(is_leftover(path) for path in folder.iterdir()):
            raise RunExistsError(f"{folder} is not empty and holds no comparison of ours; choose another with --out")
    return None


def _read_plan(folder: Path, request: ComparisonRequest, dataset: Dataset, setting: Setting) -> PlanRecord | None:
    """The plan of a folder; None where it is damaged and all that is finished is of this comparison all the same.

    What is not finished has checkpoints, which tell whose they are.
    """
    try:
        return read_record(PlanRecord, folder / PLAN)
    except DamagedError as error:
        for run, planned in zip(request.runs(), planned_runs(request), strict=True):
            files = RunFolder(folder / run.name)
            if files.run.exists() and (changed := differs_from(files, run, planned, dataset.in_fold(run.fold))):
                raise RunExistsError(_other(folder, changed)) from error
        _check_versions(folder, request, setting)
        setting.listener(Notice("warning", f"{error}; it is made anew"))
        return None


def _other(folder: Path, changed: Sequence[str]) -> str:
    return (
        f"{folder} holds another comparison: {'; '.join(changed)}. Undo the change to go on, or choose another folder "
        f"with --out (out=)"
    )


def _refuse_among_images(folder: Path, dataset: Dataset) -> None:
    """Results inside a folder of class folders would be taken for a class the next time."""
    data, target = Path(dataset.record.location).expanduser().resolve(), folder.resolve()
    if not data.is_dir() or not target.is_relative_to(data):
        return
    first = target.relative_to(data).parts[:1]
    splits = {dataset.train.path(0).split("/")[0], dataset.validation.path(0).split("/")[0]}
    if dataset.record.split_by == "folders" and first and first[0] not in splits | {"test"}:
        return
    raise RunError(
        f"{folder} lies among the images of {dataset.record.location}, where its files would be taken for images the "
        f"next time. Choose a folder beside them with --out (out=)"
    )


def claim_folder(folder: Path, plan: PlanRecord) -> None:
    """Put plan.json into the folder of a comparison; the plan of an interrupted comparison stays.

    Args:
        folder: as `check_folder` passed it, and held by this process since.
        plan: of the comparison.

    Raises:
        OutputError: it cannot be written.
        RunExistsError: another process has put another comparison there in the meantime.
    """
    with suppress(DamagedError):
        if (folder / PLAN).is_file():
            if changed := _differences(read_record(PlanRecord, folder / PLAN), plan.data_fingerprint, plan.runs):
                raise RunExistsError(_other(folder, changed))
            return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / PLAN, plan)


def _check_versions(folder: Path, request: ComparisonRequest, setting: Setting) -> None:
    """What is finished and what is left must have been made alike, or the table would compare versions too."""
    files = [RunFolder(folder / run.name) for run in request.runs()]
    finished = [each for each in files if each.run.exists()]
    if len(finished) == len(files):
        return
    now = _versions(describe_environment(setting.runtime, ""))
    for each in finished:
        with suppress(DamagedError):
            changed = differences(_versions(read_record(RunRecord, each.run).environment), now)
            if not changed:
                continue
            raise RunExistsError(
                f"{each.path} was made otherwise than what is left would be: {'; '.join(changed)}. Go on with what it "
                f"was made with, or begin anew with another --out (out=)"
            )


def _versions(environment: Environment) -> dict[str, str]:
    return {"device": environment.device, "retop": environment.retop, **environment.packages}


def _differences(before: PlanRecord, data_fingerprint: str, runs: Sequence[PlannedRun]) -> list[str]:
    found = []
    if before.data_fingerprint != data_fingerprint:
        found.append("its images differ")
    old, new = ({run.name: run for run in planned} for planned in (before.runs, runs))
    if old.keys() != new.keys():
        found.append(f"its runs are {', '.join(old)}")
    runs_of_change: dict[str, list[str]] = {}
    for name in (each for each in old if each in new):
        if old[name].weights_sha256 is None:
            old[name] = replace(old[name], weights_sha256=new[name].weights_sha256)
        if not old[name].network:
            old[name] = replace(old[name], network=new[name].network)
        # The same weights, given by another path: `retop resume` names them in full.
        if old[name].weights_sha256 == new[name].weights_sha256 is not None:
            old[name] = replace(old[name], weights=new[name].weights)
        changed = differences(to_plain(old[name]), to_plain(new[name]))
        if changed:
            runs_of_change.setdefault(", ".join(changed), []).append(name)
    return found + [f"of {', '.join(names)}, {change}" for change, names in runs_of_change.items()]


def _finish(run: RunRequest, dataset: Dataset, setting: Setting, folder: Path, plan: PlanRecord) -> FinishedRun:
    files = RunFolder(folder / run.name)
    if files.run.exists():
        finished = read_whole_run(files)
        # A process may have been killed just before it removed them.
        Checkpoints(files.checkpoints).remove()
        return finished
    planned = {part.part: part.seconds for part in plan.parts if part.run == run.name and part.seconds is not None}
    with naming_memory(run.name):
        run_backbone(run, dataset.in_fold(run.fold), setting, files, planned)
    return read_whole_run(files)


def _rank(
    request: ComparisonRequest,
    dataset: Dataset,
    environment: Environment,
    folder: Path,
    finished: Mapping[str, FinishedRun],
    failed: Sequence[FailedRun],
) -> ComparisonRecord:
    ranked_on: Literal["test", "validation"] = "test" if dataset.test is not None else "validation"
    contenders = _contenders(request, finished)
    if not contenders:
        raise RunError("; ".join(f"{run.name}: {run.error}" for run in failed))
    rows, pairs = rank(contenders, request.recipe, _leaked(folder))
    best = recommended(contenders)
    return ComparisonRecord(
        name=folder.absolute().name,
        data=dataset.record,
        recipe=request.recipe,
        seeds=request.seeds,
        ranked_on=ranked_on,
        rows=rows,
        pairs=pairs,
        recommended=best,
        statements=describe(rows, pairs, dataset.record, best, failed, request.recipe),
        failed=tuple(failed),
        environment=environment,
    )


def _contenders(request: ComparisonRequest, finished: Mapping[str, FinishedRun]) -> list[Contender]:
    grouped: dict[str, dict[int, list[RunRequest]]] = {}
    for run in request.runs():
        grouped.setdefault(run.contender, {}).setdefault(run.seed, []).append(run)
    contenders = []
    for name, seeds in grouped.items():
        # A seed that lacks a fold has not answered every image.
        complete = [runs for runs in seeds.values() if all(run.name in finished for run in runs)]
        runs = [run for seed in complete for run in seed]
        if runs:
            contenders.append(
                Contender(
                    name=name,
                    kind=runs[0].kind,
                    runs=tuple(finished[run.name].record for run in runs),
                    predictions=tuple(_predictions([finished[run.name] for run in seed]) for seed in complete),
                    run_folders=tuple(run.name for run in runs),
                )
            )
    return contenders


def _predictions(folds: Sequence[FinishedRun]) -> Predictions:
    """The answers of one seed; with folds, to the images of all of them."""
    return merge_predictions([run.ranked for run in folds if run.ranked is not None])


def _leaked(folder: Path) -> frozenset[str]:
    """Test images of which the audit found copies among the others."""
    if not (folder / AUDIT).is_file():
        return frozenset()
    return leaked_test_images(read_record(AuditRecord, folder / AUDIT))
