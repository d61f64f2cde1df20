"""Gradients of binary weights: exact moments, the noise of a shared draw, and mirror descent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.fitted import fit_network
from bnn.lab.mirror_descent import (
    clipped_probability,
    multiplicative_probabilities,
    proximal_probabilities,
    trained_probabilities,
)
from bnn.lab.questions import mirror_descent, weights
from bnn.lab.weight_gradients import (
    LinearProblem,
    Moments,
    cosine,
    relative_bias,
    ruled,
    sampled_gradients,
    total_variance,
)
from bnn.nn.weight_layers import binary_weight_layers
from bnn.nn.weights import SignWeights, WeightRule


def test_the_exact_gradient_is_half_the_difference_of_either_sign() -> None:
    problem = LinearProblem.random(4, 3, seed=0)
    exact = problem.exact_moments()["exact"].mean
    probs = torch.sigmoid(2 * problem.latents)
    for weight in range(4):
        difference = 0.0
        for bits in itertools.product((-1.0, 1.0), repeat=3):
            others = list(bits)
            mass, losses = 1.0, []
            for sign in (1.0, -1.0):
                w = torch.tensor([*others[:weight], sign, *others[weight:]], dtype=torch.float64)
                losses.append(float(F.softplus(-problem.signs * (problem.inputs @ w)).mean()))
            rest = [p for place, p in enumerate(probs.tolist()) if place != weight]
            for bit, p in zip(others, rest, strict=True):
                mass *= p if bit > 0 else 1 - p
            difference += mass * (losses[0] - losses[1]) / 2
        assert float(exact[weight]) == pytest.approx(difference, rel=1e-9)


@pytest.mark.slow
def test_of_three_estimates_the_score_function_alone_is_unbiased_and_it_grows_noisier() -> None:
    found = {
        n: [LinearProblem.random(n, 8, seed).exact_moments() for seed in range(8)] for n in (3, 9)
    }

    def mean(name: str, n: int, measure: Callable[[Moments, Moments], float]) -> float:
        return sum(measure(one[name], one["exact"]) for one in found[n]) / 8

    assert mean("score function", 9, relative_bias) < 1e-12
    for n in (3, 9):
        assert mean("lrt", n, relative_bias) < 0.1 < mean("sample", n, relative_bias)
        assert mean("lrt", n, cosine) > 0.99
    assert mean("sample", 9, relative_bias) < mean("sample", 3, relative_bias)

    def relative_variance(one: Moments, exact: Moments) -> float:
        return one.variance / float(exact.mean.square().sum())

    noise = {n: mean("score function", n, relative_variance) for n in found}
    assert noise[9] > 1.5 * noise[3]


@pytest.mark.integration
def test_a_shared_draw_leaves_a_floor_under_the_noise_and_local_reparameterisation_none() -> None:
    words = ["data=digits", "placement=none", "weights=sample", "model.norm=running"]
    network = fit_network(compose([*words, "trainer.progress=none", "device=cpu"]), 1)
    model, task, train = network.model, network.setup.training.task, network.data.train
    ((name, layer),) = binary_weight_layers(model)
    latent = layer.weight.detach().clone()

    def variance(rule: str, size: int) -> float:
        def batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            index = torch.randint(len(train.images), (size,), generator=generator)
            return task.batch(train.images[index], train.labels[index])

        node = {**network.setup.spec.config["weights"], "name": rule}
        with ruled(model, WeightRule.registry.build(node)):
            return total_variance(sampled_gradients(model, name, task, batch, 60, 0)).value

    shared = variance("sample", 256) / variance("sample", 4)
    single = variance("lrt", 256) / variance("lrt", 4)
    assert single == pytest.approx(4 / 256, rel=0.5)
    assert shared > 2 * single
    assert variance("sign", 256) < variance("sample", 256)  # the control: no draw at all
    assert layer.rule.reading == "sampled" and torch.equal(layer.weight, latent)


@pytest.mark.parametrize("decay", mirror_descent.DECAYS)
def test_three_ways_lead_to_the_same_probabilities(decay: float) -> None:
    gradients = [0.7, -1.5, 0.2, 2.0, -0.3]
    trained = trained_probabilities(SignWeights(decay=decay, scale="none"), 0.6, gradients, 0.3)
    product = multiplicative_probabilities(0.6, gradients, 0.3, decay)
    minimum = proximal_probabilities(0.6, gradients, 0.3, decay)
    assert trained == pytest.approx(product, abs=1e-14)
    assert trained == pytest.approx(minimum, abs=1e-6)
    control = SignWeights(decay=decay, scale="none", step="gradient")
    other = trained_probabilities(control, 0.6, gradients, 0.3)
    assert max(abs(a - b) for a, b in zip(trained, other, strict=True)) > 0.01


def test_a_clip_leaves_weights_uncertain_under_every_law_but_the_uniform_one() -> None:
    assert clipped_probability("uniform") == 1
    assert clipped_probability("logistic") == pytest.approx(1 / (1 + math.exp(-2)))
    assert all(clipped_probability(law) < 0.9 for law in ("gaussian", "triangular"))


def test_the_questions_print_their_pages(capsys: pytest.CaptureFixture[str]) -> None:
    mirror_descent.main([])
    assert "| logistic   |" in capsys.readouterr().out


@pytest.mark.integration
def test_a_network_whose_norm_couples_samples_is_refused() -> None:
    chosen = weights.arguments(["data=digits", "model.norm=batch", "--epochs", "0"])
    with pytest.raises(ConfigError, match=r"weights=sample and model\.norm=running"):
        weights.noise_curves(chosen)
