"""Tables, Parquet and archives: what they say is taken, what they get wrong is named."""

import os
import re
import tarfile
import unicodedata
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retop.data import open_dataset, open_source
from retop.data.sources import embedded
from retop.data.survey import survey_images
from retop.errors import DataError, UnreadableImageError, UsageError
from retop.events import Notice, PartAdvanced, ignore
from retop.places import cache_folder
from retop.recipe import DataRecipe

from .pictures import encoded, picture, write_classes
from .places import some_images, write_embedded, write_folder, write_shards, write_table, write_tar, write_zip

IMAGES = some_images()


def notices(events):
    return [event.message for event in events if isinstance(event, Notice)]


def table(tmp_path, text, **images):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(picture(len(name))))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return tmp_path / "t.csv"


def rows(place, columns=None):
    return open_source(place, columns).scan(ignore).table.to_pylist()


def refused(place, columns=None):
    with pytest.raises(DataError) as caught:
        open_source(place, columns).scan(ignore)
    return str(caught.value)


def test_labels_stay_text(tmp_path):
    file = table(tmp_path, "path,label\na.png,007\nb.png,NA\n")
    assert [row["label"] for row in rows(file)] == ["007", "NA"]


def test_labels_that_no_model_may_have_are_refused_before_training(tmp_path):
    file = table(tmp_path, f"path,label\na.png,{'x' * 5000}\nb.png,y\n")
    with pytest.raises(DataError, match=r"cannot be trained on: a name has 1 to 4,096 char.*; received one of 5,000"):
        open_dataset(file, DataRecipe())


def test_columns_can_be_named(tmp_path):
    file = table(tmp_path, "\ufefffile;kind;part;id\na.png;cat;train;1\nb.png;dog;val;2\n")
    names = {"path": "file", "label": "kind", "split": "part", "group": "id"}
    got = [(row["path"], row["label"], row["split"], row["group"]) for row in rows(file, names)]
    assert got == [("a.png", "cat", "train", "1"), ("b.png", "dog", "validation", "2")]
    assert open_source(file, names).scan(ignore).split_by == "table"


def test_columns_whose_names_differ_in_case_alone_are_what_they_are_called(tmp_path):
    file = table(tmp_path, "Path;LABEL;Split;Group\na.png;cat;train;1\nb.png;dog;val;2\n")
    for named in ({}, {"path": "Path", "label": "LABEL"}):
        listing = open_source(file, named).scan(ignore)
        assert listing.split_by == "table" and listing.table["group"].to_pylist() == ["1", "2"]
    exact = table(tmp_path, "path,Label,label,SPLIT,Split\na.png,x,cat,train,val\n")
    assert [(row["label"], row["split"]) for row in rows(exact)] == [("cat", None)]
    images = [{"bytes": encoded(picture(n)), "path": None} for n in range(2)]
    inside = pa.table({"Image": images, "Label": ["cat", "dog"], "Split": ["train", "val"]})
    pq.write_table(inside, tmp_path / "x.parquet")
    assert [(row["label"], row["split"]) for row in rows(tmp_path / "x.parquet")] == [
        ("cat", "train"),
        ("dog", "validation"),
    ]


def test_what_is_wrong_with_a_table_is_named(tmp_path):
    assert "has no column 'label'; its columns are 'path', 'kind'" in refused(table(tmp_path, "path,kind\na.png,x\n"))
    assert "has no column 'x'" in refused(table(tmp_path, "path,label\na.png,x\n"), {"group": "x"})
    assert "no path or no label" in refused(table(tmp_path, "path,label\na.png,\n"))
    assert "none of train" in refused(table(tmp_path, "path,label,split\na.png,x,holdout\n"))
    assert "twice, with different labels" in refused(table(tmp_path, "path,label\na.png,x\na.png,y\n"))
    assert "has no rows" in refused(table(tmp_path, "path,label\n"))
    with pytest.raises(UsageError, match="--columns knows path, label"):
        open_source(tmp_path / "t.csv", {"colour": "x"})


