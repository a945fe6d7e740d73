"""Everything that is known of the images of a location, before any decision about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from retop.data.decoding import READABLE
from retop.data.grouping import groups_by_pattern
from retop.data.index import index_images
from retop.data.lists import leave_out
from retop.data.sources import ImageSource, Leftovers, open_source
from retop.data.sources.source import SplitBy, few
from retop.errors import DataError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice
from retop.recipe import DataRecipe
from retop.records import UnreadableImage


@dataclass(frozen=True, eq=False)
class Survey:
    """The images of a location, listed and indexed."""

    source: ImageSource
    """Where they are."""

    table: pa.Table
    """One row per file that may be an image, without the excluded ones: the columns of a listing and of the index."""

    split_by: SplitBy
    """As in `Listing`."""

    leftovers: Leftovers
    """What the listing left out."""

    excluded: int
    """Images left out by ``--exclude``."""

    @property
    def readable(self) -> pa.Table:
        """The rows that are images."""
        return self.table.filter(pc.is_null(self.table["problem"]))

    @property
    def decoded(self) -> bool:
        """Whether the pixels of all images have been decoded."""
        return bool(pc.all(self.readable["decoded"]).as_py())

    @property
    def unreadable(self) -> tuple[UnreadableImage, ...]:
        """The other rows, by path."""
        bad = self.table.filter(pc.is_valid(self.table["problem"])).select(["path", "problem"]).sort_by("path")
        return tuple(UnreadableImage(row["path"], row["problem"]) for row in bad.to_pylist())


def survey_images(location: str | Path, recipe: DataRecipe, listener: Listener, decode: bool = True) -> Survey:
    """List and index the images of a location.

    Args:
        location: what `open_source` accepts.
        recipe: names of columns, groups, and what to leave out.
        listener: receives progress and notices.
        decode: as in `index_images`; without, damage behind a header may stay unseen, and near copies too.

    Returns:
        The survey.

    Raises:
        DataError: as `open_source`; or no image is readable.
        UsageError: an option does not fit the data.
    """
    source = open_source(location, recipe.columns, listener)
    listing = source.scan(listener)
    table = listing.table
    if recipe.exclude is not None:
        table = leave_out(table, recipe.exclude, listener)
    if recipe.group_pattern is not None:
        groups = groups_by_pattern(table["path"], recipe.group_pattern, listener)
        table = table.set_column(table.schema.get_field_index("group"), "group", groups)
    excluded = listing.table.num_rows - table.num_rows
    table = index_images(source, table, listener, decode)
    survey = Survey(source, table, listing.split_by, listing.leftovers, excluded)
    _report_unreadable(survey, listener)
    return survey


def _report_unreadable(survey: Survey, listener: Listener) -> None:
    unreadable, total = survey.unreadable, survey.table.num_rows
    if not unreadable:
        return
    if len(unreadable) == total:
        raise DataError(
            f"{survey.source.location}: none of {count(total, 'file')} can be read as an image; the first is "
            f"{unreadable[0].path}: {unreadable[0].reason}"
        )
    held = set(pc.unique(survey.readable["label"]).to_pylist())
    lost = sorted(set(pc.unique(survey.table["label"]).to_pylist()) - held)
    if lost:
        listener(Notice("warning", f"{name_classes(lost)} without a readable image: left out"))
    named = tell_unreadable(unreadable)
    listener(
        Notice(
            "warning",
            f"{len(unreadable):,} of {count(total, 'image')} cannot be read and "
            f"{word(len(unreadable), 'is', 'are')} left out: {named}",
        )
    )


def tell_unreadable(images: Sequence[UnreadableImage], shown: int = 3) -> str:
    """The first of some images and their reasons, and how many more there are; the list of formats comes once."""
    told = [f"{image.path}: {image.reason.removesuffix(READABLE)}" for image in images[:shown]]
    more = [f"and {len(images) - shown:,} more"] if len(images) > shown else []
    ending = READABLE if any(image.reason.endswith(READABLE) for image in images[:shown]) else ""
    return "; ".join([*told, *more]) + ending


def name_classes(classes: list[str], shown: int = 8) -> str:
    """Classes as a message names them."""
    return ("class " if len(classes) == 1 else "classes ") + few([repr(name) for name in classes], shown=shown)
