"""Lowering of a trained network to the layers of a packed file.

A network is traced to a chain of operations. Behind a linear or convolutional layer its bias, the
scale of its weights and a norm are one affine function of the product, a x + b by channel, and a
binary neuron fires where it is above 0: where x is above, or for a < 0 below, the threshold -b / a.
For a = 0 the bit is constant. Bits are taken before a max-pool that stands between norm and neuron,
of which the maximum is then that of the bits, whatever the sign of a.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.nn.folding import norm_affine
from bnn.nn.neurons import Binary, Neuron, NoisyRectifier
from bnn.nn.noise import NoiseLaw
from bnn.nn.norms import NORMS
from bnn.nn.weight_layers import BinaryConv2d, BinaryLinear, binary_weight_of

Array = NDArray[Any]
EXPECTED = (
    "expected a chain of linear and convolutional layers, norms, max-pools, rectifiers and neurons "
    "(model=cnn, mlp or sbn); --onnx takes any network"
)


NORM_TYPES = tuple(norm for norm in NORMS.values() if isinstance(norm, type))


@dataclass
class Layer:
    """Layer of a packed file.

    Args:
        kind: `linear`, `convolution`, `affine`, `threshold`, `max_pool`, `flatten`, `rectifier` or
            `neuron`.
        settings: plain values by key.
        arrays: arrays by key.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)


class _Tracer(fx.Tracer):
    """Tracer that keeps the layers of this package as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, (Neuron, BinaryLinear, BinaryConv2d, *NORM_TYPES))
        return own or super().is_leaf_module(m, module_qualified_name)


Operation = nn.Module | tuple[str, float]
"""Operation of a chain: a module, or `times`, `plus`, `flatten`, `rectifier` with its number."""


def operations(model: nn.Module) -> list[Operation]:
    """Chain of operations of a network, from its input.

    Args:
        model: the network.

    Raises:
        ConfigError: for a network that is no chain of known operations.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # torch.fx has no exception of its own
        raise ConfigError(
            f"{type(model).__name__}: the forward pass is no chain of layers; {EXPECTED}"
        ) from error
    chain: list[Operation] = []
    last: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder":
            last = node
        elif node.op == "output":
            if node.args[0] is not last:
                raise ConfigError(
                    f"{type(model).__name__}: it returns something other than the output of its "
                    f"last layer; {EXPECTED}"
                )
        else:
            if last is None or node.all_input_nodes != [last]:
                raise ConfigError(f"{type(model).__name__}: a path around a layer; {EXPECTED}")
            chain.append(_operation(node, last, model))
            last = node
    return chain


FLATTEN = (Tensor.flatten, torch.flatten, "flatten")
RECTIFIER = (F.relu, torch.relu, "relu")


def _operation(node: fx.Node, below: fx.Node, model: nn.Module) -> Operation:
    if node.op == "call_module":
        return model.get_submodule(str(node.target))
    numbers = [one for one in node.args if isinstance(one, int | float)]
    if node.target in RECTIFIER:  # F.relu always has the keyword `inplace`
        return "rectifier", 1
    if node.kwargs:
        raise ConfigError(f"{node.name}: {EXPECTED}; write its arguments by position")
    if node.target in FLATTEN and numbers == [1]:
        return "flatten", 1
    if node.target is operator.mul and len(numbers) == 1:
        return "times", float(numbers[0])
    if node.target is operator.add and len(numbers) == 1:
        return "plus", float(numbers[0])
    if node.target is operator.sub and len(numbers) == 1 and node.args[0] is below:
        return "plus", -float(numbers[0])
    raise ConfigError(f"{node.name}: no layer of a packed file; {EXPECTED}")


