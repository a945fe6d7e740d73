"""Buckets and hubs: what changes is noticed, what does not is fetched once, and what is closed says how to get in."""

import math
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retop.data import open_dataset, open_source
from retop.data.decoding import BYTES_LIMIT
from retop.data.sources import fetching
from retop.data.sources.remote import ASKING, change_number
from retop.data.sources.source import LISTING, NAMES
from retop.data.survey import survey_images
from retop.errors import DataError, UnreadableImageError
from retop.events import Notice, PartAdvanced, PartFinished, PartStarted, ignore
from retop.recipe import DataRecipe

from .pictures import encoded, picture
from .places import Quiet, served, some_images, write_embedded, write_folder, write_memory, write_tar
from .stores import ANYBODY, hub, s3_server, store, without_accounts, write_store

IMAGES = some_images()
STORES = ["s3", "gs"]


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


def fingerprint(place):
    return open_dataset(place, DataRecipe()).record.fingerprint


@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_that_a_server_is_asked_is_shown_before_it_is(protocol, tmp_path, stack):
    asked, told = [], []

    class Counting(Quiet):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    if protocol == "http":
        write_folder(tmp_path / "photos", IMAGES)
        address = stack.enter_context(served(tmp_path, Counting)) + "/photos"
    else:
        address = write_store("s3", IMAGES, stack)

    def listen(event):
        told.append((event, len(asked)))

    source = open_source(address, listener=listen)
    assert told[0] == (PartStarted(NAMES, None, "files"), 0)
    assert [type(event) for event, _ in told] == [PartStarted, PartFinished]
    source.scan(listen)
    assert LISTING in [event.part for event, _ in told if isinstance(event, PartStarted)]


def list_alone(address, tmp_path, before="", **values):
    """What is said to somebody who is logged in nowhere: how many images there are, or why not; and the seconds."""
    code = f"""
import sys, time
{before}
from retop.data import open_source
from retop.errors import DataError
from retop.events import Notice
began = time.monotonic()
try:
    told = []
    print(open_source({address!r}).scan(told.append).table.num_rows)
    assert not any(isinstance(event, Notice) for event in told)
except DataError as error:
    print(error)
print(time.monotonic() - began)
"""
    environment = without_accounts(RETOP_CACHE=str(tmp_path / "cache"), HOME=str(tmp_path), **values)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert answer.stderr == ""
    said, seconds = answer.stdout.splitlines()
    return said, float(seconds)


@pytest.mark.parametrize("protocol", STORES)
def test_an_object_that_is_replaced_within_the_same_second_is_fetched_again(stack, tmp_path, protocol):
    address = write_store(protocol, IMAGES, stack)
    files, _ = store(protocol, stack)
    before = fingerprint(address)
    content = IMAGES["cat/000.png"][1]
    other = encoded(picture(4711)).ljust(len(content), b"\0")[: len(content)]
    files.pipe_file(f"{address.partition('://')[2]}/cat/000.png", other)
    source = open_source(address)
    source.scan(ignore)
    assert source.read("cat/000.png") == other and fingerprint(address) != before
    assert other != content and len(other) == len(content)


@pytest.mark.parametrize("protocol", STORES)
def test_an_object_is_fetched_once(stack, protocol):
    address = write_store(protocol, IMAGES, stack)
    files, _ = store(protocol, stack)
    source = open_source(address)
    source.scan(ignore)
    content = source.read("cat/000.png")
    files.rm(address.partition("://")[2], recursive=True)
    assert source.read("cat/000.png") == content
    with pytest.raises(DataError, match="it does not exist"):
        open_source(address)


@pytest.mark.parametrize("protocol", STORES)
def test_a_file_of_a_bucket_is_a_source_and_one_that_is_replaced_is_fetched_again(stack, tmp_path, protocol):
    files, bucket = store(protocol, stack)
    address = f"{protocol}://{bucket}/photos.parquet"
    for seed in (0, 1000):
        images = some_images(first_seed=seed)
        file = write_embedded(tmp_path / "photos.parquet", images)
        files.put_file(str(file), address)
        assert fingerprint(address) == fingerprint(write_folder(tmp_path / str(seed), images))


