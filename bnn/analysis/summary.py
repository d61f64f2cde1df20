"""Summary of a network, layer by layer: bits and memory of the weights, and multiply-adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn.models import GatedNetwork
from bnn.nn.handlers import apply, evaluating
from bnn.nn.neurons import Neuron
from bnn.nn.readings import seeded_handler
from bnn.nn.weight_layers import binary_weight_of
from bnn.tables import BLANK, markdown

FLOAT_BITS = 32
"""Bits of a real number as it is stored."""


@dataclass(frozen=True)
class LayerSummary:
    """Summary of one layer of a network.

    Args:
        name: name of the module.
        kind: its class.
        output: shape of its output for one sample.
        inputs: `bits` where every input is one of two numbers, else `real`; empty for a layer
            without weights.
        weights: number of weights of a linear or convolutional layer.
        weight_bits: bits of each, 1 or 32.
        others: number of other parameters and running statistics, 32 bits each.
        multiply_adds: multiply-adds of one sample.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    inputs: str = ""
    weights: int = 0
    weight_bits: int = FLOAT_BITS
    others: int = 0
    multiply_adds: int = 0

    @property
    def binary_multiply_adds(self) -> int:
        """Multiply-adds of bits with bits, which a count of bits replaces."""
        return self.multiply_adds if self.inputs == "bits" and self.weight_bits == 1 else 0

    @property
    def float_bytes(self) -> int:
        """Bytes of weights and other numbers, all as 32-bit numbers."""
        return 4 * (self.weights + self.others)

    @property
    def packed_bytes(self) -> int:
        """Bytes with the weights packed, eight binary ones a byte."""
        return -(-self.weights * self.weight_bits // 8) + 4 * self.others


def summarise(model: nn.Module, inputs: Tensor) -> list[LayerSummary]:
    """Summary of the layers that hold parameters or fire, in the order in which they run.

    Args:
        model: the network.
        inputs: [n, …] with values of their own, by which inputs that are bits are told from others.
    """
    found: dict[str, LayerSummary] = {}

    def add(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        one = _summary(name, module, x, output)
        if (before := found.get(name)) is not None:  # shared weights are counted once
            one = dataclasses.replace(one, multiply_adds=before.multiply_adds + one.multiply_adds)
        found[name] = one

    hooks = [
        module.register_forward_hook(
            lambda m, given, output, name=name: add(name, m, given[0], output)
        )
        for name, module in model.named_modules()
        if isinstance(module, Neuron) or any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with evaluating(model), torch.no_grad():
            apply(model, inputs, seeded_handler(0, inputs.device))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _summary(name: str, module: nn.Module, x: Tensor, output: Tensor) -> LayerSummary:
    shape = tuple(output.shape[1:])
    numbers: list[Tensor] = [*module.parameters(recurse=False)]
    buffers = module.named_buffers(recurse=False)
    numbers += [one for key, one in buffers if key.startswith("running")]
    count = sum(one.numel() for one in numbers)
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return LayerSummary(name, type(module).__name__, shape, others=count)
    weights = module.weight.numel()
    return LayerSummary(
        name,
        type(module).__name__,
        shape,
        inputs="bits" if _are_bits(x) else "real",
        weights=weights,
        weight_bits=FLOAT_BITS if binary_weight_of(module) is None else 1,
        others=count - weights,
        multiply_adds=_multiply_adds(module, x, shape),
    )


def _are_bits(x: Tensor) -> bool:
    """Whether all values are 0 or 1, or all -1 or 1."""
    values = set(x.unique()[:3].tolist())
    return values <= {0.0, 1.0} or values <= {-1.0, 1.0}


def _multiply_adds(module: nn.Module, x: Tensor, output: Sequence[int]) -> int:
    """Multiply-adds of one sample in a linear or convolutional layer."""
    assert isinstance(module.weight, Tensor)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        positions = x[0].numel() // x.shape[1]
    elif isinstance(module, nn.Linear):
        positions = 1
    else:
        positions = torch.Size(output).numel() // module.weight.shape[0]
    return positions * module.weight.numel()


def summary_table(layers: Sequence[LayerSummary]) -> str:
    """Markdown table of the layers with their totals."""
    rows = [
        [
            one.name,
            one.kind,
            "×".join(map(str, one.output)),
            one.inputs or BLANK,
            f"{one.weights:,}" if one.weights else BLANK,
            str(one.weight_bits) if one.weights else BLANK,
            f"{one.float_bytes:,}",
            f"{one.packed_bytes:,}",
            f"{one.multiply_adds - one.binary_multiply_adds:,}" if one.weights else BLANK,
            f"{one.binary_multiply_adds:,}" if one.weights else BLANK,
        ]
        for one in layers
    ]
    weights = sum(one.weights for one in layers)
    totals = (
        sum(one.float_bytes for one in layers),
        sum(one.packed_bytes for one in layers),
        sum(one.multiply_adds - one.binary_multiply_adds for one in layers),
        sum(one.binary_multiply_adds for one in layers),
    )
    rows.append(["total", "", "", "", f"{weights:,}", "", *(f"{total:,}" for total in totals)])
    return markdown(
        [
            "layer",
            "kind",
            "output",
            "inputs",
            "weights",
            "bits of a weight",
            "bytes as float32",
            "bytes packed",
            "multiply-adds",
            "of bits with bits",
        ],
        rows,
    )


def gates_note(model: nn.Module, config: Mapping[str, Any]) -> str:
    """Sentence on the multiply-adds of a gated network; empty for another.

    Args:
        model: the network.
        config: its configuration.
    """
    if not isinstance(model, GatedNetwork) or model.gater is None:
        return ""
    every, of_block = model.multiply_adds
    share = config["model"]["open"]
    expected = every + share * model.blocks * of_block
    return (
        f"Gates: {every:,} multiply-adds for every image and {of_block:,} for each open block of "
        f"{model.blocks}; {expected:,.0f} at the share {share}."
    )
