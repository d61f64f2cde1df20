"""The toy problem of REBAR and RELAX: its closed forms, and the page."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.lab import toy
from bnn.lab.toy import descend, estimates, main, one_unit, variance
from bnn.nn.sites import generator_noise
from bnn.specify import estimator_choices

CHOICES = [
    words for words in estimator_choices() if "estimator/baseline=nested_leave_one_out" not in words
]


def ready(p: float, **config: object) -> tuple[Estimator, torch.nn.Module]:
    """An estimator that is initialised for one unit, and the unit."""
    unit = one_unit(p)
    return Estimator.registry.build(config).init(unit, torch.zeros(1, 1)), unit


def noise(seed: int = 0) -> object:
    return generator_noise(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", toy.TARGETS)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_exact_gradient_is_that_of_enumeration_and_of_finite_differences(
    p: float, t: float
) -> None:
    estimator, unit = ready(p, name="enumeration")
    found = estimates(estimator, unit, t, 1, 5, noise())
    torch.testing.assert_close(
        found, torch.full((5,), toy.exact_gradient(p, t)), rtol=1e-4, atol=1e-7
    )
    theta = math.log(p / (1 - p))
    up, down = (toy.expected_loss(1 / (1 + math.exp(-(theta + e))), t) for e in (1e-5, -1e-5))
    assert (up - down) / 2e-5 == pytest.approx(toy.exact_gradient(p, t), rel=1e-5)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("p, t", [(0.5, 0.499), (0.2, 0.45), (0.9, 0.45)])
def test_the_variance_of_reinforce_is_its_closed_form(p: float, t: float, samples: int) -> None:
    estimator, unit = ready(p, name="reinforce", baseline="none")
    value, error = variance(estimates(estimator, unit, t, samples, 20_000, noise()))
    assert abs(value - toy.reinforce_variance(p, t) / samples) < 4.5 * error + 1e-6
    assert (
        abs(value - 1.3 * toy.reinforce_variance(p, t) / samples) > 4.5 * error
    )  # the test would see an error of 30 %


def test_the_closed_form_is_the_sum_over_both_bits() -> None:
    for p, t in ((0.5, 0.499), (0.2, 0.45)):
        values = {1: (1 - t) ** 2 * (1 - p), 0: t**2 * -p}
        mean = p * values[1] + (1 - p) * values[0]
        assert mean == pytest.approx(toy.exact_gradient(p, t))
        square = p * values[1] ** 2 + (1 - p) * values[0] ** 2
        assert square - mean**2 == pytest.approx(toy.reinforce_variance(p, t))


@pytest.mark.parametrize("words", CHOICES, ids=" ".join)
def test_drawing_all_estimates_in_one_pass_is_drawing_them_one_by_one(words: list[str]) -> None:
    """Mean and variance of both, at the state after some steps: what the page takes for granted of every estimator."""
    estimator, unit, t, rows = (
        Estimator.registry.build(compose(words).estimator),
        one_unit(0.4),
        0.3,
        torch.zeros(4, 1),
    )
    estimator.init(unit, rows)
    for _ in range(5):
        estimator(unit, rows, rows, toy.loss_at(t), noise=noise())
    together = estimates(estimator, unit, t, 4, 4000, noise(1))
    one_by_one, source = [], noise(2)
    for _ in range(150):
        state = copy.deepcopy(estimator)
        surrogate = state(unit, rows, rows, toy.loss_at(t), noise=source)
        gradient = (
            torch.autograd.grad(surrogate, unit.theta)[0]
            if surrogate.requires_grad
            else torch.zeros(1)
        )
        one_by_one.append(gradient)
    apart = torch.cat(one_by_one)
    (left, left_error), (right, right_error) = variance(together), variance(apart)
    assert abs(left - right) < 4.5 * math.hypot(left_error, right_error) + 1e-12
    away = float(together.mean() - apart.mean())
    assert abs(away) < 4.5 * math.sqrt(left / len(together) + right / len(apart)) + 1e-6


def test_measuring_moves_nothing() -> None:
    estimator, unit = ready(0.4, name="relax")
    before = copy.deepcopy((estimator.state_dict(), unit.state_dict()))
    estimates(estimator, unit, 0.45, 2, 10, noise())
    for old, new in zip(before, (estimator.state_dict(), unit.state_dict()), strict=True):
        for name, value in new.items():
            assert torch.equal(value, old[name]), name


def test_an_exact_gradient_arrives_without_noise_and_a_frozen_unit_stays() -> None:
    exact = descend(Estimator.registry.build({"name": "enumeration"}), 0.45, 1, 600)
    frozen = descend(Estimator.registry.build({"name": "frozen"}), 0.45, 1, 20)
    assert toy.optimum(0.45) < exact.loss < 0.21
    assert [step for step, _, _ in exact.variances] == toy.checkpoints(600)
    assert all(value < toy.NO_NOISE for _, value, _ in exact.variances + frozen.variances)
    assert frozen.loss == pytest.approx(toy.expected_loss(0.5, 0.45))


def test_an_estimator_of_several_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to nest"):
        descend(
            Estimator.registry.build({"name": "reinforce", "baseline": "nested_leave_one_out"}),
            0.45,
            1,
            2,
        )


@pytest.mark.parametrize("steps", [1, 5, 2000])
def test_checkpoints_go_from_the_first_step_to_the_last(steps: int) -> None:
    found = toy.checkpoints(steps)
    assert (
        found[0] == 1
        and found[-1] == steps
        and found == sorted(set(found))
        and len(found) <= toy.CHECKPOINTS
    )


def test_the_published_setting_has_the_closed_form_of_reinforce_and_learns_in_relax() -> None:
    plain = toy.Published("reinforce", 0.499, 3).descend(1)
    for one in plain:
        (_, value, error) = one.variances[-1]
        assert abs(value - toy.reinforce_variance(0.5, 0.499)) < 4.5 * error
    relax = toy.Published("relax", 0.499, 3).descend(300)
    assert all(one.variances[-1][1] < 0.1 * plain[0].variances[-1][1] for one in relax)


@pytest.mark.parametrize("name", toy.PUBLISHED)
def test_the_published_setting_is_unbiased(name: str) -> None:
    """After a few steps, so that what is learned and θ are no longer where they began."""
    setting = toy.Published(name, 0.45, 3)
    setting.descend(20)
    values = setting.estimate(200_000).detach()
    errors = values.std(1) / 200_000**0.5
    true = [toy.exact_gradient(float(p), 0.45) for p in torch.sigmoid(setting.theta.detach())]
    assert float(((values.mean(1) - torch.tensor(true)) / errors).abs().max()) < 4.5
    assert float((0.5 * torch.tensor(true).abs() / errors).min()) > 4.5, (
        "half of the gradient would be missed"
    )


def test_relax_reaches_the_variance_of_the_published_setting() -> None:
    """Within half of an order of magnitude, at the same steps, by medians over three seeds."""
    steps, seeds = 300, 3
    theirs = toy.over_seeds(toy.Published("relax", 0.499, seeds).descend(steps))[0][-1][1].value
    built = [Estimator.registry.build({"name": "relax"}) for _ in range(seeds)]
    ours = toy.over_seeds([descend(one, 0.499, 1, steps, seed) for seed, one in enumerate(built)])[
        0
    ][-1][1].value
    assert math.log10(ours) < math.log10(theirs) + 0.5


def test_the_page_has_a_table_for_each_target_and_shows_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy, "DRAWS", 20)
    main(["--steps", "3", "--seeds", "1", "--figure", str(tmp_path / "toy.png")])
    page = capsys.readouterr().out
    for words in ("## t = 0.45, 1 sample a step", "## t = 0.499, 16 samples a step", "| relax", "| step 3",
                  "relax as published",
                  "Not measured: estimator/baseline=nested_leave_one_out"):  # fmt: skip
        assert words in page
    assert page.count("| enumeration") == 4
    assert (tmp_path / "toy.png").stat().st_size > 10_000
