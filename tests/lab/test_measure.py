"""The lab measures the objects that train, and says no more than its draws support."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from bnn.config.compose import compose
from bnn.data import load
from bnn.estimators import Estimator
from bnn.lab.bench import BELOW, Bench
from bnn.lab.measure import Truth, accuracy, measure, reference, truth
from bnn.lab.probe import GradientProbe
from bnn.nn.neurons import Stochastic
from bnn.specify import setup
from bnn.training.loop import fit

TOY = ["data=digits", "model=mlp", "model.hidden=4", "model.norm=none"]


def bench(*overrides: str, samples: int = 16) -> Bench:
    checked = setup(compose([*TOY, *overrides]))
    generator = torch.Generator().manual_seed(0)
    return Bench(checked.model.double(), torch.randn(samples, 1, 8, 8, generator=generator, dtype=torch.float64),
                 torch.randint(10, (samples,), generator=generator))  # fmt: skip


def built(name: str, **keys: object) -> Estimator:
    return Estimator.registry.build({"name": name, **keys})


LEAVE_ONE_OUT = {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}}


def case(kind: str, reference: int, repeats: int, draws: int, tail: str) -> dict[str, list[float]]:
    """Of each figure of repeated measurements of a known mean and covariance: the shares of intervals that cover the truth,
    that lie above it, and that lie below.

    kind: the numbers of a vector, and the bias² over |true|², such as `50 0.02`; a third word lets one number have half of
    the variance. reference: groups of the noisy reference, 1 if exact. tail: `gauss`, or `t` of 5 degrees of freedom, shared
    by the numbers of a vector.
    """
    words = kind.split()
    d, bias = int(words[0]), float(words[1])
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    variances = torch.ones(d, dtype=torch.float64)
    if len(words) > 2:
        variances[0] = d - 1
    variances *= 4 / variances.sum()
    true, away = normal(2, d)
    true, away = true / true.norm(), away / away.norm() * math.sqrt(bias)
    mean = true + away

    def vectors(count: int) -> torch.Tensor:
        found = normal(count, d) * variances.sqrt()
        chi = (
            normal(count, 5).square().sum(1, keepdim=True)
            if tail == "t"
            else torch.full((count, 1), 3.0)
        )
        return mean + found * (3 / chi).sqrt()

    many = vectors(40_000)
    truths = {"bias": bias, "variance": 4.0, "cosine": float((many @ true / many.norm(dim=1)).mean()),
              "aligned": float(mean @ true / mean.norm()), "scale": float(mean.norm())}  # fmt: skip
    met = {key: [0.0, 0.0, 0.0] for key in truths}
    for _ in range(repeats):
        noise = normal(reference, d) * math.sqrt(0.05 * reference / d) if reference > 1 else 0.0
        found = accuracy(vectors(draws), (true + noise).expand(reference, d))
        for key, truth_ in truths.items():
            figure = getattr(found, key)
            over, under = figure.low > truth_ + 1e-9, figure.high < truth_ - 1e-9
            for place, happened in enumerate((not over and not under, over, under)):
                met[key][place] += happened / repeats
    return met


EDGE = {"aligned": ("2 0", "50 0", "400 0")}
"""A cosine of 1 is the end of its range: no interval lies above it, and 2.5 % lie below."""


@pytest.mark.slow
@pytest.mark.parametrize("reference", [1, 20])
@pytest.mark.parametrize("kind", ["2 0", "2 0.5", "50 0", "50 0.02", "50 0.5", "400 0", "400 0.5"])
def test_intervals_cover_the_truth_as_often_as_they_say(kind: str, reference: int) -> None:
    """95 %, within 2 and the noise of 1000 repetitions (0.7), of Gaussian estimates; without bias, with little and with
    much, of few and of many dimensions, against an exact truth and a noisy one."""
    for key, (covered, over, under) in case(kind, reference, 1000, 100, "gauss").items():
        most = 0.99 if kind in EDGE.get(key, ()) or (kind, reference) == ("2 0.5", 20) else 0.975
        assert 0.925 < covered < most, (key, covered, over, under)


@pytest.mark.slow
@pytest.mark.parametrize("kind, tail", [("50 0 uneven", "gauss"), ("50 0.5 uneven", "gauss"), ("2 0.5", "t"),
                                        ("50 0", "t"), ("50 0.5", "t")])  # fmt: skip
def test_intervals_cover_at_least_so_often_with_heavy_tails_and_uneven_noise(
    kind: str, tail: str
) -> None:
    """Nine in ten, less the noise of 600 repetitions; wider than they need be where one number has half of the noise."""
    for key, (covered, over, under) in case(kind, 1, 600, 100, tail).items():
        assert covered > 0.885, (key, covered, over, under)


def test_known_bias_and_variance_lie_in_their_intervals() -> None:
    """The fast part of the above: 40 repetitions, of which each interval covers 33 or more; intervals of a third of the
    width, as a control, do not."""
    for key, (covered, _, _) in case("20 0.1", 1, 40, 60, "gauss").items():
        assert covered >= 33 / 40, key
    found = [accuracy(*_pair(seed)) for seed in range(40)]
    for key, true in (("bias", 0.0), ("variance", 1.0), ("scale", 1.0)):
        figures = [getattr(one, key) for one in found]
        third = [abs(one.value - true) < (one.high - one.low) / 6 for one in figures]
        assert sum(third) < 33, key


def _pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.ones(20, dtype=torch.float64) / math.sqrt(20)
    return true + torch.randn(60, 20, generator=generator, dtype=torch.float64) / math.sqrt(
        20
    ), true[None]


def test_the_length_of_a_mean_that_drowns_is_told_as_such() -> None:
    """The interval begins at 0 and holds the true length, 1, whatever the sign of the square without its noise; its values
    are 0 about as often as not, and the cosine of the mean may be anything."""
    found = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        true = torch.ones(200, dtype=torch.float64) / math.sqrt(200)
        found.append(
            accuracy(
                true + 10 * torch.randn(100, 200, generator=generator, dtype=torch.float64),
                true[None],
            )
        )
    assert 5 < sum(one.scale.value == 0 for one in found) < 35
    assert sum(one.scale.low == 0 and one.scale.high > 1 for one in found) >= 34
    assert sum(one.aligned.low < -0.5 and one.aligned.high == 1 for one in found) >= 20
    assert all("[" in str(one.scale) for one in found)


def test_a_truth_that_is_not_told_from_0_gives_no_intervals() -> None:
    draws = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = (
        torch.tensor([[1.0], [-0.9], [0.9], [-0.7]], dtype=torch.float64).expand(4, 5) * 0.1 + 0.08
    )
    found = accuracy(draws, groups)
    assert math.isnan(found.bias.value) or (math.isinf(found.bias.high) and str(found.bias) == "–")


def test_noise_is_not_taken_for_bias() -> None:
    """Neither that of few draws nor that of the reference; the uncorrected figure, as a control, is far above 0."""
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(200, generator=generator, dtype=torch.float64)
    found, naive = [], []
    for _ in range(200):
        groups = true + 0.3 * torch.randn(2, 200, generator=generator, dtype=torch.float64)
        draws = true + torch.randn(20, 200, generator=generator, dtype=torch.float64)
        found.append(accuracy(draws, groups).bias.value)
        naive.append(float((draws.mean(0) - groups.mean(0)).square().sum() / (true @ true)))
    biases = torch.tensor(found)
    assert abs(float(biases.mean())) < 4 * float(biases.std()) / math.sqrt(200)
    assert sum(naive) / 200 > 0.05


def test_intervals_have_the_noise_of_the_reference() -> None:
    """Of an unbiased estimator, a tenth or less of the intervals of the bias lie beside 0; of intervals that take the
    reference for exact, as a control, a quarter or more."""
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(60, generator=generator, dtype=torch.float64)
    beyond, ignored = 0, 0
    for _ in range(150):
        groups = true + 0.8 * torch.randn(20, 60, generator=generator, dtype=torch.float64)
        draws = true + torch.randn(300, 60, generator=generator, dtype=torch.float64)
        bias = accuracy(draws, groups).bias
        beyond += not bias.low <= 0 <= bias.high
        alone = accuracy(draws, groups.mean(0, keepdim=True)).bias
        ignored += not alone.low <= 0 <= alone.high
    assert beyond <= 15 and ignored >= 38


def test_a_reference_that_is_all_noise_says_nothing() -> None:
    draws = torch.randn(20, 5, dtype=torch.float64)
    ones = torch.ones(1, 5, dtype=torch.float64)
    found = accuracy(draws, torch.cat([ones, -ones]))
    assert str(found.bias) == str(found.cosine) == "–"


def test_the_oracle_has_no_error_and_the_unbiased_none_beyond_theirs() -> None:
    here = bench()
    exact = truth(here, 2)
    assert exact.exact
    oracle = measure(here, here.warmed(built("enumeration"), 0), exact, 3)
    assert oracle.error(BELOW, 1) < 1e-12 and oracle.layers[BELOW].cosine.value == pytest.approx(1)
    for config in (LEAVE_ONE_OUT, {"name": "arms", "samples": 4}):
        unbiased = measure(
            here, here.warmed(Estimator.registry.build(config), 5), exact, 300
        ).layers[BELOW]
        assert abs(unbiased.bias.value) < unbiased.bias.high - unbiased.bias.low, config
    biased = measure(here, here.warmed(built("st", pseudo_derivative="identity"), 0), exact, 300).layers[BELOW]
    assert biased.bias.value > 3 * (biased.bias.high - biased.bias.low)


def test_many_unbiased_estimates_come_to_the_exact_gradient() -> None:
    """The reference for networks that cannot be enumerated, on one that can."""
    here = bench()
    exact = truth(here, 2)
    many = here.warmed(reference(2), 0)
    groups = here.groups(many, 20, 20)
    found = Truth(groups, "", False)
    assert found.square(BELOW) == pytest.approx(exact.square(BELOW), rel=0.2)
    (true,) = exact.groups[BELOW]
    error = (groups[BELOW].mean(0) - true).norm() / true.norm()
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
        return (
            self.readout(self.neuron(self.low(x)))
            + self.beside(rectified)
            + self.unlit(always_zero)
        )


def test_what_is_below_depends_neither_on_the_draw_nor_on_dead_inputs() -> None:
    """A read-out whose inputs are all 0 in this draw has a gradient of zeros, as have the weights of a rectifier that is
    dead; by their gradients, as a control, both would count as below, the first in some draws and the second in all."""
    zeros = set()
    for seed in range(50):
        torch.manual_seed(seed)
        here = Bench(Silent(), torch.randn(2, 2), torch.zeros(2, dtype=torch.int64), seed)
        assert here.below == ["low.weight", "low.bias"]
        silent = [
            name
            for name, gradient in here.gradients(here.warmed(built("frozen"), 0)).items()
            if not gradient.any()
        ]
        assert {"low.weight", "dead.weight", "unlit.weight"} <= set(silent)
        zeros.add("readout.weight" in silent)
    assert zeros == {True, False}


def test_a_network_whose_loss_no_gradient_reaches_lies_below_as_a_whole() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Stochastic())
    assert Bench(model, torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)).below == [
        "0.weight",
        "0.bias",
    ]


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
        measure(here, here.warmed(built("nvil", hidden=20, decay=0.9), steps), exact, 100).layers[
            BELOW
        ]
        for steps in (0, 200)
    )
    assert warm.variance.value < cold.variance.value / 2


def test_warming_sees_other_batches_than_the_one_that_is_measured() -> None:
    """Targets at random, which a baseline can only know by heart: it gains on its own batch, and nothing on another."""
    own, apart = bench(), bench()
    generator = torch.Generator().manual_seed(3)

    def training(picks: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(1000, (16,), generator=picks)
        return images[chosen], labels[chosen]

    images = torch.randn(1000, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (1000,), generator=generator)
    apart.training = training
    before = apart.inputs
    exact = truth(own, 2)
    heart, fair = (
        measure(one, one.warmed(built("nvil", hidden=50, decay=0.9), 400), exact, 200)
        .layers[BELOW]
        .variance.value
        for one in (own, apart)
    )
    assert heart < 0.8 * fair
    assert apart.inputs is before


def test_a_probe_does_not_change_the_training() -> None:
    histories = []
    for every in (0, 2):
        checked = setup(
            compose(
                [
                    *TOY,
                    "data.limit=200",
                    "estimator=nvil",
                    "trainer.epochs=2",
                    "trainer.progress=none",
                ]
            )
        )
        data = load(checked.spec.config["data"], 0, 0.1)
        images, labels = data.validation.images[:8], data.validation.labels[:8]
        estimator, loss = checked.training.estimator, checked.training.task.loss
        probe = (
            GradientProbe(checked.model, estimator, images, labels, loss, every, 4, 4)
            if every
            else None
        )
        histories.append(fit(checked.model, checked.training, data, probe=probe).history)
    plain, probed = histories
    added = {key for key in probed[1] if key.startswith("lab/")}
    assert {
        f"lab/{layer}/{key}"
        for layer in (BELOW, "linear1")
        for key in ("bias2", "variance", "cosine")
    } <= added
    assert not any(key.startswith("lab/") for key in probed[0]), "every second epoch"
    assert [{k: v for k, v in one.items() if k not in added} for one in probed] == list(plain)


def test_a_layer_of_a_module_list_keeps_its_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            checked = setup(compose(TOY))
            self.parts = nn.ModuleList([checked.model])

        def forward(self, x):
            return self.parts[0](x)

    here = Bench(Net(), torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    assert "parts.0.linear1" in here.by_layer(here.parameters)
