"""Units of a network on given images: activations, firing rates, dead and saturated units, pictures of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnn.data import Split
from bnn.nn.handlers import SiteHandler, apply, evaluating, sampled
from bnn.nn.neurons import Binary, Neuron
from bnn.tasks.readings import seeded_noise

HEALTH_IMAGES = 1000
PICTURE_DRAWS = 32


@dataclass(frozen=True)
class LayerView:
    """One activation layer on n fixed images: `bits` is the mean output over draws, `p` the mean of the law F(slope·x)
    in the last of these draws; both [n, *units]."""

    name: str
    binary: bool
    bits: Tensor
    p: Tensor


@dataclass(frozen=True)
class Snapshot:
    """The activation layers of a network on fixed images [n, c, h, w], from the input up."""

    images: Tensor
    layers: tuple[LayerView, ...]


def fixed_images(test: Split) -> Tensor:
    """The first test image of each class, or the first ten where there are no classes: the same for every seed, since the
    test set is never permuted. They are drawn and never scored, so that pictures of different runs compare."""
    if test.labels.is_floating_point():
        return test.images[:10]
    first = [int((test.labels == label).nonzero()[0, 0]) for label in test.labels.unique().tolist()]
    return test.images[first]


class Activation(NamedTuple):
    """One activation layer in one pass: the pre-activation slope · x and the output, both [n, *units]."""

    preactivation: Tensor
    output: Tensor


def activations(
    model: nn.Module, images: Tensor, reading: SiteHandler
) -> tuple[dict[str, Activation], Tensor]:
    """One pass in evaluation mode: each activation layer by module name, in the order in which they ran, and the scores."""
    seen: dict[str, Activation] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.__setitem__(name, Activation(m.preactivation(i[0]), o))
        )
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    try:
        with evaluating(model):
            return seen, apply(model, images, reading)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def snapshot(model: nn.Module, images: Tensor, seed: int, inputs: Tensor | None = None) -> Snapshot:
    """Mean bits over PICTURE_DRAWS draws and firing probability of every activation layer.

    Args:
        model: the network.
        images: [n, c, h, w], to be shown.
        seed: of the draws.
        inputs: inputs of the network that belong to the images; None: the images themselves.
    """
    reading, inputs = (
        sampled(seeded_noise(seed, images.device)),
        images if inputs is None else inputs,
    )
    passes = [activations(model, inputs, reading)[0] for _ in range(PICTURE_DRAWS)]
    layers = []
    for name, (a, _) in passes[-1].items():
        neuron = model.get_submodule(name)
        assert isinstance(neuron, Neuron)
        mean = torch.stack([p[name].output.float() for p in passes]).mean(0)
        layers.append(
            LayerView(name, isinstance(neuron, Binary), mean.cpu(), neuron.law.cdf(a).float().cpu())
        )
    return Snapshot(images.cpu(), tuple(layers))


@torch.no_grad()
def unit_health(model: nn.Module, inputs: Tensor, seed: int) -> dict[str, float]:
    """Per binary layer, on the first HEALTH_IMAGES inputs and one draw each: the mean firing rate, and the shares of units
    that never fire (dead) and that always fire (saturated). Keys `<layer>/<figure>`."""
    inputs = inputs[:HEALTH_IMAGES]
    figures: dict[str, float] = {}
    layers, _ = activations(model, inputs, sampled(seeded_noise(seed, inputs.device)))
    for name, layer in layers.items():
        if isinstance(model.get_submodule(name), Binary):
            rate = layer.output.float().mean(0)
            figures[f"{name}/firing_rate"] = float(rate.mean())
            figures[f"{name}/dead"] = float((rate == 0).float().mean())
            figures[f"{name}/saturated"] = float((rate == 1).float().mean())
    return figures
