"""Every rule of the audit: planted, it is found; where nothing is planted, nothing is said."""

import io
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from images import write_digits
from retop.api import check, plan
from retop.data import open_dataset
from retop.data.audit import RULES, audit_dataset, exclusions, say_findings
from retop.data.likeness import look_at, shrink
from retop.errors import UsageError
from retop.events import Notice, ignore
from retop.recipe import DataRecipe
from retop.records import leaked_test_images
from retop.records.audit import captions
from retop.schema import to_plain

from .pictures import encoded, picture, write_classes
from .places import write_embedded, write_folder


@pytest.fixture
def split(tmp_path):
    """Twelve different photo-like pictures of each class in each of train, validation and test."""
    for n, side in enumerate(("train", "validation", "test")):
        write_big(tmp_path / "data" / side, {"cat": 12, "dog": 12}, 1000 * n)
    return tmp_path / "data"


def big(seed):
    generator = np.random.default_rng([9, seed])
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


def write_big(folder, counts, first_seed=0):
    seed = first_seed
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (folder / name / f"{seed}.jpg").write_bytes(encoded(big(seed), "JPEG", quality=92))
            seed += 1
    return folder


def found(place, **settings):
    record = check(place, settings={f"data.{key}": value for key, value in settings.items()}, listener=ignore)
    return {finding.code: finding for finding in record.findings}


def test_sound_data_gives_no_finding(split):
    assert found(split) == {}


def test_codes_are_unique_and_in_order():
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes)) == [f"D{n:02d}" for n in range(1, len(RULES) + 1)]


def test_unreadable_files_are_listed_with_their_reason(split):
    (split / "train/cat/cut.jpg").write_bytes(encoded(big(1), "JPEG")[:900])
    finding = found(split)["D01"]
    assert finding.evidence["files"] == [["train/cat/cut.jpg"]] and "truncated" in finding.seen
    assert finding.evidence["exclude"] == ["train/cat/cut.jpg"]


def test_the_formats_that_can_be_read_are_listed_once(split):
    for n in range(5):
        (split / f"train/cat/text{n}.jpg").write_text("no image")
    (split / "train/cat/cut.jpg").write_bytes(encoded(big(1), "JPEG")[:900])
    told = []
    seen = {one.code: one for one in check(split, listener=told.append).findings}["D01"].seen
    for said in (seen, *(notice.message for notice in told if "cannot be read" in getattr(notice, "message", ""))):
        assert said.count("the formats that can be read are JPEG, PNG") == 1 and "text0.jpg: not an image; " in said
        assert "; and 3 more; the formats" in said


def test_names_that_lie_are_listed(split):
    (split / "train/cat/0.jpg").write_bytes(encoded(big(0)))
    finding = found(split)["D02"]
    assert finding.evidence["formats"] == {"train/cat/0.jpg": "PNG"}


def test_one_image_in_two_classes_is_a_conflict(split):
    shutil.copy(split / "train/cat/0.jpg", split / "train/dog/again.jpg")
    findings = found(split)
    assert findings["D03"].evidence["files"] == [["train/cat/0.jpg", "train/dog/again.jpg"]]
    assert sorted(findings["D03"].evidence["exclude"]) == ["train/cat/0.jpg", "train/dog/again.jpg"]
    assert findings.keys() == {"D03"}


