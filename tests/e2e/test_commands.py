"""The installed command: what it prints, writes and returns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from images import read_digit, write_digits, write_split_digits

COMMAND = Path(sys.executable).with_name("retop")
# A command that hangs fails; generous, for machines that do other work.
TIMEOUT_SECONDS = 300
QUICK = ("--epochs", "2,2", "--views", "1", "--set", "stage1.weight_decay=0.001", "--set", "image_size=32")


class Retop:
    """Runs the command in a folder and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"RETOP_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *map(str, arguments)], cwd=self.folder, env=self.environment | environment, text=True,
            capture_output=True, check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip


@pytest.fixture(scope="module")
def retop(tmp_path_factory: pytest.TempPathFactory) -> Retop:
    return Retop(tmp_path_factory.mktemp("work"))


@pytest.fixture
def inside(retop: Retop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Command":
    """The same command in this process, which has loaded torch already."""
    from retop.cli import main

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(retop.folder)
        monkeypatch.setattr(sys, "argv", ["retop", *map(str, arguments)])
        for name in ("RETOP_CACHE", "COLUMNS"):
            monkeypatch.setenv(name, retop.environment[name])
        with pytest.raises(SystemExit) as ending:
            main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ending.value.code or 0), printed.out, printed.err)

    return call


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split_digits(tmp_path_factory.mktemp("data") / "photos", train=10, validation=4, test=10)


