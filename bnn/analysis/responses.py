"""Layers by name, as the whole room sees them: PIXELS, the activation layers by module name (`act1`), SCORES."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.pseudo_derivatives import density, replace_gradient
from bnn.nn.handlers import SiteHandler, sampled, threshold
from bnn.nn.readings import BATCH, seeded_noise
from bnn.nn.sites import RandomUnits, Site
from bnn.training.activations import activations

PIXELS, SCORES = "pixels", "scores"


def through(reading: SiteHandler) -> SiteHandler:
    """`reading`, its bits carrying the gradient d b / d a := F'(a) of the firing probability; a layer of other units keeps
    its own gradient."""

    def handle(layer: Site | RandomUnits) -> Tensor:
        activations = reading(layer)
        return (
            replace_gradient(activations, density(layer))
            if isinstance(layer, Site)
            else activations
        )

    return handle


def placed(values: Tensor) -> Tensor:
    """[n, channels, h, w] as it is, [n, units] as channels of one place: [n, units, 1, 1].

    Errors: ConfigError for another number of axes.
    """
    if values.dim() not in (2, 4):
        raise ConfigError(
            f"layer: expected units as [n, units] or [n, channels, h, w], got {tuple(values.shape)}"
        )
    return values if values.dim() == 4 else values[:, :, None, None]


def excitation(model: nn.Module, layer: str, images: Tensor, reading: SiteHandler) -> Tensor:
    """Pre-activations of an activation layer, or the scores, in one pass in evaluation mode: [n, channels, h, w].

    Errors: ConfigError for a layer that the pass does not meet.
    """
    met, scores = activations(model, images, reading)
    found = {name: one.preactivation for name, one in met.items()} | {SCORES: scores}
    if layer not in found:
        raise ConfigError(f"layer: expected one of {', '.join(found)}; got {layer!r}")
    return placed(found[layer])


@torch.no_grad()
def responses(model: nn.Module, images: Tensor, *, draws: int, seed: int) -> dict[str, Tensor]:
    """What each layer answers to `images`, from the input up, averaged over so many draws of the net's own rule: PIXELS, the
    outputs of the activation layers, SCORES; each [n, *units]."""
    reading, parts = sampled(seeded_noise(seed, images.device)), []
    for batch in images.split(BATCH):
        total: dict[str, Tensor] = {PIXELS: batch}
        for _ in range(draws):
            met, scores = activations(model, batch, reading)
            for name, output in [
                *((name, one.output) for name, one in met.items()),
                (SCORES, scores),
            ]:
                total[name] = total.get(name, 0) + output / draws
        parts.append(total)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def first_weights(model: nn.Module, images: Tensor) -> Tensor:
    """The weights that the pixels of `images` [n, c, h, w] meet first, as pictures [filters, c, rows, columns]: the kernels
    of a convolution, or what each unit of a linear layer gives to every pixel.

    Errors: ConfigError where a pass meets neither.
    """
    met: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: met.append(module))
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        activations(model, images[:1], threshold)
    finally:
        for hook in hooks:
            hook.remove()
    if not met:
        raise ConfigError(
            "model: expected a convolution or a linear layer that the images pass, found none"
        )
    weight = met[0].get_parameter("weight").detach()
    return weight if weight.dim() == 4 else weight.view(-1, *images.shape[1:])
