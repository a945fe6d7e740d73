"""Batch norms whose statistics training keeps, and whether the saved model has them still."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retop.records import KeptStatistics


class StatisticsToKeep:
    """A copy of the statistics that training is not to change: C channels of mean and of variance.

    Args:
        network: with the weights that training begins with.
        following: names of parameters; batch norms that hold one of them follow their batches.
    """

    def __init__(self, network: nn.Module, following: Collection[str]) -> None:
        self._kept = {
            name: (mean_c.detach().cpu().clone(), variance_c.detach().cpu().clone())
            for name, norm, mean_c, variance_c in _statistics(network)
            if not any(f"{name}.{one}" in following for one, _ in norm.named_parameters(recurse=False))
        }

    def compare(self, network: nn.Module) -> KeptStatistics:
        """Look for them in another network.

        Args:
            network: of the same layers.

        Returns:
            How many there are, and which are others.
        """
        found = {name: (mean_c.cpu(), variance_c.cpu()) for name, _, mean_c, variance_c in _statistics(network)}
        changed = [
            name
            for name, kept in self._kept.items()
            if name not in found or not all(map(torch.equal, kept, found[name]))
        ]
        return KeptStatistics(len(self._kept), len(changed), changed[0] if changed else None)


def _statistics(network: nn.Module) -> Iterator[tuple[str, _BatchNorm, Tensor, Tensor]]:
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            yield name, module, module.running_mean, module.running_var
