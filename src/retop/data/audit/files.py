"""Files: unreadable, named wrongly, very small, ignored."""

from collections.abc import Iterator

import numpy as np

from retop.data.audit.examined import SHOWN_GROUPS, Examined
from retop.data.audit.rules import LEFT_OUT, LYING_NAME, SMALL_IMAGES, UNREADABLE
from retop.data.sources.names import extension_of
from retop.data.sources.source import Leftovers, few
from retop.data.survey import Survey, tell_unreadable
from retop.evaluation.numerals import count, word
from retop.records import Finding

SMALLEST = 32
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{kind.lower()}": kind for kind in ("PNG", "WEBP", "GIF", "BMP", "AVIF")},
}


def find_unreadable(survey: Survey) -> Iterator[Finding]:
    """D01."""
    unreadable = survey.unreadable
    if unreadable:
        yield UNREADABLE.finding(
            f"{len(unreadable):,} of {count(survey.table.num_rows, 'file')} cannot be read: "
            f"{tell_unreadable(unreadable)}",
            "replace them, or remove them",
            {
                "files": [[image.path] for image in unreadable[:SHOWN_GROUPS]],
                "reasons": {image.path: image.reason for image in unreadable[:SHOWN_GROUPS]},
                "count": len(unreadable),
                "exclude": [image.path for image in unreadable],
            },
        )


def find_lying_names(images: Examined) -> Iterator[Finding]:
    """D02."""
    lying = [
        (str(path), str(kind))
        for path, kind in zip(images.texts("path"), images.texts("format"), strict=True)
        if _FORMATS.get(extension_of(str(path)), kind) != kind
    ]
    if lying:
        named = few([f"{path} is {kind}" for path, kind in lying])
        yield LYING_NAME.finding(
            f"{len(lying):,} of {count(len(images), 'image')} {word(len(lying), 'is', 'are')} not what "
            f"{word(len(lying), 'its', 'their')} name says: {named}",
            "nothing has to be done; to be read alike by every program, rename them",
            {"files": [[path] for path, _ in lying[:SHOWN_GROUPS]], "formats": dict(lying[:SHOWN_GROUPS])},
        )


def find_small(images: Examined) -> Iterator[Finding]:
    """D14."""
    shorter = np.minimum(images.table["width"].to_numpy(), images.table["height"].to_numpy())
    rows = np.flatnonzero(shorter < SMALLEST)
    if len(rows):
        yield SMALL_IMAGES.finding(
            f"{len(rows):,} of {count(len(images), 'image')} {word(len(rows), 'is', 'are')} narrower or lower than "
            f"{SMALLEST} pixels; the smallest has "
            f"{int(shorter.min())}",
            "use larger versions if there are any",
            {"files": [[path] for path in images.paths_of(rows[:SHOWN_GROUPS])], "count": len(rows)},
        )


def find_left_out(leftovers: Leftovers) -> Iterator[Finding]:
    """D16."""
    said = [
        f"{count(leftovers.by_kind.total(), 'file is no image', 'files are no images')} by name or kind "
        f"({_most(leftovers.by_kind)})"
        if leftovers.by_kind
        else "",
        f"{count(leftovers.tool_names.total(), 'name is hidden or belongs', 'names are hidden or belong')} to tools "
        f"({_most(leftovers.tool_names)})"
        if leftovers.tool_names
        else "",
        f"{count(leftovers.outside_classes.count, 'file has', 'files have')} no class ({leftovers.outside_classes})"
        if leftovers.outside_classes.count
        else "",
        f"{count(leftovers.leading_out.count, 'name leads', 'names lead')} out of the archive ({leftovers.leading_out})"
        if leftovers.leading_out.count
        else "",
        f"{count(leftovers.closed_folders.count, 'folder')} cannot be opened ({leftovers.closed_folders})"
        if leftovers.closed_folders.count
        else "",
        f"{few(leftovers.beside)} lies beside the splits" if leftovers.beside else "",
        f"{count(leftovers.repeated_rows.count, 'row of the table is', 'rows of the table are')} there twice"
        if leftovers.repeated_rows.count
        else "",
    ]
    if any(said):
        yield LEFT_OUT.finding(
            "; ".join(part for part in said if part),
            "move what is meant to be learned from into the folder of its class",
            {
                "kinds": dict(leftovers.by_kind),
                "tools": dict(leftovers.tool_names),
                "outside": list(leftovers.outside_classes.names),
                "leading out": list(leftovers.leading_out.names),
                "closed": list(leftovers.closed_folders.names),
                "beside": list(leftovers.beside),
            },
        )


def _most(counts: "dict[str, int]") -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:4]
    return ", ".join(f"{number:,} {name}" for name, number in ordered)
