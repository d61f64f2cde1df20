"""Histograms by epoch, of binary weights or of units, kept in the run directory until the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bnn.nn.handlers import threshold
from bnn.nn.weight_layers import binary_weight_layers
from bnn.training.activations import activations

BINS = 40


class EpochHistograms:
    """Histograms of the values of each layer, before training and after each epoch.

    A run that is resumed goes on with those of the process before it.

    Args:
        file: file that keeps them.
        low: lower end of the first of BINS bins.
        high: upper end of the last one.
    """

    def __init__(self, file: Path, low: float, high: float) -> None:
        self._file, self._range = file, (low, high)
        self.shares: dict[str, list[list[float]]] = {}
        """Shares of the values in each bin, by layer and epoch."""

    def start(self, finished_epochs: int, values: Mapping[str, Tensor]) -> None:
        """Begin with the values before training, or with what an earlier process kept.

        Args:
            finished_epochs: epochs that an earlier process finished.
            values: present values by layer.
        """
        if finished_epochs and self._file.is_file():
            kept: Mapping[str, list[list[float]]] = json.loads(self._file.read_text())
            self.shares = {layer: rows[: finished_epochs + 1] for layer, rows in kept.items()}
        elif not finished_epochs:
            self.shares = {}
            self.add(values)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the histograms of the present values, and write all of them.

        Args:
            values: by layer, of any shape.
        """
        for name, of_layer in values.items():
            flat = of_layer.flatten().float().cpu()
            counts = torch.histc(flat, BINS, *self._range)
            self.shares.setdefault(name, []).append((counts / len(flat)).tolist())
        if self.shares:
            self._file.write_text(json.dumps(self.shares))

    def remove(self) -> None:
        """Remove the file of a run that is over."""
        self._file.unlink(missing_ok=True)


@torch.no_grad()
def weight_means(model: nn.Module) -> dict[str, Tensor]:
    """Means μ of the binary weights of each layer, in [-1, 1]."""
    return {
        name: layer.rule.means(layer.weight).flatten()
        for name, layer in binary_weight_layers(model)
    }


@torch.no_grad()
def unit_probabilities(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Firing probabilities F(a) of each activation layer in a pass of thresholded bits.

    Args:
        model: the network.
        inputs: [n, …].

    Returns:
        [n, *units] by layer; of real-valued units their output.
    """
    found, _ = activations(model, inputs, threshold)
    return {name: one.neuron.law.cdf(one.preactivation) for name, one in found.items()}
