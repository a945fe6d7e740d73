"""A folder of heat maps, with a list of which image each is of."""

import csv
import itertools
from pathlib import Path

from retop.data.sources.names import shown
from retop.explanation.heat_maps import overlay_of
from retop.predictor import Predictor
from retop.predictor.prediction import read_pixels
from retop.records.storing import writing

LIST = "maps.csv"
OPTION = "--explain"


class MapFolder:
    """Heat maps as PNG files named after their images, and ``maps.csv`` with the columns file, path and label.

    Args:
        folder: where to; made where it is missing. Maps that are there stay; an image that has one keeps its name.

    Raises:
        OutputError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, str] = {}
        with writing(folder, OPTION):
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / LIST).exists():
                with (folder / LIST).open(encoding="utf-8", newline="") as file:
                    self._files = {row["path"]: row["file"] for row in csv.DictReader(file)}
            self._taken = {entry.name for entry in folder.iterdir()}

    def write(self, predictor: Predictor, path: str, label: str) -> Path:
        """Write the map of one image.

        Args:
            predictor: the model.
            path: of the image.
            label: class that it explains.

        Returns:
            The PNG.

        Raises:
            UnreadableImageError: the image cannot be read.
            OutputError: the folder cannot be written.
        """
        picture = overlay_of(predictor, read_pixels(path, predictor.trained.preprocessing), label)
        known = self._files.get(shown(path))
        name = known or self._free_name(shown(Path(path).stem))
        with writing(self.folder, OPTION):
            picture.save(self.folder / name)
            if known is None:
                self._note(name, shown(path), label)
        return self.folder / name

    def _free_name(self, stem: str) -> str:
        names = itertools.chain([f"{stem}.png"], (f"{stem}-{n}.png" for n in itertools.count(2)))
        return next(name for name in names if name not in self._taken)

    def _note(self, name: str, path: str, label: str) -> None:
        new = not (self.folder / LIST).exists()
        with (self.folder / LIST).open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("file", "path", "label")] * new + [(name, path, label)])
        self._files[path] = name
        self._taken.add(name)
