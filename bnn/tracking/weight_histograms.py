"""Histograms of binary weights by epoch, kept in the run directory until the run ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bnn.nn.weight_layers import binary_weight_layers

FILE = "weight_histograms.json"
BINS = 40
"""Bins of the means, from -1 to 1."""


class WeightHistograms:
    """Histograms of the weights' means μ of each layer, before training and after each epoch.

    A run that is resumed goes on with those of the process before it.

    Args:
        folder: run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self.shares: dict[str, list[list[float]]] = {}
        """Shares of the weights in each bin, by layer and epoch."""

    def start(self, model: nn.Module, finished_epochs: int) -> None:
        """Begin with the initial weights, or with what an earlier process kept.

        Args:
            model: the network.
            finished_epochs: epochs that an earlier process finished.
        """
        if finished_epochs and self._file.is_file():
            kept: Mapping[str, list[list[float]]] = json.loads(self._file.read_text())
            self.shares = {layer: rows[: finished_epochs + 1] for layer, rows in kept.items()}
        elif not finished_epochs:
            self.shares = {}
            self.add(model)

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Add the histograms of the present weights, and write all of them.

        Args:
            model: the network.
        """
        for name, layer in binary_weight_layers(model):
            means = layer.rule.means(layer.weight).flatten().float().cpu()
            counts = torch.histc(means, BINS, -1, 1)
            self.shares.setdefault(name, []).append((counts / len(means)).tolist())
        if self.shares:
            self._file.write_text(json.dumps(self.shares))

    def remove(self) -> None:
        """Remove the file of a run that is over."""
        self._file.unlink(missing_ok=True)
