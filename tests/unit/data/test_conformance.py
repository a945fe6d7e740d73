"""What every source of images must do, whatever it reads from."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pyarrow.compute as pc
import pytest

from retop.data import open_dataset, open_source
from retop.data.sources.source import SCAN_SCHEMA
from retop.errors import UnreadableImageError
from retop.events import ignore
from retop.recipe import DataRecipe

from .pictures import encoded, picture
from .places import PLACES, Maker, served, some_images, write_folder
from .stores import write_store

IMAGES = some_images()
EVERYWHERE: dict[str, Maker] = {
    **PLACES,
    "s3": lambda _, images, stack: write_store("s3", images, stack),
    "gs": lambda _, images, stack: write_store("gs", images, stack),
}


@pytest.fixture(params=EVERYWHERE)
def place(request, tmp_path):
    if "http" in request.param:
        pytest.importorskip("aiohttp")
    (tmp_path / "place").mkdir()
    with ExitStack() as stack:
        yield EVERYWHERE[request.param](tmp_path / "place", IMAGES, stack)


def contents(source, table):
    labels = table["label"].to_pylist()
    read = map(source.read, table["path"].to_pylist())
    return Counter((label, hashlib.sha256(content).hexdigest()) for label, content in zip(labels, read, strict=True))


def test_every_image_is_listed_once_with_its_label_and_read_as_it_is(place):
    source = open_source(place)
    listing = source.scan(ignore)
    assert listing.table.schema == SCAN_SCHEMA
    assert listing.table["path"].null_count == listing.table["label"].null_count == 0
    assert len(pc.unique(listing.table["path"])) == len(IMAGES)
    expected = Counter((label, hashlib.sha256(content).hexdigest()) for label, content in IMAGES.values())
    assert contents(source, listing.table) == expected


def test_nothing_says_the_split_so_retop_chooses(place):
    listing = open_source(place).scan(ignore)
    assert listing.split_by == "retop" and listing.table["split"].null_count == len(IMAGES)


def test_sizes_are_those_of_the_contents(place):
    source = open_source(place)
    for row in source.scan(ignore).table.to_pylist():
        assert row["size_bytes"] in (len(source.read(row["path"])), 0)


def test_the_same_place_is_listed_the_same_again(place):
    first, second = (open_source(place) for _ in range(2))
    key = [("path", "ascending")]
    assert first.scan(ignore).table.sort_by(key).equals(second.scan(ignore).table.sort_by(key))
    assert first.identity == second.identity and first.location == str(place)


def test_a_source_reads_without_having_listed(place):
    paths = open_source(place).scan(ignore).table["path"].to_pylist()
    assert open_source(place).read(paths[0])


def test_threads_read_the_same(place):
    source = open_source(place)
    paths = source.scan(ignore).table["path"].to_pylist() * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, paths)) == [source.read(path) for path in paths]


@pytest.mark.parametrize("name", ["nothing.png", "", "cat", "../../etc/passwd", "a::b", "table.csv::9999999", "\0"])
def test_what_is_not_there_is_refused_by_name(place, name):
    source = open_source(place)
    source.scan(ignore)
    with pytest.raises(UnreadableImageError):
        source.read(name)


def test_the_split_is_that_of_the_same_images_in_a_folder(place, tmp_path):
    plain = open_dataset(write_folder(tmp_path / "plain", IMAGES), DataRecipe())
    other = open_dataset(place, DataRecipe())
    assert other.record.fingerprint == plain.record.fingerprint
    assert other.record.classes == ("birds/owl", "cat", "dog")


def test_another_content_under_the_same_name_is_noticed_over_http(tmp_path):
    pytest.importorskip("aiohttp")
    folder = write_folder(tmp_path / "photos", IMAGES)
    with served(tmp_path) as address:
        before = open_dataset(f"{address}/photos", DataRecipe()).record.fingerprint
        (folder / "cat/000.png").write_bytes(encoded(picture(4711)))
        os.utime(folder / "cat/000.png", (1_000_000_000, 1_000_000_000))
        after = open_dataset(f"{address}/photos", DataRecipe()).record.fingerprint
    assert before != after
    assert open_dataset(folder, DataRecipe()).record.fingerprint == after