def test_folders_that_the_console_of_a_store_makes_are_no_images(stack):
    address = write_store("s3", IMAGES, stack)
    files, _ = store("s3", stack)
    bucket = address.split("/")[2]
    for key in ("photos/", "photos/cat/", "photos/owl/"):
        files.call_s3("put_object", Bucket=bucket, Key=key, Body=b"")
    listing = open_source(address).scan(ignore)
    assert len(listing.table) == len(IMAGES)
    assert set(listing.table["label"].to_pylist()) == {"cat", "dog", "birds/owl"}
    assert listing.leftovers.empty_folders.names == ["owl"]


@pytest.mark.parametrize("address", ["{}/none", "{}/photos.zip", "{}-none/photos"])
@pytest.mark.parametrize("protocol", STORES)
def test_what_is_not_there_is_said(stack, protocol, address):
    _, bucket = store(protocol, stack)
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"{protocol}://{address.format(bucket)}").scan(ignore)


def test_a_server_that_does_not_answer_is_said():
    pytest.importorskip("aiohttp")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/photos cannot be opened: Cannot connect to host"):
        open_source("http://127.0.0.1:9/photos")


def test_without_credentials_the_ways_in_are_named_and_public_buckets_open(stack, tmp_path):
    address, server = write_store("s3", IMAGES, stack), s3_server()
    said, _ = list_alone(address, tmp_path, AWS_ENDPOINT_URL=server)
    assert f"{address} cannot be listed: Unable to locate credentials" in said
    assert all(way in said for way in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "FSSPEC_S3_ANON=true"))
    for way_in in (ANYBODY, {"FSSPEC_S3_ANON": "true", "AWS_DEFAULT_REGION": "us-east-1"}):
        assert list_alone(address, tmp_path, AWS_ENDPOINT_URL=server, **way_in)[0] == "12"


def test_a_hub_is_listed_and_what_it_does_not_show_names_the_way_in(tmp_path):
    with hub(IMAGES) as endpoint:
        assert list_alone("hf://datasets/user/photos", tmp_path, HF_ENDPOINT=endpoint)[0] == "12"
        said, _ = list_alone("hf://datasets/user/private", tmp_path, HF_ENDPOINT=endpoint)
    assert "hf://datasets/user/private cannot be" in said and "hf auth login" in said


