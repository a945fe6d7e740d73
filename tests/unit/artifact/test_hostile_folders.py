"""Model folders from strangers are refused with an error of ours, in bounded time and memory."""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hostile_folders import HOSTILE, Files, seal, small_model
from retop.artifact import load_model_folder
from retop.artifact.bounds import read_bounded
from retop.errors import ModelFolderError
from retop.predictor import Predictor
from retop.records import MODEL_FOLDER_VERSION


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return small_model(tmp_path_factory.mktemp("model") / "model")


def test_the_folder_that_all_are_made_from_is_valid(valid: Files, tmp_path: Path) -> None:
    seal(valid).write(tmp_path / "model")
    assert load_model_folder(tmp_path / "model").trained.classes == ("cat", "dog", "owl")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_in_bounded_memory(valid: Files, tmp_path: Path, name: str) -> None:
    HOSTILE[name](valid).write(tmp_path / "model")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ModelFolderError) as refusal:
        load_model_folder(tmp_path / "model")
    assert time.process_time() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19
    assert len(str(refusal.value)) < 3000


def test_a_file_takes_no_more_memory_than_it_has_bytes_however_many_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_bounded(tmp_path / "file", 2**62) == read_bounded(tmp_path / "file", 7) == b"content"
    with pytest.raises(ModelFolderError, match="has 7 bytes; at most 6 are read"):
        read_bounded(tmp_path / "file", 6)


def test_tables_that_are_not_in_the_file_are_counted_before_they_are_made(valid: Files, tmp_path: Path) -> None:
    HOSTILE["tables that no file holds"](valid).write(tmp_path / "model")
    with pytest.raises(ModelFolderError, match="would compute tables of 2147745840 bytes; at most"):
        load_model_folder(tmp_path / "model")


VERSIONS = Path(__file__).parent / "versions"


@pytest.mark.parametrize("version", range(1, MODEL_FOLDER_VERSION + 1))
def test_a_folder_of_every_version_still_loads_and_answers_the_same(version: int) -> None:
    """A new version of the format needs a folder of its own here: `save_version` of this file writes it."""
    folder = VERSIONS / str(version)
    predictor = Predictor(folder)
    expected = json.loads((folder / "expected.json").read_text())
    assert predictor.classes == ("cat", "dog", "owl")
    assert (predictor.trained.config_sha256 == "") == (version == 1)
    np.testing.assert_allclose(predictor.logits(drawn_images()), expected["logits"], atol=1e-5)
    assert predictor.temperature == expected["temperature"]


def test_there_is_no_folder_of_a_version_that_is_not_known() -> None:
    assert sorted(int(path.name) for path in VERSIONS.iterdir()) == list(range(1, MODEL_FOLDER_VERSION + 1))


def drawn_images() -> torch.Tensor:
    """Two images that no generator draws."""
    return (torch.arange(2 * 3 * 32 * 32) * 37 % 251).reshape(2, 3, 32, 32).to(torch.uint8)


def save_version(folder: Path) -> None:
    """Write the small model in today's version, and what it answers."""
    seal(small_model(folder.with_suffix(".first"))).write(folder)
    predictor = Predictor(folder)
    expected = {"logits": predictor.logits(drawn_images()).tolist(), "temperature": predictor.temperature}
    (folder / "expected.json").write_text(json.dumps(expected))
