"""plan.json: what a comparison was asked for, and what it was expected to cost."""

from dataclasses import dataclass, field
from typing import Any

from retop.recipe import Recipe
from retop.records.html_table import html_table
from retop.records.imbalance import ClassShare, describe_shares

PLAN_VERSION = 1
STORED_PARTS = ("prefix", "features")
"""Parts of a run that put something into the store, and take no time where it is there already."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison."""

    name: str
    """Folder of the run."""

    backbone: str
    """Name of the network."""

    kind: str
    """As in run.json."""

    weights: str | None
    """As ``--weights``; None for the hub."""

    seed: int
    """The run's seed."""

    recipe: Recipe
    """The run's own recipe."""

    weights_sha256: str | None = None
    """SHA-256 of the pretrained weights, hexadecimal; None for random ones."""

    network: dict[str, Any] = field(default_factory=dict)
    """What determines the network besides: architecture, arguments, and timm's description of the weights."""


@dataclass(frozen=True)
class PlannedPart:
    """One part of a run."""

    run: str
    """Folder of the run."""

    part: str
    """As in `TimingRecord`."""

    how_often: str
    """What is computed how many times."""

    seconds: float | None
    """Estimate from a short calibration; None where nothing was calibrated."""

    disk_bytes: int
    """Disk that the store needs for it; 0 for none."""


@dataclass(frozen=True)
class PlanRecord:
    """plan.json, written before any work starts."""

    data_fingerprint: str
    """Fingerprint of the data."""

    recipe: Recipe
    """The comparison's recipe."""

    runs: tuple[PlannedRun, ...]
    """In the order in which they are made."""

    parts: tuple[PlannedPart, ...]
    """In the order in which they are made."""

    memory_bytes: int
    """Largest memory that any part is expected to need."""

    disk_free_bytes: int
    """What the activation store may still take."""

    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of `retop.compare` that began it, with which `retop resume` goes on; empty where it was begun
    otherwise."""

    class_shares: tuple[ClassShare, ...] = ()
    """What each class counts in training by the comparison's recipe, with folds in the first of them; empty where
    classes of different sizes are not corrected for."""

    version: int = PLAN_VERSION
    """Version of this record."""

    def _repr_html_(self) -> str:
        caption = f"At most {self.memory_bytes / 2**30:.1f} GiB of memory; seconds are estimates"
        if self.class_shares:
            caption += f". {describe_shares(self.class_shares)}"
        rows = [
            (part.run, part.part, part.how_often, "?" if part.seconds is None else f"{part.seconds:,.0f}",
             f"{part.disk_bytes / 2**20:,.0f}")
            for part in self.parts
        ]  # fmt: skip
        seconds = sum(part.seconds or 0.0 for part in self.parts)
        disk = sum(part.disk_bytes for part in self.parts)
        rows.append(("all", "", "", f"{seconds:,.0f}", f"{disk / 2**20:,.0f}"))
        return html_table(caption, ("run", "part", "computed", "seconds", "disk, MiB"), rows, num_names=3)
