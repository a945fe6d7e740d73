"""From the name a user gives to timm's architecture and its description of the weights."""

from typing import Any

import timm
from timm.data.config import resolve_data_config

import retop.backbones.pocket
import retop.backbones.scratch  # noqa: F401  both register networks with timm
from retop.backbones.catalogue import find_entry, known_backbones
from retop.errors import SchemaError, UnknownBackboneError, WeightsError
from retop.records import Preprocessing


def resolve_name(name: str) -> tuple[str, dict[str, Any]]:
    """Find a network by its short name or its timm name.

    Args:
        name: e.g. ``vgg16``, ``resnet18``, ``resnet18.a1_in1k``.

    Returns:
        timm's name of the architecture, and timm's description of its weights (plain data).

    Raises:
        UnknownBackboneError: neither the catalogue nor timm has that name, or timm has no such tag.
    """
    entry = find_entry(name)
    timm_name = entry.timm_name if entry else name
    architecture, _, tag = timm_name.partition(".")
    if not timm.is_model(architecture):
        raise _unknown(name)
    tags = {known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")} if tag else set()
    if tag and tag not in tags:
        offered = ", ".join(sorted(f"{architecture}.{known}" for known in tags)) or "none"
        raise UnknownBackboneError(
            f"timm knows {architecture!r} but not the weights tag {tag!r}; known: {offered}. "
            f"Give the architecture alone for its default weights"
        )
    return architecture, plain_config(timm.get_pretrained_cfg(timm_name))


def has_plain_timm(architecture: str) -> bool:
    """Whether an architecture is timm's own, not one that another package adds to its list."""
    return bool(timm.is_model(architecture)) and timm.model_entrypoint(architecture).__module__.startswith("timm.")


def plain_config(config: Any) -> dict[str, Any]:
    """A `PretrainedCfg` of timm as JSON can hold it, without empty entries."""
    plain = {} if config is None else config.to_dict(remove_source=False, remove_null=True)
    plain.pop("architecture", None)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _unknown(name: str) -> UnknownBackboneError:
    import difflib

    short = [entry.name for entry in known_backbones()]
    stem = name.partition(".")[0]
    close = difflib.get_close_matches(stem, short, n=2) + difflib.get_close_matches(stem, timm.list_models(), n=4)
    hint = f"; close to it: {', '.join(dict.fromkeys(close))}" if close else ""
    return UnknownBackboneError(
        f"no backbone is called {name!r}{hint}. `retop backbones` lists the short names ({', '.join(short)}); "
        f"any name of timm.list_models() is accepted too"
    )


def read_preprocessing(pretrained_cfg: dict[str, Any]) -> Preprocessing:
    """The preprocessing that a network's weights were trained with.

    Args:
        pretrained_cfg: timm's description of the weights, as plain data.

    Returns:
        Size, crop, interpolation, mean and std; timm's defaults where an entry is absent.

    Raises:
        WeightsError: an entry has the wrong form.
    """
    try:
        config = resolve_data_config(pretrained_cfg=pretrained_cfg)  # type: ignore[no-untyped-call]
        channels, height, width = (int(size) for size in config["input_size"])
        mean, std = _read_triple(config["mean"]), _read_triple(config["std"])
        fraction = float(config["crop_pct"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"the preprocessing in the network's pretrained_cfg cannot be read: {error}") from error
    modes, kernels = ("center", "squash", "border"), ("bilinear", "bicubic", "nearest", "lanczos", "box", "hamming")
    checks = {
        "input_size": channels == 3,
        "crop_mode": config["crop_mode"] in modes,
        "interpolation": config["interpolation"] in kernels,
    }
    if wrong := [f"{key}={config[key]!r}" for key, fine in checks.items() if not fine]:
        raise WeightsError(f"the network's pretrained_cfg asks for preprocessing that is not possible: {wrong}")
    try:
        return Preprocessing(height, width, fraction, config["crop_mode"], config["interpolation"], mean, std)
    except SchemaError as error:
        raise WeightsError(
            f"the network's pretrained_cfg asks for preprocessing that is not possible: {error}"
        ) from error


def _read_triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
