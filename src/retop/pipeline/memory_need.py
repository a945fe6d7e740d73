"""Memory that a run needs, predicted before it starts, and how many images may then go through its network at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from retop.activations.fill import VIEWS_AT_ONCE
from retop.activations.store import PART_BYTES, PREFIX_BATCH
from retop.backbones.footprint import Shapes, peak_bytes
from retop.backbones.head import build_head
from retop.data import Dataset
from retop.errors import MemoryRunError
from retop.evaluation.numerals import size
from retop.pipeline.prepared import PreparedRun, features_bytes, only_head
from retop.recipe import StageRecipe
from retop.room import MemoryRoom
from retop.training import LateNetwork, Runtime, training_mode
from retop.training.step import PARTS_AND_STATISTICS

# Tensors are counted exactly; kernels take scratch memory and copies of weights besides, and the allocator wastes some.
KERNELS_FACTOR = 1.3
# Libraries that are loaded later, code that kernels make, decoded photographs, stacks of threads.
REST_BYTES = 300 * 2**20
DECODED_AHEAD = 4


@dataclass(frozen=True)
class Need:
    """What a part of a run needs beyond what the process has when the run begins.

    Attributes:
        part: as in the plan.
        num_bytes: at its largest moment.
    """

    part: str
    num_bytes: int


@dataclass(frozen=True)
class AtOnce:
    """What was decided.

    Attributes:
        images: that go through the network at once; None for whole batches.
        reason: why fewer than whole batches, or why nothing could be predicted, for people; else None.
        needed_bytes: that the run then takes besides what this process holds; 0 where nothing was predicted.
    """

    images: int | None = None
    reason: str | None = None
    needed_bytes: int = field(default=0, compare=False)


def fit_into_memory(prepared: PreparedRun, dataset: Dataset, runtime: Runtime, room: MemoryRoom) -> AtOnce:
    """Halve the number of images that go through the network at once until the run fits.

    On other devices than a CPU nothing is predicted: they say when they have no more, and batches are halved then.

    Args:
        prepared: the run.
        dataset: its images.
        runtime: device and arithmetic.
        room: memory that is left.

    Raises:
        MemoryRunError: it does not fit, even with one image at a time.
    """
    if runtime.device.type != "cpu":
        return AtOnce()
    most = images = _largest_batch(prepared)
    wanted = needed = predict(prepared, dataset, runtime)
    if not needed.num_bytes:
        return AtOnce(reason=f"{prepared.request.name}: its memory is not predicted: {needed.part}")
    while needed.num_bytes > room.left_bytes and images > 1:
        images //= 2
        needed = predict(prepared, dataset, runtime, images)
    if needed.num_bytes > room.left_bytes:
        raise MemoryRunError(
            f"{prepared.request.name} would need {size(needed.num_bytes)} more memory for {needed.part}, even with one "
            f"image at a time, and {room}. Give it more, thaw fewer layers (--thaw), take a smaller network, or "
            f"train elsewhere (--device cuda)"
        )
    if images == most:
        return AtOnce(needed_bytes=needed.num_bytes)
    statistics = f"; {PARTS_AND_STATISTICS}" if prepared.updates_statistics else ""
    return AtOnce(
        images,
        f"{prepared.request.name}: whole batches would need {size(wanted.num_bytes)} more memory for {wanted.part}, "
        f"and {room}: no more than {images} images go through the network at once, with one step for each batch as "
        f"before{statistics}",
        needed.num_bytes,
    )


def predict(prepared: PreparedRun, dataset: Dataset, runtime: Runtime, at_once: int | None = None) -> Need:
    """The part that needs most.

    Args:
        prepared: the run.
        dataset: its images.
        runtime: arithmetic.
        at_once: images that go through the network at once; None for whole batches.
    """
    try:
        return max(_Needs(prepared, dataset, runtime, at_once), key=lambda need: need.num_bytes)
    except _UncountableError as error:
        return Need(f"what cannot be counted ({error})", 0)
    finally:
        prepared.network.eval()


class _UncountableError(Exception):
    """A network does not run on tensors without content."""


def _counted_bytes(network: nn.Module, inputs: Shapes, *, train: bool) -> int:
    try:
        return peak_bytes(network, inputs, train=train)
    # Somebody else's network may raise anything there; it is run all the same, and the user is told.
    except Exception as error:
        raise _UncountableError(f"{type(error).__name__}: {error}") from error


class _Needs:
    """The needs of all parts."""

    def __init__(self, prepared: PreparedRun, dataset: Dataset, runtime: Runtime, at_once: int | None) -> None:
        self._prepared = prepared
        self._dataset = dataset
        self._runtime = runtime
        sets = (dataset.train, dataset.validation, dataset.test or ())
        self._at_once = min(max(map(len, sets)), at_once or _largest_batch(prepared))
        size = prepared.backbone.preprocessing
        self._image_shape = (3, size.height, size.width)

    def __iter__(self) -> Iterator[Need]:
        prepared, recipe = self._prepared, self._prepared.request.recipe
        whole = self._whole(PREFIX_BATCH)
        decoded = DECODED_AHEAD * PREFIX_BATCH * math.prod(self._image_shape)
        together = min(prepared.num_views, VIEWS_AT_ONCE)
        yield Need("the prefix", REST_BYTES + whole + together * decoded + self._store_buffers(together))
        probe = prepared.request.kind == "probe"
        held = features_bytes(prepared, self._dataset) if probe or prepared.holds_features else 0
        if held:
            # A fit holds them twice.
            yield Need("the features of all images", REST_BYTES + whole + 2 * held)
        if prepared.source == "images" and recipe.stage1.epochs > 0 and not probe:
            yield Need("stage 1", REST_BYTES + self._whole(recipe.stage1.batch_size) + decoded)
        if prepared.trains_late_layers:
            yield Need("stage 2", REST_BYTES + self._late(recipe.stage2))
        weights = 4 * sum(parameter.numel() for parameter in prepared.network.parameters())
        images = len(self._dataset.validation) + len(self._dataset.test or ())
        yield Need("the evaluation", REST_BYTES + whole + 3 * weights + 4 * images * len(self._dataset.classes))

    def _whole(self, batch: int) -> int:
        """The whole network without gradients."""
        with only_head(self._prepared):
            inputs = [((min(batch, self._at_once), *self._image_shape), torch.uint8)]
            return round(KERNELS_FACTOR * _counted_bytes(self._prepared.network, inputs, train=False))

    def _store_buffers(self, together: int) -> int:
        """Parts of the store in the making, one for each view: their rows; of one, its bytes, and those joined."""
        split = self._prepared.split
        row_bytes = 4 * self._prepared.num_features if split is None else split.bytes_per_image(self._runtime.stored)
        rows = max(len(self._dataset.train), len(self._dataset.validation))
        part = min(PART_BYTES // together, rows * row_bytes)
        return (together + 2) * part if self._prepared.source != "images" else 0

    def _late(self, recipe: StageRecipe) -> int:
        """A step of stage 2, with the copies of the weights that training keeps and a checkpoint holds."""
        prepared = self._prepared
        head = build_head(prepared.request.recipe.head, prepared.num_features, len(self._dataset.classes), 0)
        network, shapes = LateNetwork(prepared.late_suffix, head), self._late_shapes()
        training_mode(network, prepared.boundary, prepared.updates_statistics)()
        inputs = [((min(recipe.batch_size, self._at_once), *shape), dtype) for shape, dtype in shapes]
        step = _counted_bytes(network, inputs, train=True)
        network.eval()
        trained = 4 * sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        moments = 2 if recipe.optimiser != "sgd" else int(recipe.momentum > 0)
        # At work: where the stage began, its best, last good and finished weights. In a checkpoint, as tensors and as
        # bytes: weights, best, good, moments.
        copies = 4 + moments + 2 * (3 + moments)
        batch = recipe.batch_size * sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes)
        return round(KERNELS_FACTOR * step) + copies * trained + 3 * batch

    def _late_shapes(self) -> list[tuple[tuple[int, ...], torch.dtype]]:
        prepared, views = self._prepared, self._prepared.request.recipe.views
        if prepared.source == "activations" and prepared.split is not None:
            # Floating-point crossings are widened to the arithmetic of training.
            return [
                (crossing.shape, torch.float32 if crossing.dtype.is_floating_point else crossing.dtype)
                for crossing in prepared.split.crossings
            ]
        side = max(views.sides) if prepared.source == "pixels" else 1.0
        return [((3, *(math.ceil(pixels * side) for pixels in self._image_shape[1:])), torch.uint8)]


def _largest_batch(prepared: PreparedRun) -> int:
    recipe = prepared.request.recipe
    late = recipe.stage2.batch_size if prepared.trains_late_layers else 0
    return max(PREFIX_BATCH, late, recipe.stage1.batch_size if prepared.source == "images" else 0)
