"""The bars: set on two cores with native bfloat16, and judged on such machines alone."""

from dataclasses import dataclass
from typing import Any

TORCH_BARS = {"vgg16": 15.0, "xception": 15.0, "resnet50": 9.0, "inception_v3": 9.0}
KERAS_BARS = {"vgg16": 6.0, "xception": 6.0, "resnet50": 4.5, "inception_v3": 4.5}
PREFIX_BARS = {"vgg16": 0.85, "inception_v3": 0.60, "resnet50": 0.55, "xception": 0.45}


@dataclass(frozen=True)
class Verdict:
    """One bar and what was measured.

    Attributes:
        backbone: whose.
        what: in words.
        bar: at least this.
        measured: None where it was not measured.
        verdict: ``met``, ``missed``, ``not judged`` or ``not measured``.
    """

    backbone: str
    what: str
    bar: float
    measured: float | None
    verdict: str


def judge(backbone: str, seconds: dict[str, float], prefix: dict[str, Any] | None, judged: bool) -> list[Verdict]:
    """Compare one backbone with its bars.

    Args:
        backbone: its name.
        seconds: by side, without augmentation.
        prefix: its `PrefixResult` as plain data.
        judged: whether this machine is of the kind the bars were set for.
    """
    ours = seconds.get("ours")
    ratios = {side: value / ours for side, value in seconds.items() if ours}
    found = [
        ("times faster than plain PyTorch", TORCH_BARS[backbone], ratios.get("plain_torch")),
        ("times faster than Keras on TensorFlow", KERAS_BARS[backbone], ratios.get("keras_tf")),
        (
            f"prefix as a fraction of the {prefix['precision'] if prefix else 'bfloat16'} matrix-product rate",
            PREFIX_BARS[backbone],
            prefix["matmul_share"] if prefix else None,
        ),
    ]
    return [Verdict(backbone, what, bar, value, _verdict(bar, value, judged)) for what, bar, value in found]


def _verdict(bar: float, measured: float | None, judged: bool) -> str:
    if measured is None:
        return "not measured"
    if not judged:
        return "not judged"
    return "met" if measured >= bar else "missed"
