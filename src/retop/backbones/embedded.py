"""Weights that come with the package, one timm-form folder per backbone."""

from pathlib import Path

from retop.backbones.catalogue import find_entry, known_backbones

WEIGHTS_FOLDER = Path(__file__).parent / "pocket_weights"


def find_embedded(name: str) -> Path | None:
    """The folder with a backbone's weights, or None where the package has none of it.

    Args:
        name: the backbone's name.
    """
    folder = WEIGHTS_FOLDER / name
    return folder if find_entry(name) and (folder / "config.json").is_file() else None


def embedded_backbones() -> tuple[str, ...]:
    """Names of the backbones whose weights come with the package, in the order of the catalogue."""
    return tuple(entry.name for entry in known_backbones() if find_embedded(entry.name))