def test_a_table_without_a_header_is_told_from_one_with_other_names(tmp_path):
    file = table(tmp_path, "a.png,cat\nb.png,dog\n")
    assert "begins with the row a.png, cat" in refused(file) and "write path,label above it" in refused(file)
    assert "--columns path=NAME,label=NAME" in refused(table(tmp_path, "File,Kind\na.png,x\n"))


def test_an_encrypted_member_names_the_way_out(tmp_path):
    content = bytearray(write_zip(tmp_path / "x.zip", IMAGES).read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for part in re.finditer(re.escape(mark), bytes(content)):
            content[part.start() + flags] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    source = open_source(tmp_path / "x.zip")
    with pytest.raises(UnreadableImageError, match="it is encrypted; pack the archive again without a password"):
        source.read(source.scan(ignore).table["path"][0].as_py())


def test_rows_that_say_the_same_again_count_once(tmp_path):
    assert len(rows(table(tmp_path, "path,label\na.png,x\na.png,x\nb.png,y\n"))) == 2


def test_files_that_a_table_names_but_are_not_there_are_unreadable_images(tmp_path):
    file = write_table(tmp_path, IMAGES)
    file.write_text(file.read_text() + "gone.png,cat\n")
    data = open_dataset(file, DataRecipe())
    assert [(image.path, image.reason) for image in data.record.unreadable] == [
        ("gone.png", f"there is no such file (paths are relative to {tmp_path})")
    ]


def test_columns_of_what_has_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="has no columns"):
        open_source(write_classes(tmp_path / "x", {"a": 1, "b": 1}), {"label": "kind"})
    with pytest.raises(UsageError, match="has no columns"):
        open_source(write_zip(tmp_path / "x.zip", IMAGES), {"label": "kind"})


def test_the_names_of_files_make_the_split_of_parquet_and_shards(tmp_path):
    for n, side in enumerate(("train", "validation", "test")):
        write_embedded(tmp_path / f"hub/data/{side}-00000-of-00001.parquet", some_images(2, 1000 * n))
    listing = open_source(tmp_path / "hub").scan(ignore)
    assert listing.split_by == "folders" and set(listing.table["split"].to_pylist()) == {"train", "validation", "test"}
    assert listing.table["path"][0].as_py() == "data/test-00000-of-00001.parquet::0"
    shards = write_shards(tmp_path / "shards", IMAGES)
    (shards / "shard-000000.tar").rename(shards / "train-0.tar")
    (shards / "shard-000001.tar").rename(shards / "val-0.tar")
    assert open_source(shards).scan(ignore).split_by == "folders"


def test_numbers_without_names_are_labels_as_they_are(tmp_path):
    images = [{"bytes": encoded(picture(n)), "path": None} for n in range(4)]
    pq.write_table(pa.table({"img": images, "fine": [3, 3, 10, 10]}), tmp_path / "x.parquet")
    assert [row["label"] for row in rows(tmp_path / "x.parquet", {"label": "fine"})] == ["3", "3", "10", "10"]
    assert "has no column of labels" in refused(tmp_path / "x.parquet")


def test_labels_that_a_dataset_withholds_are_refused_with_the_way_out(tmp_path):
    file = write_embedded(tmp_path / "test-0.parquet", IMAGES)
    table = pq.read_table(file)
    withheld = pa.array([-1] * len(table), pa.int64())
    pq.write_table(table.set_column(1, "label", withheld), file)
    assert "label -1 has no name" in refused(file) and "lay the other files into a folder of their own" in refused(file)


