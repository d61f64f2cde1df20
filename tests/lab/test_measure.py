"""The lab measures the objects that train, and says no more than its draws support."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from bnn.build import plan
from bnn.config import compose
from bnn.data import load
from bnn.estimators import Estimator
from bnn.lab.bench import BELOW, Bench
from bnn.lab.measure import Truth, accuracy, measure, reference, truth
from bnn.lab.probe import Probe
from bnn.nn.neurons import Stochastic
from bnn.training.loop import fit

TOY = ["data=digits", "model=mlp", "model.hidden=4", "model.norm=none"]


def bench(*overrides: str, samples: int = 16) -> Bench:
    checked = plan(compose([*TOY, *overrides]))
    generator = torch.Generator().manual_seed(0)
    return Bench(checked.model.double(), torch.randn(samples, 1, 8, 8, generator=generator, dtype=torch.float64),
                 torch.randint(10, (samples,), generator=generator))  # fmt: skip


def built(name: str, **keys: object) -> Estimator:
    return Estimator.registry.build({"name": name, **keys})


LEAVE_ONE_OUT = {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}}


def test_known_bias_and_variance_are_found_within_their_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    true, away = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    draws = true + 0.2 * away + 0.5 * torch.randn(400, 50, generator=generator, dtype=torch.float64)
    found = accuracy(draws, true[None], true[None])
    square = float(true @ true)
    assert abs(found.bias.value - 0.04 * float(away @ away) / square) < 4 * found.bias.error
    assert abs(found.variance.value - 0.25 * 50 / square) < 4 * found.variance.error
    mean = true + 0.2 * away
    assert abs(found.scale.value - float(mean.norm() / true.norm())) < 4 * found.scale.error
    assert abs(found.aligned.value - float(mean @ true / mean.norm() / true.norm())) < 4 * found.aligned.error


def test_noise_is_not_taken_for_bias() -> None:
    """Neither that of few draws nor that of the reference; the uncorrected figure, as a control, is far above 0."""
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(200, generator=generator, dtype=torch.float64)
    found, naive = [], []
    for _ in range(200):
        first, second = true + 0.3 * torch.randn(2, 200, generator=generator, dtype=torch.float64)
        draws = true + torch.randn(20, 200, generator=generator, dtype=torch.float64)
        found.append(accuracy(draws, first[None], second[None]).bias.value)
        naive.append(float((draws.mean(0) - (first + second) / 2).square().sum() / (true @ true)))
    biases = torch.tensor(found)
    assert abs(float(biases.mean())) < 4 * float(biases.std()) / math.sqrt(200)
    assert sum(naive) / 200 > 0.05


def test_standard_errors_have_the_noise_of_the_reference() -> None:
    """Of an unbiased estimator, a tenth or less of the biases lie beyond two standard errors (5 % if they were normal);
    without the reference's part, as a control, a quarter or more."""
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(60, generator=generator, dtype=torch.float64)
    beyond, ignored = 0, 0
    for _ in range(150):
        first, second = true + 0.8 * torch.randn(2, 10, 60, generator=generator, dtype=torch.float64)
        draws = true + torch.randn(300, 60, generator=generator, dtype=torch.float64)
        bias = accuracy(draws, first, second).bias
        beyond += abs(bias.value) > 2 * bias.error
        alone = accuracy(draws, first.mean(0, keepdim=True), second.mean(0, keepdim=True)).bias
        ignored += abs(alone.value) > 2 * alone.error
    assert beyond <= 15 and ignored >= 38


def test_a_reference_that_is_all_noise_says_nothing() -> None:
    draws = torch.randn(20, 5, dtype=torch.float64)
    ones = torch.ones(1, 5, dtype=torch.float64)
    found = accuracy(draws, ones, -ones)
    assert str(found.bias) == str(found.cosine) == "–"


def test_the_oracle_has_no_error_and_the_unbiased_none_beyond_theirs() -> None:
    here = bench()
    exact = truth(here, 2)
    assert exact.exact
    oracle = measure(here, here.warmed(built("enumeration"), 0), exact, 3)
    assert oracle.error(BELOW, 1) < 1e-12 and oracle.layers[BELOW].cosine.value == pytest.approx(1)
    for config in (LEAVE_ONE_OUT, {"name": "arms", "samples": 4}):
        unbiased = measure(here, here.warmed(Estimator.registry.build(config), 5), exact, 300).layers[BELOW]
        assert abs(unbiased.bias.value) < 4 * unbiased.bias.error, config
    biased = measure(here, here.warmed(built("st", proxy="identity"), 0), exact, 300).layers[BELOW]
    assert biased.bias.value > 10 * biased.bias.error


