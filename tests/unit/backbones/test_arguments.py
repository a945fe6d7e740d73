"""The arguments that a folder may give to its network."""

from typing import Any

import pytest

from retop.backbones.arguments import ALLOWED, check_arguments
from retop.errors import WeightsError

FITTING: dict[str, list[Any]] = {
    "widths": [[4] * 5, (24, 48)],
    "img_size": [1, 518, [96, 64]],
    "patch_size": [14, [16, 8]],
    "embed_dim": [1536],
    "depth": [24],
    "num_heads": [24],
    "mlp_ratio": [4, 5.33334],
    "init_values": [1e-05, 0],
    "reg_tokens": [0, 8],
    "pad_type": ["same", ""],
    "bn_eps": [0.001],
    "bn_momentum": [0.01],
    "act_layer": ["gelu"],
    "global_pool": ["token", "avg"],
    "in_chans": [3],
    "drop_rate": [0.5],
    "drop_path_rate": [0.1],
}
BEYOND: tuple[Any, ...] = (
    *(-1, 0.25 + 2**16, 2**63, 10**400, float("nan"), float("inf"), None, "x", "a" * 10**6),
    *([], [0], [7, 30000, 7, 7], [2**40] * 3, [1] * 10**5, [[1, 1]], {}, {"a": 1}, "__import__('os')"),
)


@pytest.mark.parametrize("name", ALLOWED)
def test_values_of_published_folders_pass_and_whatever_is_large_or_of_another_kind_is_refused(name: str) -> None:
    for value in FITTING.get(name, [True, False]):
        check_arguments({name: value})
    for value in BEYOND:
        with pytest.raises(WeightsError, match=f"{name} in model_args must be .*; received") as refusal:
            check_arguments({name: value})
        assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "name", ["pretrained", "checkpoint_path", "num_classes", "window_size", "window_sizes", "dims"]
)
def test_an_argument_that_a_folder_may_not_give_is_refused_with_those_that_it_may(name: str) -> None:
    with pytest.raises(WeightsError, match=f"may not hold '{name}'; a folder may give widths, img_size, .*Name an"):
        check_arguments({"img_size": 32, name: 1})