def test_a_row_without_an_image_is_unreadable(tmp_path):
    file = write_embedded(tmp_path / "x.parquet", IMAGES)
    whole = pq.read_table(file)
    lost = whole.slice(0, 1).set_column(
        0, "image", pa.array([{"bytes": None, "path": "x"}], whole.schema.field("image").type)
    )
    pq.write_table(pa.concat_tables([whole, lost]), file)
    source = open_source(file)
    path = source.scan(ignore).table["path"][-1].as_py()
    with pytest.raises(UnreadableImageError, match="holds no image"):
        source.read(path)


def test_a_damaged_archive_is_refused_and_a_damaged_member_named(tmp_path):
    file = write_zip(tmp_path / "x.zip", IMAGES)
    content = bytearray(file.read_bytes())
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    assert "is not a ZIP file that can be read" in refused(tmp_path / "cut.zip")
    content[60] ^= 0xFF
    file.write_bytes(content)
    source = open_source(file)
    paths = source.scan(ignore).table["path"].to_pylist()
    with pytest.raises(UnreadableImageError, match="the member of the archive cannot be read"):
        [source.read(path) for path in paths]


def test_names_in_archives_never_reach_the_disk(tmp_path):
    members = {name: content for name, (_, content) in IMAGES.items()}
    file = write_tar(tmp_path / "x.tar", members | {"../../evil/x.png": b"x", "/abs/y.png": b"y"})
    before = sorted(tmp_path.parent.rglob("*"))
    source = open_source(file)
    for path in source.scan(ignore).table["path"].to_pylist():
        assert source.read(path)
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize(("write", "form"), [(write_zip, "zip"), (write_tar, "tar")])
def test_names_that_lead_out_of_an_archive_are_told_with_the_way_out(tmp_path, write, form):
    def packed(lead):
        return {lead(name): content for name, content in given.items()}

    given = IMAGES if form == "zip" else {name: content for name, (_, content) in IMAGES.items()}
    for lead in (lambda name: f"../{name}", lambda name: f"a/../../{name}"):
        said = refused(write(tmp_path / f"all.{form}", packed(lead)))
        assert f"{len(IMAGES)} names lead out of the archive ({lead(min(IMAGES))}, " in said
        assert "pack it again from inside the folder" in said and "empty" not in said
    events = []
    some = packed(lambda name: f"../{name}" if name.startswith("cat/") else name)
    listing = open_source(write(tmp_path / f"some.{form}", some)).scan(events.append)
    assert set(listing.table["label"].to_pylist()) == {"dog", "birds/owl"}
    assert listing.leftovers.leading_out.count == 4
    (warning,) = notices(events)
    assert warning.startswith("4 names lead out of the archive (../cat/") and warning.endswith("they are ignored")
    whole = open_source(write(tmp_path / f"absolute.{form}", packed(lambda name: f"/photos/{name}"))).scan(ignore)
    assert set(whole.table["label"].to_pylist()) == {"cat", "dog", "birds/owl"}


def test_the_files_that_macos_writes_beside_others_are_counted_together(tmp_path):
    members = {name: content for name, (_, content) in IMAGES.items()}
    beside = {f"{name.rpartition('/')[0]}/._{name.rpartition('/')[2]}": b"x" for name in members}
    packed = write_tar(tmp_path / "x.tar", members | beside)
    folder = write_folder(tmp_path / "x", IMAGES | {name: ("", content) for name, content in beside.items()})
    for place in (packed, folder):
        listing = open_source(place).scan(ignore)
        assert listing.leftovers.tool_names == {"._*": len(IMAGES)} and len(listing.table) == len(IMAGES)


def test_samples_without_a_label_are_said(tmp_path):
    (tmp_path / "s").mkdir()
    write_tar(tmp_path / "s/a.tar", {"1.png": encoded(picture(1)), "1.cls": b"x", "2.png": encoded(picture(2))})
    events = []
    assert len(open_source(tmp_path / "s").scan(events.append).table) == 1
    (said,) = notices(events)
    assert "1 image of" in said and "no label" in said


