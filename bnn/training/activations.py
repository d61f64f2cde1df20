"""Activations of a network on given images: firing rates, information of units, mean bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnn.data import Split
from bnn.nn.handlers import SiteHandler, apply, evaluating
from bnn.nn.layers import Names
from bnn.nn.neurons import Binary, Neuron
from bnn.nn.readings import seeded_handler
from bnn.nn.weights import entropy

HEALTH_IMAGES = 1000
"""Number of inputs on which the health of units is measured."""
MOSTLY = 0.01
"""Firing rate below which, or above one less than which, a unit is mostly off, or on."""
PICTURE_DRAWS = 32
"""Number of draws over which pictures of bits average."""


@dataclass(frozen=True)
class LayerView:
    """One activation layer on fixed images.

    Args:
        name: name of the layer.
        binary: whether it fires bits.
        bits: mean output over draws, [n, *units].
        p: firing probabilities F(slope · x) in the last of these draws, [n, *units].
    """

    name: str
    binary: bool
    bits: Tensor
    p: Tensor


@dataclass(frozen=True)
class Snapshot:
    """Activation layers of a network on fixed images.

    Args:
        images: [n, c, h, w].
        layers: the layers, from the input.
    """

    images: Tensor
    layers: tuple[LayerView, ...]


def fixed_images(test: Split) -> Tensor:
    """First test image of each class, or the first ten where there are no classes.

    They are the same for every seed, since the test set is never permuted. They are drawn and never
    scored, so that pictures of different runs compare.

    Args:
        test: test split.

    Returns:
        [n, c, h, w].
    """
    if test.labels.is_floating_point():
        return test.images[:10]
    first = [int((test.labels == label).nonzero()[0, 0]) for label in test.labels.unique().tolist()]
    return test.images[first]


class Activation(NamedTuple):
    """One call of an activation layer in one pass.

    Args:
        neuron: the layer.
        preactivation: slope · x, [n, *units].
        output: [n, *units].
    """

    neuron: Neuron
    preactivation: Tensor
    output: Tensor


def activations(
    model: nn.Module, images: Tensor, handler: SiteHandler
) -> tuple[dict[str, Activation], Tensor]:
    """Activation layers and scores of one pass in evaluation mode.

    Args:
        model: the network.
        images: its inputs, [n, …].
        handler: site handler.

    Returns:
        Each call of an activation layer by its name (`bnn.nn.layers.Names`), in their order, and
        the output of the network, [n, …].
    """
    seen: dict[str, Activation] = {}
    name = Names(model).counting()

    def keep(neuron: Neuron, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[name(neuron)] = Activation(neuron, neuron.preactivation(inputs[0]), output)

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, Neuron)]
    try:
        with evaluating(model):
            return seen, apply(model, images, handler)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def snapshot(model: nn.Module, images: Tensor, seed: int, inputs: Tensor | None = None) -> Snapshot:
    """Mean bits over PICTURE_DRAWS draws and firing probabilities of every activation layer.

    Args:
        model: the network.
        images: images to be shown, [n, c, h, w].
        seed: seed of the draws.
        inputs: inputs of the network that belong to the images; None: the images themselves.
    """
    handler = seeded_handler(seed, images.device)
    inputs = images if inputs is None else inputs
    passes = [activations(model, inputs, handler)[0] for _ in range(PICTURE_DRAWS)]
    layers = []
    for name, (neuron, a, _) in passes[-1].items():
        mean = torch.stack([p[name].output.float() for p in passes]).mean(0)
        layers.append(
            LayerView(name, isinstance(neuron, Binary), mean.cpu(), neuron.law.cdf(a).float().cpu())
        )
    return Snapshot(images.cpu(), tuple(layers))


@torch.no_grad()
def unit_health(model: nn.Module, inputs: Tensor, seed: int) -> dict[str, float]:
    """Firing rate and information of each binary layer's units, by one draw for each input.

    Args:
        model: the network.
        inputs: [n, …]; the first HEALTH_IMAGES are used.
        seed: seed of the draws.

    Returns:
        `<layer>/firing_rate`, the mean over units; the shares of units that never fire
        (`<layer>/dead`), that always fire (`<layer>/saturated`), and that do so for less than 1 %
        (`<layer>/mostly_off`) or more than 99 % of the inputs (`<layer>/mostly_on`); and
        `<layer>/information`, the mean over units of the mutual information of bit and input,
        H(mean p) - mean H(p), in nats.
    """
    inputs = inputs[:HEALTH_IMAGES]
    figures: dict[str, float] = {}
    layers, _ = activations(model, inputs, seeded_handler(seed, inputs.device))
    for name, (neuron, preactivation, output) in layers.items():
        if isinstance(neuron, Binary):
            bits = output.float()
            rate = bits.mean(0)
            p = neuron.law.cdf(preactivation).float() if neuron.random else bits
            shares = {
                "firing_rate": rate,
                "dead": rate == 0,
                "saturated": rate == 1,
                "mostly_off": rate < MOSTLY,
                "mostly_on": rate > 1 - MOSTLY,
                "information": entropy(p.mean(0)) - entropy(p).mean(0),
            }
            figures |= {f"{name}/{key}": float(of.float().mean()) for key, of in shares.items()}
    return figures


@torch.no_grad()
def rates_by_class(
    model: nn.Module, layer: str, inputs: Tensor, labels: Tensor, seed: int
) -> Tensor:
    """Firing rates of a binary layer's units on the inputs of each class, by one draw each.

    Args:
        model: the network.
        layer: name of the layer, whose units are a vector.
        inputs: [n, …].
        labels: classes, [n].
        seed: seed of the draws.

    Returns:
        [classes, units], classes in ascending order.
    """
    found, _ = activations(model, inputs, seeded_handler(seed, inputs.device))
    bits = found[layer].output.float()
    return torch.stack([bits[labels == label].mean(0) for label in labels.unique()])
