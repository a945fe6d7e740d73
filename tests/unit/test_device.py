"""Devices that are not there are refused, and flags of CUDA are put back."""

import pytest
import torch

from retop.device import choose_device, full_float32, seed_generators
from retop.errors import UsageError


def test_a_device_that_is_not_there_is_refused() -> None:
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(UsageError, match=rf"device '{missing}' is not available here; .*--device auto\|cpu"):
        choose_device(missing)


def test_auto_is_a_device_that_is_there() -> None:
    assert choose_device(choose_device("auto")) in ("cpu", "cuda", "mps")


def test_tensorfloat_is_off_inside_and_as_before_outside() -> None:
    def flags() -> tuple[bool, str]:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    before = flags()
    with full_float32(torch.device("cuda")):
        assert flags() == (False, "highest")
    assert flags() == before


def test_generators_are_seeded_as_torch_does_it() -> None:
    torch.manual_seed(2**62 + 1)
    expected = torch.rand(3)
    seed_generators(2**62 + 1, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
