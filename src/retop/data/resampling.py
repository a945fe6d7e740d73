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