def test_the_key_of_the_label_is_found_whatever_its_case_or_asked_for(tmp_path):
    def shard(document):
        image = encoded(picture(1))
        return write_tar(tmp_path / "x.tar", {"1.jpg": image, "1.json": document})

    (row,) = rows(shard(b'{"Label": "cat", "GROUP": 7}'))
    assert (row["label"], row["group"]) == ("cat", "7")
    said = refused(shard(b'{"species": "cat", "site": 7}'))
    assert "key of its JSON ('site', 'species') is the label with --columns label=KEY" in said
    (row,) = rows(tmp_path / "x.tar", {"label": "species"})
    assert row["label"] == "cat"
    for nothing in (b"[1]", b"{", b"{}"):
        assert "put key.cls, or key.json with a label, beside each image" in refused(shard(nothing))


def test_tiny_imagenet_is_a_source(shared):
    source = open_source(shared / "data/tiny_imagenet/train.parquet")
    listing = source.scan(ignore)
    assert len(listing.table) == 50_000 and len(set(listing.table["label"].to_pylist())) == 200
    assert listing.split_by == "retop" and source.read("train.parquet::49999")[:4] == b"RIFF"


def test_a_member_whose_lzma_is_damaged_is_unreadable(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, (_, content) in IMAGES.items():
            archive.writestr(name, content)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for at in range(60, 140):
        content[at] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    source = open_source(tmp_path / "x.zip")
    with pytest.raises(UnreadableImageError, match="the member of the archive cannot be read"):
        [source.read(path) for path in sorted(source.scan(ignore).table["path"].to_pylist())]


@pytest.mark.parametrize("change", ["\\", "/", "./"])
def test_members_may_have_backslashes_and_begin_with_a_slash_or_a_dot(tmp_path, change):
    named = {n: n.replace("/", "\\") if change == "\\" else change + n for n in IMAGES}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, (_, content) in IMAGES.items():
            archive.writestr(named[name], content)
    source = open_source(tmp_path / "x.zip")
    rows = source.scan(ignore).table.to_pylist()
    assert {row["path"]: row["label"] for row in rows} == {f"x.zip::{n}": label for n, (label, _) in IMAGES.items()}
    again = open_source(tmp_path / "x.zip")
    assert all(again.read(f"x.zip::{name}") == content for name, (_, content) in IMAGES.items())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    if suffix == ".csv":
        (tmp_path / "t.csv").write_text("path,label,label\na.png,x,y\n")
    else:
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["path", "label", "label"])
        pq.write_table(table, tmp_path / "t.parquet")
    assert "has 2 columns 'label'" in refused(tmp_path / f"t{suffix}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path,label", "has no rows"),
        (b"path,label\n", "has no rows"),
        ("path,label\na.png,x\n".encode("utf-16"), "save it as UTF-8"),
        ("path,label\na.png,x\n".encode("utf-16-le"), "save it as UTF-8"),
        ("path,label\na.png,caf\u00e9\n".encode("latin-1"), "save it as UTF-8"),
    ],
)
def test_tables_without_rows_or_of_another_encoding_say_so(tmp_path, content, reason):
    (tmp_path / "t.csv").write_bytes(content)
    assert reason in refused(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_table_may_come_from_a_spreadsheet(tmp_path, sign, end, encoding):
    lines = [("path", "label"), ("a.png", "Grün"), ("b.png", "rot"), ("c d.png", '"bl""au"')]
    (tmp_path / "t.csv").write_bytes(end.join([sign.join(line) for line in lines] + [""]).encode(encoding))
    got = [(row["path"], row["label"]) for row in rows(tmp_path / "t.csv")]
    assert got == [("a.png", "Grün"), ("b.png", "rot"), ("c d.png", 'bl"au')]


def test_parquet_of_large_photographs_is_unpacked_in_pieces_of_bounded_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_BYTES_AT_ONCE", 1_000_000)
    photos = [np.random.default_rng(n).bytes(90_000) for n in range(60)]
    icons = [bytes([n]) * 10 for n in range(60)]
    # The mean of a row says nothing where few hold nearly all.
    few_photos = icons[:20] + photos[:20] + icons[20:40]
    for name, contents, fewest in (("photos", photos, 6), ("icons", icons, 1), ("few", few_photos, 2)):
        table = pa.table({"image": [{"bytes": content, "path": ""} for content in contents], "label": ["a", "b"] * 30})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        embedded.unpack(pq.ParquetFile(tmp_path / f"{name}.parquet"), "image", tmp_path / name, ignore)
        with pa.ipc.open_file(tmp_path / name) as reader:
            batches = [reader.get_batch(place).column(0) for place in range(reader.num_record_batches)]
        assert (
            fewest <= len(batches) <= fewest + 1
            and max(sum(map(len, batch.to_pylist())) for batch in batches) <= 1_000_000
        )
        assert [content for batch in batches for content in batch.to_pylist()] == contents


def test_parquet_that_is_replaced_is_unpacked_again(tmp_path):
    for first in (0, 5000):
        images = some_images(first_seed=first)
        source = open_source(write_embedded(tmp_path / "x.parquet", images))
        paths = source.scan(ignore).table["path"].to_pylist()
        assert [source.read(path) for path in paths] == [content for _, content in images.values()]


def test_two_columns_of_images_of_one_file_are_two_sets_of_images(tmp_path):
    left, right = ([encoded(picture(seed + n), "BMP") for n in range(8)] for seed in (0, 100))
    assert {*map(len, left)} == {*map(len, right)}
    pq.write_table(pa.table({"left": left, "right": right, "label": list("abababab")}), tmp_path / "x.parquet")
    # What was written a moment ago would not be kept in the index.
    os.utime(tmp_path / "x.parquet", (10**9, 10**9))
    for column, expected in (("left", left), ("right", right)):
        table = survey_images(tmp_path / "x.parquet", DataRecipe(columns={"image": column}), ignore).table
        found = {row["path"]: row["content"] for row in table.to_pylist()}
        assert found == {f"x.parquet::{n}": sha256(content).digest() for n, content in enumerate(expected)}


def test_a_shard_that_is_cut_short_is_used_as_far_as_it_goes(tmp_path):
    members = {}
    for n in range(6):
        members |= {f"{n}.cls": b"ab"[n % 2 : n % 2 + 1], f"{n}.png": encoded(picture(n))}
    whole = write_tar(tmp_path / "s.tar", members).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[: len(whole) // 2])
    events = []
    listing = open_source(tmp_path / "s.tar").scan(events.append)
    assert 0 < len(listing.table) < 6 and "s.tar is cut short" in notices(events)[0]


def test_of_a_sample_the_plain_extension_is_the_image_and_two_images_are_refused(tmp_path):
    image, mask, other = (encoded(picture(n)) for n in range(3))
    members = {"k.seg.png": mask, "k.png": image, "k.z.png": mask, "k.cls": b"cat", "m.in.png": other, "m.cls": b"dog"}
    write_tar(tmp_path / "s.tar", members)
    source, events = open_source(tmp_path / "s.tar"), []
    listing = source.scan(events.append)
    found = {row["label"]: source.read(row["path"]) for row in listing.table.to_pylist()}
    assert found == {"cat": image, "dog": other}
    assert listing.leftovers.by_kind == {".seg.png": 1, ".z.png": 1}
    assert any("1 .seg.png" in said for said in notices(events))
    write_tar(tmp_path / "two.tar", {"k.jpg": image, "k.png": mask, "k.cls": b"cat"})
    assert "two.tar::k.jpg, two.tar::k.png are images of one sample" in refused(tmp_path / "two.tar")


def test_an_unknown_split_beside_image_bytes_is_refused_by_name(tmp_path):
    content = pa.array([encoded(picture(n)) for n in range(4)])
    columns = {"image": content, "label": list("aabb")}
    for last, said in (("holdout", None), ("Val ", "validation")):
        pq.write_table(pa.table(columns | {"split": ["train", "test", None, last]}), tmp_path / "x.parquet")
        if said is None:
            assert "x.parquet: the split 'holdout' is none of train" in refused(tmp_path / "x.parquet")
        else:
            assert [row["split"] for row in rows(tmp_path / "x.parquet")] == ["train", "test", None, said]


def test_parquet_that_two_unpack_at_once_is_whole_and_what_a_killed_one_left_is_removed(tmp_path, monkeypatch):
    place = write_embedded(tmp_path / "x.parquet", IMAGES)
    source = open_source(place)
    inner = []

    def listen(event):
        # A second process comes by while the first is in the middle of its file.
        if isinstance(event, PartAdvanced) and not inner:
            inner.append(open_source(place).scan(ignore))

    monkeypatch.setattr(embedded, "_ROWS_AT_ONCE", 2)
    left = cache_folder() / "unpacked" / ".old.arrow.0a1b2c3d.partial"
    left.parent.mkdir(parents=True)
    left.touch()
    listing = source.scan(listen)
    assert inner[0].table.equals(listing.table)
    paths = listing.table["path"].to_pylist()
    assert [source.read(path) for path in paths] == [content for _, content in IMAGES.values()]
    assert [path.suffix for path in left.parent.iterdir()] == [".arrow"]


def test_without_room_for_unpacked_parquet_the_way_out_is_said(tmp_path):
    place = write_embedded(tmp_path / "x.parquet", IMAGES)
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "unpacked").symlink_to("/proc/self")
    with pytest.raises(DataError, match=r"cannot be unpacked into .*unpacked: .*RETOP_CACHE"):
        open_source(place).scan(ignore)


def test_a_file_with_two_names_is_two_images_of_a_tar_and_a_link_that_leads_nowhere_is_named(tmp_path):
    folder = write_folder(tmp_path / "photos", IMAGES)
    os.link(folder / "cat/000.png", folder / "cat/zz.png")
    (folder / "dog/soft.png").symlink_to("../cat/000.png")
    (folder / "dog/lost.png").symlink_to("nothing.png")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, ".")
    survey = survey_images(tmp_path / "x.tar", DataRecipe(), ignore)
    packed = {row["path"].removeprefix("x.tar::"): row["content"] for row in survey.readable.to_pylist()}
    plain = {row["path"]: row["content"] for row in survey_images(folder, DataRecipe(), ignore).table.to_pylist()}
    assert packed == plain and len(plain) == len(IMAGES) + 2
    (lost,) = survey.unreadable
    assert lost.path == "x.tar::dog/lost.png"
    assert lost.reason == "a link to dog/nothing.png, which x.tar does not hold"


