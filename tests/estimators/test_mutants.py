"""Mutants: estimators that are wrong in one place, which the tests of the claims must catch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.expectation import deviation, distance, exact, expectation, initialized, warm_up
from support.toys import Toy
from torch import Tensor

from bnn.estimators import Baseline, Estimator, slopes
from bnn.estimators.antithetic import ARMS, DisARM
from bnn.estimators.double_cv import DoubleControlVariates
from bnn.estimators.layerwise import LayerSamples
from bnn.estimators.local_expectation import LocalExpectation
from bnn.estimators.rebar import REBAR
from bnn.estimators.relax import RELAX
from bnn.estimators.rodeo import RODEO, Scales, Values
from bnn.estimators.score_function import NVIL, MuProp, Reinforce
from bnn.estimators.slopes import LayerDraws
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import mean_of_others
from bnn.nn.sites import Site


def test_a_neighbours_credit_is_caught() -> None:
    """Mutant: each sample is credited with the loss of the next one of its batch."""

    class Neighbours(Reinforce):
        def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
            base = forward(Site.sample)
            score = (
                base.loss.detach().roll(1, 1) * base.sites[0].log_prob(base.bits[0]).sum(2)
            ).mean()
            return base.loss.mean() + (score - score.detach())

    model, mutant = Toy((2,)), Neighbours(baseline=Baseline.registry.build("none"))
    assert distance(expectation(model, mutant, samples=2), exact(model, samples=2)) > 1e-3
    assert distance(expectation(model, mutant), exact(model)) < 1e-12, (
        "a batch of one does not see it"
    )


class SeesItself(Baseline):
    """Mutant: the mean over all samples, the credited one included."""

    def branching(self, layers: int) -> list[int]:
        return [2] + [1] * (layers - 1)

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return loss.mean(0, keepdim=True)


class UpdatedFirst(Baseline):
    """Mutant: a moving average that has taken in this batch already."""

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return 0.5 * loss.mean() + 0.5


class NoScore(Reinforce):
    """Mutant: the pathwise term alone."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        return forward(Site.sample).loss.mean()


class TopOnly(Reinforce):
    """Mutant: the score of the highest binary layer alone."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        base = forward(Site.sample)
        score = (base.loss.detach() * base.sites[-1].log_prob(base.bits[-1]).sum(2)).mean()
        return base.loss.mean() + (score - score.detach())


@pytest.mark.parametrize(
    "mutant",
    [
        Reinforce(baseline=SeesItself()),
        Reinforce(baseline=UpdatedFirst()),
        NoScore(baseline=Baseline.registry.build("none")),
        TopOnly(baseline=Baseline.registry.build("none")),
    ],
    ids=["baseline-saw-its-sample", "baseline-updated-first", "no-score", "highest-layer-only"],
)
def test_mutants_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert distance(expectation(model, mutant), exact(model)) > 1e-3


class SignDropped(DisARM):
    """Mutant: (-1)^b' left out."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        b, c = layer.bits
        return super().gradient(layer) * (b - c)


class OnePairThroughout(DisARM):
    """Mutant: one antithetic pair over all layers at once."""

    def tree(self, units):
        return [[0, 0]] + [[0, 1]] * (len(units) - 1)

    def draw(self, site: Site) -> tuple[Tensor, object]:
        self.u = site.noise(site.probs.detach())
        if not site.index:
            return super().draw(dataclasses.replace(site, noise=lambda like: self.u))
        return (self.u < site.probs.detach()).to(site.preactivation), self.u

    def follow(self, site: Site, cache: object) -> Tensor:
        return (self.u > 1 - site.probs).to(site.preactivation)


class OneResidual(MuProp):
    """Mutant: one residual for all layers, less the sum of their expansions at the mean field."""

    def residuals(self, difference, slopes, bits, mean_field, sites):
        at_mean = [m.detach() for m in mean_field]
        moved = [
            (slope * (b - m)).flatten(2).sum(2)
            for slope, b, m in zip(slopes, bits, at_mean, strict=True)
        ]
        return [difference - sum(moved)] * len(moved)


class AverageOfItsBatch(MuProp):
    """Mutant: the average that is subtracted from the residual has seen this batch."""

    def residuals(self, *given):
        found = super().residuals(*given)
        return [one - 0.5 * one.mean() for one in found]


class SeesTheLoss(NVIL):
    """Mutant: the average that is subtracted has seen this batch."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        state = torch.get_rng_state()
        with torch.no_grad():
            noise = forward.noise
            drawn: list[Tensor] = []
            forward.noise = lambda like: drawn.append(noise(like)) or drawn[-1]
            loss = forward(Site.sample).loss[0]
        torch.set_rng_state(state)
        again = iter(drawn)
        self.moments.copy_(
            torch.stack([torch.ones_like(loss.mean()), loss.mean(), loss.square().mean()])
        )
        forward.noise = lambda like: next(again)
        return super().surrogate_loss(forward)


class NeighbourFlipped(LocalExpectation):
    """Mutant: each unit with the column of the read-out of another unit."""

    def _flipped(self, layer: LayerSamples, draw: int) -> Tensor:
        return super()._flipped(layer, draw).roll(1, -1)


@pytest.mark.numerical
@pytest.mark.parametrize(
    "mutant",
    [
        SignDropped(),
        OnePairThroughout(),
        NeighbourFlipped(),
        OneResidual(),
        AverageOfItsBatch(),
        SeesTheLoss(hidden=3, decay=0.5),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_mutants_of_functions_of_the_bits_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert distance(expectation(model, initialized(mutant, model)), exact(model)) > 1e-3


class PairProbability(ARMS):
    """Mutant: the probability that both draws fire, in place of their correlation."""

    def correlation(self, p: Tensor) -> Tensor:
        rho = super().correlation(p)
        return rho * p * (1 - p) + p * p


class OtherMarginal(ARMS):
    """Mutant: draws that fire with another probability."""

    def draw(self, site: Site) -> tuple[Tensor, object]:
        return super().draw(dataclasses.replace(site, preactivation=site.preactivation * 1.2))


class IntervalForgotten(REBAR):
    """Mutant: z̃ differentiated as if the interval that it comes from did not move with ℓ."""

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        draws, relaxed = super().draw(site)
        return draws, relaxed._replace(dz_tilde=torch.ones_like(relaxed.dz_tilde))


class OtherNoise(REBAR):
    """Mutant: the relaxed layer has another noise than the one that fired its bits."""

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        bits = super().draw(site)[0][:1]
        draws, relaxed = super().draw(site)
        return torch.cat([bits, draws[1:]]), relaxed


class BitsAbove(REBAR):
    """Mutant: the layers above the relaxed one fire bits, which have no derivative."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return (cache.u < site.probs.detach()).to(site.preactivation)


