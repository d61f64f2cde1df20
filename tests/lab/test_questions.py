"""Questions of the lab: closed forms and known effects, and the names of their commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.lab.gradient_sampler import BELOW
from bnn.lab.moved import MOVED
from bnn.lab.questions import QUESTIONS, moons_training, power_target, slope_accuracy
from bnn.lab.questions.slope_accuracy import accuracy_by_slope
from bnn.lab.questions.slopes import DEFAULTS


def built(name: str, **keys: object) -> Estimator:
    return Estimator.registry.build({"name": name, **keys})


CLOSED_FORMS = [
    (1.5, 0.30187, 0.3522, 0.475),
    (2, 0.2025, 0.2475, 0.45),
    (3, 0.09113, 0.1213, 0.401),
]


@pytest.mark.parametrize("power, best, resting, probability", CLOSED_FORMS)
def test_the_closed_forms_are_those_of_the_literature(
    power: float, best: float, resting: float, probability: float
) -> None:
    rest = power_target.resting_probability(power)
    assert power_target.least_loss(power) == pytest.approx(best, abs=1e-5)
    assert rest == pytest.approx(probability, abs=1e-3)
    assert power_target.expected_loss(rest, power) == pytest.approx(resting, abs=1e-4)


@pytest.mark.parametrize("power", power_target.POWERS)
def test_straight_through_rests_where_its_gradient_vanishes(power: float) -> None:
    st = built("st", pseudo_derivative="density")
    loss, p = power_target.descend(st, power, 300, power_target.UNITS)
    assert p == pytest.approx(power_target.resting_probability(power), abs=0.005)
    assert loss > 1.1 * power_target.least_loss(power)


OTHERS = {"local_expectation": {}, "arms": {"samples": 4}, "reinmax": {"tau": 1.0}}


@pytest.mark.numerical
@pytest.mark.parametrize("name", OTHERS)
def test_the_others_reach_the_optimum(name: str) -> None:
    """Within 2 % of the loss: the optimum lies at saturation, where gradients vanish."""
    loss, _ = power_target.descend(built(name, **OTHERS[name]), 2.0, 300, 16)
    least = power_target.least_loss(2.0)
    assert least < loss < 1.02 * least


def test_slopes_refuse_a_network_that_cannot_be_enumerated() -> None:
    large = [*DEFAULTS, "model.hidden=14", "trainer.epochs=1", "data.limit=200"]
    with pytest.raises(ConfigError, match="can be enumerated"):
        accuracy_by_slope(large, draws=20)


@pytest.mark.slow
@pytest.mark.numerical
def test_a_steeper_slope_biases_stochastic_units_and_deterministic_ones_have_no_noise() -> None:
    overrides = [*DEFAULTS, "model.hidden=4", "trainer.epochs=10"]
    _, found = accuracy_by_slope(overrides, draws=100)
    stochastic, deterministic = found["stochastic"], found["deterministic"]
    assert stochastic[0].squared_bias.value < stochastic[-1].squared_bias.value
    assert stochastic[0].variance.value < stochastic[-1].variance.value
    assert all(one.variance.value < 1e-20 for one in deterministic)


@pytest.mark.slow
@pytest.mark.integration
def test_every_estimator_is_measured_on_every_layer_along_the_training() -> None:
    found = moons_training.along_training(draws=20, steps=(0, 20))
    losses = [loss for loss, _ in found.values()]
    assert losses[1] < losses[0]
    for _, measured in found.values():
        assert len(measured) == len(moons_training.ESTIMATORS)
        for one in measured.values():
            assert {"layers.0", "layers.1", "layers.2", BELOW} <= set(one.layers)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def test_the_help_of_the_lab_lists_every_question_and_each_is_a_command() -> None:
    listed = run("bnn.lab", "--help").stdout
    for name, question in QUESTIONS.items():
        assert f"{name} " in listed and question in listed
        helped = run(f"bnn.lab.questions.{name}", "--help")
        assert helped.returncode == 0, helped.stderr
        assert helped.stdout.startswith(f"usage: python -m bnn.lab.questions.{name}")


def test_a_former_command_ends_with_the_new_name_on_one_line() -> None:
    assert set(MOVED.values()) <= {f"bnn.lab.questions.{name}" for name in QUESTIONS}
    ended = run("bnn.lab.checkpoints", "--draws", "20")
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == (
        "bnn.lab.checkpoints has moved: use python -m bnn.lab.questions.along_training\n"
    )
    assert "No module named" in run("bnn.lab.nothing").stderr


def test_slopes_are_measured_under_the_loss_and_the_precision_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Seen(Exception):
        pass

    def sampler(model, inputs, targets, seed, loss, precision):
        raise Seen(type(loss.__self__).__name__, precision)

    monkeypatch.setattr(slope_accuracy, "GradientSampler", sampler)
    words = ["data=digits", "data.limit=64", "task=structured", "model=mlp", "model.hidden=4"]
    others = ["model.norm=none", "trainer.epochs=1", "trainer.precision=bf16", "device=cpu"]
    with pytest.raises(Seen) as seen:
        slope_accuracy.accuracy_by_slope([*words, *others], 2)
    assert seen.value.args == ("StructuredPrediction", "bf16")
