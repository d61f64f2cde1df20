"""Outputs and pre-activations of layers by name: PIXELS, activation layers (`act1`), SCORES."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.pseudo_derivatives import density
from bnn.nn.gradients import replace_gradient
from bnn.nn.handlers import SiteHandler, sampled, threshold
from bnn.nn.readings import BATCH, seeded_noise
from bnn.nn.sites import RandomUnits, Site
from bnn.training.activations import activations

PIXELS, SCORES = "pixels", "scores"


def straight_through_reading(reading: SiteHandler) -> SiteHandler:
    """The reading, with bits that carry the straight-through gradient db/da := F'(a).

    F is the noise law and a the pre-activation. Random units that are no bits keep their own
    gradient.

    Args:
        reading: handler that draws the activations.
    """

    def handle(layer: Site | RandomUnits) -> Tensor:
        values = reading(layer)
        return replace_gradient(values, density(layer)) if isinstance(layer, Site) else values

    return handle


def with_spatial_axes(values: Tensor) -> Tensor:
    """Activations with axes for height and width.

    Args:
        values: [n, channels, h, w], or [n, units].

    Returns:
        [n, channels, h, w]; units as channels of one place, [n, units, 1, 1].

    Raises:
        ConfigError: for another number of axes.
    """
    if values.dim() not in (2, 4):
        raise ConfigError(
            f"layer: expected units as [n, units] or [n, channels, h, w], got {tuple(values.shape)}"
        )
    return values if values.dim() == 4 else values[:, :, None, None]


def preactivations(model: nn.Module, layer: str, images: Tensor, reading: SiteHandler) -> Tensor:
    """Pre-activations of an activation layer, or the scores, in one pass in evaluation mode.

    Args:
        model: network.
        layer: module name of an activation layer, or SCORES.
        images: [n, c, h, w], normalised.
        reading: handler that draws the activations below.

    Returns:
        [n, channels, h, w].

    Raises:
        ConfigError: for a layer that the pass does not meet.
    """
    layers, scores = activations(model, images, reading)
    values = {name: one.preactivation for name, one in layers.items()} | {SCORES: scores}
    if layer not in values:
        raise ConfigError(f"layer: expected one of {', '.join(values)}; got {layer!r}")
    return with_spatial_axes(values[layer])


@torch.no_grad()
def responses(model: nn.Module, images: Tensor, *, draws: int, seed: int) -> dict[str, Tensor]:
    """Mean outputs of every layer over draws by the neurons' own rule.

    Args:
        model: network.
        images: [n, c, h, w], normalised.
        draws: passes to average over.
        seed: of the draws.

    Returns:
        PIXELS, the activation layers from the input up, and SCORES; each [n, *units].
    """
    reading, parts = sampled(seeded_noise(seed, images.device)), []
    for batch in images.split(BATCH):
        total: dict[str, Tensor] = {PIXELS: batch}
        for _ in range(draws):
            layers, scores = activations(model, batch, reading)
            outputs = {name: one.output for name, one in layers.items()} | {SCORES: scores}
            for name, output in outputs.items():
                total[name] = total.get(name, 0) + output / draws
        parts.append(total)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def first_layer_weights(model: nn.Module, images: Tensor) -> Tensor:
    """Weights of the first layer that a pass meets, as pictures.

    Args:
        model: network.
        images: [n, c, h, w], n ≥ 1.

    Returns:
        Kernels of a convolution, or the weights of each unit of a linear layer by pixel:
        [filters, c, rows, columns]. Binary weights are those of evaluation.

    Raises:
        ConfigError: where a pass meets no such layer.
    """
    layers: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: layers.append(module))
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        activations(model, images[:1], threshold)
    finally:
        for hook in hooks:
            hook.remove()
    if not layers:
        raise ConfigError(
            "model: expected a convolution or a linear layer that the images pass, found none"
        )
    weight = getattr(layers[0], "binary_weight", layers[0].get_parameter("weight")).detach()
    return weight if weight.dim() == 4 else weight.view(-1, *images.shape[1:])
