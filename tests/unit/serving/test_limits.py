"""Limits that belong together agree."""

from pathlib import Path

import yaml

from retop.serving.limits import Limits

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_container_is_left_the_time_in_which_the_server_stops() -> None:
    service = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]["retop"]
    assert "--stop-seconds" not in service["command"]
    # After that time a batch may be computed to its end, and a decoder may use up its time.
    assert float(service["stop_grace_period"].removesuffix("s")) >= Limits.stop_seconds + 2 * Limits.decode_seconds
