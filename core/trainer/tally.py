"""Means that add up over micro batches, ranks and steps without leaving the device until somebody reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.parallel.setup import Ranks


@dataclass(frozen=True, slots=True)
class Mean:
    """A sum and how many terms it has."""

    total: Tensor | float
    weight: Tensor | float


class Tally:
    """Sums of means by name."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, Tensor | float]] = {}

    def add(self, metrics: Mapping[str, Mean]) -> None:
        """Add each metric's share; tensors are taken without their graph."""
        for name, mean in metrics.items():
            total, weight = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = total + _detached(mean.total), weight + _detached(mean.weight)

    def local_totals(self) -> dict[str, Mean]:
        """This process's sums."""
        return {name: Mean(*sums) for name, sums in self._sums.items()}

    def local_means(self) -> dict[str, float]:
        """This process's means."""
        return _means(self.local_totals())

    def totals(self, ranks: Ranks) -> dict[str, Mean]:
        """Sums over all ranks, which must hold the same names, in one transfer from the device."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        parts = [torch.as_tensor(part) for name in names for part in self._sums[name]]
        device = next((part.device for part in parts if part.device.type == "cuda"), torch.device("cpu"))
        flat = torch.stack([part.to(device, torch.float64).reshape(()) for part in parts])
        values = ranks.sum_(flat).tolist()
        return {name: Mean(values[2 * i], values[2 * i + 1]) for i, name in enumerate(names)}

    def means(self, ranks: Ranks) -> dict[str, float]:
        """Means over all ranks."""
        return _means(self.totals(ranks))


def _means(totals: Mapping[str, Mean]) -> dict[str, float]:
    """Total over weight of what has any weight: a step of liked answers alone has no pair to compare."""
    return {name: float(mean.total) / float(mean.weight) for name, mean in totals.items() if mean.weight}


def _detached(value: Tensor | float) -> Tensor | float:
    return value.detach() if isinstance(value, Tensor) else value
