"""Memory that a network takes, counted without computing, against sums by hand and against a real pass."""

import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from retop.backbones.footprint import peak_bytes

FLOAT = 4


def test_without_gradients_two_layers_are_alive_at_once() -> None:
    network = nn.Sequential(nn.Linear(10, 100), nn.Linear(100, 7), nn.Linear(7, 3))
    counted = peak_bytes(network, [((32, 10), torch.float32)], train=False)
    assert counted == FLOAT * 32 * (10 + 100 + 7)


def test_with_gradients_all_inputs_of_layers_are_kept() -> None:
    network = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 3))
    counted = peak_bytes(network, [((32, 10), torch.float32)], train=True)
    activations = FLOAT * 32 * (10 + 100 + 100 + 3)
    gradients = FLOAT * (32 * 100 + sum(parameter.numel() for parameter in network.parameters()))
    assert activations < counted <= activations + gradients + FLOAT * 32 * 100


def test_what_is_frozen_keeps_nothing() -> None:
    network = nn.Sequential(*(nn.Linear(50, 50) for _ in range(8)))
    whole = peak_bytes(network, [((64, 50), torch.float32)], train=True)
    for layer in network[:7]:
        layer.requires_grad_(False)
    assert peak_bytes(network, [((64, 50), torch.float32)], train=True) < whole / 2


def test_memory_grows_with_the_batch_and_the_network_is_left_alone() -> None:
    network = timm.create_model("test_resnet", num_classes=0).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    small, large = (peak_bytes(network, [((n, 3, 64, 64), torch.float32)], train=True) for n in (8, 64))
    assert 6 < large / small <= 8
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and not parameter.is_meta for parameter in network.parameters())


REAL = """
import resource, sys, torch, timm
torch.set_num_threads(1)
network = timm.create_model("mobilenetv2_100", num_classes=0).train().to(memory_format=torch.channels_last)
def step(n):
    images = torch.zeros(n, 3, 160, 160).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
step(1)
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
step(16)
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts resident memory as Linux does")
def test_a_real_step_takes_what_was_counted() -> None:
    network = timm.create_model("mobilenetv2_100", num_classes=0).train()
    counted = peak_bytes(network, [((16, 3, 160, 160), torch.float32)], train=True)
    taken = int(subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True).stdout)
    assert 0.75 * counted < taken < 1.3 * counted