def test_classes_stand_beside_the_names_that_do_not_tell_them(tmp_path):
    images = {f"{n}.jpg": (("cat", "dog")[n % 2], encoded(big(n // 2), "JPEG", quality=92)) for n in range(20)}
    write_embedded(tmp_path / "x.parquet", images)
    (finding,) = (one for code, one in found(tmp_path / "x.parquet").items() if code == "D03")
    assert captions(finding)[0] == ["x.parquet::0 (cat)", "x.parquet::1 (dog)"]
    assert captions(replace(finding, evidence={"files": [["a", "b"]]})) == [["a", "b"]]
    said = {"files": [["x.zip::train/a/b/1.jpg", "x.parquet::10"]], "labels": [["a/b", "1"]]}
    assert captions(replace(finding, evidence=said)) == [["x.zip::train/a/b/1.jpg", "x.parquet::10 (1)"]]
    said = {"files": [["ba\u0308r/1.jpg"]], "labels": [["b\u00e4r"]]}
    assert captions(replace(finding, evidence=said)) == [["ba\u0308r/1.jpg"]]


def test_copies_across_splits_are_an_error_and_the_copy_that_training_sees_is_to_go(split):
    shutil.copy(split / "train/cat/0.jpg", split / "test/cat/leak.jpg")
    finding = found(split)["D04"]
    assert finding.severity == "error" and not finding.suspected
    assert finding.evidence["exclude"] == ["train/cat/0.jpg"] and finding.evidence["test"] == ["test/cat/leak.jpg"]


def test_copies_within_a_class_are_a_note(split):
    shutil.copy(split / "train/cat/0.jpg", split / "train/cat/again.jpg")
    findings = found(split)
    assert findings.keys() == {"D05"} and findings["D05"].evidence["spare_files"] == 1


CHANGES = {
    "re-encoded": lambda image: encoded(image, "JPEG", quality=70),
    "resized": lambda image: encoded(image.resize((128, 96), Image.Resampling.BICUBIC), "JPEG", quality=92),
    "mirrored": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=92),
    "another format": lambda image: encoded(image, "WEBP", quality=80),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_copies_across_splits_are_found(split, change):
    image = Image.open(split / "train/cat/0.jpg")
    (split / "test/cat/near.jpg").write_bytes(CHANGES[change](image))
    findings = found(split)
    assert findings["D06"].suspected and findings["D06"].evidence["test"] == ["test/cat/near.jpg"]
    assert findings["D06"].evidence["files"] == [["test/cat/near.jpg", "train/cat/0.jpg"]]


def test_near_copies_in_two_classes_are_found(split):
    image = Image.open(split / "train/cat/0.jpg")
    (split / "train/dog/near.jpg").write_bytes(CHANGES["re-encoded"](image))
    findings = found(split)
    assert findings.keys() == {"D07"} and findings["D07"].suspected


def test_pictures_of_one_colour_and_the_same_shape_in_other_colours_are_not_near_copies(split):
    for n, (side, colour) in enumerate([("train", 90), ("test", 200)]):
        Image.new("RGB", (80, 60), (colour, colour, 10 * n)).save(split / side / "cat/plain.png")
    red, blue = (np.zeros((60, 80, 3), np.uint8) for _ in range(2))
    red[15:40, 20:60, 0], blue[15:40, 20:60, 2] = 250, 250
    Image.fromarray(red).save(split / "train/cat/shape.png")
    Image.fromarray(blue).save(split / "test/cat/shape.png")
    assert "D06" not in found(split)
    assert look_at([shrink(Image.new("RGB", (64, 64), (1, 2, 3)))]) == [(None, None)]


def test_handwritten_digits_are_not_taken_for_copies(tmp_path):
    findings = found(write_digits(tmp_path, per_class=60))
    assert not {"D03", "D04", "D06", "D07", "D13"} & findings.keys()


def test_a_class_missing_from_a_split_is_an_error_where_training_refuses(split):
    shutil.rmtree(split / "test/dog")
    finding = found(split)["D08"]
    assert finding.severity == "error" and finding.evidence["lacking"] == {"test": ["dog"]}


def test_small_and_unequal_classes_are_named(tmp_path):
    findings = found(write_big(tmp_path, {"a": 120, "b": 11, "c": 6}))
    assert findings["D09"].evidence["classes"] == {"b": 8, "c": 4}
    assert findings["D10"].evidence["ratio"] == 21


@pytest.mark.parametrize("other", ["Cat", "cat ", "c-at"])
def test_class_names_spelt_in_two_ways_are_named(tmp_path, other):
    findings = found(write_big(tmp_path, {"cat": 12, other: 12, "dog": 12}))
    assert findings["D11"].evidence["names"] == [sorted(["cat", other])]


def test_empty_folders_are_named(split):
    (split / "train/owl").mkdir()
    assert found(split)["D12"].evidence["folders"] == ["train/owl"]


def convert(folder, **options):
    for file in folder.iterdir():
        content = encoded(Image.open(file).resize(options.pop("size", (160, 120))), **options)
        file.write_bytes(content)
        options = dict(options)


@pytest.mark.parametrize(
    ("name", "kind", "options", "size"),
    [
        ("format", "PNG", {}, (160, 120)),
        ("JPEG quality", "JPEG", {"quality": 60}, (160, 120)),
        ("pixel size", "JPEG", {"quality": 92}, (150, 113)),
        ("aspect", "JPEG", {"quality": 92}, (120, 160)),
    ],
)
def test_a_property_that_tells_the_class_is_found(tmp_path, name, kind, options, size):
    write_big(tmp_path, {"cat": 40, "dog": 40, "owl": 40})
    for file in (tmp_path / "dog").iterdir():
        file.write_bytes(encoded(Image.open(io.BytesIO(file.read_bytes())).resize(size), kind, **options))
    finding = found(tmp_path)["D13"]
    assert finding.suspected and finding.isolating_test
    assert finding.evidence["properties"][name]["dog"] > 0.9


def test_a_mode_that_tells_the_class_is_found(tmp_path):
    write_big(tmp_path, {"cat": 40, "dog": 40})
    for file in (tmp_path / "dog").iterdir():
        file.write_bytes(encoded(Image.open(io.BytesIO(file.read_bytes())).convert("L"), "JPEG", quality=92))
    assert found(tmp_path)["D13"].evidence["properties"]["mode"]["dog"] == 1


def test_a_source_folder_that_tells_the_class_is_found_in_a_table(tmp_path):
    images = {}
    for n in range(80):
        images[f"camera{n % 2}/{n}.jpg"] = (("cat", "dog")[n % 2], encoded(big(n), "JPEG", quality=92))
    write_folder(tmp_path, images)
    rows = [f"{path},{label}" for path, (label, _) in images.items()]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
    assert found(tmp_path / "t.csv")["D13"].evidence["properties"]["source folder"] == {"cat": 1.0, "dog": 1.0}


def test_very_small_images_are_counted(split):
    (split / "train/cat/tiny.png").write_bytes(encoded(picture(5, 20, 30)))
    assert found(split)["D14"].evidence["files"] == [["train/cat/tiny.png"]]


def test_groups_across_splits_are_an_error(split):
    for n, side in enumerate(("train", "test")):
        for k in range(2):
            shutil.move(split / side / f"cat/{2000 * n + k}.jpg", split / side / f"cat/patient{k + n}-{n}.jpg")
    finding = found(split, group_pattern=r"(patient\d+)")["D15"]
    assert finding.evidence["files"] == [["test/cat/patient1-1.jpg", "train/cat/patient1-0.jpg"]]


def test_what_is_ignored_is_listed(split):
    (split / "train/cat/notes.txt").write_text("x")
    (split / "train/.ipynb_checkpoints").mkdir()
    (split / "Thumbs.db").write_text("x")
    (split / "extra/owl").mkdir(parents=True)
    finding = found(split)["D16"]
    assert finding.evidence["kinds"] == {".txt": 1} and finding.evidence["beside"] == ["extra"]
    assert set(finding.evidence["tools"]) == {".ipynb_checkpoints", "Thumbs.db"}


def test_nearly_equal_embeddings_across_splits_are_found(split):
    paths = [f"train/cat/{n}.jpg" for n in range(4)] + [f"test/cat/{2000 + n}.jpg" for n in range(4)]
    vectors = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    vectors[5] = 3 * vectors[2] + 0.01
    record = check(split, embeddings=(paths, vectors), listener=ignore)
    (finding,) = record.findings
    assert finding.code == "D17" and finding.evidence["files"] == [["test/cat/2001.jpg", "train/cat/2.jpg"]]
    assert "D17" not in check(split, listener=ignore).checked


@pytest.mark.parametrize(("frames", "said"), [(300, False), (560, True)])
def test_pictures_too_many_of_which_share_a_part_of_their_hash_are_counted(tmp_path, frames, said):
    # A camera that stands still: every frame is like every other, in two classes.
    scene = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for n in range(frames):
        frame = Image.fromarray(scene)
        frame.putpixel((n % 32, n // 32), (n % 256, 200, 9))
        (tmp_path / f"{n % 2}").mkdir(exist_ok=True)
        (tmp_path / f"{n % 2}/{n}.png").write_bytes(encoded(frame))
    findings = found(tmp_path)
    assert len(findings["D07"].evidence["files"][0]) == frames
    assert ("D18" in findings) == said
    assert not said or (findings["D18"].severity == "note" and findings["D18"].evidence["images"] > 500)


def test_exclusions_are_written_once_and_heal_what_they_name(split, tmp_path):
    shutil.copy(split / "train/cat/0.jpg", split / "test/cat/leak.jpg")
    shutil.copy(split / "train/cat/1.jpg", split / "train/dog/again.jpg")
    before = sorted(split.rglob("*"))
    file = tmp_path / "list.csv"
    record = check(split, write_exclusions=file, listener=ignore)
    assert {row[0] for row in exclusions(record.findings)} == {
        "train/cat/0.jpg",
        "train/cat/1.jpg",
        "train/dog/again.jpg",
    }
    assert not {"D03", "D04"} & found(split, exclude=str(file)).keys()
    data = open_dataset(split, DataRecipe(exclude=str(file)))
    assert data.record.excluded == 3 and sorted(split.rglob("*")) == before
    with pytest.raises(UsageError, match="exists already"):
        check(split, write_exclusions=file, listener=ignore)


def test_before_a_run_only_what_cannot_wait_is_said(split):
    shutil.copy(split / "train/cat/0.jpg", split / "test/cat/leak.jpg")
    shutil.copy(split / "train/cat/1.jpg", split / "train/cat/again.jpg")
    record = audit_dataset(open_dataset(split, DataRecipe()))
    events = []
    say_findings(record, events.append)
    assert [event.message[:3] for event in events if isinstance(event, Notice)] == ["D04"]
    assert leaked_test_images(record) == {"test/cat/leak.jpg"}
    (leak,) = [finding for finding in record.findings if finding.code == "D04"]
    assert leak.evidence["leaks"] == {"train": ["test/cat/leak.jpg"], "validation": []}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ["D09", "D10"]),
        ({"imbalance.class_weights": "balanced"}, ["D09"]),
        ({"imbalance.sampling": "balanced"}, ["D09"]),
    ],
)
def test_who_corrects_for_unequal_classes_is_not_advised_to(tmp_path, settings, said):
    write_classes(tmp_path, {"many": 60, "few": 4})
    events = []
    plan(tmp_path, ["pocket_resnet"], settings=settings, cache=False, listener=events.append)
    codes = [event.message[:3] for event in events if isinstance(event, Notice)]
    assert [code for code in codes if code.startswith("D")] == said


def test_the_page_shows_the_sizes_of_unequal_classes(tmp_path):
    write_classes(tmp_path / "images", {"many": 40, "few": 2, "some": 10})
    check(tmp_path / "images", page=tmp_path / "page.html", listener=ignore)
    table = (tmp_path / "page.html").read_text("utf-8").split('<table class="sizes">')[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">(\w+)</th><td>(\d+)</td>\n.*width: ([\d.]+)%', table)
    assert [name for name, _, _ in rows] == ["many", "some", "few"]
    for _, number, width in rows:
        assert abs(float(width) - 100 * int(number) / int(rows[0][1])) < 0.01


def test_the_page_holds_every_finding_and_escapes_names(split, tmp_path):
    name = "<b>&.jpg"
    shutil.copy(split / "train/cat/0.jpg", split / f"test/cat/{name}")
    check(split, page=tmp_path / "page.html", listener=ignore)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "D04" in text and "&lt;b&gt;&amp;.jpg" in text and "<b>" not in text
    assert "data:image/jpeg;base64," in text and "http" not in text.replace("http-equiv", "")


def test_a_folder_whose_own_name_is_not_unicode_has_a_record_and_a_page(split, tmp_path):
    odd = split.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    record = check(odd, page=tmp_path / "page.html", listener=ignore)
    assert record.location == f"{tmp_path}/caf\\xe9" and "caf\\xe9" in (tmp_path / "page.html").read_text("utf-8")
    assert json.loads(json.dumps(to_plain(record), ensure_ascii=False).encode())["images"] == 72


def test_flowers_that_stand_in_two_classes_are_found_and_no_more(shared):
    findings = found(shared / "data/flowers")
    assert len(findings["D03"].evidence["files"]) == 4
    assert findings.keys() == {"D03", "D05", "D06"}


def test_awkward_files_are_reported_as_what_they_are(shared):
    findings = found(shared / "data/awkward")
    formats = findings["D02"].evidence["formats"]
    assert {path.rpartition("/")[2]: kind for path, kind in formats.items()} == {
        "rain141.jpg": "GIF", "rain26.jpg": "PNG", "rain136.jpg": "PNG", "cloudy131.jpg": "PNG",
        "shine131.jpg": "GIF", "shine127.jpg": "PNG",
    }  # fmt: skip
    assert "D01" not in findings


def test_write_classes_of_the_other_tests_is_sound(tmp_path):
    assert not {"D03", "D04"} & found(write_classes(tmp_path, {"a": 20, "b": 20})).keys()


def test_an_option_that_does_not_fit_is_never_an_all_clear(split):
    with pytest.raises(UsageError, match=r"none\.csv cannot be read"):
        check(split, settings={"data.split_file": str(split / "none.csv")}, listener=ignore)


def test_an_audit_tells_what_a_run_would_of_options_that_do_not_fit_a_split(split, tmp_path):
    with pytest.raises(UsageError, match="has a split of its own, so it cannot be divided into folds"):
        check(split, settings={"data.folds": 3}, listener=ignore)
    for settings, said in (
        ({"data.split": "60/20/20"}, "data.split does nothing"),
        ({"data.split_file": str(tmp_path / "s.csv")}, "24 images are not in the split file"),
    ):
        rows = [f"{side}/{name},{side}" for side in ("train", "validation") for name in _names(split / side)]
        (tmp_path / "s.csv").write_text("\n".join(["path,split", *rows]))
        events = []
        check(split, settings=settings, listener=events.append)
        assert [event.message for event in events if isinstance(event, Notice) and said in event.message]


def _names(folder):
    return [file.relative_to(folder).as_posix() for file in folder.glob("*/*")]


def test_what_cannot_be_split_is_said_and_what_needs_a_split_is_not_checked(tmp_path):
    events = []
    record = check(write_classes(tmp_path, {"a": 30, "b": 1}), listener=events.append)
    said = [event.message for event in events if isinstance(event, Notice)]
    assert any("D04, D06, D08, D15 are not checked" in text and "'b'" in text for text in said)
    assert not {"D04", "D06", "D08", "D13", "D15", "D17"} & set(record.checked)
    assert {"D03", "D05", "D07", "D09"} <= set(record.checked)


def test_without_groups_and_below_60_images_nothing_is_said_of_them(split, tmp_path):
    checked = set(check(split, listener=ignore).checked)
    assert {"D04", "D06", "D08", "D13"} <= checked and "D15" not in checked
    assert "D15" in check(split, settings={"data.group_pattern": r"(\d+)\."}, listener=ignore).checked
    assert "D13" not in check(write_classes(tmp_path / "few", {"a": 20, "b": 20}), listener=ignore).checked


def test_copies_and_groups_across_the_folds_of_a_file_are_found(tmp_path):
    write_big(tmp_path / "data", {"cat": 12, "dog": 12})
    shutil.copy(tmp_path / "data/cat/0.jpg", tmp_path / "data/cat/1.jpg")
    image = Image.open(tmp_path / "data/dog/12.jpg")
    (tmp_path / "data/dog/13.jpg").write_bytes(CHANGES["re-encoded"](image))
    rows = [f"{'cat' if n < 12 else 'dog'}/{n}.jpg,{n % 3}" for n in range(24)]
    (tmp_path / "folds.csv").write_text("\n".join(["path,fold", *rows]))
    findings = found(tmp_path / "data", split_file=str(tmp_path / "folds.csv"), group_pattern="(?:/)(2|3|5|8)[.]")
    assert findings["D04"].evidence["files"] == [["cat/0.jpg", "cat/1.jpg"]]
    assert findings["D04"].evidence["test"] == ["cat/0.jpg", "cat/1.jpg"] and "fold" in findings["D04"].seen
    assert findings["D04"].evidence["exclude"] == ["cat/1.jpg"]
    assert findings["D06"].evidence["files"] == [["dog/12.jpg", "dog/13.jpg"]]
    grouped = found(tmp_path / "data", split_file=str(tmp_path / "folds.csv"), group_pattern="/[23](?=[.])|/1(?=0)")
    assert "D15" not in grouped
    crossing = found(tmp_path / "data", split_file=str(tmp_path / "folds.csv"), group_pattern="dog/1")
    assert "D15" in crossing


@pytest.mark.parametrize("existing", ["list.csv", "page.html"])
def test_a_file_that_exists_is_refused_before_anything_is_read_or_written(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    files = {"write_exclusions": tmp_path / "list.csv", "page": tmp_path / "page.html"}
    with pytest.raises(UsageError, match=f"{existing} exists already; choose another name"):
        # There is no data: what is read first would be said first.
        check(tmp_path / "none", listener=ignore, **files)
    assert [file.name for file in tmp_path.iterdir()] == [existing]
    with pytest.raises(UsageError, match="is given twice"):
        check(tmp_path / "none", listener=ignore, page=tmp_path / "x", write_exclusions=tmp_path / "x")
    with pytest.raises(UsageError, match="there is no folder"):
        check(tmp_path / "none", listener=ignore, page=tmp_path / "no/x")