@pytest.mark.parametrize(
    "beside",
    [{"classes.json": b"[]"}, {"cat/about.json": b'{"x": 1}'}, {f"{n[:-4]}.json": b'{"w": 1}' for n in IMAGES}],
)
def test_json_files_among_class_folders_of_a_tar_are_no_labels(tmp_path, beside):
    members = {name: content for name, (_, content) in IMAGES.items()}
    listing = open_source(write_tar(tmp_path / "x.tar", members | beside)).scan(ignore)
    assert {row["path"]: row["label"] for row in listing.table.to_pylist()} == {
        f"x.tar::{name}": label for name, (label, _) in IMAGES.items()
    }
    assert listing.leftovers.by_kind == {".json": len(beside)}


def test_names_in_a_tar_that_are_not_unicode_can_be_listed_and_read(tmp_path):
    members = {f"{name[:-4]}\udcff{name[-4:]}": content for name, (_, content) in IMAGES.items()}
    shard = tmp_path / os.fsdecode(b"\xe9.tar")
    rows = open_source(write_tar(shard, members)).scan(ignore).table.to_pylist()
    assert {row["label"] for row in rows} == {"cat", "dog", "birds/owl"}
    assert {row["path"] for row in rows} >= {"\\xe9.tar::cat/000\\xff.png"}
    source = open_source(shard)
    assert {source.read(row["path"]) for row in rows} == set(members.values())