@pytest.fixture(scope="module")
def arguments(photos: Path) -> tuple[object, ...]:
    """One comparison in which a backbone fails: no step size as long as this one can be taken."""
    return (
        "compare", photos, "--backbones", "pocket_resnet,pocket_vgg", *QUICK,
        "--baseline", "probe,scratch", "--seeds", "2", "--set", "scratch.stage2.epochs=1",
        "--set", "scratch.views.count=1", "--set", "pocket_vgg.stage2.learning_rate=1e35",
        "--set", "pocket_vgg.stage2.clip_norm=null", "--out", "table", "--json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def compared(retop: Retop, arguments: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    return retop(*arguments)


def test_compare_ranks_what_finished_and_names_what_failed(
    retop: Retop, compared: subprocess.CompletedProcess[str]
) -> None:
    assert compared.returncode == 7, compared.stderr
    record = json.loads(compared.stdout)
    assert record == json.loads((retop.folder / "table" / "comparison.json").read_text())
    names = {row["name"] for row in record["rows"]}
    assert names == {"pocket_resnet", "probe-pocket_resnet", "probe-pocket_vgg", "scratch"}
    assert [run["name"] for run in record["failed"]] == ["pocket_vgg-0", "pocket_vgg-1"]
    assert all("DivergedError" in run["error"] for run in record["failed"])
    assert "pocket_vgg-0" in compared.stderr
    assert record["recommended"] == "pocket_resnet"
    assert record["ranked_on"] == "test"
    assert {row["name"]: len(row["runs"]) for row in record["rows"]}["pocket_resnet"] == 2
    accuracy = {row["name"]: row["metrics"]["accuracy"]["value"] for row in record["rows"]}
    # 30 images of three digits: 87 % from the embedded weights.
    assert accuracy["pocket_resnet"] > 0.7
    assert accuracy["pocket_resnet"] > accuracy["scratch"] + 0.2


def test_a_run_folder_holds_what_the_design_says(retop: Retop, compared: subprocess.CompletedProcess[str]) -> None:
    run = retop.folder / "table" / "pocket_resnet-0"
    for file in ("run.json", "metrics.jsonl", "predictions.parquet", "model/config.json", "model/model.safetensors"):
        assert (run / file).is_file(), file
    assert list((run / "figures").iterdir())
    assert list((retop.folder / "table" / "figures").iterdir())


def test_the_same_comparison_again_makes_no_run_again(
    retop: Retop, inside: Command, compared: subprocess.CompletedProcess[str], arguments: tuple[object, ...]
) -> None:
    finished = sorted((retop.folder / "table").glob("*/run.json"))
    times = [path.stat().st_mtime_ns for path in finished]
    # As a process leaves it that was killed while it wrote the table.
    (retop.folder / "table" / ".comparison.json.0a1b2c3d.partial").touch()
    again = inside(*arguments)
    assert again.returncode == 7
    assert list((retop.folder / "table").rglob("*.partial")) == []
    assert [path.stat().st_mtime_ns for path in finished] == times
    assert sorted((retop.folder / "table").glob("*/run.json")) == finished


def test_another_recipe_into_the_same_folder_is_refused(
    inside: Command, compared: subprocess.CompletedProcess[str], arguments: tuple[object, ...]
) -> None:
    refused = inside(*arguments, "--set", "stage2.momentum=0.5")
    assert refused.returncode == 7
    assert "holds another comparison" in refused.stderr
    assert "--out" in refused.stderr


def test_a_comparison_without_failures_exits_with_zero_twice(retop: Retop, inside: Command, photos: Path) -> None:
    words = ("train", photos, "--backbone", "pocket_resnet", *QUICK, "--out", "one")
    first = inside(*words)
    assert first.returncode == 0, first.stderr
    assert "pocket_resnet *" in first.stdout
    assert "retop predict" in first.stdout
    written = (retop.folder / "one" / "pocket_resnet-0" / "run.json").stat().st_mtime_ns
    again = inside(*words)
    assert again.returncode == 0, again.stderr
    assert (retop.folder / "one" / "pocket_resnet-0" / "run.json").stat().st_mtime_ns == written


def write_table(folder: Path, of_split: dict[str, int]) -> dict[str, tuple[str, str]]:
    """A table beside its images, two of each group; split and group by path."""
    rows: dict[str, tuple[str, str]] = {}
    (folder / "pictures").mkdir(parents=True)
    for k in range(3):
        for n, split in enumerate(split for split, count in of_split.items() for _ in range(count)):
            path = f"pictures/{k}-{n:02d}.png"
            read_digit(k, n).save(folder / path)
            rows[path] = split, f"{k} {n // 2}"
    lines = [f"{path},digit-{path[9]},{split},{group}" for path, (split, group) in rows.items()]
    (folder / "table.csv").write_text("\n".join(["path,label,split,group", *lines]), "utf-8")
    return rows


@pytest.mark.parametrize("of_split", [{"train": 10, "validation": 4, "test": 4}, {"train": 14, "test": 4}])
def test_a_table_trains_in_the_split_and_the_groups_that_it_says(
    retop: Retop, inside: Command, tmp_path: Path, of_split: dict[str, int]
) -> None:
    rows = write_table(tmp_path / "data", of_split)
    out = tmp_path / "out"
    words = ("--backbone", "pocket_resnet", *QUICK, "--out", out)
    result = inside("train", tmp_path / "data/table.csv", *words)
    assert result.returncode == 0, result.stderr
    said = "has no validation images" in " ".join(result.stderr.split())
    assert said == ("validation" not in of_split)
    run = json.loads((out / "pocket_resnet-0" / "run.json").read_text())
    assert run["test"]["n"] == 3 * of_split["test"]
    split = {row["path"]: row["split"] for row in pq.read_table(out / "split.parquet").to_pylist()}
    assert split.keys() == rows.keys()
    assert {path for path in split if split[path] == "test"} == {path for path in rows if rows[path][0] == "test"}
    if not said:
        assert split == {path: side for path, (side, _) in rows.items()}
    assert set(split.values()) == {"train", "validation", "test"}
    sides: dict[str, set[str]] = {}
    for path, (_, group) in rows.items():
        sides.setdefault(group, set()).add(split[path])
    assert {len(of_group) for of_group in sides.values()} == {1}


def test_predict_and_evaluate_agree_with_the_run(
    retop: Retop, inside: Command, compared: subprocess.CompletedProcess[str], photos: Path
) -> None:
    model = retop.folder / "table" / "pocket_resnet-0" / "model"
    predicted = inside("predict", model, photos / "test", "--json")
    assert predicted.returncode == 0, predicted.stderr
    answers = [json.loads(line) for line in predicted.stdout.splitlines()]
    right = sum(Path(answer["path"]).parent.name == answer["label"] for answer in answers)
    run = json.loads((retop.folder / "table" / "pocket_resnet-0" / "run.json").read_text())
    assert (len(answers), right) == (run["test"]["n"], run["test"]["num_right"])
    evaluated = inside("evaluate", model, photos, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = json.loads(evaluated.stdout)
    assert metrics["confusion"] == run["test"]["confusion"]
    assert metrics["log_loss"] == pytest.approx(run["test"]["log_loss"], abs=1e-6)


def test_evaluate_on_the_training_folder_counts_only_what_was_held_out(
    retop: Retop, inside: Command, tmp_path: Path
) -> None:
    folder = write_digits(tmp_path / "unsplit", 14, range(3))
    words = ("--backbone", "pocket_resnet", *QUICK, "--out", "unsplit")
    assert inside("train", folder, *words).returncode == 0
    run = json.loads((retop.folder / "unsplit" / "pocket_resnet-0" / "run.json").read_text())
    evaluated = inside("evaluate", retop.folder / "unsplit" / "pocket_resnet-0", folder, "--json")
    assert "is what the model was trained on" in " ".join(evaluated.stderr.split())
    metrics = json.loads(evaluated.stdout)
    assert (metrics["split"], metrics["n"]) == ("test", run["test"]["n"])
    read_digit(0, 99).save(folder / "digit-0" / "new.png")
    evaluated = inside("evaluate", retop.folder / "unsplit" / "pocket_resnet-0", folder, "--json")
    assert "may have been trained on some of them" in " ".join(evaluated.stderr.split())
    assert (json.loads(evaluated.stdout)["split"], json.loads(evaluated.stdout)["n"]) == ("all", 43)


def test_an_unreadable_image_is_named_and_the_exit_code_says_so(
    retop: Retop, inside: Command, compared: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    read_digit(0, 1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    predicted = inside("predict", retop.folder / "table" / "pocket_resnet-0", tmp_path, "--top", "2")
    assert predicted.returncode == 3
    first, second = predicted.stdout.splitlines()
    assert first.count("\t") == 2
    assert "b.png\tunreadable: " in second


def test_plan_prints_and_does_nothing(retop: Retop, inside: Command, photos: Path) -> None:
    words = ("plan", photos, "--backbones", "pocket_inception", *QUICK, "--json")
    before = sorted(retop.folder.rglob("*.json"))
    planned = inside(*words)
    assert planned.returncode == 0, planned.stderr
    assert {"prefix", "stage 1", "stage 2", "evaluation"} <= {
        part["part"] for part in json.loads(planned.stdout)["parts"]
    }
    assert sorted(retop.folder.rglob("*.json")) == before


def test_the_store_is_shown_and_cleared(
    retop: Retop, inside: Command, compared: subprocess.CompletedProcess[str]
) -> None:
    shown = inside("cache")
    assert shown.returncode == 0, shown.stderr
    assert "pocket_resnet prefix, train, view 0" in shown.stdout
    assert json.loads(inside("cache", "--json").stdout)["used_bytes"] > 0
    assert json.loads(inside("cache", "--clear", "--json").stdout)["freed_bytes"] > 0
    assert inside("cache", "--clear").stdout.startswith("freed")
    assert json.loads(inside("cache", "--json").stdout)["used_bytes"] == 0


def test_the_usual_store_is_on_and_off_is_none(retop: Retop, inside: Command) -> None:
    usual = json.loads(inside("cache", "--json").stdout)["folder"]
    assert json.loads(inside("cache", "--cache", "on", "--json").stdout)["folder"] == usual
    assert json.loads(inside("cache", "--cache", "mine", "--json").stdout)["folder"].endswith("mine")
    off = inside("cache", "--cache", "off")
    assert off.returncode == 2
    assert "--cache off names no store" in off.stderr


def test_train_takes_one_network(inside: Command, photos: Path) -> None:
    for words in (("-b", "pocket_resnet", "-b", "pocket_inception"), ("-b", "pocket_resnet,pocket_inception")):
        refused = inside("train", photos, *words)
        assert refused.returncode == 2
        assert "--backbone takes one network; received 'pocket_resnet,pocket_inception'" in refused.stderr


def test_python_runs_the_package_as_the_command(retop: Retop) -> None:
    called = subprocess.run(
        [sys.executable, "-m", "retop", "backbones", "nonsense"],
        env=retop.environment, text=True, capture_output=True, check=False, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    installed = retop("backbones", "nonsense")
    assert (called.returncode, called.stdout, called.stderr) == (
        installed.returncode,
        installed.stdout,
        installed.stderr,
    )
    assert "no backbone is called 'nonsense'" in called.stderr


def test_every_exit_code_is_in_the_help(inside: Command) -> None:
    printed = " ".join(inside("--help").stdout.split())
    assert all(code in printed for code in ("0 done; 1 a defect of retop; 2", "130"))


def test_backbones_are_listed_with_their_groups(inside: Command) -> None:
    listed = inside("backbones")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in ("vgg16", "resnet50", "inception_v3", "xception"))
    shown = inside("backbones", "vgg16").stdout
    assert all(text in shown for text in ("224 x 224 pixels", "licence: ", "timm/vgg16.tv_in1k"))
    assert "weights:   none: it always starts from random ones" in inside("backbones", "scratch").stdout
    groups = json.loads(inside("backbones", "vgg16", "--json").stdout)["groups"]
    assert [group["name"] for group in groups][-1] == "block5"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--set", "stage2.learning_rat=1"), 2, "stage2.learning_rat"),
        (("--set", "learning_rate"), 2, "KEY=VALUE"),
        (("--epochs", "3"), 2, "HEAD,LATE"),
        (("--seeds", "x"), 2, "--seeds"),
        (("--baseline", "nothing"), 2, "no baseline 'nothing'"),
        (("--backbones", "pocket_resnet,pocket_resnet"), 2, "each backbone once"),
        (("--recipe", "nothing"), 2, "no recipe 'nothing'"),
        (("--thaw", "nowhere"), 2, "--thaw nowhere"),
        (("--device", "cuda"), 2, "--device auto|cpu"),
        (("--set", "pocket_resnet.precision=fp32"), 2, "--set precision=fp32"),
        (("--backbones", "resnet5000", "--weights", "random"), 4, "no backbone is called 'resnet5000'"),
        (("--no-such-option",), 2, "No such option"),
        (("--cache-limit", "nan"), 2, "--cache-limit takes a number of GiB above 0"),
        (("--cache", ""), 2, "--cache is empty"),
        (("--backbones", "pocket_resnet"), 2, "each backbone once"),
        (("--baseline", "probe", "--baseline", "nothing"), 2, "no baseline 'nothing'"),
    ],
)
def test_wrong_options_are_named(
    retop: Retop, inside: Command, photos: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    result = inside("compare", photos, "--backbones", "pocket_resnet", *words)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (retop.folder / "runs").exists()


def test_a_weights_folder_that_lacks_a_network_is_named(inside: Command, photos: Path, small_weights: Path) -> None:
    result = inside("compare", photos, "--backbones", "test_resnet,vgg16", "--weights", small_weights)
    assert result.returncode == 4, result.stderr
    assert "holds no weights of 'vgg16'" in result.stderr


def test_wrong_data_is_named(inside: Command, tmp_path: Path) -> None:
    words = ("--backbones", "pocket_resnet")
    missing = inside("compare", tmp_path / "nothing", *words)
    assert missing.returncode == 3
    assert "does not exist" in missing.stderr
    write_digits(tmp_path / "data" / "train", 3, (0, 1, 2))
    write_digits(tmp_path / "data" / "validation", 3, (0, 1))
    different = inside("compare", tmp_path / "data", *words)
    assert different.returncode == 3
    assert "validation/ lacks class 'digit-2'" in different.stderr


def test_a_folder_that_is_no_model_is_named(inside: Command, tmp_path: Path) -> None:
    result = inside("predict", tmp_path, tmp_path / "photo.jpg")
    assert result.returncode == 6
    assert "is not a model folder" in result.stderr
