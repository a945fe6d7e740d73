"""The images of a finished run, where they lie now."""

from collections.abc import Mapping
from pathlib import Path

from retop.data import ImageSource, open_source
from retop.errors import UsageError


def open_images(recorded: str, moved: Path | None, columns: Mapping[str, str] | None) -> ImageSource:
    """Open the data of a run again, under the names of columns that the run read it with.

    Args:
        recorded: where the data lay.
        moved: where it lies now, perhaps as another kind of place; None for where it lay.
        columns: of the recipe.

    Returns:
        The source.

    Raises:
        DataError: there is no data.
        UsageError: the data lies where it lay and has no columns.
    """
    if moved is None:
        return open_source(recorded, columns)
    try:
        return open_source(moved, columns)
    except UsageError:
        # Class folders, made of what was a table.
        return open_source(moved)