def test_a_zip_whose_own_name_is_not_unicode_can_be_read_and_a_table_is_refused(tmp_path):
    source = open_source(write_zip(tmp_path / os.fsdecode(b"\xe9.zip"), IMAGES))
    paths = source.scan(ignore).table["path"].to_pylist()
    assert all(path.startswith("\\xe9.zip::") and source.read(path) for path in paths)
    for write in (write_table, lambda place, images: write_embedded(place / "x.parquet", images)):
        file = write(tmp_path, IMAGES)
        odd = file.rename(tmp_path / os.fsdecode(b"\xe9" + file.suffix.encode()))
        with pytest.raises(DataError, match=r"\\xe9.* has a name that is no Unicode.*; rename it"):
            open_source(odd)


class _Unsaid(zipfile.ZipInfo):
    """A member whose name is UTF-8 without the flag that says so, as macOS writes it."""

    def _encodeFilenameFlags(self):
        return self.filename.encode("cp437"), self.flag_bits


def test_class_names_of_a_zip_that_macos_made_are_those_of_the_folder(tmp_path):
    labels = {"cat": "caf\u00e9", "dog": "\u732b", "birds/owl": "d'or"}
    images = {name: (labels[label], content) for name, (label, content) in IMAGES.items()}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, (label, content) in images.items():
            stored = unicodedata.normalize("NFD", f"{label}/{Path(name).name}").encode()
            archive.writestr(_Unsaid(stored.decode("cp437")), content)
    source = open_source(tmp_path / "x.zip")
    found = {source.read(row["path"]): row["label"] for row in source.scan(ignore).table.to_pylist()}
    assert found == {content: label for label, content in images.values()}


