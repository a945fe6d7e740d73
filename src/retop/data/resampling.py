"""Names of interpolations as Pillow's filters."""

from PIL import Image

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resampling_filter(interpolation: str) -> Image.Resampling:
    """Pillow's filter for resizing, with antialiasing.

    Args:
        interpolation: ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` or ``lanczos``.

    Returns:
        The filter.
    """
    return _FILTERS[interpolation]


def warping_filter(interpolation: str) -> Image.Resampling:
    """Pillow's filter for affine maps, which know three of the six interpolations.

    Args:
        interpolation: as for `resampling_filter`.

    Returns:
        The same filter where it exists, else bicubic for ``lanczos`` and bilinear for the others.
    """
    if interpolation in ("nearest", "bilinear", "bicubic"):
        return _FILTERS[interpolation]
    return Image.Resampling.BICUBIC if interpolation == "lanczos" else Image.Resampling.BILINEAR
