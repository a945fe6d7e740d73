"""What is known about a network."""

from dataclasses import dataclass
from typing import Literal

from retop.records.weights import Preprocessing, WeightsRecord


@dataclass(frozen=True)
class GroupRecord:
    """One group of consecutive layers, between stem and last stage."""

    name: str
    """The group's name, as ``--thaw`` takes it."""

    parameters: int
    """Number of parameters."""

    flops: int
    """Floating-point operations of one image's forward pass; a multiply-add counts as two."""

    stored_bytes: int
    """Bytes of activations stored per image view when the network is thawed from this group on, at two bytes
    per value."""


@dataclass(frozen=True)
class NetworkRecord:
    """The network of a run."""

    backbone: str
    """Name under which it was asked for."""

    architecture: str
    """timm's name of the architecture."""

    preprocessing: Preprocessing
    """How images become its input."""

    weights: WeightsRecord
    """Where its weights came from."""

    groups: tuple[GroupRecord, ...]
    """All groups, from stem to last stage."""

    boundary: str | None
    """Name of the first thawed group; None where nothing is thawed."""

    parameters: int
    """Number of parameters, head included."""

    parameters_trained: int
    """Number of parameters that stage 2 trained (stage 1 where there is no stage 2), head included."""

    loop: Literal["store", "whole"]
    """``store``: the frozen prefix was computed once; ``whole``: the whole network ran in every epoch."""

    loop_reason: str | None
    """Why the whole network ran in every epoch; None for ``store``."""

    stored_bytes_per_view: int
    """Bytes of activations stored per image view in this run; 0 for ``whole``."""
