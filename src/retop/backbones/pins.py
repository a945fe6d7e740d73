"""Pins: checksums that hold weights from elsewhere to the first ones seen."""

import json
from dataclasses import dataclass
from pathlib import Path

from retop.errors import SchemaError, WeightsError
from retop.places import cache_folder
from retop.schema import from_plain, to_plain, write_json


@dataclass(frozen=True)
class Pin:
    """What a weights file was when it was first used.

    Attributes:
        revision: commit of the hub repository; None for a URL.
        sha256: of the file as it was fetched, hexadecimal.
        converted_sha256: of the safetensors file made from it; None where it was safetensors already.
    """

    revision: str | None
    sha256: str
    converted_sha256: str | None = None


def pins_file() -> Path:
    """Where the pins are kept."""
    return cache_folder() / "weights" / "pins.json"


def read_pin(location: str) -> Pin | None:
    """The pin of a hub file or URL, or None where it was never used.

    Args:
        location: ``repository/file`` or URL.

    Returns:
        The pin.

    Raises:
        WeightsError: the file of pins is damaged.
    """
    pins = _read_pins()
    return pins.get(location)


def enforce_pin(location: str, found: Pin, path: Path) -> None:
    """Record a file's checksum on first use, and hold it to that record from then on.

    Args:
        location: ``repository/file`` or URL.
        found: what the file is now.
        path: the file, for the message.

    Raises:
        WeightsError: the file is not the one that was used first, or the pins cannot be read or written.
    """
    pins = _read_pins()
    pinned = pins.get(location)
    if pinned is None:
        _write_pins(pins | {location: found})
    elif (pinned.sha256, pinned.converted_sha256) != (found.sha256, found.converted_sha256):
        now, then = (pin.converted_sha256 or pin.sha256 for pin in (found, pinned))
        raise WeightsError(
            f"{path} ({location}) has SHA-256 {now}, but {then} was recorded in {pins_file()} when these weights were "
            f"first used. The file is damaged or was replaced: delete it to fetch it again; if the change is wanted, "
            f"remove the entry from that file"
        )


def _read_pins() -> dict[str, Pin]:
    try:
        plain = json.loads(pins_file().read_text(encoding="utf-8"))
        return {location: from_plain(Pin, pin, where=location) for location, pin in plain.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, SchemaError) as error:
        raise WeightsError(
            f"{pins_file()}, which holds the checksums of weights used before, cannot be read: {error}. "
            f"Delete it to record them anew"
        ) from error


def _write_pins(pins: dict[str, Pin]) -> None:
    try:
        pins_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(pins_file(), {location: to_plain(pin) for location, pin in sorted(pins.items())})
    except OSError as error:
        raise WeightsError(
            f"the checksum of the weights cannot be recorded in {pins_file()}: {error.strerror or error}. "
            f"Set RETOP_CACHE to a folder that can be written"
        ) from error
