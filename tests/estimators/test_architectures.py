"""Every estimator on pooling, residual paths, gates and shared weights, and losses of the bits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from support.estimator_cases import CASES
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators import Estimator, Reinforce, StraightThrough
from bnn.estimators.base import gradient_only
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import branching
from bnn.nn.sites import Site
from bnn.testing import (
    NETWORKS,
    batch,
    check_estimator,
    check_unbiased,
    exact_loss,
    gradient,
    network,
    serves,
    tangled,
    tangled_with_latents,
)

NEW = ("convolution", "residual", "gated", "shared weights")
ESTIMATORS = [case for case in CASES if case.values[0]["name"] != "none"]
REFUSED = {
    "enumeration": {"residual", "gated", "shared weights"},
    "disarm_bound": {"two layers", "three layers", "convolution", "residual", "shared weights"},
}
"""Networks that an estimator refuses, by a word of its configuration."""
ESTIMATES = 20_000
"""Samples of a mean, with which the mutants below are caught."""


@pytest.mark.parametrize("config", ESTIMATORS)
def test_networks_that_are_refused_are_those_that_cannot_be_served(config: dict) -> None:
    expected = next((names for word, names in REFUSED.items() if word in str(config)), set())
    estimator = Estimator.registry.build(config)
    assert {name for name in NETWORKS if not serves(estimator, network(name))} == expected


FAST = [case for case in ESTIMATORS if case.id.endswith("-0") or case.id.startswith("reinforce")]


def _one_network(config: dict, number: int) -> list[str]:
    """Name of a network that the estimator serves, another one for the next estimator."""
    served = [name for name in NEW if name not in REFUSED.get(config["name"], ())]
    return [served[number % len(served)]]


CLAIMS = [
    *(
        pytest.param(*case.values, _one_network(*case.values, number), id=f"{case.id}-one")
        for number, case in enumerate(FAST)
    ),
    *(pytest.param(*case.values, NEW, id=case.id, marks=pytest.mark.slow) for case in ESTIMATORS),
]
"""Estimators and networks: on every change each estimator on one of them, the rest is slow."""


@pytest.mark.numerical
@pytest.mark.parametrize("config, names", CLAIMS)
def test_claims_hold_with_paths_around_layers_pooling_and_shared_weights(
    config: dict, names: Sequence[str]
) -> None:
    if config["name"] == "enumeration":
        names = ["convolution", "one layer"]
    check_estimator(Estimator.registry.build(config), names, estimates=ESTIMATES)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_joint_enumeration_has_the_derivative_of_its_own_value(name: str) -> None:
    """Finite differences of the expected loss, for a loss of bits and probabilities too."""
    model, data = network(name), batch(2)
    found = gradient(model, exact_loss(model, *data, tangled_with_latents))
    for parameter, slope in zip(model.parameters(), found, strict=True):
        flat = parameter.detach().view(-1)
        for i in (0, len(flat) - 1):
            values = []
            for step in (1e-6, -2e-6):
                flat[i] += step
                values.append(float(exact_loss(model, *data, tangled_with_latents).detach()))
            flat[i] += 1e-6
            assert float(slope.view(-1)[i]) == pytest.approx(
                (values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8
            )


def test_joint_enumeration_agrees_with_enumeration_layer_by_layer() -> None:
    for name in ("one layer", "two layers", "three layers", "convolution"):
        model = network(name)
        layerwise = Estimator.registry.build("enumeration").init(model, batch(2)[0])
        theirs = gradient(model, layerwise(model, *batch(3), tangled))
        for one, other in zip(gradient(model, exact_loss(model, *batch(3))), theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_joint_enumeration_says_what_it_can_hold() -> None:
    with pytest.raises(ConfigError, match="at most 14"):
        exact_loss(
            nn.Sequential(nn.Linear(3, 15), network("one layer")[1], nn.Linear(15, 2)).double(),
            *batch(),
        )


def test_enumeration_layer_by_layer_refuses_a_loss_of_lower_bits() -> None:
    model = network("two layers")
    oracle = Estimator.registry.build("enumeration").init(model, batch(2)[0])
    with pytest.raises(ConfigError, match="bits of lower layers"):
        oracle(model, *batch(2), tangled_with_latents)


class PerSampleCredit(Reinforce):
    """Mutant: every site is credited as if each sample had a draw of its own.

    The baseline is the mean loss of the other samples. It is right for activations, and wrong for
    weights, whose draw the samples share.
    """

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample)
        loss = drawn.loss.detach()
        n, score = loss.shape[1], loss.new_zeros(())
        others = (loss.sum(1, keepdim=True) - loss) / (n - 1)
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            score = score + (site.aligned(loss - others) / n * site.score(bits)).sum()
        return drawn.loss.mean() + gradient_only(score)


def test_per_sample_credit_is_biased_for_shared_weights_alone() -> None:
    mutant = PerSampleCredit(baseline="none")
    check_unbiased(mutant, "two layers", estimates=ESTIMATES)
    with pytest.raises(AssertionError, match="standard errors"):
        check_unbiased(mutant, "shared weights", estimates=ESTIMATES)


class WrongReplica(Reinforce):
    """Mutant: two replicas, each credited with the loss of the other."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample, branching(2))
        score = drawn.loss.new_zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            score = score + (site.credit(drawn.loss.flip(0)) * site.score(bits)).sum()
        return drawn.loss.mean() + gradient_only(score)


@pytest.mark.numerical
@pytest.mark.parametrize("name", ["two layers", "residual", "gated", "shared weights"])
def test_a_credit_of_the_wrong_replica_is_caught(name: str) -> None:
    with pytest.raises(AssertionError, match="standard errors"):
        check_unbiased(WrongReplica(baseline="none"), name, estimates=ESTIMATES)


class SumOfLosses(StraightThrough):
    """Mutant of a biased estimator: the sum of the losses for their mean."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        return forward(self.sample).loss.sum()


def test_the_value_of_a_biased_estimator_is_checked_too() -> None:
    check_estimator(StraightThrough(), ["one layer"])
    with pytest.raises(AssertionError):
        check_estimator(SumOfLosses(), ["one layer"])


def test_too_few_estimates_are_refused() -> None:
    with pytest.raises(ConfigError, match="estimates: expected at least 1,000, got 500"):
        check_estimator(Reinforce(), ["one layer"], estimates=500)
