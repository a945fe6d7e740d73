"""Weights from a model hub: fetched with short timeouts, checksummed, and pinned on first use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retop.backbones.checksums import hash_file
from retop.errors import WeightsError

__all__ = ["FetchedWeights", "fetch_weights", "hash_file"]


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


def fetch_weights(name: str, architecture: str, config: dict[str, Any], *, offline: bool) -> FetchedWeights:
    raise WeightsError(f"no weights for {name}")
