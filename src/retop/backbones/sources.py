"""Where a backbone's weights are: the hub, the package, a folder, a file, or nowhere (random)."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm

from retop.backbones.catalogue import find_entry
from retop.backbones.checksums import hash_file
from retop.backbones.embedded import find_embedded
from retop.backbones.naming import resolve_name
from retop.errors import UnknownBackboneError, UsageError, WeightsError
from retop.records import WeightsRecord

LARGEST_CONFIG = 8 * 2**20
"""Bytes of a config.json, from whomever: timm's have a few thousand."""

_SMALL_BYTES = 64 * 2**20
"""Weights of at most so many are read without asking how much memory is left."""

_WEIGHTS_NAME = "model.safetensors"
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")


@dataclass(frozen=True)
class WeightsSource:
    """Everything that determines a network, before it is built.

    Attributes:
        architecture: timm's name.
        model_args: keyword arguments of the architecture.
        pretrained_cfg: timm's description of the weights, as plain data.
        file: the safetensors file; None for random weights.
        record: where the weights come from.
    """

    architecture: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    file: Path | None
    record: WeightsRecord

    def network(self) -> dict[str, Any]:
        """What determines the network besides its weights, as JSON can hold it."""
        return describe_network(self.architecture, self.model_args, self.pretrained_cfg)

    def resized(self, image_size: int | None) -> "WeightsSource":
        """The same network for images of another size.

        Args:
            image_size: height and width in pixels; None leaves it.

        Raises:
            UsageError: the network takes images of one size alone.
        """
        own = list(self.pretrained_cfg.get("input_size", (3, 224, 224)))
        if image_size is None or own[1:] == [image_size, image_size]:
            return self
        if self.pretrained_cfg.get("fixed_input_size"):
            raise UsageError(
                f"{self.architecture} takes images of {own[1]} x {own[2]} pixels alone; received "
                f"image_size={image_size}. Leave it out (--set {self.architecture}.image_size=null), or take another "
                f"network"
            )
        config = {key: value for key, value in self.pretrained_cfg.items() if key != "pool_size"}
        return replace(self, pretrained_cfg=config | {"input_size": [3, image_size, image_size]})


def describe_network(architecture: str, model_args: dict[str, Any], pretrained_cfg: dict[str, Any]) -> dict[str, Any]:
    """What determines a network besides its weights: with another mean or crop it sees other images.

    Args:
        architecture: timm's name.
        model_args: keyword arguments of the architecture.
        pretrained_cfg: timm's description of the weights.

    Returns:
        Plain data, as it reads after a way through JSON.
    """
    described = {"architecture": architecture, "model_args": model_args, "pretrained_cfg": pretrained_cfg}
    return dict(json.loads(json.dumps(described, default=str)))


def find_source(name: str, weights: str | Path | None, *, seed: int = 0, offline: bool = False) -> WeightsSource:
    """Find a backbone's weights.

    Args:
        name: the backbone's name.
        weights: as `build_backbone` takes it; None is the package for the backbones that come with it.
        seed: of random weights.
        offline: never touch the network.

    Returns:
        The network's description and its weights file.

    Raises:
        UnknownBackboneError: there is no such network.
        WeightsError: the weights are missing or refused.
    """
    if weights is None:
        embedded = find_embedded(name)
        return _from_package(name, embedded) if embedded else _from_hub(name, offline)
    if str(weights) == "random":
        return random_source(name, seed)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _from_folder(name, path)
    if path.suffix in _PICKLES:
        raise _pickled(path)
    if path.is_file():
        return _from_file(name, path)
    raise WeightsError(
        f"--weights {weights} (weights=...) is neither a folder nor a .safetensors file; "
        f"give an existing one, 'random', or leave it out for the hub"
    )


def random_source(name: str, seed: int) -> WeightsSource:
    """A network with random weights.

    Args:
        name: the backbone's name.
        seed: of the weights.

    Returns:
        The source, without a file.

    Raises:
        UnknownBackboneError: there is no such network.
    """
    architecture, config = resolve_name(name)
    config = _without_claims(config)
    return WeightsSource(architecture, {}, config, None, WeightsRecord("random", str(seed), None, None, None, None))


def _without_claims(config: dict[str, Any]) -> dict[str, Any]:
    """Without what timm says of its own weights, which does not hold for others."""
    return {key: value for key, value in config.items() if key not in ("license", "description")}


def _from_hub(name: str, offline: bool) -> WeightsSource:
    # What reaches out is not loaded for networks that are here.
    from retop.backbones.weights import fetch_weights

    architecture, config = resolve_name(name)
    fetched = fetch_weights(name, config, offline=offline)
    record = WeightsRecord(
        "hub", fetched.location, fetched.revision, fetched.sha256, config.get("license"), config.get("description")
    )
    return WeightsSource(architecture, {}, config, fetched.path, record)


