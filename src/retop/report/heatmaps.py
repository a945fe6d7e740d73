"""Heat maps that explanation wrote into a run's folder; the report only shows them."""

import base64
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from retop.errors import UnreadableImageError
from retop.records import FinishedComparison, FinishedRun, HeatMapRecord, read_record, recorded_contents, write_record
from retop.records import HeatMap as HeatMapEntry
from retop.report.answered import answer_facts
from retop.report.images import open_images
from retop.schema import remove_partial_files, write_bytes

FOLDER, RECORD = "heatmaps", "heatmaps.json"
SIDE = 160


@dataclass(frozen=True)
class HeatMap:
    """One overlay.

    Attributes:
        address: of the picture, as data.
        about: what it shows.
    """

    address: str
    about: str


def make_heatmaps(comparison: FinishedComparison, data: Path | None = None) -> None:
    """Explain the worst and the most doubtful images of every contender's first seed, with the models that answered.

    Args:
        comparison: with its runs and their model folders.
        data: where the images lie now; None for where they lay.

    Raises:
        DataError: the images are not there.
        ModelFolderError: a model folder cannot be loaded.
    """
    for row in comparison.record.rows:
        for answers in comparison.answers_of(row)[:1]:
            facts = answer_facts(row.name, answers, row.metrics.temperature)
            explained = {image.path: image.predicted for image in (*facts.worst, *facts.doubtful)}
            # Of folds each has a model of its own, and tests images of its own.
            for run in comparison.seeds_of(row)[0]:
                own = frozenset(run.ranked.paths if run.ranked else ())
                images = {path: predicted for path, predicted in explained.items() if path in own}
                _explain(run, images, data)


def _explain(run: FinishedRun, images: Mapping[str, str], data: Path | None) -> None:
    from retop.data import preprocess_bytes
    from retop.explanation import overlay_of
    from retop.predictor import Predictor

    folder = run.folder / FOLDER
    folder.mkdir(exist_ok=True)
    remove_partial_files(folder)
    source = open_images(run.record.data.location, data, run.record.recipe.data.columns)
    predictor = Predictor(run.folder / "model")
    recorded = recorded_contents(run.folder, images)
    maps: list[HeatMapEntry] = []
    for path, predicted in images.items():
        try:
            content = source.read(path)
            if recorded.get(path) not in (None, hashlib.sha256(content).hexdigest()):
                continue
            pixels_hwc = preprocess_bytes(content, path, predictor.trained.preprocessing)
        except UnreadableImageError:
            # The page says of each image that it cannot show why it is not there.
            continue
        maps.append(HeatMapEntry(path, predicted, f"{len(maps):03d}.jpg"))
        write_bytes(folder / maps[-1].file, _jpeg(overlay_of(predictor, pixels_hwc, predicted)))
    write_record(folder / RECORD, HeatMapRecord("Grad-CAM", "last feature map", tuple(maps)))


def _jpeg(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return content.getvalue()


class Heatmaps:
    """All heat maps of a comparison.

    Args:
        comparison: whose runs may have some.
    """

    def __init__(self, comparison: FinishedComparison) -> None:
        self.methods: set[str] = set()
        self._found: dict[tuple[str, str], tuple[Path, str]] = {}
        for run in comparison.runs:
            record = run.folder / FOLDER / RECORD
            if record.is_file():
                read = read_record(HeatMapRecord, record)
                self.methods |= {f"{read.method} on the {read.layer}"} if read.maps else set()
                for one in read.maps:
                    about = f"{read.method}: where {run.name} looked for {one.explained}"
                    self._found.setdefault((run.name, one.path), (record.parent / one.file, about))

    @property
    def legend(self) -> str | None:
        """What the colours mean; None where there is no heat map."""
        if not self.methods:
            return None
        return (
            f"{', '.join(sorted(self.methods))}: what spoke for the class that was answered. Grey: nothing; from blue "
            f"over green and yellow to red: the more, relative to the strongest place of the same image."
        )

    def find(self, contender: str, path: str) -> HeatMap | None:
        """The overlay of one image; None where there is none."""
        found = self._found.get((contender, path))
        if found is None or not found[0].is_file():
            return None
        return HeatMap(f"data:image/jpeg;base64,{base64.b64encode(found[0].read_bytes()).decode()}", found[1])
