"""`retop predict`: what it prints, returns, and says of what cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from images import write_shapes

Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shapes(tmp_path_factory.mktemp("photos"), per_class=2)
    (folder / "disc" / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture
def predict(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command in this process, in an empty folder."""
    from retop.cli import main

    def call(*arguments: object) -> Answer:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["retop", "predict", str(trained_run), *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        printed = capsys.readouterr()
        return int(ending.value.code or 0), printed.out, " ".join(printed.err.split())

    return call


def test_the_exit_code_of_a_resumed_command_is_that_of_a_whole_one(
    predict: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    code, _, said = predict(photos, "-o", "whole.csv")
    assert (code, said) == (3, "retop: 1 of 7 images cannot be read; the line says why")
    rows = (tmp_path / "whole.csv").read_text().splitlines()
    assert predict(photos, "-o", "cut.csv")[0] == 3
    # As if it had been killed after the last row.
    (tmp_path / "cut.csv").rename(tmp_path / "gone.csv")
    from retop.predictor import Predictor
    from retop.predictor.output import PredictionFile

    model = Predictor(sys.argv[2])
    with PredictionFile(tmp_path / "cut.csv", model, 1) as file:
        list(file.gather(model.stream(sorted(map(str, photos.glob("*/*"))))))
    assert predict(photos, "-o", "cut.csv")[::2] == (code, said)
    assert (tmp_path / "cut.csv").read_text().splitlines() == rows


def test_what_cannot_be_written_is_said_with_the_way_out(
    predict: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "afile").write_text("mine")
    for arguments in (("-o", "afile/x.csv"), ("--explain", "afile"), ("--explain", "afile/maps")):
        code, _, said = predict(photos / "square", *arguments)
        assert code == 7, said
        assert "cannot be written" in said
        assert arguments[0].replace("-o", "--output") in said
    assert (tmp_path / "afile").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_said(trained_run: Path, photos: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [Path(sys.executable).with_name("retop"), "predict", trained_run, photos / "square"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert ended.returncode == 7, ended.stderr
    assert ended.stderr == "retop: standard output cannot be written: No space left on device; send it somewhere else\n"


def test_json_takes_top_and_not_output(predict: Callable[..., Answer], photos: Path) -> None:
    code, _, said = predict(photos, "-o", "a.jsonl", "--json")
    assert code == 2
    assert "give one" in said
    for top, expected in (((), 3), (("--top", "2"), 2)):
        _, printed, _ = predict(photos / "square", "--json", *top)
        answers = [json.loads(line) for line in printed.splitlines()]
        assert [len(answer["probabilities"]) for answer in answers] == [expected] * 2
        assert all(answer["label"] in answer["probabilities"] for answer in answers)


def test_a_chosen_threshold_is_said_with_what_it_means(predict: Callable[..., Answer], photos: Path) -> None:
    _, _, said = predict(photos / "square", "--reject-below", "0.5")
    assert "note: answers with a confidence below 0.5000 are refused; of 15 validation images that answers" in said
    assert "of them rightly" in said
    assert predict(photos / "square")[2] == ""


def test_names_that_are_not_utf_8_are_printed(predict: Callable[..., Answer], photos: Path, tmp_path: Path) -> None:
    shutil.copy(next((photos / "square").glob("*.png")), tmp_path / os.fsdecode(b"caf\xe9.png"))
    code, printed, said = predict(tmp_path, "--json", "--explain", tmp_path.parent / "maps")
    assert (code, said) == (0, "")
    assert json.loads(printed)["path"].endswith("caf\\xe9.png")
    assert "\nCAF".lower() + "\\xe9.png," in (tmp_path.parent / "maps" / "maps.csv").read_text()
    assert predict(tmp_path)[1].startswith(f"{tmp_path}/caf\\xe9.png\t")


def test_ctrl_c_says_how_to_go_on(trained_run: Path, photos: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("retop"), "predict", trained_run, "-", "-o", tmp_path / "a.csv"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs the tests in the background has them ignore this signal, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin is not None
    paths = sorted(map(str, photos.glob("*/*.png")))
    # Two batches are answered once a third has begun.
    process.stdin.write("\n".join(paths * 40) + "\n")
    process.stdin.flush()
    while not (tmp_path / ".a.csv.partial").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "kept in" in said
    assert "the same command goes on" in said


FORGED = "disc\nb.jpg\tring 1.0000\x1b[2J\u202e\x9b"


def test_a_class_name_makes_no_lines_and_moves_nothing(
    trained_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name itself stays what it is for machines: JSON gives it back."""
    from retop.artifact.config import seal
    from retop.cli import main

    shutil.copytree(trained_run / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    names = [FORGED + str(place) for place in range(len(config["retop"]["classes"]))]
    config["retop"]["classes"] = names
    (tmp_path / "model" / "config.json").write_text(json.dumps(seal(config)))
    image = next(path for path in photos.glob("*/*") if path.name != "broken.jpg")
    for options in ([], ["--json"], ["-o", str(tmp_path / "answers.csv")]):
        monkeypatch.setattr(sys, "argv", ["retop", "predict", str(tmp_path / "model"), str(image), *options])
        with pytest.raises(SystemExit):
            main()
    line, as_json = capsys.readouterr().out.splitlines()
    table = (tmp_path / "answers.csv").read_text()
    assert all(text.isprintable() for text in (line.replace("\t", ""), as_json, *table.splitlines()))
    assert line.count("\t") == 1
    assert len(table.splitlines()) == 2
    assert set(json.loads(as_json)["probabilities"]) == set(names)


def test_what_a_list_excludes_is_not_classified_and_what_it_names_in_vain_is_said(
    predict: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    whole = predict(photos)[1].splitlines()
    unwanted = [line.partition("\t")[0] for line in whole[:2]]
    below = str(Path(unwanted[0]).relative_to(photos))
    (tmp_path / "list.csv").write_text(f"code;path\nD01;{below}\nD01;{unwanted[1]}\nD01;disc/gone.png\n")
    _, printed, said = predict(photos, "--exclude", "list.csv")
    assert printed.splitlines() == whole[2:]
    assert "note: 2 images left out by list.csv" in said
    assert "warning: list.csv names 1 image that is not among these, such as disc/gone.png" in said


def test_paths_of_a_list_lie_below_what_a_pattern_names(
    predict: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    pattern = f"{photos}/**/*.png"
    whole = predict(pattern)[1].splitlines()
    below = Path(whole[0].partition("\t")[0]).relative_to(photos)
    (tmp_path / "list.csv").write_text(f"path\n{below}\n")
    assert predict(pattern, "--exclude", "list.csv")[1].splitlines() == whole[1:]
