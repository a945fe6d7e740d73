"""Reaching out to where weights are, without ever waiting long for it."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retop.backbones.embedded import embedded_backbones
from retop.errors import WeightsError

CONNECT_SECONDS = 5.0
"""How long a server may take to answer at all; behind a firewall that drops packets it never does."""

T = TypeVar("T")


@dataclass(frozen=True)
class FetchedWeights:
    """A weights file in the cache.

    Attributes:
        path: a safetensors file.
        location: hub repository or URL.
        revision: commit of the hub repository; None for a URL.
        sha256: of the fetched file, hexadecimal.
    """

    path: Path
    location: str
    revision: str | None
    sha256: str


def answer_within(seconds: float, call: Callable[[], T]) -> T:
    """Call a function that may hang in name resolution or connecting, where no timeout of its own reaches.

    Args:
        seconds: how long to wait.
        call: the function.

    Returns:
        What it returns.

    Raises:
        TimeoutError: it took longer; the call is left to end by itself.
        Exception: whatever the function raises.
    """
    outcome: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            outcome.put((True, call()))
        except Exception as error:  # noqa: BLE001  handed over to the waiting thread, which raises it
            outcome.put((False, error))

    threading.Thread(target=run, daemon=True, name="retop-connect").start()
    try:
        fine, result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if not fine:
        raise result
    return result  # type: ignore[no-any-return]


def _embedded_way_out() -> str:
    names = embedded_backbones()
    return f"--backbones {','.join(names)}, small networks that come with retop; or " if names else "or "


def not_available(name: str, file: str, looked: str, why: str, prefill: str) -> WeightsError:
    """The error for weights that are neither cached nor to be had."""
    return WeightsError(
        f"the weights of {name!r} are not on this machine and cannot be fetched: {why}. Missing: {file}; looked in "
        f"{looked}. Ways out: --weights FOLDER (weights=...) with a folder that holds them; {prefill}; "
        f"{_embedded_way_out()}--weights random (weights='random'), only to exercise the mechanics"
    )
