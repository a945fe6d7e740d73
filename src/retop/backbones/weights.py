"""Weights from a model hub: fetched with short timeouts, checksummed, and pinned on first use."""

import os
from pathlib import Path
from typing import Any

from retop.backbones.checksums import hash_file
from retop.backbones.connecting import CONNECT_SECONDS, FetchedWeights, answer_within, not_available
from retop.backbones.downloads import fetch_from_url
from retop.backbones.pins import Pin, enforce_pin, read_pin
from retop.errors import WeightsError


def fetch_weights(name: str, config: dict[str, Any], *, offline: bool = False) -> FetchedWeights:
    """Take a backbone's pretrained weights from the cache, or from where timm says they are.

    Args:
        name: the backbone's name, for messages.
        config: timm's description of the weights.
        offline: use the cache alone.

    Returns:
        The file, its origin, and its checksum.

    Raises:
        WeightsError: there are none; they are not in the cache and cannot be fetched; they are damaged or not those
            that were used first.
    """
    offline = offline or is_offline()
    if repository := config.get("hf_hub_id"):
        return _fetch_from_hub(name, repository, config.get("hf_hub_filename") or "model.safetensors", offline)
    if url := config.get("url"):
        return fetch_from_url(name, url, offline=offline)
    if name.startswith("pocket_"):
        raise WeightsError(
            f"the weights of {name!r} are not in this copy of retop. Make them with `retop pretrain DATA --backbone "
            f"{name}`, then give --weights FOLDER (weights=...); or --weights random (weights='random')"
        )
    raise WeightsError(
        f"no pretrained weights of {name!r} are published. Give your own with --weights FOLDER (weights=...), or "
        f"--weights random (weights='random') to train from nothing"
    )


def is_offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE``, ``TRANSFORMERS_OFFLINE``)."""
    values = (os.environ.get(key, "").upper() for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value in ("1", "ON", "YES", "TRUE") for value in values)


def _fetch_from_hub(name: str, repository: str, file: str, offline: bool) -> FetchedWeights:
    from huggingface_hub import constants, try_to_load_from_cache

    location = f"{repository}/{file}"
    pin = read_pin(location)
    revision = pin.revision if pin else None
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        path = Path(cached)
    elif offline:
        why = "the network is switched off (HF_HUB_OFFLINE=1; unset it to download)"
        raise _hub_error(name, repository, file, constants.HF_HUB_CACHE, why)
    else:
        path = _download_from_hub(name, repository, file, revision)
    # .../snapshots/COMMIT/FILE
    commit = path.parent.name
    sha256 = hash_file(path)
    enforce_pin(location, Pin(commit, sha256), path)
    return FetchedWeights(path, repository, commit, sha256)


def _download_from_hub(name: str, repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(repository, file, revision=revision)
    try:
        found = answer_within(CONNECT_SECONDS, lambda: get_hf_file_metadata(url, timeout=CONNECT_SECONDS))
        path = hf_hub_download(repository, file, revision=found.commit_hash, etag_timeout=CONNECT_SECONDS)
    # huggingface_hub lets errors of several HTTP libraries through; each one means that the file did not come.
    except Exception as error:
        why = f"{constants.ENDPOINT} says: {str(error).strip().splitlines()[0] if str(error).strip() else type(error)}"
        raise _hub_error(name, repository, file, constants.HF_HUB_CACHE, why) from error
    return Path(path)


def _hub_error(name: str, repository: str, file: str, cache: str, why: str) -> WeightsError:
    return not_available(
        name,
        f"{file} of {repository}",
        f"the hub's cache {cache}",
        why,
        f"`hf download {repository} {file}` on a connected machine, then copy that cache folder here",
    )
