"""The audit as one page with pictures: a single HTML file that needs nothing else."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from retop.data.audit.rules import IMBALANCE
from retop.data.decoding import decode_image
from retop.data.sources import ImageSource
from retop.errors import UnreadableImageError, UsageError
from retop.records import AuditRecord, Finding
from retop.records.audit import captions

THUMBNAIL = 112
GROUPS = 12
OF_GROUP = 6
SIZES = 15
"""Classes that are shown from either end."""

_TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Picture:
    """One file on the page."""

    caption: str
    """Its name, and its class where the name does not tell it."""

    address: str | None
    """The picture itself as a data address; None where it cannot be read."""


def write_page(file: Path, record: AuditRecord, source: ImageSource) -> None:
    """Write the page.

    Args:
        file: where to; an existing file is not touched.
        record: of the audit.
        source: for the pictures.

    Raises:
        UsageError: the file exists, or cannot be written.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    pictures = {finding.code: _pictures(finding, source) for finding in record.findings}
    text = template.render(record=record, pictures=pictures, rows_of=_rows_of, sizes_of=_sizes_of)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise UsageError(f"{file} exists already; choose another name with --page") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error


def _pictures(finding: Finding, source: ImageSource) -> list[list[Picture]]:
    groups: Sequence[Sequence[str]] = finding.evidence.get("files", ())
    named = zip(groups[:GROUPS], captions(finding), strict=False)
    return [
        [Picture(caption, _address(path, source)) for path, caption in list(zip(*one, strict=True))[:OF_GROUP]]
        for one in named
    ]


def _rows_of(groups: list[list[Picture]]) -> list[list[Picture]]:
    """What stands side by side: what belongs together, or single files all in one row."""
    single = all(len(group) == 1 for group in groups)
    return [[picture for group in groups for picture in group]] if groups and single else groups


def _sizes_of(finding: Finding) -> list[tuple[str, int]]:
    """Classes of an imbalance and their images, the largest first; of very many the ends."""
    if finding.code != IMBALANCE.code:
        return []
    sizes = sorted(finding.evidence["classes"].items(), key=lambda one: (-one[1], one[0]))
    return sizes if len(sizes) <= 2 * SIZES else sizes[:SIZES] + sizes[-SIZES:]


def _address(path: str, source: ImageSource) -> str | None:
    try:
        image = decode_image(source.read(path), path, THUMBNAIL)
    except UnreadableImageError:
        return None
    image.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
