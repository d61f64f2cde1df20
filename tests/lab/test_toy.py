"""Toy problem of REBAR and RELAX: closed forms, the published setting, and the page.

Deviations of 4.5 standard errors and fixed seeds: a correct estimator fails one comparison in 10^5.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from support.matrix import one_in

from bnn.config.compose import compose
from bnn.estimators import Estimator
from bnn.lab.questions.toy import NO_NOISE, main
from bnn.lab.questions.toy_problem import (
    MEASUREMENTS,
    TARGETS,
    Unit,
    descend,
    estimates,
    exact_gradient,
    expected_loss,
    least_loss,
    measured_steps,
    over_seeds,
    reinforce_variance,
    squared_error,
    variance,
)
from bnn.lab.questions.toy_published import PUBLISHED, PublishedSetting
from bnn.nn.sites import Noise, generator_noise
from bnn.specify import estimator_choices

CHOICES = estimator_choices()
DRAWS = 1000


def ready(p: float, **config: object) -> tuple[Estimator, Unit]:
    """Estimator that is initialised for one unit, and the unit."""
    unit = Unit(p)
    return Estimator.registry.build(config).init(unit, torch.zeros(1, 1)), unit


def noise(seed: int = 0) -> Noise:
    return generator_noise(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", TARGETS)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_exact_gradient_is_that_of_enumeration_and_of_finite_differences(
    p: float, t: float
) -> None:
    estimator, unit = ready(p, name="enumeration")
    found = estimates(estimator, unit, t, 1, 5, noise())
    exact = torch.full((5,), exact_gradient(p, t))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-7)
    theta = math.log(p / (1 - p))
    up, down = (expected_loss(1 / (1 + math.exp(-(theta + e))), t) for e in (1e-5, -1e-5))
    assert (up - down) / 2e-5 == pytest.approx(exact_gradient(p, t), rel=1e-5)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("p, t", [(0.5, 0.499), (0.2, 0.45), (0.9, 0.45)])
def test_the_variance_of_reinforce_is_its_closed_form(p: float, t: float, samples: int) -> None:
    """Control: a variance larger by 30 % would be noticed."""
    estimator, unit = ready(p, name="reinforce", baseline="none")
    value, error = variance(estimates(estimator, unit, t, samples, 20_000, noise()))
    closed_form = reinforce_variance(p, t)
    assert abs(value - closed_form / samples) < 4.5 * error + 1e-6
    assert abs(value - 1.3 * closed_form / samples) > 4.5 * error


@pytest.mark.parametrize("p, t", [(0.5, 0.499), (0.2, 0.45)])
def test_the_closed_forms_are_sums_over_both_bits(p: float, t: float) -> None:
    values = {1: (1 - t) ** 2 * (1 - p), 0: t**2 * -p}
    mean = p * values[1] + (1 - p) * values[0]
    assert mean == pytest.approx(exact_gradient(p, t))
    square = p * values[1] ** 2 + (1 - p) * values[0] ** 2
    assert square - mean**2 == pytest.approx(reinforce_variance(p, t))


@pytest.mark.numerical
@pytest.mark.parametrize("words", one_in(3, CHOICES), ids=" ".join)
def test_estimates_of_one_pass_are_distributed_as_estimates_one_by_one(words: list[str]) -> None:
    """Mean and variance of both agree at the state after some steps, for every estimator."""
    estimator, unit = Estimator.registry.build(compose(words).estimator), Unit(0.4)
    rows, loss = torch.zeros(4, 1), squared_error(0.3)
    estimator.init(unit, rows)
    for _ in range(5):
        estimator(unit, rows, rows, loss, noise=noise())
    together = estimates(estimator, unit, 0.3, 4, 4000, noise(1))
    one_by_one, source = [], noise(2)
    for _ in range(60):
        state = copy.deepcopy(estimator)
        surrogate = state(unit, rows, rows, loss, noise=source)
        gradient = torch.zeros(1)
        if surrogate.requires_grad:
            (gradient,) = torch.autograd.grad(surrogate, unit.theta)
        one_by_one.append(gradient)
    apart = torch.cat(one_by_one)
    (left, left_error), (right, right_error) = variance(together), variance(apart)
    assert abs(left - right) < 4.5 * math.hypot(left_error, right_error) + 1e-12
    difference = float(together.mean() - apart.mean())
    error = math.sqrt(left / len(together) + right / len(apart))
    assert abs(difference) < 4.5 * error + 1e-6


def test_estimates_change_neither_the_estimator_nor_the_unit() -> None:
    estimator, unit = ready(0.4, name="relax")
    before = copy.deepcopy((estimator.state_dict(), unit.state_dict()))
    estimates(estimator, unit, 0.45, 2, 10, noise())
    for old, new in zip(before, (estimator.state_dict(), unit.state_dict()), strict=True):
        for name, value in new.items():
            assert torch.equal(value, old[name]), name


def test_an_exact_gradient_descends_without_noise_and_a_frozen_unit_stays() -> None:
    exact = descend(Estimator.registry.build("enumeration"), 0.45, 1, 600, draws=DRAWS)
    frozen = descend(Estimator.registry.build("frozen"), 0.45, 1, 20, draws=DRAWS)
    assert least_loss(0.45) < exact.loss < 0.21
    assert [step for step, _, _ in exact.variances] == measured_steps(600)
    assert all(value < NO_NOISE for _, value, _ in exact.variances + frozen.variances)
    assert frozen.loss == pytest.approx(expected_loss(0.5, 0.45))


@pytest.mark.parametrize("steps", [1, 5, 2000])
def test_measured_steps_go_from_the_first_step_to_the_last(steps: int) -> None:
    found = measured_steps(steps)
    assert found[0] == 1 and found[-1] == steps
    assert found == sorted(set(found)) and len(found) <= MEASUREMENTS


def test_the_published_setting_has_the_closed_form_of_reinforce_and_relax_learns() -> None:
    plain = PublishedSetting("reinforce", 0.499, 3).descend(1, draws=DRAWS)
    for one in plain:
        _, value, error = one.variances[-1]
        assert abs(value - reinforce_variance(0.5, 0.499)) < 4.5 * error
    relax = PublishedSetting("relax", 0.499, 3).descend(300, draws=DRAWS)
    assert all(one.variances[-1][1] < 0.1 * plain[0].variances[-1][1] for one in relax)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_setting_is_unbiased(name: str) -> None:
    """After a few steps, at which parameters and θ have left their initial values.

    Control: an estimate of half of the gradient would be noticed.
    """
    setting = PublishedSetting(name, 0.45, 3)
    setting.descend(20, draws=DRAWS)
    values = setting.estimate(200_000).detach()
    errors = values.std(1) / 200_000**0.5
    probabilities = torch.sigmoid(setting.theta.detach())
    true = torch.tensor([exact_gradient(float(p), 0.45) for p in probabilities])
    assert float(((values.mean(1) - true) / errors).abs().max()) < 4.5
    assert float((0.5 * true.abs() / errors).min()) > 4.5


@pytest.mark.slow
@pytest.mark.numerical
def test_relax_reaches_the_variance_of_the_published_setting() -> None:
    """Within half of an order of magnitude, at the same steps, by medians over three seeds."""
    steps, seeds = 300, 3

    def last_variance(descents: list) -> float:
        variances, _ = over_seeds(descents)
        return variances[-1][1].value

    setting = PublishedSetting("relax", 0.499, seeds)
    published = last_variance(setting.descend(steps, draws=DRAWS))
    built = [Estimator.registry.build("relax") for _ in range(seeds)]
    ours = last_variance(
        [descend(one, 0.499, 1, steps, draws=DRAWS, seed=seed) for seed, one in enumerate(built)]
    )
    assert math.log10(ours) < math.log10(published) + 0.5


SHOWN = (
    "## t = 0.45, 1 sample a step",
    "## t = 0.499, 16 samples a step",
    "| relax",
    "| step 3",
    "relax as published",
    "| reinforce nested_leave_one_out 2 8",
)


@pytest.mark.integration
def test_the_page_has_a_table_for_each_target_and_shows_its_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ["--steps", "3", "--seeds", "1", "--draws", "20"]
    main([*few, "--figure", str(tmp_path / "toy.png")])
    page = capsys.readouterr().out
    for words in SHOWN:
        assert words in page
    assert page.count("| enumeration") == 4
    assert (tmp_path / "toy.png").stat().st_size > 10_000
