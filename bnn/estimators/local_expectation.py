"""Local expectation gradients: the loss under each value of a unit, the others as drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.layerwise import LayerByLayer, LayerSamples, fires
from bnn.nn.forward import ForwardPass, at_top
from bnn.nn.replicas import join
from bnn.nn.sites import Latent, Latents, Site

LOWER_LIMIT = 256
"""Largest number of units of a lower layer, whose flips are evaluated one by one."""


@Estimator.registry.add("local_expectation")
class LocalExpectation(LayerByLayer):
    """Local expectation gradient of every unit i (Titsias & Lázaro-Gredilla 2015).

        d f / d ℓ_i := p_i (1 - p_i) [f(b_i = 1) - f(b_i = 0)]

    The other units are as drawn. The highest binary layer has to feed a linear read-out: a flipped
    bit then moves the output by one column of it, and no further pass is needed. Units of lower
    layers are flipped one by one, an evaluation for each.

    Evaluations of f per sample and step: 1 + units of the lower layers. Unbiased.

    Raises:
        ConfigError: in `init`, for a lower layer of more than LOWER_LIMIT units, or a highest one
            that feeds something else.
    """

    true_samples = False
    needs_linear_readout = True

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        if too_many := [units for units in self._units[:-1] if units > LOWER_LIMIT]:
            raise ConfigError(
                "estimator=local_expectation: below the highest binary layer every unit takes a "
                f"pass, expected at most {LOWER_LIMIT} units there, got {too_many[0]}; write "
                "placement=last, or estimator=arms"
            )

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 1 if layer == len(units) - 1 else 1 + units[layer]

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        u = site.noise(site.probs.detach())
        bits = fires(u, site)
        if site.index == len(self._units) - 1:
            return bits.requires_grad_(), (u, bits)
        flips = torch.eye(self._units[site.index], dtype=bits.dtype, device=bits.device)
        flips = flips.view(-1, 1, *bits.shape[2:])
        return join([bits, bits + flips - 2 * bits * flips]), (u, None)

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache[0], site)

    def gradient(self, layer: LayerSamples) -> Tensor:
        bits, p = layer.bits[:1], layer.site.probs.detach()
        one_by_one = layer.loss[1:].flatten(1).T  # [samples, units]
        flipped = one_by_one.reshape(bits.shape) if layer.cache[1] is None else self._flipped(layer)
        return p * (1 - p) * (flipped - layer.loss[:1]) * (1 - 2 * bits)

    def _flipped(self, layer: LayerSamples) -> Tensor:
        """Loss with each bit of the highest layer flipped alone, by the columns of the read-out.

        Returns:
            Of the shape of the bits, [1, samples, *units].
        """
        forward, drawn, n = layer.forward, layer.drawn, len(layer.forward.inputs)
        outputs = drawn.output.reshape(len(drawn.output), -1).unbind(1)
        columns = [
            torch.autograd.grad(one.sum(), layer.cache[1], retain_graph=True)[0] for one in outputs
        ]
        readout = torch.stack(columns, -1).flatten(2, -2)[0]  # [samples, units, outputs]
        flips = 1 - 2 * layer.bits[0].flatten(1)
        units = flips.shape[1]
        moved = drawn.output.detach()[:n].reshape(n, -1)[:, None] + flips[..., None] * readout
        moved = moved.flatten(0, 1).view(-1, *drawn.output.shape[1:]).to(drawn.loss.dtype)
        latents = Latents(len(drawn.sites), lambda i: self._flipped_latent(drawn, i, n, units))
        loss = forward.loss_of(moved, forward.targets.repeat_interleave(units, 0), latents)
        return loss.detach().view(layer.bits[:1].shape)

    def _flipped_latent(self, drawn: ForwardPass, layer: int, samples: int, units: int) -> Latent:
        """Binary layer of the base sample, a row for each sample and flipped unit of the highest.

        Returns:
            Site and bits, [samples · units of the highest layer, *units].
        """
        base, bits = drawn.sites[layer].replicas(0, 1), drawn.bits[layer][:1].detach()
        site, bits = at_top(base, bits, samples)
        rows = site.preactivation.detach().repeat_interleave(units, 0)
        bits = bits.repeat_interleave(units, 0)
        if layer == len(drawn.sites) - 1:
            flips = torch.eye(units, dtype=bits.dtype, device=bits.device)
            flips = flips.repeat(samples, 1).view_as(bits)
            bits = bits + flips - 2 * bits * flips
        return Latent(dataclasses.replace(site, preactivation=rows, branched=None), bits)
