"""Weights that exist only as a pickle behind a URL: checked, read without running code, converted once."""

import hashlib
import pickle
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from retop.backbones.checksums import hash_file
from retop.backbones.connecting import CONNECT_SECONDS, FetchedWeights, answer_within, not_available
from retop.backbones.pins import Pin, enforce_pin, read_pin
from retop.errors import WeightsError
from retop.places import cache_folder

_READ_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20


def fetch_from_url(name: str, url: str, *, offline: bool) -> FetchedWeights:
    """Take weights from the cache, or download a ``.pth`` whose name holds its hash and convert it.

    Args:
        name: the backbone's name, for messages.
        url: ends in ``NAME-HASH.pth``, the beginning of its SHA-256 in hexadecimal.
        offline: use the cache alone.

    Returns:
        The converted file; its checksum is that of the file behind the URL.

    Raises:
        WeightsError: the URL has no such form; the file is not cached and cannot be fetched; its hash is not the one
            in its name, or not the one that was used first; it holds more than tensors.
    """
    file = url.rpartition("/")[2]
    match = re.fullmatch(r"(.+)-([0-9a-f]{8,64})\.pth", file)
    if match is None:
        raise WeightsError(
            f"the weights of {name!r} exist only as {url}, whose name does not hold a hash to check it by, so it is "
            f"refused. Convert it to safetensors where you trust it and give --weights FILE (weights=...)"
        )
    path = cache_folder() / "weights" / f"{match[1]}-{match[2]}.safetensors"
    pin = read_pin(url)
    if path.is_file() and pin:
        sha256 = pin.sha256
    elif offline:
        raise _url_error(name, url, path, "the network is switched off (HF_HUB_OFFLINE=1; unset it to download)")
    else:
        sha256 = _download_and_convert(name, url, match[2], path)
    enforce_pin(url, Pin(None, sha256, hash_file(path)), path)
    return FetchedWeights(path, url, None, sha256)


def _download_and_convert(name: str, url: str, prefix: str, path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            pickled, converted = Path(folder, "weights.pth"), Path(folder, "weights.safetensors")
            sha256 = _download(url, pickled)
            if not sha256.startswith(prefix):
                raise WeightsError(
                    f"what {url} delivered has SHA-256 {sha256}, but its name promises {prefix}...: it is damaged or "
                    f"was replaced. Try again, or give the weights with --weights (weights=...)"
                )
            _convert(pickled, converted)
            converted.replace(path)
    except (OSError, urllib.error.URLError, TimeoutError) as error:
        raise _url_error(name, url, path, str(error)) from error
    return sha256


def _download(url: str, path: Path) -> str:
    digest = hashlib.sha256()

    def connect() -> Any:
        return urllib.request.urlopen(url, timeout=_READ_SECONDS)

    with answer_within(CONNECT_SECONDS, connect) as response, path.open("wb") as file:
        while chunk := response.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _convert(pickled: Path, converted: Path) -> None:
    try:
        state = torch.load(pickled, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        safetensors.torch.save_file({name: state[name].contiguous().clone() for name in sorted(state)}, converted)
    except (pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, ValueError, EOFError) as error:
        raise WeightsError(
            f"the downloaded weights hold something else than tensors and are refused: {error}"
        ) from error


def _url_error(name: str, url: str, path: Path, why: str) -> WeightsError:
    return not_available(
        name,
        url,
        str(path),
        why,
        f"run the same command once on a connected machine and copy {path.parent} here",
    )
