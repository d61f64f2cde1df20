"""Claims of every estimator, held against exact enumeration."""

from __future__ import annotations

import pytest
import torch
from support.estimator_cases import (
    BASELINES,
    BIASED,
    CASES,
    CONTINUOUS,
    CONTRACTS,
    EXACT_PAIRS,
    EXACTLY,
    NETS,
    SAMPLED,
    applies,
)
from support.expectation import build, deviation, distance, exact, expectation, warm_up
from support.matrix import one_in
from support.toys import Toy, batch, tangled
from torch import Tensor

from bnn.estimators import Baseline, Estimator
from bnn.nn.forward import ForwardClosure
from bnn.nn.neurons import Deterministic
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Site
from bnn.paths import folder


def test_every_estimator_and_baseline_has_its_three_places() -> None:
    conf = folder("conf") / "estimator"
    assert set(CONTRACTS) == set(Estimator.registry) == {path.stem for path in conf.glob("*.yaml")}
    assert (
        set(BASELINES)
        == set(Baseline.registry)
        == {path.stem for path in (conf / "baseline").glob("*.yaml")}
    )


@pytest.mark.numerical
@pytest.mark.parametrize("config, widths", EXACT_PAIRS)
def test_unbiased_claim_holds_exactly(config: dict, widths: tuple[int, ...]) -> None:
    model = Toy(widths)
    estimator = warm_up(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


@pytest.mark.numerical
@pytest.mark.parametrize("widths", one_in(2, map(pytest.param, NETS)), ids=str)
@pytest.mark.parametrize("config", SAMPLED)
def test_unbiased_claim_holds_within_the_standard_error(
    config: dict, widths: tuple[int, ...]
) -> None:
    model = Toy(widths)
    assert deviation(model, warm_up(Estimator.registry.build(config), model)) < 4.5


@pytest.mark.parametrize("widths", one_in(2, map(pytest.param, NETS)), ids=str)
@pytest.mark.parametrize("config", BIASED)
def test_biased_estimators_are_biased(config: dict, widths: tuple[int, ...]) -> None:
    if not applies(config, widths):
        pytest.skip("a network that it refuses")
    model = Toy(widths)
    estimator = build(config, model)
    if config["name"] in CONTINUOUS:
        assert deviation(model, estimator, repeats=25) > 10
    else:
        assert distance(expectation(model, estimator), exact(model)) > 1e-3


@pytest.mark.parametrize(
    "law", [name for name, law in NoiseLaw.registry.items() if law.full_support]
)
def test_score_is_unbiased_under_every_law_with_full_support(law: str) -> None:
    model = Toy((3,), law)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


def test_deterministic_neuron_explores_by_its_noise_law_under_reinforce() -> None:
    stochastic, deterministic = Toy((2, 2)), Toy((2, 2), neuron=Deterministic)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(deterministic, estimator), exact(stochastic)) < 1e-12


@pytest.mark.parametrize("config", EXACTLY)
def test_each_sample_of_a_batch_gets_its_own_credit(config: dict) -> None:
    if not applies(config, (2,)) or config.get("samples", 1) > 2:
        pytest.skip("a network that it refuses, or too many outcomes")
    model = Toy((2,))
    estimator = warm_up(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator, samples=2), exact(model, samples=2)) < 1e-12


def test_nvil_is_unbiased_up_to_one_positive_scale() -> None:
    """One scale below 1 for all binary layers where the loss varies much; none for the read-out."""

    def large(scores: Tensor, targets: Tensor) -> Tensor:
        return 20 * tangled(scores, targets)

    model = Toy((2, 2))
    estimator = warm_up(
        Estimator.registry.build({"name": "nvil", "hidden": 3, "decay": 0.5}), model
    )
    for _ in range(3):
        estimator.surrogate_loss(ForwardClosure(model, *batch(4), large))
    scale = float(estimator.scale())
    assert 0 < scale < 0.5
    found, true = expectation(model, estimator, large), exact(model, large)
    assert distance(found[:4], [scale * g for g in true[:4]]) < 1e-12
    assert distance(found[4:], true[4:]) < 1e-12


@pytest.mark.parametrize(
    "config",
    [
        c
        for c in CASES
        if c.values[0]["name"] not in ("none", "concrete")
        and not Estimator.registry[c.values[0]["name"]].bound
    ],
)
def test_value_is_an_estimate_of_the_expected_loss(config: dict) -> None:
    """Value from true samples, or the expectation itself.

    `concrete` is left out: it trains another network; and those of a bound, which is their value.
    """
    model = Toy((2, 2))
    inputs, targets = (one.repeat(20_000, *[1] * (one.dim() - 1)) for one in batch(1))
    generator = torch.Generator().manual_seed(2)
    noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
    with torch.no_grad():
        loss = ForwardClosure(model, inputs, targets, tangled, noise)(Site.sample).loss
    value = float(
        build(config, model)
        .surrogate_loss(ForwardClosure(model, inputs, targets, tangled, noise))
        .detach()
    )
    assert abs(value - float(loss.mean())) < 4.5 * 2**0.5 * float(loss.std()) / 20_000**0.5


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", [c for c in CASES if c.values[0]["name"] != "none"])
def test_evaluations_are_the_losses_that_a_step_computes(
    config: dict, widths: tuple[int, ...]
) -> None:
    if not applies(config, widths):
        pytest.skip("too many outcomes")
    model = Toy(widths)
    estimator = build(config, model)
    computed = []

    class Counted(ForwardClosure):
        def __call__(self, rule, tree=()):
            result = super().__call__(rule, tree)
            computed.append(len(result.loss))
            return result

    estimator.surrogate_loss(Counted(model, *batch(5), tangled)).backward()
    assert sum(computed) == estimator.evaluations(widths)
