"""What comes with weights: how images become their network's input, and where they came from."""

from dataclasses import dataclass
from typing import Literal

from retop.schema import check_range

LARGEST_SIDE = 4096
LEAST_CROP, GREATEST_CROP = 0.5, 4.0
GREATEST_MEAN = 1e3
LEAST_STD, GREATEST_STD = 1e-4, 1e4


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input: resize, crop, scale to [0, 1], normalise."""

    height: int
    """Pixels of the network's input."""

    width: int
    """Pixels of the network's input."""

    crop_fraction: float
    """The shorter side is resized to input size / crop_fraction, then the centre is cut out."""

    crop_mode: Literal["center", "squash", "border"]
    """timm's crop mode: ``center`` keeps the aspect, ``squash`` does not, ``border`` pads."""

    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"]
    """How pixels are resampled, by Pillow on 8-bit values, with antialiasing."""

    mean: tuple[float, float, float]
    """Subtracted per channel (R, G, B), after scaling to [0, 1]."""

    std: tuple[float, float, float]
    """Divided by per channel (R, G, B), after the mean is subtracted."""

    def __post_init__(self) -> None:
        """Refuse what no image can be made with; timm's networks have sides to 1,024, crops of 0.875 to 1.15."""
        check_range("preprocessing.height", self.height, 1, LARGEST_SIDE)
        check_range("preprocessing.width", self.width, 1, LARGEST_SIDE)
        check_range("preprocessing.crop_fraction", self.crop_fraction, LEAST_CROP, GREATEST_CROP)
        for mean, std in zip(self.mean, self.std, strict=True):
            check_range("preprocessing.mean", mean, -GREATEST_MEAN, GREATEST_MEAN)
            check_range("preprocessing.std", std, LEAST_STD, GREATEST_STD)


@dataclass(frozen=True)
class WeightsRecord:
    """Where weights came from, exactly."""

    source: Literal["hub", "package", "folder", "file", "random"]
    """``hub``: a model hub; ``package``: retop itself; ``folder``: a timm-form folder; ``file``: a ``.safetensors``
    file."""

    location: str
    """Hub repository or URL, path, or the seed of random weights."""

    revision: str | None
    """Commit of the hub repository that was resolved; None for anything else."""

    sha256: str | None
    """SHA-256 of the weights file, hexadecimal; None for random weights."""

    license: str | None
    """Licence as the weights' own card names it."""

    description: str | None
    """What the weights' own card says about them."""
