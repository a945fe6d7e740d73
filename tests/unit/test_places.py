from pathlib import Path

import pytest

from retop.places import cache_folder


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("RETOP_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{chosen}/retop"),
        ("linux", None, "{home}/.cache/retop"),
        ("darwin", None, "{home}/Library/Caches/retop"),
        ("win32", "LOCALAPPDATA", "{chosen}/retop"),
        ("win32", None, "{home}/AppData/Local/retop"),
    ],
)
def test_the_cache_folder_is_the_platforms(monkeypatch, tmp_path, platform, variable, expected):
    for name in ("RETOP_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "chosen"))
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == Path(expected.format(chosen=tmp_path / "chosen", home=tmp_path / "home"))