def test_names_of_the_old_code_page_stay_what_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, (_, content) in IMAGES.items():
            archive.writestr(_Unsaid(name.replace("cat", "B\u00e4r")), content)
    assert {row["label"] for row in rows(tmp_path / "x.zip")} == {"B\u00e4r", "dog", "birds/owl"}


def test_a_label_of_blanks_is_none(tmp_path):
    images = IMAGES | {"cat/blank.png": ("  ", encoded(picture(99)))}
    assert "1 row has no label, the first is row" in refused(
        write_embedded(tmp_path / "x.parquet", images, names=False)
    )
    shards = open_source(write_shards(tmp_path / "shards", images, as_json=True)).scan(ignore)
    assert len(shards.table) == len(IMAGES) and shards.leftovers.outside_classes.count == 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("label, path\nx, a.png\ny, b.png\n", None),
        (" Path ,label ,n\na.png,x,1\nb.png,y,2\n", None),
        ("path, of species\na.png, x\nb.png, y\n", {"label": "of species"}),
        ("path, of species\na.png, x\nb.png, y\n", {"label": " of species"}),
    ],
)
def test_blanks_around_the_names_of_columns_do_not_count(tmp_path, text, columns):
    found = rows(table(tmp_path, text), columns)
    assert [(row["path"], row["label"]) for row in found] == [("a.png", "x"), ("b.png", "y")]


