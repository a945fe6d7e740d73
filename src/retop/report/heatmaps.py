"""Heat maps that explanation wrote into a run's folder; the report only shows them."""

import base64
from dataclasses import dataclass
from pathlib import Path

from retop.records import FinishedComparison, HeatMapRecord, read_record

FOLDER, RECORD = "heatmaps", "heatmaps.json"


@dataclass(frozen=True)
class HeatMap:
    """One overlay.

    Attributes:
        address: of the picture, as data.
        about: what it shows.
    """

    address: str
    about: str


class Heatmaps:
    """All heat maps of a comparison.

    Args:
        comparison: whose runs may have some.
    """

    def __init__(self, comparison: FinishedComparison) -> None:
        self._found: dict[tuple[str, str], tuple[Path, str]] = {}
        for run in comparison.runs:
            record = run.folder / FOLDER / RECORD
            if record.is_file():
                for one in read_record(HeatMapRecord, record).maps:
                    about = f"{record.parent.name}: where {run.name} looked for {one.explained}"
                    self._found.setdefault((run.name, one.path), (record.parent / one.file, about))

    def find(self, contender: str, path: str) -> HeatMap | None:
        """The overlay of one image; None where there is none."""
        found = self._found.get((contender, path))
        if found is None or not found[0].is_file():
            return None
        return HeatMap(f"data:image/jpeg;base64,{base64.b64encode(found[0].read_bytes()).decode()}", found[1])
