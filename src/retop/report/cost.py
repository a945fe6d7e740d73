"""What a comparison cost, against its plan; and what each of its networks is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from retop.records import STORED_PARTS, PlanRecord, RunRecord, WeightsRecord

STAYING = (*STORED_PARTS, "other")
"""Parts whose disk stays; that of the others, their checkpoints, is given back at the end of a run."""


@dataclass(frozen=True)
class PartCost:
    """Seconds and disk of one part of one run."""

    run: str
    """Folder of the run."""

    part: str
    """As in `TimingRecord`."""

    seconds: float
    """Measured."""

    planned_seconds: float | None
    """What the plan had said; None where it said nothing."""

    disk_bytes: int | None
    """Measured, as in `TimingRecord`; None where a run's record does not say it. Of several runs the sum where it
    stays, else the largest."""

    planned_disk_bytes: int | None
    """Disk of the store that the plan gave to it; None where there is no plan, and for parts that put nothing there."""


@dataclass(frozen=True)
class CostFacts:
    """Cost of all runs."""

    parts: tuple[PartCost, ...]
    """In the order in which they were made."""

    totals: tuple[PartCost, ...]
    """The same parts, those of all runs together, in the order of the run that has most; `run` is ``all``."""

    seconds: float
    """Sum."""

    planned_seconds: float | None
    """Sum of what was planned for parts that ran; None where nothing was planned."""

    disk_bytes: int | None
    """Sum of what stays; None where a run's record does not say it."""

    passing_bytes: int | None
    """Most that checkpoints took beside it at any time; None where a run's record does not say it."""

    planned_disk_bytes: int | None
    """Sum, of the store alone; None where there is no plan."""


@dataclass(frozen=True)
class GroupFacts:
    """One group of layers in a network's diagram."""

    name: str
    """As ``--thaw`` takes it."""

    state: Literal["frozen", "trained in stage 2", "trained"]
    """Whether the run changed its weights."""

    parameters: int
    """Their number."""

    flops: int
    """Operations for one image."""

    stored_bytes: int
    """Bytes of activations per image view at its beginning."""

    stored_here: bool
    """Whether this run stored the activations that enter it."""


@dataclass(frozen=True)
class NetworkFacts:
    """A network's diagram."""

    name: str
    """Backbone or baseline."""

    architecture: str
    """timm's name."""

    input_size: tuple[int, int]
    """Height and width in pixels."""

    weights: str
    """Where its weights came from."""

    groups: tuple[GroupFacts, ...]
    """From stem to last stage."""

    head: str
    """The head in words."""

    head_parameters: int
    """Parameters of the head; the network's without those of its groups."""

    parameters: int
    """All."""

    parameters_trained: int
    """Trained in the last stage, head included."""

    batch_norm: str
    """What batch norm did in the thawed part."""


def cost_facts(runs: Sequence[RunRecord], plan: PlanRecord | None) -> CostFacts:
    """Compute what was spent.

    Args:
        runs: in the order in which they were made.
        plan: of the comparison; None where it was not kept.

    Returns:
        The facts.
    """
    disk = {(part.run, part.part): part.disk_bytes for part in plan.parts} if plan else {}
    parts = tuple(
        PartCost(
            run.name,
            timing.part,
            timing.seconds,
            timing.planned_seconds,
            timing.disk_bytes,
            disk.get((run.name, timing.part)) if timing.part in STORED_PARTS else None,
        )
        for run in runs
        for timing in run.timings
    )
    # A baseline has few of the parts; that of a fine-tuned run is the order of them all.
    longest_first = sorted(runs, key=lambda run: -len(run.timings))
    totals = tuple(
        _together("all", name, [part for part in parts if part.part == name])
        for name in dict.fromkeys(timing.part for run in longest_first for timing in run.timings)
    )
    everything = _together("all", "all", parts)
    return CostFacts(
        parts,
        totals,
        everything.seconds,
        everything.planned_seconds,
        _disk([part for part in parts if part.part in STAYING]),
        _disk([part for part in parts if part.part not in STAYING]),
        sum(part.disk_bytes for part in plan.parts) if plan else None,
    )


def _together(run: str, name: str, parts: Sequence[PartCost]) -> PartCost:
    planned = [part.planned_seconds for part in parts if part.planned_seconds is not None]
    planned_disk = [part.planned_disk_bytes for part in parts if part.planned_disk_bytes is not None]
    return PartCost(
        run,
        name,
        sum(part.seconds for part in parts),
        sum(planned) if planned else None,
        _disk(parts),
        sum(planned_disk) if planned_disk else None,
    )


def _disk(parts: Sequence[PartCost]) -> int | None:
    """Runs are made one after the other, so of what each gives back the largest counts."""
    taken = [part.disk_bytes for part in parts if part.disk_bytes is not None]
    if len(taken) < len(parts):
        return None
    return sum(taken) if all(part.part in STAYING for part in parts) else max(taken)


def network_facts(name: str, run: RunRecord) -> NetworkFacts:
    """Describe a run's network as a diagram shows it.

    Args:
        name: of the backbone or baseline.
        run: its record.

    Returns:
        The facts.
    """
    network, recipe = run.network, run.recipe
    names = [group.name for group in network.groups]
    first = names.index(network.boundary) if network.boundary in names else None
    groups = tuple(
        GroupFacts(
            group.name,
            "frozen"
            if first is None or place < first
            else "trained"
            if run.kind == "scratch"
            else "trained in stage 2",
            group.parameters,
            group.flops,
            group.stored_bytes,
            place == first and network.loop == "store",
        )
        for place, group in enumerate(network.groups)
    )
    head = "linear" if recipe.head.kind == "linear" else f"dense {recipe.head.hidden} with ReLU, linear"
    return NetworkFacts(
        name=name,
        architecture=network.architecture,
        input_size=(network.preprocessing.height, network.preprocessing.width),
        weights=_weights(network.weights),
        groups=groups,
        head=head,
        head_parameters=max(0, network.parameters - sum(group.parameters for group in network.groups)),
        parameters=network.parameters,
        parameters_trained=network.parameters_trained,
        batch_norm=_batch_norm(run, first is not None),
    )


def _weights(record: WeightsRecord) -> str:
    if record.source == "random":
        return f"random numbers, seed {record.location}"
    if record.source == "package":
        return record.location
    return f"{record.source}: {record.location}" + (f" @ {record.revision[:12]}" if record.revision else "")


def _batch_norm(run: RunRecord, thawed: bool) -> str:
    if not thawed:
        return "frozen: statistics and weights stay those of pretraining"
    choice = run.recipe.batch_norm
    if choice == "update" or (choice == "auto" and run.network.weights.source == "random"):
        return "statistics of the thawed part follow the training batches"
    return "statistics stay those of pretraining; weights of the thawed part train"