def test_roles_and_keys_that_nothing_is_taken_from_are_refused(tmp_path):
    embedded_images = write_embedded(tmp_path / "e/x.parquet", IMAGES)
    shards = write_shards(tmp_path / "shards", IMAGES)
    for place, role in (
        (write_table(tmp_path, IMAGES), "image"),
        (embedded_images, "path"),
        (embedded_images.parent, "path"),
        (shards, "split"),
        (shards / "shard-000000.tar", "image"),
    ):
        with pytest.raises(UsageError, match=f"so {role} cannot be taken from one"):
            open_source(place, {role: "x"})
    packed = write_tar(tmp_path / "x.tar", {name: content for name, (_, content) in IMAGES.items()})
    with pytest.raises(UsageError, match="has no columns, so label cannot be taken from one"):
        open_source(packed, {"label": "kind"}).scan(ignore)
    assert "no labelled image" in refused(shards, {"label": "kind"})
    beside = write_tar(tmp_path / "y.tar", {"a/1.png": encoded(picture(1)), "a/1.json": b'{"species": "cat"}'})
    assert "its JSON ('species') is the label" in refused(beside, {"label": "kind"})
    assert [row["label"] for row in rows(beside, {"label": "species"})] == ["cat"]
    assert "no sample has a JSON file with the key 'patient'" in refused(shards, {"group": "patient"})


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize(
    "text", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_bytes_and_labels_of_parquet_may_be_of_every_kind_that_arrow_writes(tmp_path, kind, text):
    images, labels = pa.array([encoded(picture(n)) for n in range(4)], kind), pa.array(["x", "y"] * 2).cast(text)
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    table = source.scan(ignore).table
    assert table["label"].to_pylist() == ["x", "y"] * 2
    assert [source.read(path) for path in table["path"].to_pylist()] == images.to_pylist()


def numbered(tmp_path, inside, **columns):
    """Parquet of two images, inside or beside it, with these columns."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(picture(ord(name[0]))))
    own = (
        {"image": [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]}
        if inside
        else {"path": ["a.png", "b.png"]}
    )
    pq.write_table(pa.table(own | columns), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("inside", [True, False])
def test_numbers_that_pandas_made_floats_are_whole_and_those_that_are_none_are_missing(tmp_path, inside):
    whole = numbered(tmp_path, inside, label=[0.0, 10.0], group=[7.0, float("nan")])
    assert [(row["label"], row["group"]) for row in rows(whole)] == [("0", "7"), ("10", None)]
    said = refused(numbered(tmp_path, inside, label=[0.0, float("nan")]))
    assert ("1 row has no label, the first is row 1 " if inside else "1 row has no path or no label ('b.png')") in said


@pytest.mark.parametrize("rest", [1, 400_000])
def test_a_quote_that_is_never_closed_is_suspected(tmp_path, rest):
    said = refused(table(tmp_path, 'path,label\na.png,x\nb.png,"y\n' + "c.png,x\n" * rest))
    assert 'most likely a quote (") was opened there and never closed' in said


def test_one_folder_of_pictures_beside_parquet_is_for_a_page_and_several_are_the_data(tmp_path):
    write_embedded(tmp_path / "data" / "train-0.parquet", IMAGES)
    write_classes(tmp_path / "assets", {"": 2})
    assert len(rows(tmp_path)) == len(IMAGES)
    for name in ("cat", "dog"):
        write_classes(tmp_path / "elsewhere", {name: 2})
        (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
    assert {row["label"] for row in rows(tmp_path)} >= {"cat", "dog"}


def test_a_clone_of_a_repository_is_its_parquet_whatever_lies_beside_and_says_so(tmp_path):
    write_embedded(tmp_path / "data" / "train-0.parquet", IMAGES)
    write_classes(tmp_path, {"assets": 2, "notebooks/plots": 2})
    (tmp_path / ".gitattributes").write_text("*.parquet filter=lfs")
    events = []
    assert len(open_source(tmp_path, listener=events.append).scan(ignore).table) == len(IMAGES)
    assert any("images in assets, notebooks/plots lie beside" in said for said in notices(events))


def test_all_rows_without_a_label_are_counted(tmp_path):
    rows = 70_000
    labels = [None if at in (9, 10, rows - 1) else "x" for at in range(rows)]
    pq.write_table(pa.table({"image": [b"x"] * rows, "label": labels}), tmp_path / "x.parquet")
    assert "3 rows have no label, the first is row 9 " in refused(tmp_path / "x.parquet")
