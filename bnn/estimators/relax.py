"""RELAX: REBAR with a learned control variate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.layerwise import LayerSamples
from bnn.estimators.rebar import LEARNED, REBAR, Relaxation
from bnn.nn.sites import Site


class ControlVariate(nn.Module):
    """Learned function r(y) = (w · tanh(W y + v) + c) / √hidden of one layer's units.

    It starts at 0, so that RELAX starts as REBAR. The root keeps the curvature of its fit, and so
    the learning rates that it bears, the same for every number of units.

    Args:
        units: number of units of the layer.
        hidden: units of the tanh layer.
    """

    def __init__(self, units: int, hidden: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(units, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Value r(y) and its derivative, which is written out to spare a second derivative.

        Args:
            y: relaxed bits, [..., units].

        Returns:
            Value [...] and derivative [..., units].
        """
        h = torch.tanh(self.first(y))
        slope = ((1 - h.square()) * self.last.weight) @ self.first.weight
        unit = len(self.first.weight) ** -0.5
        return unit * self.last(h).squeeze(-1), unit * slope


@Estimator.registry.add("relax")
class RELAX(REBAR):
    """RELAX: REBAR with a learned function r_φ added to the relaxed loss (Grathwohl et al. 2018).

        d f / d ℓ := [f(b) - c(z̃) - B] (b - p) + d_ℓ c(z) - d_ℓ c(z̃),
        c = η · relaxed loss + κ r_φ,   κ² = E g² / E (b - p)²

    For each layer r_φ is a network of one hidden tanh layer on σ(z / τ); κ, by earlier estimates g,
    is the unit of the loss. φ is fitted with the run's optimizer to the estimates' mean square,
    over its running mean of earlier batches so that the unit of the loss does not matter. η, B and
    τ are REBAR's (the paper learns all with φ).

    Evaluations of f per sample and step: 1 + layers. Unbiased.

    Args:
        tau: temperature τ > 0, or `learned`.
        decay: of the running averages, in [0, 1).
        hidden: units of r_φ's hidden layer.

    Raises:
        ConfigError: as REBAR, and for hidden < 1.
    """

    def __init__(
        self, *, tau: int | float | str = LEARNED, decay: float = 0.99, hidden: int = 32
    ) -> None:
        super().__init__(tau=tau, decay=decay)
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        self.hidden = hidden

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        self.controls = nn.ModuleList(
            ControlVariate(units, self.hidden).to(site.preactivation)
            for units, site in zip(self._units, sites, strict=True)
        )

    def gradient(self, layer: LayerSamples) -> Tensor:
        relaxed: Relaxation = layer.cache
        b_minus_p, index = layer.b_minus_p, layer.site.index
        learned = self.controls[index](relaxed.y.flatten(2))
        value, slope = (self._unit(index) * one for one in learned)
        moved = slope.view_as(relaxed.y) * relaxed.dy_dz * (1 - relaxed.dz_tilde)
        value = layer.site.aligned(value.to(b_minus_p.dtype))
        estimate: Tensor = super().gradient(layer) - value * b_minus_p + moved
        return estimate

    def _unit(self, layer: int) -> Tensor:
        """Unit √(E g² / E (b - p)²) of r_φ at a layer, by earlier batches.

        One learning rate then suits every loss.
        """
        return (self.size[1 + layer] / self.moments[layer, -1].clamp(min=1e-12)).sqrt()
