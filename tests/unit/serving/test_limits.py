"""Limits that belong together agree."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from retop.bounds import PIXEL_LIMIT
from retop.cli.app import app as cli
from retop.errors import UsageError
from retop.export import standalone
from retop.serving.limits import Limits

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_container_is_left_the_time_in_which_the_server_stops() -> None:
    service = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]["retop"]
    assert "--stop-seconds" not in service["command"]
    # After that time a batch may be computed to its end, and a decoder may use up its time.
    assert float(service["stop_grace_period"].removesuffix("s")) >= Limits.stop_seconds + 2 * Limits.decode_seconds


def test_no_server_promises_more_pixels_than_are_decoded() -> None:
    assert Limits(pixels=PIXEL_LIMIT).pixels == standalone.MOST_PIXELS
    with pytest.raises(UsageError, match="--pixel-limit"):
        Limits(pixels=PIXEL_LIMIT + 1)


def test_the_help_names_the_limit_of_decoding() -> None:
    described = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "200"}).output
    assert f"predict takes {PIXEL_LIMIT // 1_000_000} million" in described
