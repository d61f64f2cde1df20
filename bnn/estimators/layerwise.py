"""Estimators that go layer by layer: several draws of one layer from a true sample of what lies below it.

`arm`, `disarm` and `arms` couple the draws, so that their differences have little noise; `local_expectation` flips every
unit; `rebar` and `relax` (relaxed.py) subtract a relaxation. Prefer `disarm` of the pairs; where it was measured (README),
leave-one-out did as well at equal passes. One coupled pair over all layers at once would be biased for the weights between.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, steering
from bnn.estimators.baselines import over_units
from bnn.neurons import Site
from bnn.passes import Pass, Run, Tree


@dataclass(frozen=True)
class Drawn:
    """The K draws of one layer that share what lies below: `site` [n, *units] with bits [K, n, *units], the losses [K, n]
    that they led to (means over the true samples above), and what the drawing left for the gradient."""

    site: Site
    bits: Tensor
    loss: Tensor
    memo: Any
    run: Run
    latest: Pass


class LayerByLayer(Estimator):
    """Of each layer K draws from the base sample below; the others go on alone. 1 + Σ_layers (K - 1) passes."""

    unbiased = True
    needs_full_support = True
    per_sample_credit = True
    true_samples: ClassVar[bool]
    """Whether every draw has the distribution of the layer: their mean loss then replaces that of the base sample."""

    def __init__(self) -> None:
        super().__init__()
        self._units: list[int] = []

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._units = [site.a[0].numel() for site in sites]

    @abstractmethod
    def draws(self, layer: int, units: Sequence[int]) -> int:
        """K of a binary layer, given the units of all."""

    @abstractmethod
    def draw(self, site: Site) -> tuple[Tensor, Any]:
        """K draws of the base sample's layer, joined along the samples, the base sample's own first; and a memo."""

    def above(self, site: Site) -> Tensor:
        """What a draw of a lower layer goes on with, in place of bits of its own."""
        return site.sample()

    @abstractmethod
    def gradient(self, drawn: Drawn) -> Tensor:
        """The estimate of d f / d ℓ, [n, *units]."""

    def fit(self, gradient: Tensor) -> Tensor:
        """A loss of the estimator's own parameters."""
        return gradient.new_zeros(())

    def tree(self, units: Sequence[int]) -> Tree:
        tree: list[list[int]] = []
        for layer in range(len(units)):
            others = range(1, len(tree[-1]) if tree else 1)
            tree.append([0] * self.draws(layer, units) + list(others))
        return tree

    def passes(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    def surrogate(self, run: Run) -> Tensor:
        n = len(run.inputs)
        memos: list[Any] = []

        def draw(site: Site) -> Tensor:
            bits, memo = self.draw(site.rows(0, n))
            memos.append(memo)
            return bits if len(bits) == len(site.a) else torch.cat([bits, self.above(site.rows(len(bits)))])

        latest = run(draw, self.tree(self._units))
        steer = latest.loss.new_zeros(())
        for site, bits, memo in zip(latest.sites, latest.bits, memos, strict=True):
            own, draws = site.rows(0, n), self.draws(site.index, self._units)
            kept = bits.detach()[: draws * n].unflatten(0, (draws, n))
            loss = latest.loss_of(site.index, first=not self.true_samples)[:draws]
            estimate = self.gradient(Drawn(own, kept, loss, memo, run, latest))
            steer = steer + (estimate.detach() * own.log_odds).sum() / n + self.fit(estimate)
        return (latest.loss if self.true_samples else latest.loss[0]).mean() + steering(steer)


class Antithetic(LayerByLayer):
    """Two draws of each layer from one uniform number a unit: b = 1[u < p] and b' = 1[u > 1 - p]."""

    true_samples = True

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 2

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.p.detach()
        u = site.noise(p)
        return torch.cat([u < p, u > 1 - p]).to(site.a.dtype), u


@Estimator.registry.add("arm")
class ARM(Antithetic):
    """(f(b') - f(b)) (u - ½) (augment-REINFORCE-merge: Yin & Zhou 2019), layer by layer. 1 + layers passes."""

    def gradient(self, drawn: Drawn) -> Tensor:
        base, other = drawn.loss
        return over_units((other - base)[None], drawn.bits)[0] * (drawn.memo - 0.5)


@Estimator.registry.add("disarm")
class DisARM(Antithetic):
    """½ (f(b) - f(b')) (b - b') max(p, 1 - p) (Dong, Mnih & Tucker 2020; U2G of Yin et al. 2020), layer by layer.

    It is `arm` averaged over u given the pair, so its variance is never larger. 1 + layers passes.
    """

    def gradient(self, drawn: Drawn) -> Tensor:
        (base, other), (b, c), p = drawn.loss, drawn.bits, drawn.site.p.detach()
        return over_units((base - other)[None], drawn.bits)[0] * (b - c) * torch.maximum(p, 1 - p) / 2


@Estimator.registry.add("arms")
class ARMS(LayerByLayer):
    """Σ_k (f_k - f̄) (b_k - p) / ((K - 1) (1 - ρ)), K antithetic draws (Dimitriev & Zhou 2021), layer by layer.

    The uniform numbers behind the draws are v_k = (1 - d_k)^(K - 1) for d ~ Dirichlet(1, …, 1); b_k = 1[v_k < p] where
    p ≤ ½ and 1[v_k > 1 - p] elsewhere, so that the rarer value is drawn apart. ρ is the correlation of two draws,
    (max(0, 2 m^(1/(K-1)) - 1)^(K-1) - m²) / (m (1 - m)) with m = min(p, 1 - p). K = 2 is `disarm`. 1 + layers · (K - 1)
    passes. Errors: ConfigError for samples < 2.
    """

    true_samples = True

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        if samples < 2:
            raise ConfigError(f"estimator.samples: arms compares draws, expected at least 2, got {samples}")
        self.samples = samples

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return self.samples

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.p.detach()
        waits = [-torch.log1p(-site.noise(p)) for _ in range(self.samples)]
        total = torch.stack(waits).sum(0).clamp(min=torch.finfo(p.dtype).tiny)
        v = [(1 - wait / total) ** (self.samples - 1) for wait in waits]
        return torch.cat([torch.where(p <= 0.5, one < p, one > 1 - p) for one in v]).to(site.a.dtype), None

    def correlation(self, p: Tensor) -> Tensor:
        """ρ of two draws, [n, *units]; 0 where the unit is certain."""
        m = torch.minimum(p, 1 - p)
        both = (2 * m ** (1 / (self.samples - 1)) - 1).clamp(min=0) ** (self.samples - 1)
        return (both - m * m) / (m * (1 - m)).clamp(min=torch.finfo(p.dtype).tiny)

    def gradient(self, drawn: Drawn) -> Tensor:
        p = drawn.site.p.detach()
        credit = over_units(drawn.loss - drawn.loss.mean(0), drawn.bits)
        return (credit * (drawn.bits - p)).sum(0) / ((self.samples - 1) * (1 - self.correlation(p)))


LOWER = 256
"""The most units of a lower layer whose flips are tried one by one."""


@Estimator.registry.add("local_expectation")
class LocalExpectation(LayerByLayer):
    """p (1 - p) [f(b_i = 1) - f(b_i = 0)] for every unit i, the others as drawn (Titsias & Lázaro-Gredilla 2015).

    The highest binary layer has to feed a linear read-out: a flipped bit then moves the scores by one column of it, and no
    further pass is needed. Units of lower layers are flipped one by one, a pass for each.
    Errors: ConfigError for a lower layer of more than LOWER units, or a highest one that feeds something else.
    """

    true_samples = False
    needs_linear_readout = True

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().bind(sites, inputs)
        if too_many := [units for units in self._units[:-1] if units > LOWER]:
            raise ConfigError(
                "estimator=local_expectation: below the highest binary layer every unit takes a pass, expected at most "
                f"{LOWER} units there, got {too_many[0]}; write placement=last, or estimator=arms"
            )

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 1 if layer == len(units) - 1 else 1 + units[layer]

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        bits = site.sample()
        if site.index == len(self._units) - 1:
            return bits.requires_grad_(), bits
        flips = torch.eye(self._units[site.index], dtype=bits.dtype, device=bits.device)
        flips = flips.view(-1, 1, *bits.shape[1:])
        return torch.cat([bits, (bits + flips - 2 * bits * flips).flatten(0, 1)]), None

    def gradient(self, drawn: Drawn) -> Tensor:
        bits, p = drawn.bits[0], drawn.site.p.detach()
        flipped = self._flipped(drawn) if drawn.memo is not None else drawn.loss[1:].movedim(0, -1).reshape(bits.shape)
        rise = (flipped - over_units(drawn.loss[:1], drawn.bits)[0]) * (1 - 2 * bits)
        return p * (1 - p) * rise

    def _flipped(self, drawn: Drawn) -> Tensor:
        """The loss with each bit of the highest layer flipped alone, by the columns of the linear read-out."""
        n, scores = len(drawn.run.inputs), drawn.latest.scores
        columns = [torch.autograd.grad(s.sum(), drawn.memo, retain_graph=True)[0][:n] for s in scores.unbind(1)]
        readout = torch.stack(columns, -1).flatten(1, -2)  # [n, units, classes]
        bits = drawn.bits[0].flatten(1)
        moved = scores.detach()[:n, None] + (1 - 2 * bits)[..., None] * readout
        targets = drawn.run.targets.repeat_interleave(bits.shape[1], 0)
        loss = drawn.run.loss(moved.flatten(0, 1).to(drawn.latest.loss.dtype), targets)
        return loss.view_as(drawn.bits[0])
