"""The plan of a comparison: what will be computed, how often, for how long."""

import time

from retop.comparison.request import ComparisonRequest
from retop.data import Dataset
from retop.events import PartAdvanced, PartFinished, PartStarted
from retop.pipeline import RunRequest, Setting
from retop.pipeline.plan import RunPlanner
from retop.records import PlannedPart, PlannedRun, PlanRecord


def make_plan(request: ComparisonRequest, dataset: Dataset, setting: Setting) -> PlanRecord:
    """Calibrate every backbone for a few seconds and estimate the whole.

    Args:
        request: the comparison.
        dataset: the images.
        setting: device and store.

    Returns:
        The plan.

    Raises:
        BackboneError: a network or its weights cannot be had.
    """
    runs = request.runs()
    parts: list[PlannedPart] = []
    calibrated: dict[str, tuple[PlannedPart, ...]] = {}
    memory_bytes = 0
    started = time.perf_counter()
    setting.listener(PartStarted("plan", len(runs), "runs"))
    for run in runs:
        if run.contender in calibrated:
            parts += _again(run, calibrated[run.contender])
        else:
            planner = RunPlanner(run, dataset, setting)
            calibrated[run.contender] = planner.parts()
            memory_bytes = max(memory_bytes, planner.memory_bytes())
            parts += _probe_after(run, calibrated) if run.kind == "probe" else calibrated[run.contender]
        setting.listener(PartAdvanced("plan", 1, run.name))
    setting.listener(PartFinished("plan", time.perf_counter() - started))
    return PlanRecord(
        data_fingerprint=dataset.record.fingerprint,
        recipe=request.recipe,
        runs=tuple(_planned(run) for run in runs),
        parts=tuple(parts),
        memory_bytes=memory_bytes,
        disk_free_bytes=max(0, setting.store.limit_bytes - setting.store.used_bytes()) if setting.store else 0,
    )


def _planned(run: RunRequest) -> PlannedRun:
    return PlannedRun(run.name, run.backbone, run.kind, run.weights, run.seed, run.recipe)


def _again(run: RunRequest, parts: tuple[PlannedPart, ...]) -> list[PlannedPart]:
    """Another seed of the same contender finds the store filled, unless its weights are random."""
    return [
        PlannedPart(run.name, part.part, "in the store", 0.0, 0)
        if part.part in ("prefix", "features") and run.weights != "random"
        else PlannedPart(run.name, part.part, part.how_often, part.seconds, part.disk_bytes)
        for part in parts
    ]


def _probe_after(run: RunRequest, calibrated: dict[str, tuple[PlannedPart, ...]]) -> list[PlannedPart]:
    """A probe reads what its backbone's run has stored before."""
    if run.backbone not in calibrated:
        return list(calibrated[run.contender])
    return [
        PlannedPart(run.name, part.part, "in the store", 0.0, 0) if part.part in ("prefix", "features") else part
        for part in calibrated[run.contender]
    ]
