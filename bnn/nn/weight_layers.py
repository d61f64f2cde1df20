"""Linear and convolutional layers with binary weights, and the surgery that puts them in a network.

    net = bnn.binarize(net, weights="sign")                    # hidden layers
    net = bnn.binarize(net, weights="sample", layers="all")

A binary layer has the parameters of the layer that it replaces, under the same names; its weight
holds the latent weights of its rule (`bnn.nn.weights`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.weights import WeightRule

WEIGHTS = "weights"
"""Name of the parameter group of latent weights."""


class _BinaryLayer:
    """Mixin of a layer whose weight is read by a rule."""

    parameter_group: Mapping[str, str] = {"weight": WEIGHTS}
    rule: WeightRule

    @property
    def binary(self) -> bool:
        """Whether an estimator has to train the weights."""
        return self.rule.are_sites

    @property
    def binary_weight(self: Any) -> Tensor:
        """Weights in evaluation, scale · sign η, of the shape of `weight`."""
        found: Tensor = self.rule.by_sign(self.weight)
        return found

    def forward(self: Any, x: Tensor) -> Tensor:
        output: Tensor = self.rule.output(self, x)
        return output

    def extra_repr(self: Any) -> str:
        return f"{super().extra_repr()}, weights={type(self.rule).__name__}"  # type: ignore[misc]


class BinaryLinear(_BinaryLayer, nn.Linear):
    """Linear layer with binary weights.

    Args:
        rule: rule of its weights.
        args: arguments of `torch.nn.Linear`.
        kwargs: its keyword arguments.
    """

    def __init__(self, rule: WeightRule, *args: Any, **kwargs: Any) -> None:
        nn.Linear.__init__(self, *args, **kwargs)
        self.rule = rule
        rule.initialise(self.weight)

    def operation(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Output of the layer with a given weight.

        Args:
            x: [n, inputs].
            weight: [outputs, inputs].
            bias: [outputs], or None.

        Returns:
            [n, outputs].
        """
        return nn.functional.linear(x, weight, bias)


class _BinaryConv(_BinaryLayer):
    def operation(self: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Output of the layer with a given weight.

        Args:
            x: [n, channels, …].
            weight: [outputs, channels / groups, …].
            bias: [outputs], or None.

        Returns:
            [n, outputs, …].
        """
        output: Tensor = self._conv_forward(x, weight, bias)
        return output


class BinaryConv1d(_BinaryConv, nn.Conv1d):
    """One-dimensional convolution with binary weights; arguments as those of `BinaryLinear`."""

    def __init__(self, rule: WeightRule, *args: Any, **kwargs: Any) -> None:
        nn.Conv1d.__init__(self, *args, **kwargs)
        self.rule = rule
        rule.initialise(self.weight)


class BinaryConv2d(_BinaryConv, nn.Conv2d):
    """Two-dimensional convolution with binary weights; arguments as those of `BinaryLinear`."""

    def __init__(self, rule: WeightRule, *args: Any, **kwargs: Any) -> None:
        nn.Conv2d.__init__(self, *args, **kwargs)
        self.rule = rule
        rule.initialise(self.weight)


LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers whose weights can be binary."""


def binarize(
    model: nn.Module,
    weights: str | Mapping[str, Any] | WeightRule = "sign",
    layers: str | Sequence[str] | None = None,
) -> nn.Module:
    """Network in which layers with binary weights replace linear and convolutional ones.

    The initial latent weights are drawn from torch's global stream, and are new parameters: make
    the optimizer afterwards. Biases stay the same parameters.

    Args:
        model: network, changed in place.
        weights: rule, its name, or a mapping with `name` and its parameters.
        layers: `hidden` (all but the first and the last in the order of `named_modules`), `all`, or
            names; None: those of the rule.

    Returns:
        The network.

    Raises:
        ConfigError: for a rule or parameters that make no sense, or layers that the network lacks.
    """
    rule = weights if isinstance(weights, WeightRule) else WeightRule.registry.build(weights)
    if not rule.binary:
        return model
    found = {name: one for name, one in model.named_modules() if type(one) in LAYERS}
    everywhere = list(model.named_modules(remove_duplicate=False))  # a layer may have several names
    for chosen in _chosen(model, found, rule.layers if layers is None else layers):
        if not chosen:
            raise ConfigError("weights: the network is a single layer; put it in nn.Sequential")
        made = _binary(found[chosen], rule)
        for name in (name for name, one in everywhere if one is found[chosen]):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, made)
    return model


def _chosen(model: nn.Module, found: Mapping[str, nn.Module], layers: Any) -> list[str]:
    """Names of the layers that become binary."""
    names = list(found)
    if not names:
        raise ConfigError(
            "weights: expected a network with linear or convolutional layers, got one without; "
            "write weights=real"
        )
    if layers == "all":
        return names
    if layers == "hidden":
        if len(names) < 3:
            raise ConfigError(
                f"weights.layers=hidden: the network has {len(names)} linear or convolutional "
                "layers, and none between the first and the last; write weights.layers=all or "
                "weights=real"
            )
        return names[1:-1]
    if isinstance(layers, str):
        raise ConfigError(
            "weights.layers: expected hidden, all, or names of layers such as [conv2]; got "
            f"{layers!r}"
        )
    for name in layers:
        if name not in found:
            there = dict(model.named_modules()).get(name)
            kind = f"is a {type(there).__name__}" if there is not None else "is no module"
            raise ConfigError(
                f"weights.layers: {name} {kind} of the network; expected a linear or "
                f"convolutional layer, one of {', '.join(names)}"
            )
    return list(dict.fromkeys(layers))


def _binary(layer: nn.Module, rule: WeightRule) -> nn.Module:
    """Binary layer in the place of another, with its bias, device, dtype and mode."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    bias = layer.bias is not None
    made: nn.Module
    if isinstance(layer, nn.Linear):
        made = BinaryLinear(rule, layer.in_features, layer.out_features, bias, **place)
    else:
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        kind: Any = BinaryConv1d if isinstance(layer, nn.Conv1d) else BinaryConv2d
        made = kind(
            rule,
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            bias,
            layer.padding_mode,
            **place,
        )
    assert isinstance(layer.bias, nn.Parameter | None)
    made.register_parameter("bias", layer.bias)
    return made.train(layer.training)


def binary_weight_of(layer: nn.Module) -> Tensor | None:
    """Weights of a layer in evaluation where they are binary, else None."""
    return layer.binary_weight if isinstance(layer, _BinaryLayer) else None


def binary_weight_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers with binary weights, by name in the order of `named_modules`."""
    for name, module in model.named_modules():
        if isinstance(module, _BinaryLayer):
            yield name, module


def weight_rule(model: nn.Module) -> WeightRule | None:
    """Rule of the binary weights of a network; None where all are real.

    Raises:
        ConfigError: for a network with several rules.
    """
    rules = {id(layer.rule): layer.rule for _, layer in binary_weight_layers(model)}
    if len(rules) > 1:
        raise ConfigError(
            "weights: expected one rule for all binary layers of a network, got "
            f"{', '.join(type(rule).__name__ for rule in rules.values())}"
        )
    return next(iter(rules.values()), None)
