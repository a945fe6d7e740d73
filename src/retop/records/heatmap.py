"""heatmaps/heatmaps.json: which heat maps explanation wrote for a run."""

from dataclasses import dataclass

HEATMAPS_VERSION = 1


@dataclass(frozen=True)
class HeatMap:
    """One image with what the model looked at."""

    path: str
    """The image, as its source names it."""

    explained: str
    """Class whose score the map explains: the one the model answered."""

    file: str
    """Name of the JPEG beside this file: the image under its heat map."""


@dataclass(frozen=True)
class HeatMapRecord:
    """heatmaps.json."""

    method: str
    """How the maps were made, such as ``Grad-CAM``."""

    layer: str
    """Name of the layer whose activations they weigh."""

    maps: tuple[HeatMap, ...]
    """In the order in which they were made."""

    version: int = HEATMAPS_VERSION
    """Version of this record."""
