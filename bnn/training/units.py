"""What the units of a network do on given images: firing rates, dead and saturated units, and pictures of their bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.data import Split
from bnn.neurons import Binary, Draw, Neuron
from bnn.training.evaluation import own_rule, seeded_noise

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
    """The first test image of each class: the same for every seed, since the test set is never permuted. They are drawn
    and never scored, so that pictures of different runs compare."""
    first = [int((test.labels == label).nonzero()[0, 0]) for label in test.labels.unique().tolist()]
    return test.images[first]


def _activations(model: nn.Module, images: Tensor, draw: Draw) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output of each neuron, by module name, in the order in which they ran."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, (m.preactivation(i[0]), o)))
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    training = model.training
    model.eval()
    with torch.no_grad():
        model(images, draw)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return seen


def snapshot(model: nn.Module, images: Tensor, seed: int) -> Snapshot:
    """Mean bits over PICTURE_DRAWS draws and firing probability of every activation layer on `images`."""
    draw = own_rule(seeded_noise(seed, images.device))
    passes = [_activations(model, images, draw) for _ in range(PICTURE_DRAWS)]
    layers = []
    for name, (a, _) in passes[-1].items():
        neuron = model.get_submodule(name)
        assert isinstance(neuron, Neuron)
        mean = torch.stack([p[name][1].float() for p in passes]).mean(0)
        layers.append(LayerView(name, isinstance(neuron, Binary), mean.cpu(), neuron.law.cdf(a).float().cpu()))
    return Snapshot(images.cpu(), tuple(layers))


def unit_health(model: nn.Module, split: Split, seed: int) -> dict[str, float]:
    """Per binary layer, on the first images of a split and one draw each: the mean firing rate, and the shares of units
    that never fire (dead) and that always fire (saturated). Keys `<layer>/<figure>`."""
    images = split.images[:HEALTH_IMAGES]
    figures: dict[str, float] = {}
    for name, (_, bits) in _activations(model, images, own_rule(seeded_noise(seed, images.device))).items():
        if isinstance(model.get_submodule(name), Binary):
            rate = bits.float().mean(0)
            figures[f"{name}/firing_rate"] = float(rate.mean())
            figures[f"{name}/dead"] = float((rate == 0).float().mean())
            figures[f"{name}/saturated"] = float((rate == 1).float().mean())
    return figures
