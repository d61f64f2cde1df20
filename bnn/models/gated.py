"""Gated networks: stochastic binary gates, by input, that switch blocks of units off.

A gater reads the image and opens gates, which are an ordinary binary layer: every estimator trains
them. In training all blocks are computed and multiplied by their gates, which saves nothing;
`bnn.models.open_blocks` computes the open blocks alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.models.base import MODELS, pooled_size
from bnn.models.sparsity import NoSparsity, Sparsity
from bnn.nn.neurons import Binary, Deterministic, Neuron
from bnn.nn.norms import NORMS
from bnn.nn.sites import Latents, Site

GATER = "gater"
"""Name of the parameter group of a gater."""
GATES = ("input", "random", "open")


class GaterLinear(nn.Linear):
    """Linear layer of a gater, in its parameter group; its weights are real under every rule."""

    parameter_group = GATER


class Gater(nn.Module):
    """Gater, Linear - tanh - Linear - act (Bengio, Léonard & Courville 2013).

    Args:
        inputs: number of inputs.
        hidden: number of tanh units.
        gates: number of gates.
        share: probability of a gate to be open at first, for a hidden layer of zeros.
        activation: the activation module that fires the gates.
    """

    def __init__(
        self, inputs: int, hidden: int, gates: int, share: float, activation: nn.Module
    ) -> None:
        super().__init__()
        self.linear1 = GaterLinear(inputs, hidden)
        self.linear2 = GaterLinear(hidden, gates)
        nn.init.constant_(self.linear2.bias, threshold_of(activation, share))
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        """Gates [n, gates] of inputs [n, inputs]."""
        gates: Tensor = self.act(self.linear2(torch.tanh(self.linear1(x))))
        return gates

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for each sample."""
        return self.linear1.weight.numel() + self.linear2.weight.numel()


class RandomGates(nn.Module):
    """Gates that open with one probability, whatever the input: a control.

    Args:
        gates: number of gates.
        share: probability of a gate to be open.
        activation: the activation module that fires the gates.
    """

    preactivation: Tensor
    act: nn.Module

    def __init__(self, gates: int, share: float, activation: nn.Module) -> None:
        super().__init__()
        if isinstance(activation, Deterministic):
            raise ConfigError(
                "model.gates=random with neuron=deterministic: a unit that does not draw opens all "
                "gates or none; write neuron=stochastic"
            )
        self.register_buffer(
            "preactivation", torch.full((gates,), threshold_of(activation, share)), persistent=False
        )
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        """Gates [n, gates] of inputs [n, inputs]."""
        assert isinstance(self.act, Neuron)
        gates: Tensor = self.act((self.preactivation / self.act.slope).expand(x.shape[0], -1))
        return gates

    multiply_adds = 0


def threshold_of(activation: nn.Module, share: float) -> float:
    """Pre-activation at which a unit fires with a probability, at slope 1."""
    assert isinstance(activation, Neuron)
    return float(activation.law.quantile(torch.tensor(share, dtype=torch.float64)))


