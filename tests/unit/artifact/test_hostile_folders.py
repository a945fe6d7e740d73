"""Model folders from strangers are refused with an error of ours, in bounded time and memory."""

import resource
import time
from pathlib import Path

import pytest

from hostile_folders import HOSTILE, Files, seal, small_model
from retop.artifact import load_model_folder
from retop.errors import ModelFolderError


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


def test_a_folder_of_version_1_still_loads() -> None:
    loaded = load_model_folder(Path(__file__).parent / "versions" / "1")
    assert loaded.trained.classes == ("cat", "dog", "owl")
    assert loaded.trained.config_sha256 == ""
