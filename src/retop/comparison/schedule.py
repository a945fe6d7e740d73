"""The plan of a comparison: what will be computed, how often, for how long."""

import time
from dataclasses import replace

from retop.comparison.request import ComparisonRequest
from retop.data import Dataset
from retop.events import PartAdvanced, PartFinished, PartStarted
from retop.pipeline import RunRequest, Setting
from retop.pipeline.plan import RunPlanner
from retop.pipeline.probe import PENALTIES_C
from retop.records import PlannedPart, PlannedRun, PlanRecord

FIT_SECONDS = 5.0


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
        if run.kind == "probe":
            parts += _probe_after(run, calibrated[run.backbone])
        elif run.contender in calibrated:
            parts += _again(run, calibrated[run.contender])
        else:
            planner = RunPlanner(run, dataset, setting)
            parts += calibrated.setdefault(run.contender, planner.parts())
            memory_bytes = max(memory_bytes, planner.memory_bytes())
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
        else replace(part, run=run.name)
        for part in parts
    ]


def _probe_after(run: RunRequest, parts: tuple[PlannedPart, ...]) -> list[PlannedPart]:
    """A probe follows its backbone: it reads what that has stored, fits, and is evaluated like it."""
    known = {part.part: part for part in parts}
    fitting = PlannedPart(run.name, "stage 1", f"{len(PENALTIES_C)} penalties", FIT_SECONDS, 0)
    return [
        replace(known["build"], run=run.name),
        *(
            PlannedPart(run.name, name, "in the store", 0.0, 0)
            for name in ("prefix", "features")
            if name in known and run.weights != "random"
        ),
        fitting,
        replace(known["evaluation"], run=run.name),
    ]