class _Lowering:
    """Layers so far, and what waits to be merged with the next one.

    `affine` is a x + b by channel of the last product, `factors` c x + d of the bits below, and
    `pools` the max-pools behind an affine function.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.affine: tuple[Array, Array] | None = None
        self.factors: tuple[float, float] | None = None
        self.pools: list[Layer] = []

    def add(self, operation: Operation) -> None:
        """Lower one operation."""
        match operation:
            case nn.Linear() | nn.Conv2d():
                self._product(operation)
            case nn.MaxPool2d():
                self._max_pool(operation)
            case Binary():
                self._threshold()
            case Neuron():
                self._flush()
                self.layers += _neuron(operation)
            case nn.Flatten(start_dim=start, end_dim=end) if (start, end) != (1, -1):
                raise ConfigError(f"Flatten({start}, {end}): expected Flatten(1); {EXPECTED}")
            case nn.Flatten() | ("flatten", _):
                self._flush()
                self.layers.append(Layer("flatten"))
            case nn.ReLU() | ("rectifier", _):
                self._flush()
                self.layers.append(Layer("rectifier"))
            case ("times", number):
                self._scale(number, 0.0)
            case ("plus", number):
                self._scale(1.0, number)
            case nn.Identity() | nn.Dropout():
                return
            case nn.Module():
                self._norm(operation)

    def finish(self) -> list[Layer]:
        """All layers, once nothing follows."""
        self._flush()
        return self.layers

    def _product(self, layer: nn.Linear | nn.Conv2d) -> None:
        below = self.factors if self._folds(layer) else None
        if below is None:
            self._flush()
        self.factors = None
        weight, scale = _weight_and_scale(layer)
        settings: dict[str, Any] = {"inputs": weight[0].numel()}
        kind = "linear"
        if isinstance(layer, nn.Conv2d):
            kind, settings = "convolution", {**settings, **_geometry(layer)}
        outputs = len(weight)
        shift = torch.zeros(outputs) if layer.bias is None else layer.bias.detach().cpu()
        gain, offset = scale.double(), shift.double()
        if below is not None:  # w·(c b + d) = c w·b + d Σ w
            offset = offset + below[1] * gain * weight.double().flatten(1).sum(1)
            gain = below[0] * gain
        binary = binary_weight_of(layer) is not None
        flat = weight.flatten(1)
        stored = np.packbits(flat.numpy() > 0, axis=1) if binary else flat.numpy()
        self.layers.append(Layer(kind, settings, {"weight": stored}))
        self.affine = gain.numpy(), offset.numpy()

    def _folds(self, layer: nn.Linear | nn.Conv2d) -> bool:
        """Whether factors of the bits below are folded: padded zeros would not be."""
        padded = isinstance(layer, nn.Conv2d) and any(map(bool, layer.padding))
        return self.factors is not None and self.affine is None and not padded

    def _norm(self, norm: nn.Module) -> None:
        if not isinstance(norm, NORM_TYPES):
            raise ConfigError(f"{type(norm).__name__}: no layer of a packed file; {EXPECTED}")
        if self.pools or self.affine is None:
            raise ConfigError(f"{type(norm).__name__} that no linear layer feeds; {EXPECTED}")
        gain, offset = self.affine
        scale, shift = (one.cpu().numpy() for one in norm_affine(norm, len(gain)))
        self.affine = scale * gain, scale * offset + shift

    def _max_pool(self, pool: nn.MaxPool2d) -> None:
        sizes = [pool.kernel_size, pool.stride, pool.padding, pool.dilation]
        kernel, stride, padding, dilation = (_square(one, "MaxPool2d") for one in sizes)
        if padding or dilation != 1 or pool.ceil_mode:
            raise ConfigError(f"MaxPool2d: expected one without padding or dilation; {EXPECTED}")
        made = Layer("max_pool", {"kernel": kernel, "stride": stride})
        if self.affine is None:
            self._flush()
            self.layers.append(made)
        else:
            self.pools.append(made)

    def _threshold(self) -> None:
        if self.affine is None:
            raise ConfigError(f"a binary neuron that no linear layer feeds; {EXPECTED}")
        gain, offset = self.affine
        constant = gain == 0
        always = np.where(offset > 0, -math.inf, math.inf)
        threshold = np.where(constant, always, -offset / np.where(constant, 1, gain))
        arrays: dict[str, Array] = {
            "threshold": threshold.astype(np.float32),
            "sign": np.where(gain < 0, -1, 1).astype(np.int8),
        }
        self.layers.append(Layer("threshold", {}, arrays))
        self.layers += self.pools
        self.affine, self.pools = None, []

    def _scale(self, factor: float, number: float) -> None:
        if self.affine is not None:
            self._flush()
        before = self.factors or (1.0, 0.0)
        self.factors = factor * before[0], factor * before[1] + number

    def _flush(self) -> None:
        """Write what waits as layers of its own."""
        if self.affine is not None:
            gain, offset = (one.astype(np.float32) for one in self.affine)
            self.layers += [Layer("affine", {}, {"scale": gain, "shift": offset}), *self.pools]
            self.affine, self.pools = None, []
        if self.factors is not None:
            self.layers.append(_scaling(*self.factors))
            self.factors = None


def lowered(model: nn.Module) -> list[Layer]:
    """Layers of the packed file of a network, whose random units are thresholded.

    Args:
        model: trained network.

    Raises:
        ConfigError: for a network that has another form.
    """
    lowering = _Lowering()
    for operation in operations(model):
        lowering.add(operation)
    return lowering.finish()


def _weight_and_scale(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight as it is stored, ±1 for binary weights, and the scale of each output.

    Returns:
        [outputs, inputs, …] and [outputs].
    """
    binary = binary_weight_of(layer)
    if binary is None:
        assert isinstance(layer.weight, Tensor)
        weight = layer.weight.detach().cpu()
        return weight, torch.ones(len(weight))
    binary = binary.detach().cpu()
    return binary.sign(), binary.flatten(1).abs()[:, 0]


def _geometry(layer: nn.Conv2d) -> dict[str, int]:
    """Kernel, stride and padding of a convolution with square kernels."""
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ConfigError(
            f"Conv2d: expected one group and padding by a number of zeros; {EXPECTED}"
        )
    if _square(layer.dilation, "Conv2d") != 1:
        raise ConfigError(f"Conv2d: expected no dilation; {EXPECTED}")
    sizes = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    return {key: _square(one, "Conv2d") for key, one in sizes.items()}


def _square(size: int | Sequence[int], name: str) -> int:
    """Size of both axes."""
    both = [size, size] if isinstance(size, int) else list(size)
    if both[0] != both[1]:
        raise ConfigError(f"{name}: expected a square kernel, got {tuple(both)}; {EXPECTED}")
    return both[0]


def _scaling(factor: float, number: float) -> Layer:
    """Affine layer that is the same for all channels."""
    arrays = {"scale": [factor], "shift": [number]}
    return Layer("affine", {}, {key: np.array(one, np.float32) for key, one in arrays.items()})


KNOWN_LAWS = ("logistic", "uniform", "triangular", "gaussian")
"""Noise laws of the runner."""


def _neuron(neuron: Neuron) -> list[Layer]:
    """Layers of a neuron that fires no bits, without its noise."""
    slope = float(neuron.slope)
    if isinstance(neuron, NoisyRectifier):
        return [_scaling(slope, 0.0), Layer("rectifier")]
    law = next(
        (name for name in NoiseLaw.registry if NoiseLaw.registry[name] is type(neuron.law)), None
    )
    if law not in KNOWN_LAWS:
        raise ConfigError(
            f"neuron.law={law}: expected one of {', '.join(KNOWN_LAWS)}, which the runner knows"
        )
    return [Layer("neuron", {"slope": slope, "law": law})]
