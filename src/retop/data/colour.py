"""Pixels of any layout as RGB with 8 bits per channel."""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB: wide grey narrowed, colour profile to sRGB, transparency over white.

    Args:
        image: loaded, of any mode.

    Returns:
        An image of mode RGB and the same size.

    Raises:
        ValueError: the mode has no conversion to RGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode in _WIDE_MODES:
        clear = _clear(image)
        image = _narrow(image)
        if clear is not None:
            return _over_white(Image.merge("LA", (image, clear)).convert("RGBA"), profile)
    elif image.has_transparency_data:
        return _over_white(image.convert("RGBA"), profile)
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    return _to_srgb(image, profile).convert("RGB")


def _over_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = image.getchannel("A")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(_to_srgb(image.convert("RGB"), profile), mask=alpha)
    return white


def _clear(image: Image.Image) -> Image.Image | None:
    """Opacity of grey of 16 bits of which one value is transparent, as PNG may say it."""
    value = image.info.get("transparency")
    if not isinstance(value, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == value, 0, 255).astype(np.uint8), "L")


def _narrow(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as 8 bits.

    16 bits: divided by 257, so that 0 to 65535 become 0 to 255. 32-bit integers are taken as 16 bits where they fit.
    Floating point is taken as 0 to 1 where it fits. What does not fit is stretched from its least to its greatest
    value.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    least, greatest = float(values.min()), float(values.max())
    full = 1.0 if image.mode == "F" else 65535.0
    if least >= 0 and greatest <= full:
        least, greatest = 0.0, full
    scaled = (values - least) * (255.0 / max(greatest - least, 1e-300))
    return Image.fromarray(np.rint(scaled).astype(np.uint8), "L")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    transform = _transform_to_srgb(profile, image.mode)
    if transform is None:
        return image
    try:
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, ValueError):
        return image


@lru_cache(maxsize=64)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion a profile asks for; None where it is sRGB already, of another colour space, or damaged."""
    try:
        parsed = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in (parsed.profile.profile_description or "").lower():
            return None
        # A profile of another colour space is refused here. Without the flag, lcms keeps the last pixel in the
        # transform, which threads would then share.
        return ImageCms.buildTransform(
            parsed,
            _srgb(),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
