"""The plan of a comparison: what will be computed, how often, for how long."""

import time
from dataclasses import replace
from pathlib import Path

from retop.backbones.sources import WeightsSource, find_source
from retop.comparison.request import ComparisonRequest
from retop.data import Dataset
from retop.device import naming_memory
from retop.errors import DivergedError, MemoryRunError, RetopError
from retop.events import Notice, PartAdvanced, PartFinished, PartStarted
from retop.pipeline import RunFolder, RunRequest, Setting
from retop.pipeline.plan import Earlier, RunPlanner
from retop.records import PlannedPart, PlannedRun, PlanRecord, shares_of


def make_plan(request: ComparisonRequest, dataset: Dataset, setting: Setting, folder: Path | None = None) -> PlanRecord:
    """Calibrate every backbone for a few seconds and estimate the whole.

    Args:
        request: the comparison.
        dataset: the images.
        setting: device and store.
        folder: of the comparison; runs that are finished in it cost nothing. None for a comparison that is new.

    Returns:
        The plan.

    Raises:
        BackboneError: a network or its weights cannot be had.
        UsageError: a boundary does not exist.
    """
    if untaken := request.untaken():
        setting.listener(
            Notice(
                "warning",
                f"the baseline scratch has a recipe of its own and does not take {', '.join(untaken)}; set it for "
                f"scratch with --set scratch.KEY=VALUE (settings={{'scratch.KEY': ...}})",
            )
        )
    runs = request.runs()
    parts: list[PlannedPart] = []
    calibrated: dict[str, tuple[PlannedPart, ...]] = {}
    earlier = Earlier()
    filled: set[tuple[str, int | None]] = set()
    memory_bytes = 0
    started = time.perf_counter()
    setting.listener(PartStarted("plan", len(runs), "runs"))
    for run in runs:
        if folder is not None and RunFolder(folder / run.name).run.exists():
            parts.append(_finished(run.name))
        elif run.contender in calibrated:
            parts += _again(run, calibrated[run.contender], (run.contender, run.fold) in filled)
        else:
            calibrated[run.contender], needed = _calibrated(run, dataset, setting, earlier)
            parts += calibrated[run.contender]
            memory_bytes = max(memory_bytes, needed)
        filled.add((run.contender, run.fold))
        setting.listener(PartAdvanced("plan", 1, run.name))
    setting.listener(PartFinished("plan", time.perf_counter() - started))
    return PlanRecord(
        data_fingerprint=dataset.record.fingerprint,
        recipe=request.recipe,
        runs=planned_runs(request),
        parts=tuple(parts),
        memory_bytes=memory_bytes,
        disk_free_bytes=max(0, setting.store.limit_bytes - setting.store.used_bytes()) if setting.store else 0,
        class_shares=shares_of(request.recipe, dataset.record),
    )


def remaining_plan(before: PlanRecord, folder: Path) -> PlanRecord:
    """The plan of an interrupted comparison, without calibrating again.

    Args:
        before: as it was made when the comparison began.
        folder: of the comparison.

    Returns:
        The plan, in which finished runs cost nothing.
    """
    finished = [run.name for run in before.runs if RunFolder(folder / run.name).run.exists()]
    parts = [_finished(name) for name in finished]
    return replace(before, parts=(*parts, *(part for part in before.parts if part.run not in finished)))


def _finished(run: str) -> PlannedPart:
    return PlannedPart(run, "all", "finished already", 0.0, 0)


def planned_runs(request: ComparisonRequest) -> tuple[PlannedRun, ...]:
    """What makes a comparison, with its data, the one that it is.

    Args:
        request: the comparison.

    Raises:
        BackboneError: a network or its weights cannot be had.
    """
    sources: dict[tuple[str, str | None], WeightsSource] = {}
    for run in request.runs():
        if (run.backbone, run.weights) not in sources:
            sources[run.backbone, run.weights] = find_source(run.backbone, run.weights)
    return tuple(
        PlannedRun(
            run.name, run.backbone, run.kind, run.weights, run.seed, run.recipe, source.record.sha256, source.network()
        )
        for run in request.runs()
        for source in [sources[run.backbone, run.weights]]
    )


def _calibrated(
    run: RunRequest, dataset: Dataset, setting: Setting, earlier: Earlier
) -> tuple[tuple[PlannedPart, ...], int]:
    """The parts of a run, and the memory that it needs."""
    try:
        with naming_memory(run.name):
            planner = RunPlanner(run, dataset.in_fold(run.fold), setting, earlier)
            return planner.parts(), planner.memory_bytes()
    except Exception as error:
        # What was asked for and cannot be is better said now than in hours. Of whatever else its network, library or
        # device may raise, the run itself will tell; the others are not to suffer from it.
        if isinstance(error, RetopError) and not isinstance(error, DivergedError | MemoryRunError):
            raise
        why = str(error) if isinstance(error, RetopError) else f"{type(error).__name__}: {error}"
        return (PlannedPart(run.name, "all", f"not calibrated: {' '.join(why.split())[:300]}", None, 0),), 0


def _again(run: RunRequest, parts: tuple[PlannedPart, ...], filled: bool) -> list[PlannedPart]:
    """Another seed of the same contender and fold finds the store filled, unless its weights are random."""
    return [
        PlannedPart(run.name, part.part, "in the store", 0.0, 0)
        if filled
        and part.part in ("prefix", "features")
        and run.weights != "random"
        and "in memory" not in part.how_often
        else replace(part, run=run.name)
        for part in parts
    ]