def test_many_unbiased_estimates_come_to_the_exact_gradient() -> None:
    """The reference for networks that cannot be enumerated, on one that can."""
    here = bench()
    exact = truth(here, 2)
    many = here.warmed(reference(2), 0)
    halves = [here.groups(many, 10, 20) for _ in range(2)]
    found = Truth((halves[0], halves[1]), "", False)
    assert found.square(BELOW) == pytest.approx(exact.square(BELOW), rel=0.2)
    (true,) = exact.halves[0][BELOW]
    error = ((halves[0][BELOW] + halves[1][BELOW]).mean(0) / 2 - true).norm() / true.norm()
    assert float(error) < 2 * found.relative_error(BELOW) < 0.6


def test_below_is_what_lies_below_the_highest_binary_layer() -> None:
    assert {name.split(".")[0] for name in bench("placement=both").below} == {"linear1", "linear2"}
    assert {name.split(".")[0] for name in bench("placement=first").below} == {"linear1"}


class Silent(nn.Module):
    """A binary layer that seldom fires, the only input of a read-out without an offset; beside it a rectifier that is dead,
    and a weight of an input that is always 0."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.dead = nn.Linear(2, 2), nn.Linear(2, 2)
        self.neuron = Stochastic()
        self.readout, self.beside, self.unlit = (nn.Linear(2, 3, bias=False) for _ in range(3))
        with torch.no_grad():
            self.low.bias.fill_(-1.5)
            self.dead.bias.fill_(-100)

    def forward(self, x):
        always_zero = 0 * x
        rectified = torch.relu(self.dead(x))
        return self.readout(self.neuron(self.low(x))) + self.beside(rectified) + self.unlit(always_zero)


def test_what_is_below_depends_neither_on_the_draw_nor_on_dead_inputs() -> None:
    """A read-out whose inputs are all 0 in this draw has a gradient of zeros, as have the weights of a rectifier that is
    dead; by their gradients, as a control, both would count as below, the first in some draws and the second in all."""
    zeros = set()
    for seed in range(50):
        torch.manual_seed(seed)
        here = Bench(Silent(), torch.randn(2, 2), torch.zeros(2, dtype=torch.int64), seed)
        assert here.below == ["low.weight", "low.bias"]
        silent = [name for name, gradient in here.gradients(here.warmed(built("frozen"), 0)).items() if not gradient.any()]
        assert {"low.weight", "dead.weight", "unlit.weight"} <= set(silent)
        zeros.add("readout.weight" in silent)
    assert zeros == {True, False}


def test_a_network_whose_loss_no_gradient_reaches_lies_below_as_a_whole() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Stochastic())
    assert Bench(model, torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)).below == ["0.weight", "0.bias"]


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_measuring_moves_nothing_of_the_network(norm: str) -> None:
    here = bench(f"model.norm={norm}")
    for parameter in here.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(here.model.state_dict())
    measure(here, here.warmed(built("nvil", hidden=3, decay=0.9), 3), truth(here, 4), 5)
    assert all(torch.equal(value, before[key]) for key, value in here.model.state_dict().items())
    assert all((parameter.grad == 1).all() for parameter in here.model.parameters())


def test_warming_fits_what_an_estimator_learns() -> None:
    """A learned baseline has less variance after it has learned."""
    here = bench()
    exact = truth(here, 2)
    cold, warm = (
        measure(here, here.warmed(built("nvil", hidden=20, decay=0.9), steps), exact, 100).layers[BELOW]
        for steps in (0, 200)
    )
    assert warm.variance.value < cold.variance.value / 2


def test_a_probe_does_not_change_the_training() -> None:
    histories = []
    for every in (0, 2):
        checked = plan(compose([*TOY, "data.limit=200", "estimator=nvil", "trainer.epochs=2", "trainer.progress=none"]))
        data = load(checked.config["data"], 0, 0.1)
        images, labels = data.validation.images[:8], data.validation.labels[:8]
        estimator, loss = checked.recipe.estimator, checked.recipe.task.loss
        probe = Probe(checked.model, estimator, images, labels, loss, every, 4, 4) if every else None
        histories.append(fit(checked.model, checked.recipe, data, probe=probe).history)
    plain, probed = histories
    added = {key for key in probed[1] if key.startswith("lab/")}
    assert {f"lab/{layer}/{key}" for layer in (BELOW, "linear1") for key in ("bias2", "variance", "cosine")} <= added
    assert not any(key.startswith("lab/") for key in probed[0]), "every second epoch"
    assert [{k: v for k, v in one.items() if k not in added} for one in probed] == list(plain)


def test_a_layer_of_a_module_list_keeps_its_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            checked = plan(compose(TOY))
            self.parts = nn.ModuleList([checked.model])

        def forward(self, x):
            return self.parts[0](x)

    here = Bench(Net(), torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    assert "parts.0.linear1" in here.by_layer(here.parameters)
