"""How fast the frozen prefix runs, as a share of the matrix-product rate, group by group; and how fast images decode.

N images of a batch, H, W height and width of the network's input.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from matmul import measure_matmul
from retop.backbones import (
    Backbone,
    ImageNetwork,
    build_backbone,
    choose_boundary,
    describe_groups,
    freeze,
    split_network,
)
from retop.backbones.folding import fold_batch_norms
from retop.data import decode_batches, open_dataset
from retop.recipe import DataRecipe, ViewsRecipe
from retop.training import Runtime, choose_runtime
from spec import Spec

REPEATS = 3


@dataclass(frozen=True)
class GroupRate:
    """One frozen group.

    Attributes:
        name: as ``--thaw`` takes it.
        gigaflops_per_image: operations of one image; a multiply-add counts as two.
        milliseconds_per_image: measured: the prefix that ends with this group less the one that ends before it.
        matmul_share: its rate as a fraction of the matrix-product rate; None where the time is too small to measure.
    """

    name: str
    gigaflops_per_image: float
    milliseconds_per_image: float
    matmul_share: float | None


@dataclass(frozen=True)
class PrefixResult:
    """What was measured.

    Attributes:
        precision: arithmetic of the prefix.
        float32_matmul_gigaflops: rate of float32 matrix products, per second.
        bfloat16_matmul_gigaflops: the same in bfloat16.
        images_per_second: through the prefix, from 8-bit pixels in memory; best of several batches.
        gigaflops_per_image: operations of the prefix for one image.
        gigaflops: rate of the prefix, per second.
        matmul_share: the rate as a fraction of the matrix-product rate in `precision`.
        decode_images_per_second: files to pixels, nothing else running; best of several passes.
        decode_share: fraction of the prefix's time that decoding would need by itself; below 1 it is no bottleneck.
        groups: the frozen groups, from stem to boundary.
    """

    precision: str
    float32_matmul_gigaflops: float
    bfloat16_matmul_gigaflops: float
    images_per_second: float
    gigaflops_per_image: float
    gigaflops: float
    matmul_share: float
    decode_images_per_second: float
    decode_share: float
    groups: list[GroupRate]


def run(spec: Spec) -> PrefixResult:
    runtime = choose_runtime(spec.device)
    before = _matmul_rates(spec.device)
    seconds, flops = _measure_groups(spec, runtime)
    decoding = _decode_rate(spec)
    rates = {dtype: max(rate, before[dtype]) for dtype, rate in _matmul_rates(spec.device).items()}
    matmul = rates[runtime.dtype]
    total_flops, total_seconds = sum(flops.values()), list(seconds.values())[-1]
    return PrefixResult(
        precision=str(runtime.dtype).removeprefix("torch."),
        float32_matmul_gigaflops=rates[torch.float32] / 1e9,
        bfloat16_matmul_gigaflops=rates[torch.bfloat16] / 1e9,
        images_per_second=1 / total_seconds,
        gigaflops_per_image=total_flops / 1e9,
        gigaflops=total_flops / total_seconds / 1e9,
        matmul_share=total_flops / total_seconds / matmul,
        decode_images_per_second=decoding,
        decode_share=1 / total_seconds / decoding,
        groups=_group_rates(seconds, flops, matmul),
    )


def _matmul_rates(device: str) -> dict[torch.dtype, float]:
    return {dtype: measure_matmul(dtype, device) for dtype in (torch.float32, torch.bfloat16)}


def _measure_groups(spec: Spec, runtime: Runtime) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds per image of the prefix that ends with each frozen group, and each group's operations."""
    boundary = choose_boundary(build_backbone(spec.backbone, "random"), "last").group
    described = {group.name: group for group in describe_groups(build_backbone(spec.backbone, "random"))}
    frozen = list(described)[: list(described).index(str(boundary))]
    following = [*frozen[1:], str(boundary)]
    seconds = {
        name: _prefix_seconds(build_backbone(spec.backbone, "random"), after, spec, runtime)
        for name, after in zip(frozen, following, strict=True)
    }
    return seconds, {name: described[name].flops for name in frozen}


def _prefix_seconds(backbone: Backbone, thaw: str, spec: Spec, runtime: Runtime) -> float:
    boundary = choose_boundary(backbone, thaw)
    freeze(backbone.network, boundary)
    network = ImageNetwork(backbone).eval()
    split = split_network(network, boundary.parameter_names, (spec.image_size, spec.image_size))
    part = fold_batch_norms(split.prefix) if runtime.folds else split.prefix
    prefix = runtime.frozen(part, split.fingerprint_code)
    shape = (spec.batch_size, spec.image_size, spec.image_size, 3)
    images_nchw = torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2).to(runtime.device)
    return min(_run_seconds(lambda: prefix.run(images_nchw), spec.device) for _ in range(1 + REPEATS)) / spec.batch_size


def _run_seconds(work: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _group_rates(seconds: dict[str, float], flops: dict[str, int], matmul: float) -> list[GroupRate]:
    rates, before = [], 0.0
    for name, until in seconds.items():
        taken = until - before
        share = flops[name] / taken / matmul if taken > 1e-5 else None
        rates.append(GroupRate(name, flops[name] / 1e9, 1000 * taken, share))
        before = until
    return rates


def _decode_rate(spec: Spec) -> float:
    images = open_dataset(spec.images, DataRecipe()).train
    preprocessing = build_backbone(spec.backbone, "random").preprocessing
    rows = np.arange(len(images))
    views = ViewsRecipe(preset="none", count=1)

    def decode() -> None:
        for _ in decode_batches(images, rows, np.zeros_like(rows), preprocessing, views, spec.batch_size):
            pass

    return len(rows) / min(_run_seconds(decode, "cpu") for _ in range(2))
