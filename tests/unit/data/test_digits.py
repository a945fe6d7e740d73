from collections import Counter

from retop.data import open_dataset
from retop.data.digits import write_digits
from retop.recipe import DataRecipe


def test_every_digit_is_in_exactly_one_split_and_written_once(tmp_path):
    folder = write_digits(tmp_path / "digits")
    counts = Counter(path.parent.parent.name for path in folder.rglob("*.png"))
    assert counts == {"train": 697, "validation": 300, "test": 800}
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert write_digits(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == times
    assert not (tmp_path / ".digits.partial").exists()
    dataset = open_dataset(folder, DataRecipe(images_per_class=30))
    assert (len(dataset.train), len(dataset.classes)) == (300, 10)
    train, test = ({images.content(i) for i in range(len(images))} for images in (dataset.train, dataset.test))
    assert not train & test


def test_what_an_interrupted_writing_left_is_replaced(tmp_path):
    (tmp_path / ".digits.partial" / "train").mkdir(parents=True)
    (tmp_path / ".digits.partial" / "train" / "stray.png").write_bytes(b"half")
    folder = write_digits(tmp_path / "digits")
    assert not list(folder.rglob("stray.png"))
