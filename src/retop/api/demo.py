"""The images of `retop demo`."""

from pathlib import Path

from retop.data.digits import write_digits
from retop.places import cache_folder


def demo_data() -> Path:
    """The images of `retop demo`: scikit-learn's handwritten digits as an image folder, written on first use.

    Returns:
        The folder, which `compare` takes.
    """
    return write_digits(cache_folder() / "demo" / "digits")
