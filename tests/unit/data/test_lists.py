"""Lists of images to leave out."""

import pytest

from retop.data import open_dataset
from retop.data.lists import Unwanted, read_exclusions, write_exclusions
from retop.errors import DataError, UsageError
from retop.events import Notice
from retop.predictor.inputs import find_inputs
from retop.recipe import DataRecipe

from .pictures import write_classes


def test_a_list_has_one_path_a_line_and_comments_or_a_column_of_paths(tmp_path):
    (tmp_path / "lines.txt").write_text("# of the old camera\na/0.png\n\n b/c d.png \n")
    assert read_exclusions(tmp_path / "lines.txt") == ["a/0.png", "b/c d.png"]
    (tmp_path / "table.csv").write_text('\ufeffreason,path\nold,"a/x,y.png"\nold,b/1.png\n', encoding="utf-8")
    assert read_exclusions(tmp_path / "table.csv") == ["a/x,y.png", "b/1.png"]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("path;code\nä, b.jpg;D01\nc.jpg;D03\n", ["ä, b.jpg", "c.jpg"]),
        ("code, path\nD01, a.jpg\nD03, b.jpg\n", ["a.jpg", "b.jpg"]),
        ("code;path\nD01;a.jpg\nD03\n", ["a.jpg"]),
        ("code\tpath\nD01\ta;b.jpg\n", ["a;b.jpg"]),
        ("code,path\nD01, a.jpg\n", [" a.jpg"]),
        ("Code,Path\nD01,a.jpg\n", ["a.jpg"]),
        ('code,path\nD01,"line\nbreak.jpg"\n', ["line\nbreak.jpg"]),
        ("a;path of b.jpg\nc, d.jpg\n", ["a;path of b.jpg", "c, d.jpg"]),
    ],
)
def test_a_list_may_be_written_by_any_table_program(tmp_path, text, paths):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    assert read_exclusions(tmp_path / "list.csv") == paths


def test_what_is_written_is_read_again(tmp_path):
    rows = [('a/"x",\n.png', "D01", "unreadable files"), ("b/é.png", "D03", "x"), ("#1/c\u2028.png", "D03", "x")]
    assert write_exclusions(tmp_path / "list.csv", rows) == 3
    assert read_exclusions(tmp_path / "list.csv") == [path for path, _, _ in rows]


def test_what_is_left_out_and_what_is_not_there_is_said_and_not_everything_may_go(tmp_path):
    write_classes(tmp_path / "data", {"a": 6, "b": 6})
    (tmp_path / "list.txt").write_text("a/0.png\nb/none.png\n")
    events = []
    data = open_dataset(tmp_path / "data", DataRecipe(exclude=str(tmp_path / "list.txt")), events.append)
    said = " ".join(event.message for event in events if isinstance(event, Notice))
    assert data.record.excluded == 1 and "1 of 12 images is left out" in said
    assert "names 1 image that is not in the data, such as b/none.png" in said
    paths = [path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.png")]
    (tmp_path / "all.txt").write_text("\n".join(paths))
    with pytest.raises(DataError, match="leaves out all images \\(12\\)"):
        open_dataset(tmp_path / "data", DataRecipe(exclude=str(tmp_path / "all.txt")))
    with pytest.raises(UsageError, match=r"--exclude .*none\.txt cannot be read"):
        open_dataset(tmp_path / "data", DataRecipe(exclude=str(tmp_path / "none.txt")))


def test_an_unbalanced_quote_and_another_encoding_are_said(tmp_path):
    (tmp_path / "list.csv").write_text('path,code\n"a/0.png,D01\n' + "x" * 200_000)
    with pytest.raises(UsageError, match=r"--exclude .* cannot be read: field larger"):
        read_exclusions(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes("path\n\u00e9.png\n".encode("latin-1"))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_exclusions(tmp_path / "list.csv")


def test_what_is_classified_may_be_left_out_by_its_path_or_below_its_folder(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 3, "b": 2})
    (tmp_path / "list.txt").write_text(f"a/0.png\n{folder}/a/1.png\nb/9.png\n")
    unwanted, told = Unwanted(tmp_path / "list.txt"), []
    found = list(find_inputs([str(folder), str(folder / "a/1.png")], True, [], unwanted=unwanted))
    assert found == [f"{folder}/{name}" for name in ("a/2.png", "b/3.png", "b/4.png")]
    unwanted.tell(told.append)
    assert [(one.level, one.message.replace(str(tmp_path), "")) for one in told] == [
        ("note", "3 images left out by /list.txt"),
        ("warning", "/list.txt names 1 image that is not among these, such as b/9.png"),
    ]