class GatedNetwork(nn.Module, ABC):
    """Network whose blocks of units are multiplied by gates.

    Args:
        inputs: number of the gater's inputs.
        blocks: number of blocks, and of gates.
        activations: the activation module of the gates.
        gates: `input` (of the gater), `random` (with one probability) or `open` (all, always).
        share: τ, share of the gates that is to be open.
        gater: number of hidden units of the gater.
        sparsity: sparsity objective.

    Raises:
        ConfigError: for parameters that make no sense.
    """

    depth = 1

    def __init__(
        self,
        inputs: int,
        blocks: int,
        activations: Sequence[nn.Module],
        gates: str,
        share: float,
        gater: int,
        sparsity: Sparsity,
    ) -> None:
        super().__init__()
        if gates not in GATES:
            raise ConfigError(f"model.gates: expected one of {', '.join(GATES)}; got {gates!r}")
        if not 0 < share < 1:
            raise ConfigError(f"model.open: expected a share of the gates in (0, 1), got {share}")
        for key, value in (("blocks", blocks), ("gater", gater)):
            if value < 1:
                raise ConfigError(f"model.{key}: expected at least 1, got {value}")
        self.blocks, self.share, self.sparsity = blocks, share, sparsity
        (activation,) = activations
        if gates != "open" and not isinstance(activation, Binary):
            raise ConfigError(
                f"model.gates={gates}: gates are binary units, got {type(activation).__name__}; "
                "write placement=last with neuron=stochastic or deterministic, or model.gates=open "
                "for a network without gates"
            )
        if gates != "input" and not isinstance(sparsity, NoSparsity):
            raise ConfigError(
                f"model.gates={gates} with a sparsity objective: such gates do not learn; write "
                "model/sparsity=none"
            )
        self.gater: Gater | RandomGates | None = None
        if gates == "input":
            self.gater = Gater(inputs, gater, blocks, share, activation)
        elif gates == "random":
            self.gater = RandomGates(blocks, share, activation)

    def gates(self, x: Tensor) -> Tensor:
        """Gates [n, blocks] of images [n, c, h, w]."""
        if self.gater is None:
            return x.new_ones(x.shape[0], self.blocks)
        gates: Tensor = self.gater(x.flatten(1))
        return gates

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of images [n, c, h, w]; every block is computed."""
        hidden = self.hidden(x)  # first: no norm is above the gates
        return self.readout(_gated(hidden, self.gates(x)))

    def masked(self, x: Tensor, gates: Tensor) -> Tensor:
        """Outputs under given gates; every block is computed and multiplied by its gate.

        Args:
            x: images, [n, c, h, w].
            gates: [n, blocks].

        Returns:
            [n, outputs].
        """
        return self.readout(_gated(self.hidden(x), gates))

    @abstractmethod
    def hidden(self, x: Tensor) -> Tensor:
        """Blocks of hidden units [n, blocks, *units] of images [n, c, h, w]."""

    @abstractmethod
    def readout(self, hidden: Tensor) -> Tensor:
        """Outputs [n, outputs] of blocks of hidden units [n, blocks, *units]."""

    @property
    def multiply_adds(self) -> tuple[int, int]:
        """Multiply-adds for each sample: those of every sample, and those of each open block."""
        below, blocks = self.layer_multiply_adds
        return below + (
            0 if self.gater is None else self.gater.multiply_adds
        ), blocks // self.blocks

    @property
    @abstractmethod
    def layer_multiply_adds(self) -> tuple[int, int]:
        """Multiply-adds of the layers below the blocks, and of all blocks together."""

    def training_penalty(self, sites: Sequence[Site]) -> Tensor | None:
        """Sparsity objective of one pass, a term of the training loss.

        Args:
            sites: binary layers of the pass, [replicas, samples, *units].

        Returns:
            Scalar; None without gates that learn.
        """
        if not isinstance(self.gater, Gater):
            return None
        probs = [site.probs[0] for site in sites if site.module is self.gater.act]
        return self.sparsity(probs[0], self.share) if probs else None

    def sample_costs(self, latents: Latents, samples: int) -> dict[str, Tensor]:
        """Open share of the gates and multiply-adds of each row, for evaluation.

        Args:
            latents: binary layers with their bits, [n, *units].
            samples: n.

        Returns:
            `open` and `multiply_adds`, [n].
        """
        found = [one.bits for one in latents if one.site.module is getattr(self.gater, "act", None)]
        gates = found[0].flatten(1) if found else torch.ones(samples, self.blocks)
        every, of_block = self.multiply_adds
        return {"open": gates.mean(1), "multiply_adds": every + of_block * gates.sum(1)}


@MODELS.add("gated_mlp")
class GatedMLP(GatedNetwork):
    """Multi-layer perceptron of one hidden layer of rectifiers, in blocks that gates switch off.

    Linear - norm - ReLU, times the block's gate - Linear.

    Args:
        shape: channels, height and width of the images.
        outputs: number of outputs.
        activations: the activation module of the gates.
        blocks: number of blocks, and of gates.
        block_size: number of units of a block.
        gates: `input`, `random` or `open`.
        open: τ, share of the gates that is to be open.
        gater: number of hidden units of the gater.
        norm: `batch`, `running`, `group` or `none`.
        sparsity: sparsity objective.

    Raises:
        ConfigError: for parameters that make no sense.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        blocks: int = 40,
        block_size: int = 50,
        gates: str = "input",
        open: float = 0.25,
        gater: int = 64,
        norm: str = "batch",
        sparsity: Sparsity | str = "condnet",
    ) -> None:
        inputs = math.prod(shape)
        if block_size < 1:
            raise ConfigError(f"model.block_size: expected at least 1 unit, got {block_size}")
        super().__init__(inputs, blocks, activations, gates, open, gater, _sparsity(sparsity))
        units = blocks * block_size
        self.linear1 = nn.Linear(inputs, units)
        self.norm1 = NORMS[norm](units)
        self.linear2 = nn.Linear(units, outputs)

    def hidden(self, x: Tensor) -> Tensor:
        units: Tensor = F.relu(self.norm1(self.linear1(x.flatten(1))))
        blocks: Tensor = units.unflatten(1, (self.blocks, -1))
        return blocks

    def readout(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.linear2(hidden.flatten(1))
        return output

    @property
    def layer_multiply_adds(self) -> tuple[int, int]:
        return 0, self.linear1.weight.numel() + self.linear2.weight.numel()


@MODELS.add("gated_cnn")
class GatedConvNet(GatedNetwork):
    """Convolutional network of two hidden layers, gates on the channels of the second.

    Conv(16, 5×5) - norm - max-pool 2 - ReLU - Conv(channels, 5×5) - norm - max-pool 2 - ReLU, times
    the channel's gate - Linear.

    Args:
        shape: channels, height and width of the images.
        outputs: number of outputs.
        activations: the activation module of the gates.
        channels: number of channels of the second convolution, and of gates.
        gates: `input`, `random` or `open`.
        open: τ, share of the gates that is to be open.
        gater: number of hidden units of the gater.
        norm: `batch`, `running`, `group` or `none`.
        sparsity: sparsity objective.

    Raises:
        ConfigError: for parameters that make no sense.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        channels: int = 32,
        gates: str = "input",
        open: float = 0.25,
        gater: int = 64,
        norm: str = "batch",
        sparsity: Sparsity | str = "condnet",
    ) -> None:
        if channels < 1:
            raise ConfigError(f"model.channels: expected at least 1, got {channels}")
        super().__init__(
            math.prod(shape), channels, activations, gates, open, gater, _sparsity(sparsity)
        )
        colours, self.height, self.width = shape
        positions = pooled_size(self.height, self.width)
        self.conv1 = nn.Conv2d(colours, 16, 5, padding=2)
        self.norm1 = NORMS[norm](16)
        self.conv2 = nn.Conv2d(16, channels, 5, padding=2)
        self.norm2 = NORMS[norm](channels)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(channels * positions, outputs)

    def hidden(self, x: Tensor) -> Tensor:
        x = F.relu(self.pool(self.norm1(self.conv1(x))))
        hidden: Tensor = F.relu(self.pool(self.norm2(self.conv2(x))))
        return hidden

    def readout(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.linear(hidden.flatten(1))
        return output

    @property
    def layer_multiply_adds(self) -> tuple[int, int]:
        first = self.height * self.width * self.conv1.weight.numel()
        second = (self.height // 2) * (self.width // 2) * self.conv2.weight.numel()
        return first, second + self.linear.weight.numel()


def _gated(hidden: Tensor, gates: Tensor) -> Tensor:
    """Blocks [n, blocks, *units] times their gates [n, blocks]."""
    return hidden * gates.view(*gates.shape, *[1] * (hidden.dim() - 2))


def _sparsity(chosen: Sparsity | str) -> Sparsity:
    return Sparsity.registry[chosen]() if isinstance(chosen, str) else chosen
