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

        d f / d ℓ_i := p_i (1 - p_i) mean_k [f(b_k, b_i = 1) - f(b_k, b_i = 0)]

    The other units are as drawn, in K draws of the layer that all units share (IndeCateR, De Smet
    et al. 2023); K = 1 is the estimator as published first. The highest binary layer has to feed a
    linear read-out: a flipped bit then moves the output by one column of it, and no further pass is
    needed. Units of lower layers are flipped one by one, an evaluation for each.

    Evaluations of f per sample and step: 1 + Σ_layers (K - 1) + K · units of the lower layers.
    Unbiased.

    Args:
        samples: K, draws of each layer.

    Raises:
        ConfigError: for samples < 1; in `init`, for a lower layer of more than LOWER_LIMIT units,
            or a highest one that feeds something else.
    """

    true_samples = False
    needs_linear_readout = True

    def __init__(self, *, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise ConfigError(f"estimator.samples: expected at least 1 draw, got {samples}")
        self.samples = samples

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        if too_many := [units for units in self._units[:-1] if units > LOWER_LIMIT]:
            raise ConfigError(
                "estimator=local_expectation: below the highest binary layer every unit takes an "
                f"evaluation of the loss, expected at most {LOWER_LIMIT} units there, got "
                f"{too_many[0]}; write placement=last, or estimator=arms"
            )

    def draws(self, layer: int, units: Sequence[int]) -> int:
        top = layer == len(units) - 1
        return self.samples * (1 if top else 1 + units[layer])

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.probs.detach()
        u = site.noise(p)
        bits = join(
            [fires(u, site), *(fires(site.noise(p), site) for _ in range(self.samples - 1))]
        )
        if site.index == len(self._units) - 1:
            return bits.requires_grad_(), (u, bits)
        flips = torch.eye(self._units[site.index], dtype=bits.dtype, device=bits.device)
        flips = flips.view(-1, 1, *bits.shape[2:])
        flipped = [one + flips - 2 * one * flips for one in bits.split(1)]
        return join([bits, *flipped]), (u, None)

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache[0], site)

    def gradient(self, layer: LayerSamples) -> Tensor:
        draws, p = self.samples, layer.site.probs.detach()
        bits, units = layer.bits[:draws], self._units[layer.site.index]
        if layer.cache[1] is None:  # [draws, units, samples] -> [draws, samples, units]
            one_by_one = layer.loss[draws:].flatten(1).unflatten(0, (draws, units))
            flipped = one_by_one.transpose(1, 2).reshape(bits.shape)
        else:
            flipped = join([self._flipped(layer, draw) for draw in range(draws)])
        differences = (flipped - layer.loss[:draws]) * (1 - 2 * bits)
        found: Tensor = p * (1 - p) * differences.mean(0, keepdim=True)
        return found

    def _flipped(self, layer: LayerSamples, draw: int) -> Tensor:
        """Loss with each bit of the highest layer flipped alone, by the columns of the read-out.

        Args:
            layer: the highest layer.
            draw: number of the draw whose bits are flipped.

        Returns:
            Of the shape of the bits of one draw, [1, samples, *units].
        """
        forward, drawn, n = layer.forward, layer.drawn, len(layer.forward.inputs)
        outputs = drawn.output.reshape(len(drawn.output), -1).unbind(1)
        columns = [
            torch.autograd.grad(one.sum(), layer.cache[1], retain_graph=True)[0] for one in outputs
        ]
        readout = torch.stack(columns, -1).flatten(2, -2)[0]  # [samples, units, outputs]
        flips = 1 - 2 * layer.bits[draw].flatten(1)
        units, rows = flips.shape[1], slice(draw * n, (draw + 1) * n)
        moved = drawn.output.detach()[rows].reshape(n, -1)[:, None] + flips[..., None] * readout
        moved = moved.flatten(0, 1).view(-1, *drawn.output.shape[1:]).to(drawn.loss.dtype)
        latents = Latents(
            len(drawn.sites), lambda i: self._flipped_latent(drawn, i, draw, n, units)
        )
        loss = forward.loss_of(moved, forward.targets.repeat_interleave(units, 0), latents)
        return loss.detach().view(layer.bits[:1].shape)

    def _flipped_latent(
        self, drawn: ForwardPass, layer: int, draw: int, samples: int, units: int
    ) -> Latent:
        """Binary layer of one draw, a row for each sample and flipped unit of the highest.

        Returns:
            Site and bits, [samples · units of the highest layer, *units].
        """
        top = layer == len(drawn.sites) - 1
        number = draw if top else 0  # draws of the highest layer share the bits below
        base, bits = (
            drawn.sites[layer].replicas(number, number + 1),
            drawn.bits[layer][number : number + 1].detach(),
        )
        site, bits = at_top(base, bits, samples)
        rows = site.preactivation.detach().repeat_interleave(units, 0)
        bits = bits.repeat_interleave(units, 0)
        if top:
            flips = torch.eye(units, dtype=bits.dtype, device=bits.device)
            flips = flips.repeat(samples, 1).view_as(bits)
            bits = bits + flips - 2 * bits * flips
        return Latent(dataclasses.replace(site, preactivation=rows, branched=None), bits)