class SignFlipped(RELAX):
    """Mutant: the derivatives of the network that is added to the relaxed loss change places."""

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        for control in self.controls:
            control.register_forward_hook(lambda module, given, answer: (answer[0], -answer[1]))


class MeansOfUntrue(REBAR):
    """Mutant: the loss of a draw as the mean over its descendants, relaxations included."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        site = layer.drawn.sites[layer.site.index]
        return super().gradient(
            dataclasses.replace(layer, loss=site.aligned(site.descendants(layer.drawn.loss)[:2]))
        )


class ExpectationForgotten(DoubleControlVariates):
    """Mutant: the expectation of the second control variate is not put back."""

    def parts(self, layer: LayerDraws) -> tuple[Tensor, Tensor]:
        own, control = super().parts(layer)
        p = layer.site.probs.detach()
        return own, control + mean_of_others(layer.slope) * p * (1 - p)


class SeesItsOwnSlope(DoubleControlVariates):
    """Mutant: the slope of a draw's own bits is in its control variate."""

    def parts(self, layer: LayerDraws) -> tuple[Tensor, Tensor]:
        mean = layer.slope.mean(0, keepdim=True).expand_as(layer.slope)
        return super().parts(dataclasses.replace(layer, slope=mean))


@pytest.mark.parametrize("kind", [ExpectationForgotten, SeesItsOwnSlope], ids=lambda k: k.__name__)
def test_mutants_of_the_second_control_variate_are_caught(kind: type) -> None:
    model = Toy((2, 1))
    for mutant, caught in ((kind(samples=2), True), (DoubleControlVariates(samples=2), False)):
        ready = warm_up(mutant, model)
        assert float(ready.weights().abs().min()) > 0.01, "the second control variate is in use"
        assert (distance(expectation(model, ready), exact(model)) > 1e-3) == caught


class SeesItsOwnDraw(RODEO):
    """Mutant: the surrogates of a draw are fitted to its own loss and slope too."""

    def _surrogates(self, layer: LayerDraws, scales: Scales) -> Values:
        shared = dataclasses.replace(
            layer, loss=layer.loss.mean(0, keepdim=True).expand_as(layer.loss)
        )
        return super()._surrogates(shared, scales)


class ScoreNotFlipped(RODEO):
    """Mutant: the neighbours of a draw have its own score."""

    def gradient(self, layer: LayerDraws) -> Tensor:
        earlier = self.moments.clone()
        scales = self._scales(layer)
        self.moments.copy_(earlier)  # of earlier batches again, for the estimate itself
        values = self._surrogates(layer, scales).flipped[..., 1]
        noise = layer.b_minus_p
        own = scales.unit * values.reshape(noise.shape) * noise.abs() * (1 - 2 * layer.bits)
        return super().gradient(layer) - own


@pytest.mark.parametrize("kind", [SeesItsOwnDraw, ScoreNotFlipped], ids=lambda k: k.__name__)
def test_mutants_of_stein_control_variates_are_caught(kind: type[RODEO]) -> None:
    model, keys = Toy((2, 1)), {"samples": 2, "decay": 0.5, "hidden": 3}
    for mutant, caught in ((kind(**keys), True), (RODEO(**keys), False)):
        ready = warm_up(mutant, model)
        assert (distance(expectation(model, ready), exact(model)) > 1e-3) == caught


def test_a_slope_that_leaks_through_the_bits_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the pathwise gradient that the slopes are computed by stays in the surrogate loss."""

    class AlwaysOpen:
        open = property(lambda self: True, lambda self, value: None)

    model = Toy((2, 1))
    monkeypatch.setattr(slopes, "_Open", AlwaysOpen)
    mutant = initialized(DoubleControlVariates(samples=2), model)
    assert distance(expectation(model, mutant), exact(model)) > 1e-3


@pytest.mark.numerical
@pytest.mark.parametrize(
    "mutant",
    [
        PairProbability(samples=3),
        OtherMarginal(samples=3),
        IntervalForgotten(tau=0.5, decay=0.5),
        OtherNoise(tau=0.5, decay=0.5),
        BitsAbove(tau=0.5, decay=0.5),
        SignFlipped(tau=0.5, decay=0.5, hidden=3),
        MeansOfUntrue(tau=5.0, decay=0.5),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_mutants_of_continuous_draws_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert deviation(model, warm_up(mutant, model)) > 4.5
