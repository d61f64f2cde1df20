"""Inference of gated networks by their open blocks alone: the path that saves multiply-adds.

    network = OpenBlocks.of(model)
    result = network(images)          # the outputs of `model(images)`, and the blocks computed

Of a single image the open blocks are computed in turn, or as one smaller convolution; of a larger
batch each block computes the images for which it is open. Norms are folded into the weights.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.models.gated import GatedConvNet, GatedMLP, GatedNetwork
from bnn.nn.folding import evaluated_weight, folded


class OpenBlocksResult(NamedTuple):
    """Outputs of a gated network by its open blocks.

    Args:
        outputs: [n, outputs].
        blocks: number of blocks computed, of all images together.
    """

    outputs: Tensor
    blocks: int


class OpenBlocks(ABC):
    """Gated network in evaluation, of which the open blocks alone are computed.

    Args:
        model: trained network; a copy of its weights is kept.
    """

    _last: Tensor
    """Bias of the outputs, [outputs]."""

    def __init__(self, model: GatedNetwork) -> None:
        self._gates = copy.deepcopy(model).gates

    @staticmethod
    def of(model: nn.Module) -> OpenBlocks:
        """Inference by open blocks of a network.

        Args:
            model: trained `gated_mlp` or `gated_cnn`.

        Raises:
            ConfigError: for another network, or a norm that cannot be folded.
        """
        if isinstance(model, GatedMLP):
            return _OpenBlocksMLP(model)
        if isinstance(model, GatedConvNet):
            return _OpenBlocksConvNet(model)
        raise ConfigError(
            f"model: expected gated_mlp or gated_cnn, whose blocks gates switch off; got a "
            f"{type(model).__name__}"
        )

    @torch.no_grad()
    def __call__(self, x: Tensor, gates: Tensor | None = None) -> OpenBlocksResult:
        """Outputs of images.

        Args:
            x: images, [n, c, h, w].
            gates: bits, [n, blocks]; None: those that the network's gater fires.
        """
        fired = self._gates(x) if gates is None else gates
        if len(x) == 1:
            opened = fired[0].nonzero()[:, 0]
            return OpenBlocksResult(self._gathered(x, opened), len(opened))
        return self._grouped(x, fired)

    @abstractmethod
    def _gathered(self, x: Tensor, opened: Tensor) -> Tensor:
        """Outputs [1, outputs] of one image by the blocks of these indices."""

    def _grouped(self, x: Tensor, gates: Tensor) -> OpenBlocksResult:
        """Outputs of a batch, each block computed for the images for which it is open."""
        below, computed = self._below_gates(x), 0
        outputs = self._last.repeat(len(x), 1)
        for block, rows in enumerate(_rows_by_block(gates)):
            if len(rows):
                outputs.index_add_(0, rows, self._of_block(below[rows], block))
                computed += len(rows)
        return OpenBlocksResult(outputs, computed)

    @abstractmethod
    def _below_gates(self, x: Tensor) -> Tensor:
        """Inputs of the blocks, [n, …], of images [n, c, h, w]."""

    @abstractmethod
    def _of_block(self, x: Tensor, block: int) -> Tensor:
        """Part [n, outputs] of one block in the outputs, of its inputs [n, …]."""


class _OpenBlocksMLP(OpenBlocks):
    def __init__(self, model: GatedMLP) -> None:
        super().__init__(model)
        weight, bias = folded(model.linear1, model.norm1)
        # a view for each block: a gathered copy would cost as much as the product
        self._below = weight.unflatten(0, (model.blocks, -1)).contiguous().unbind(0)
        self._bias = bias.unflatten(0, (model.blocks, -1)).contiguous()
        above = evaluated_weight(model.linear2).T.unflatten(0, (model.blocks, -1))
        self._above, self._last = above.contiguous(), model.linear2.bias.detach().clone()

    def _gathered(self, x: Tensor, opened: Tensor) -> Tensor:
        if not len(opened):
            return self._last[None].clone()
        image = x.flatten()
        units = torch.cat([torch.mv(self._below[block], image) for block in opened.tolist()])
        hidden = units.add_(self._bias[opened].flatten()).relu_()
        return torch.addmv(self._last, self._above[opened].flatten(0, 1).T, hidden)[None]

    def _below_gates(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def _of_block(self, x: Tensor, block: int) -> Tensor:
        hidden = torch.addmm(self._bias[block], x, self._below[block].T).relu_()
        return torch.mm(hidden, self._above[block])


class _OpenBlocksConvNet(OpenBlocks):
    def __init__(self, model: GatedConvNet) -> None:
        super().__init__(model)
        self._first = folded(model.conv1, model.norm1)
        self._weight, self._bias = folded(model.conv2, model.norm2)
        above = evaluated_weight(model.linear).T.unflatten(0, (model.blocks, -1))
        self._above, self._last = above.contiguous(), model.linear.bias.detach().clone()

    def _below_gates(self, x: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(F.conv2d(x, *self._first, padding=2), 2))

    def _channels(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(F.conv2d(x, weight, bias, padding=2), 2)).flatten(1)

    def _gathered(self, x: Tensor, opened: Tensor) -> Tensor:
        if not len(opened):
            return self._last[None].clone()
        hidden = self._channels(self._below_gates(x), self._weight[opened], self._bias[opened])
        return torch.addmm(self._last, hidden, self._above[opened].flatten(0, 1))

    def _of_block(self, x: Tensor, block: int) -> Tensor:
        one = slice(block, block + 1)
        hidden = self._channels(x, self._weight[one], self._bias[one])
        return torch.mm(hidden, self._above[block])


def _rows_by_block(gates: Tensor) -> Sequence[Tensor]:
    """Indices of the images for which each block is open, by block.

    Args:
        gates: bits, [n, blocks].
    """
    by_block = gates.T.contiguous()
    found: Sequence[Tensor] = by_block.nonzero()[:, 1].split(by_block.sum(1).int().tolist())
    return found
