"""The arguments that a folder may give to the network that it names.

timm's networks take hundreds. Some compute tables from them in plain Python, in time and memory that grow with the
fourth power of a number, before any parameter exists that could be counted. So only these pass, each with its range;
`num_classes` and whatever leads elsewhere (`pretrained`, `checkpoint_path`, ...) are retop's own to set.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from retop.errors import WeightsError


class Allowed(NamedTuple):
    """What one argument may be.

    Attributes:
        words: for messages and documents.
        fits: tells whether a value does.
    """

    words: str
    fits: Callable[[Any], bool]


def _whole(most: int, least: int = 1) -> Allowed:
    return Allowed(
        f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most
    )


def _number(most: float, least: float = 0) -> Allowed:
    return Allowed(
        f"a number from {least} to {most}", lambda value: type(value) in (int, float) and least <= value <= most
    )


def _size(most: int) -> Allowed:
    def fits(value: Any) -> bool:
        both = value if isinstance(value, list | tuple) and len(value) == 2 else (value,)
        return all(map(_whole(most).fits, both))

    return Allowed(f"a whole number from 1 to {most}, or two of them", fits)


def _sizes(longest: int, most: int) -> Allowed:
    return Allowed(
        f"1 to {longest} whole numbers from 1 to {most}",
        lambda value: (
            isinstance(value, list | tuple) and 1 <= len(value) <= longest and all(map(_whole(most).fits, value))
        ),
    )


def _one_of(*words: str) -> Allowed:
    return Allowed(f"one of {', '.join(map(repr, words))}", lambda value: isinstance(value, str) and value in words)


_SWITCH = Allowed("true or false", lambda value: type(value) is bool)

ALLOWED: Mapping[str, Allowed] = {
    # The network that is trained from scratch.
    "widths": _sizes(16, 4096),
    # Vision transformers, of which timm has no name for every size.
    "img_size": _size(1024),
    "patch_size": _size(64),
    "embed_dim": _whole(4096),
    "depth": _whole(64),
    "num_heads": _whole(64),
    "mlp_ratio": _number(16),
    "init_values": _number(1),
    "reg_tokens": _whole(32, least=0),
    "class_token": _SWITCH,
    "no_embed_class": _SWITCH,
    "dynamic_img_size": _SWITCH,
    "dynamic_img_pad": _SWITCH,
    "qkv_bias": _SWITCH,
    "qk_norm": _SWITCH,
    "pre_norm": _SWITCH,
    "fc_norm": _SWITCH,
    # Convolutional networks, above all those whose weights come from another library.
    "pad_type": _one_of("", "same", "valid"),
    "bn_eps": _number(1),
    "bn_momentum": _number(1),
    "aux_logits": _SWITCH,
    "transform_input": _SWITCH,
    # Nearly all.
    "act_layer": _one_of("relu", "relu6", "leaky_relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "hard_swish"),
    "global_pool": _one_of("avg", "max", "avgmax", "catavgmax", "token", "map"),
    "in_chans": Allowed("3", lambda value: type(value) is int and value == 3),
    "drop_rate": _number(1),
    "drop_path_rate": _number(1),
}


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a network that a folder may not give.

    Args:
        arguments: `model_args` of a config.json.

    Raises:
        WeightsError: one is not among `ALLOWED`, or out of its range.
    """
    for name, value in arguments.items():
        if name not in ALLOWED:
            raise WeightsError(
                f"model_args may not hold {name[:60]!r}; a folder may give {', '.join(ALLOWED)}. Name "
                f"an architecture of timm that has the rest without arguments, or train this network with timm itself"
            )
        if not ALLOWED[name].fits(value):
            raise WeightsError(f"{name} in model_args must be {ALLOWED[name].words}; received {str(value)[:60]!r}")