def _from_package(name: str, folder: Path) -> WeightsSource:
    source = _from_folder(name, folder)
    return replace(source, record=replace(source.record, source="package", location=f"{name}, in the package retop"))


def _from_folder(name: str, root: Path) -> WeightsSource:
    folder = _choose_folder(name, root)
    file = folder / _WEIGHTS_NAME
    if not file.is_file():
        pickled = [item for item in sorted(folder.iterdir()) if item.suffix in _PICKLES]
        if pickled:
            raise _pickled(pickled[0])
        raise WeightsError(f"{folder} has a config.json but no {_WEIGHTS_NAME}; put the weights there")
    config = _read_config(folder / "config.json")
    architecture = str(config.get("architecture", ""))
    if not timm.is_model(architecture) or "." in architecture:
        raise WeightsError(
            f"{folder / 'config.json'} names the architecture {architecture!r}, which timm does not have"
        )
    _check_asked_for(name, folder, architecture)
    model_args, merged, description = _described(folder / "config.json", config, architecture)
    return WeightsSource(architecture, model_args, merged, file, _record("folder", file, description, folder))


def _from_file(name: str, file: Path) -> WeightsSource:
    """A config.json beside the file counts where it is of the same architecture; else the catalogue does."""
    architecture, known = resolve_name(name)
    beside = file.with_name("config.json")
    config = _read_config(beside) if beside.is_file() else {}
    if config.get("architecture") != architecture:
        known = _without_claims(known)
        return WeightsSource(architecture, {}, known, file, _record("file", file, known))
    model_args, merged, description = _described(beside, config, architecture)
    return WeightsSource(architecture, model_args, merged, file, _record("file", file, description))


def _described(
    path: Path, config: dict[str, Any], architecture: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Arguments, timm's description with what the config changes in it, and the config's own description."""
    model_args, description = config.get("model_args") or {}, config.get("pretrained_cfg") or {}
    if not isinstance(model_args, dict) or not isinstance(description, dict):
        raise WeightsError(f"model_args and pretrained_cfg in {path} must be mappings")
    merged = resolve_name(architecture)[1] | description
    for key in ("hf_hub_id", "url", "source", "file"):
        merged.pop(key, None)
    return model_args, merged, description


def _choose_folder(name: str, root: Path) -> Path:
    entry = find_entry(name)
    names = list(dict.fromkeys((name, *([entry.timm_name, entry.architecture] if entry else [name.partition(".")[0]]))))
    for candidate in (*(root / each for each in names if Path(each).name == each), root):
        if (candidate / "config.json").is_file():
            return candidate
    pickled = [item for item in sorted(root.iterdir()) if item.suffix in _PICKLES]
    if pickled:
        raise _pickled(pickled[0])
    present = sorted(item.parent.name for item in root.glob("*/config.json"))
    usual = "take those that come with retop" if find_embedded(name) else "take them from the hub"
    raise WeightsError(
        f"{root} holds no weights of {name!r}: looked for {', '.join(f'{each}/config.json' for each in names)} and "
        f"config.json; it has {', '.join(present) or 'no network at all'}. Point --weights (weights=...) at a folder "
        f"that has them, or leave it out to {usual}"
    )


def _check_asked_for(name: str, folder: Path, architecture: str) -> None:
    if folder.name == name:
        return
    try:
        expected = resolve_name(name)[0]
    except UnknownBackboneError as error:
        raise UnknownBackboneError(f"{error}. {folder} holds {architecture!r}; ask for it by that name") from error
    if architecture != expected:
        raise WeightsError(
            f"{folder} holds {architecture!r}, but {name!r} ({expected}) was asked for. For several backbones give "
            f"--weights (weights=...) a folder with one sub-folder per backbone"
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        # Links are followed: the hub's cache consists of them.
        if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
            raise WeightsError(f"{path} is no file of at most {LARGEST_CONFIG} bytes, so it is not read")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} should hold a mapping with 'architecture'; received {type(config).__name__}")
    return config


def _record(source: Any, file: Path, config: dict[str, Any], shown: Path | None = None) -> WeightsRecord:
    # Before the hash: a file with holes can be larger than any disk.
    size = file.stat().st_size
    if size > _SMALL_BYTES:
        _check_room(file, size)
    texts = [str(config[key]) if config.get(key) else None for key in ("license", "description")]
    return WeightsRecord(source, str((shown or file).resolve()), None, hash_file(file), texts[0], texts[1])


def _check_room(file: Path, size: int) -> None:
    from retop.room import memory_room

    room = memory_room()
    if size > room.left_bytes:
        raise WeightsError(f"{file} has {size:,} bytes, and {room}. Free some, or take a smaller network")


def _pickled(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is a pickle, which can run code when it is read, so it is refused. Convert it once where you trust "
        f"it: safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), {_WEIGHTS_NAME!r})"
    )
