import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from retop.data import open_source, sources
from retop.data.sources import find_image_files
from retop.data.sources.names import extension_of
from retop.data.sources.source import LISTING, NAMES
from retop.errors import DataError, UnreadableImageError
from retop.events import Notice, PartAdvanced, PartFinished, PartStarted, ignore

from .pictures import encoded, picture, write_classes
from .places import write_tar, write_zip


def scanned(folder, listener=ignore):
    rows = open_source(folder).scan(listener).table.to_pylist()
    return {row["path"]: (row["split"], row["label"]) for row in rows}


def test_class_folders_give_labels_and_no_split(tmp_path):
    write_classes(tmp_path, {"cats": 2, "dogs": 1})
    source = open_source(tmp_path)
    assert source.scan(ignore).split_by == "retop" and source.location == str(tmp_path)
    assert scanned(tmp_path) == {
        "cats/0.png": (None, "cats"),
        "cats/1.png": (None, "cats"),
        "dogs/2.png": (None, "dogs"),
    }


def test_rows_carry_size_and_time(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    os.utime(tmp_path / "a/0.png", ns=(5, 1_234_567_890_123_456_700))
    row = next(row for row in open_source(tmp_path).scan(ignore).table.to_pylist() if row["path"] == "a/0.png")
    assert row["size_bytes"] == (tmp_path / "a/0.png").stat().st_size
    assert row["modified_ns"] == (tmp_path / "a/0.png").stat().st_mtime_ns


@pytest.mark.parametrize(("late", "shown"), [(0.0, [LISTING, 7, LISTING]), (60.0, [])])
def test_a_listing_that_takes_long_counts_its_files(tmp_path, monkeypatch, late, shown):
    monkeypatch.setattr(sources.source, "LATE_SECONDS", late)
    monkeypatch.setattr(sources.source, "ROWS_PER_BATCH", 2)
    write_classes(tmp_path, {"a": 4, "b": 3})
    told = []
    open_source(tmp_path).scan(told.append)
    parts = [event.part for event in told if isinstance(event, PartStarted | PartFinished)]
    steps = [event.steps for event in told if isinstance(event, PartAdvanced)]
    assert ([parts[0], sum(steps), parts[1]] if parts else []) == shown and len(parts) in (0, 2)


@pytest.mark.parametrize("kind", ["photos.zip", "photos.tar"])
def test_that_an_archive_is_opened_is_shown_before_it_is(tmp_path, kind):
    images = {f"{label}/{n}.png": (label, b"x") for label in "ab" for n in range(1500)}
    file, told = tmp_path / kind, []

    def write():
        return write_zip(file, images) if kind == "photos.zip" else write_tar(file, dict.fromkeys(images, b"x"))

    source = open_source(write())

    def listen(event):
        told.append(event)
        if event == PartStarted(NAMES, None, "files"):
            file.unlink()

    with pytest.raises((DataError, FileNotFoundError)):
        source.scan(listen)
    assert told == [PartStarted(NAMES, None, "files")]
    told.clear()
    assert open_source(write()).scan(told.append).table.num_rows == 3000
    parts = [(type(event), event.part) for event in told if isinstance(event, PartStarted | PartFinished)]
    assert parts == [(kind, part) for part in (NAMES, LISTING) for kind in (PartStarted, PartFinished)]
    assert sum(event.steps for event in told if isinstance(event, PartAdvanced)) == 3000


@pytest.mark.parametrize("per_batch", [3, 1000])
@pytest.mark.parametrize("fewest", [1, 2, 1000])
def test_large_folders_are_listed_like_small_ones(tmp_path, monkeypatch, per_batch, fewest):
    for n, name in enumerate(["a/b", "a", "c"]):
        (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
        for k in range(7 + n):
            (tmp_path / "train" / name / f"{k}.{'jpg' if k % 3 else 'webp'}").write_bytes(b"x" * (10 * n + k))
    expected = open_source(tmp_path).scan(ignore).table.sort_by("path")
    monkeypatch.setattr(sources.source, "_FEWEST_PER_BATCH", fewest)
    monkeypatch.setattr(sources.folders, "ROWS_PER_BATCH", per_batch)
    table = open_source(tmp_path).scan(ignore).table.sort_by("path")
    assert table.num_rows == 24 and table.equals(expected)


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_split_folders_are_recognised(tmp_path, validation):
    for n, part in enumerate(["train", validation, "test"]):
        write_classes(tmp_path / part, {"a": 1, "b": 1}, 10 * n)
    assert open_source(tmp_path).scan(ignore).split_by == "folders"
    assert scanned(tmp_path)[f"{validation}/a/10.png"] == ("validation", "a")
    assert {split for split, _ in scanned(tmp_path).values()} == {"train", "validation", "test"}


def test_nested_class_folders_are_joined(tmp_path):
    write_classes(tmp_path, {"birds/owl": 1, "birds/hawk": 1, "cats": 1})
    assert {label for _, label in scanned(tmp_path).values()} == {"birds/owl", "birds/hawk", "cats"}


def test_a_class_may_be_called_train(tmp_path):
    write_classes(tmp_path, {"train": 1, "bus": 1, "test": 1})
    assert {label for _, label in scanned(tmp_path).values()} == {"train", "bus", "test"}


def test_tool_files_and_hidden_folders_are_ignored(tmp_path):
    write_classes(
        tmp_path, {"a": 1, "b": 1, ".ipynb_checkpoints": 1, "__MACOSX/a": 1, "a/.thumbnails": 1, "a/@eaDir": 1}
    )
    for name in ("Thumbs.db", ".DS_Store", "a/desktop.ini", "a/._0.png"):
        (tmp_path / name).write_bytes(b"x")
    assert len(scanned(tmp_path)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX", "Thumbs.db", "desktop.ini", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found",
        "System Volume Information", "Icon\r",
    ],
)  # fmt: skip
def test_every_name_of_a_tool_is_ignored(tmp_path, name):
    write_classes(tmp_path, {"a": 1, "b": 1, f"a/{name}": 1})
    source = open_source(tmp_path)
    listing = source.scan(ignore)
    assert listing.table.num_rows == 2 and listing.leftovers.tool_names == {name: 1}


def test_archives_ignore_what_folders_ignore(tmp_path):
    write_classes(tmp_path / "photos", {"a": 1, "b": 1, "__MACOSX/a": 1, "a/.hidden": 1})
    for name in ("Thumbs.db", "a/notes.txt", "stray.png"):
        (tmp_path / "photos" / name).write_bytes(encoded(picture(7)))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted((tmp_path / "photos").rglob("*.*")):
            archive.write(file, file.relative_to(tmp_path / "photos"))
    folder, packed = (open_source(tmp_path / place).scan(ignore) for place in ("photos", "photos.zip"))
    paths = {row["path"].removeprefix("photos.zip::") for row in packed.table.to_pylist()}
    assert paths == set(folder.table["path"].to_pylist()) and len(paths) == 2
    assert packed.leftovers.by_kind == folder.leftovers.by_kind == {".txt": 1}
    assert packed.leftovers.outside_classes.names == folder.leftovers.outside_classes.names == ["stray.png"]
    assert packed.leftovers.tool_names.keys() == folder.leftovers.tool_names.keys()


def test_files_that_are_clearly_no_images_are_counted_in_one_notice(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    for name in ("a/labels.csv", "a/notes.txt", "b/more.txt", "b/meta.JSON"):
        (tmp_path / name).write_bytes(b"x")
    events = []
    assert len(scanned(tmp_path, events.append)) == 2
    assert len(events) == 1 and isinstance(events[0], Notice)
    assert "4 files" in events[0].message and "2 .txt" in events[0].message


def test_names_do_not_decide_what_an_image_is(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    for name in ("a/noextension", "a/picture.dat", "b/photo.jpg.bak"):
        (tmp_path / name).write_bytes(b"x")
    assert len(scanned(tmp_path)) == 5


def test_images_beside_class_folders_are_named_and_ignored(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "stray.png").write_bytes(encoded(picture(1)))
    events = []
    assert len(scanned(tmp_path, events.append)) == 2
    assert [event.level for event in events] == ["warning"] and "stray.png" in events[0].message


def test_folders_beside_train_are_named_and_ignored(tmp_path):
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path, {"extra": 1}, 5)
    events = []
    assert len(scanned(tmp_path, events.append)) == 2
    assert "extra" in events[0].message and "ignored" in events[0].message


def refused(folder):
    with pytest.raises(DataError) as caught:
        open_source(folder).scan(ignore)
    return str(caught.value)


def test_a_missing_location_is_refused_with_what_is_supported(tmp_path):
    assert "does not exist; give a folder with train/" in refused(tmp_path / "nowhere")


def test_a_file_is_refused_with_what_is_supported(tmp_path):
    (tmp_path / "data.doc").write_text("no images")
    assert "is a file" in refused(tmp_path / "data.doc") and "class" in refused(tmp_path / "data.doc")


def test_an_address_without_its_package_names_the_package():
    pytest.importorskip("fsspec")
    if importlib.util.find_spec("adlfs"):
        pytest.skip("adlfs is installed")
    assert "pip install adlfs" in refused("abfs://bucket/images")


def test_an_empty_folder_is_refused(tmp_path):
    assert "is empty" in refused(tmp_path)
    (tmp_path / ".photos" / "cat").mkdir(parents=True)
    assert "only what is hidden or belongs to tools (.photos)" in refused(tmp_path)


def test_images_directly_in_the_folder_are_refused(tmp_path):
    (tmp_path / "one.png").write_bytes(encoded(picture(1)))
    assert "1 file (one.png) but no class folders" in (said := refused(tmp_path))
    assert said.endswith("or give a table with the columns path and label")
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.write(tmp_path / "one.png", "one.png")
    said = refused(tmp_path / "flat.zip")
    assert said.endswith("or lay them unpacked on this machine and give a table with the columns path and label")


def test_images_directly_in_train_are_refused(tmp_path):
    write_classes(tmp_path, {"train": 2, "val": 1})
    assert "do not lie in class folders" in refused(tmp_path)


def test_class_folders_without_images_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert "no images in them" in refused(tmp_path)


def test_two_validation_folders_are_refused(tmp_path):
    for part in ("train", "val", "validation"):
        write_classes(tmp_path / part, {"a": 1, "b": 1})
    assert "2 validation folders, val and validation" in refused(tmp_path)


def test_a_folder_too_many_is_refused_with_the_right_one(tmp_path):
    write_classes(tmp_path / "photos/train", {"a": 1, "b": 1})
    assert f"give {tmp_path / 'photos'} instead" in refused(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_loops_pipes_and_broken_links_do_no_harm(tmp_path):
    write_classes(tmp_path, {"a": 1, "b/c": 1})
    (tmp_path / "a/back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b/self").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "a/gone.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    found = scanned(tmp_path)
    assert found["a/0.png"] == (None, "a") and found["b/c/1.png"] == (None, "b/c")
    assert not any("pipe" in path or "gone" in path for path in found)
    kinds = open_source(tmp_path).scan(ignore).leftovers.by_kind
    assert kinds["loops of links"] == 2 and kinds["broken links"] == kinds["pipes and devices"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_linked_class_folder_is_followed(tmp_path):
    write_classes(tmp_path / "elsewhere", {"a": 1})
    write_classes(tmp_path / "data", {"b": 1}, 5)
    (tmp_path / "data/a").symlink_to(tmp_path / "elsewhere/a", target_is_directory=True)
    assert {label for _, label in scanned(tmp_path / "data").values()} == {"a", "b"}


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX")
def test_a_closed_folder_is_named_and_ignored():
    # Root may open every folder, so it becomes nobody meanwhile, who may not look into the folders of pytest.
    user, events = os.geteuid(), []
    with tempfile.TemporaryDirectory() as place:
        write_classes(Path(place), {"a": 1, "b": 1, "closed": 1})
        Path(place).chmod(0o755)
        Path(place, "closed").chmod(0)
        try:
            if user == 0:
                os.seteuid(65534)
            assert len(scanned(place, events.append)) == 2
        finally:
            os.seteuid(user)
            Path(place, "closed").chmod(0o755)
    assert "closed" in events[0].message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems store names as Unicode")
def test_names_that_are_not_unicode_can_be_listed_and_read(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    odd = os.fsencode(tmp_path) + b"/a/\xff\xfe.png"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"content")
    source = open_source(tmp_path)
    paths = source.scan(ignore).table["path"].to_pylist()
    assert r"a/\xff\xfe.png" in paths
    assert source.read(r"a/\xff\xfe.png") == b"content"
    assert open_source(tmp_path).read(r"a/\xff\xfe.png") == b"content"
    # Part of this name is a backslash: only a scan tells which.
    with open(os.fsencode(tmp_path) + b"/a/\\x41\xff.png", "wb") as file:  # noqa: PTH123
        file.write(b"other")
    source.scan(ignore)
    assert source.read(r"a/\x41\xff.png") == b"other"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems store names as Unicode")
@pytest.mark.parametrize("name", [b"\xff", b"\\x41\xff"])
def test_files_of_a_folder_whose_name_is_not_unicode_can_be_read(tmp_path, name):
    write_classes(tmp_path, {"a": 1})
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)  # noqa: PTH102
    with open(os.fsencode(tmp_path) + b"/" + name + b"/0.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"content")
    source = open_source(tmp_path)
    table = source.scan(ignore).table.to_pylist()
    label = name.decode("utf-8", "backslashreplace")
    assert [source.read(row["path"]) for row in table if row["label"] == label] == [b"content"]


def test_class_names_are_the_same_text_however_the_system_spells_them(tmp_path):
    write_classes(tmp_path, {"e\u0301te\u0301": 1, "b \u202e x": 1})
    source = open_source(tmp_path)
    table = source.scan(ignore).table
    assert set(table["label"].to_pylist()) == {"\u00e9t\u00e9", "b \u202e x"}
    assert all(source.read(path) for path in table["path"].to_pylist())


def test_a_vanished_file_is_reported_by_name(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    source = open_source(tmp_path)
    source.scan(ignore)
    (tmp_path / "a/0.png").unlink()
    with pytest.raises(UnreadableImageError, match=r"a/0\.png: the file is no longer there"):
        source.read("a/0.png")


def test_a_folder_is_no_image(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        open_source(tmp_path).read("a")


def test_data_is_imported_without_torch():
    code = "import sys, retop.data as d; print('torch' in sys.modules); d.decode_batches; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "True"]


def test_folders_are_expanded_to_the_files_that_could_be_images(tmp_path):
    for name in ("b.png", "a/a.jpg", ".hidden.png", "a/.git/c.png", "notes.txt", "Thumbs.db", "__MACOSX/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert list(find_image_files(tmp_path)) == [tmp_path / "a" / "a.jpg", tmp_path / "b.png"]
    assert list(find_image_files(tmp_path, recursive=False)) == [tmp_path / "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        list(find_image_files(tmp_path / "empty"))


def test_folders_are_listed_one_at_a_time_in_the_order_of_sorted_paths(tmp_path):
    names = ("a/z.jpg", "a.jpg", "a-b/1.jpg", "a/b/1.jpg", "a/b.jpg", "b/1.jpg", "b/10.jpg", "b/2.jpg", "B.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    walk = find_image_files(tmp_path)
    first = next(walk)
    for name in names:
        if name.startswith("b/"):
            (tmp_path / name).rename(tmp_path / name.replace("/", "/later-"))
    found = [first, *walk]
    assert found == sorted(tmp_path / name.replace("b/", "b/later-") if name.startswith("b/") else tmp_path / name
                           for name in names)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.JPG", ".jpg"), ("a.b/c.tar.gz", ".gz"), ("a.b/c", ""), (".bashrc", ""), ("a/.bashrc", ""), ("a.", "."),
        ("", ""), ("a/.b.png", ".png"),
    ],
)  # fmt: skip
def test_extensions_are_those_of_the_standard_library(name, extension):
    assert extension_of(name) == extension == os.path.splitext(name)[1].lower()  # noqa: PTH122


@pytest.mark.parametrize("name", ["shards.tar.gz", "shards.tgz", "photos.tar.zst"])
def test_a_compressed_archive_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match=r"is compressed.*unpack it to \.tar"):
        open_source(tmp_path / name)
