"""What in an image speaks for a class."""

from retop.explanation.heat_maps import heat_map, overlay, overlay_of

__all__ = ["heat_map", "overlay", "overlay_of"]