@pytest.mark.parametrize("values", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_that_cannot_be_reached_is_said_within_seconds(tmp_path, values):
    said, seconds = list_alone("hf://datasets/user/photos", tmp_path, **values)
    assert "hf://datasets/user/photos cannot be" in said and seconds < 15


@pytest.mark.parametrize(
    ("address", "package"),
    [("s3://bucket/photos", "s3fs"), ("gs://bucket/photos", "gcsfs"), ("http://127.0.0.1:9/photos", "aiohttp")],
)
def test_an_address_without_its_package_names_the_package(tmp_path, address, package):
    said, _ = list_alone(address, tmp_path, f"sys.modules[{package!r}] = None")
    protocol = address.partition("://")[0]
    assert said == f"{address}: {protocol}:// needs a package that is missing: pip install {package}"


def test_a_number_changes_with_the_checksum_or_without_one_with_the_time():
    assert change_number({"ETag": "a", "mtime": 5}) == change_number({"ETag": "a", "mtime": 6})
    assert change_number({"ETag": "a", "mtime": 5}) != change_number({"ETag": "b", "mtime": 5})
    assert change_number({"mtime": 5}) == 5_000_000_000 and change_number({}) == 0
    assert change_number({"Last-Modified": "x"}) != change_number({"Last-Modified": "y"})


def test_an_object_that_is_too_large_is_refused_before_it_is_fetched():
    files = fsspec.filesystem("memory")
    write_memory(IMAGES)
    source = open_source("memory://bucket/photos")
    source.scan(ignore)
    member = source._members_by_path["cat/000.png"]
    source._members_by_path["cat/000.png"] = replace(member, size_bytes=BYTES_LIMIT + 1)
    files.rm("/bucket/photos/cat/000.png")
    # It is not even asked for: else it would be found gone.
    with pytest.raises(DataError, match="536,870,913 bytes; at most"):
        source.read("cat/000.png")


@pytest.mark.parametrize("name", ["table.csv", "table.TSV"])
def test_a_table_at_an_address_is_refused_with_the_way_out(name):
    fsspec.filesystem("memory").pipe_file(f"/bucket/{name}", b"path,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError, match=rf"{name}: a table must lie on this machine; give a folder"):
        open_source(f"memory://bucket/{name}")


def test_files_that_a_server_is_asked_for_one_by_one_are_counted_and_others_not(stack, tmp_path):
    write_folder(tmp_path / "photos", IMAGES)
    for place, number in ((stack.enter_context(served(tmp_path)) + "/photos", len(IMAGES)), (write_memory(IMAGES), 0)):
        events = []
        open_source(place).scan(events.append)
        asked = [event for event in events if event.part == ASKING]
        assert sum(event.steps for event in asked if isinstance(event, PartAdvanced)) == number
        assert [event.total for event in asked if isinstance(event, PartStarted)] == [number][: bool(number)]
        assert sum(isinstance(event, PartFinished) for event in asked) == bool(number)


ODD = ("sea lion", "50% off", "b\u00e4r", "a?b#c")


class Apache(Quiet):
    """Lists a folder with links that sort it, and refuses what is closed."""

    def list_directory(self, path):
        names = [file.name + "/" * file.is_dir() for file in sorted(Path(path).iterdir())]
        links = ["?C=N;O=D", "?C=M;O=A", "#top", "/", *map(quote, names)]
        page = "".join(f'<a href="{link}">{link}</a>' for link in links).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html;charset=UTF-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return BytesIO(page)

    def send_head(self):
        return self.refuse("closed", 403)

    def refuse(self, name, status):
        if name not in self.path:
            return super().send_head()
        self.send_error(status)
        return None


@pytest.mark.parametrize("handler", [Quiet, Apache])
def test_a_web_server_shows_what_the_folder_shows(stack, tmp_path, handler):
    images = {f"{label}/pic {n}%20.png": (label, encoded(picture(n))) for n, label in enumerate(ODD)}
    folder = write_folder(tmp_path / "photos", images)
    source = open_source(stack.enter_context(served(tmp_path, handler)) + "/photos")
    here, there = (one.scan(ignore).table.to_pylist() for one in (open_source(folder), source))
    facts = ("path", "label", "size_bytes")
    assert sorted([row[key] for key in facts] for row in there) == sorted([row[key] for key in facts] for row in here)
    assert {row["path"]: (row["label"], source.read(row["path"])) for row in there} == images


def test_shards_of_a_web_server_may_have_any_name(stack, tmp_path):
    write_embedded(tmp_path / "photos/my b\u00e4rs 50%.parquet", IMAGES)
    address = stack.enter_context(served(tmp_path, Apache)) + "/photos"
    for place in (
        address,
        f"{address}/my%20b%C3%A4rs%2050%25.parquet",
        f"{address}/my%20b%C3%A4rs%2050%25.parquet?a=b/c",
    ):
        assert open_source(place).scan(ignore).table["path"][0].as_py() == "my b\u00e4rs 50%.parquet::0"


def test_a_file_that_a_web_server_refuses_is_one_that_cannot_be_read(stack, tmp_path):
    write_folder(tmp_path / "photos", IMAGES | {"cat/closed.png": ("cat", b"")})
    address = stack.enter_context(served(tmp_path, Apache)) + "/photos"
    survey = survey_images(address, DataRecipe(), ignore)
    assert len(survey.table) == len(IMAGES) + 1
    with pytest.raises(UnreadableImageError, match=r"cat/closed\.png: the file cannot be fetched: 403"):
        open_source(address).read("cat/closed.png")


@pytest.mark.parametrize(("name", "status"), [("closed", 403), ("gone", 404)])
def test_a_folder_that_a_web_server_refuses_is_told(stack, tmp_path, monkeypatch, name, status):
    monkeypatch.setattr(Apache, "send_head", lambda self: self.refuse(name, status))
    write_folder(tmp_path / "photos", IMAGES | {f"{name}/1.png": (name, b""), f"cat/{name}/2.png": ("cat", b"")})
    address = stack.enter_context(served(tmp_path, Apache)) + "/photos"
    told = []
    listing = open_source(address).scan(told.append)
    assert len(listing.table) == len(IMAGES) and sorted(listing.leftovers.closed_folders.names) == [f"cat/{name}", name]
    (said,) = (one.message for one in told if isinstance(one, Notice))
    assert f"2 folders cannot be opened and are ignored: cat/{name}, {name}" in said


class Short(Quiet):
    """Says of a file that it is longer than what it sends."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()


def test_a_file_that_comes_short_is_not_kept(stack, tmp_path):
    (tmp_path / "photos.tar").write_bytes(b"0" * 900)
    with pytest.raises(DataError, match=r"photos\.tar cannot be fetched: only 900 of 1,000 bytes came"):
        open_source(stack.enter_context(served(tmp_path, Short)) + "/photos.tar")


class Slow(Quiet):
    """Sends a megabyte every tenth of a second."""

    def copyfile(self, source, outputfile):
        while content := source.read(10**6):
            outputfile.write(content)
            time.sleep(0.1)


def test_what_is_fetched_whole_tells_how_much_of_it_is_there(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "LOOK_SECONDS", 0.02)
    large = encoded(picture(0).resize((1600, 1500)), "BMP")
    write_tar(tmp_path / "photos.tar", {"0.cls": b"cat", "0.bmp": large, "1.cls": b"dog", "1.bmp": large[:100_000]})
    place = stack.enter_context(served(tmp_path, Slow)) + "/photos.tar"

    def parts():
        events = []
        survey_images(place, DataRecipe(), events.append)
        return [event for event in events if getattr(event, "part", None) == fetching.FETCHING]

    started, *steps, finished = parts()
    num_mb = (tmp_path / "photos.tar").stat().st_size / 10**6
    assert started == PartStarted("images: fetching", math.ceil(num_mb), "MB")
    assert len(steps) >= 3 and sum(step.steps for step in steps) == int(num_mb)
    assert isinstance(finished, PartFinished) and finished.seconds > 0.5
    assert not parts()


def test_a_table_beside_class_folders_of_a_server_does_not_hide_them():
    address = write_memory(IMAGES)
    about = BytesIO()
    pq.write_table(pa.table({"path": ["cat/000.png"], "label": ["cat"]}), about)
    fsspec.filesystem("memory").pipe_file("/bucket/photos/metadata.parquet", about.getvalue())
    listing = open_source(address).scan(ignore)
    assert len(listing.table) == len(IMAGES) and listing.leftovers.by_kind == {".parquet": 1}


def test_a_picture_beside_shards_of_a_server_does_not_hide_them(tmp_path):
    write_memory({"assets/logo.png": ("", encoded(picture(1)))})
    shard = write_embedded(tmp_path / "data.parquet", IMAGES).read_bytes()
    fsspec.filesystem("memory").pipe_file("/bucket/photos/data/train-0.parquet", shard)
    assert len(open_source("memory://bucket/photos").scan(ignore).table) == len(IMAGES)
