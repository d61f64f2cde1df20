"""Training: repeatable, honest about which epoch it keeps, and loud when it diverges."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnn.build import TrainingSetup
from bnn.config.compose import compose
from bnn.data import Dataset, load
from bnn.errors import DivergedError
from bnn.nn.handlers import sample, sampled
from bnn.nn.memory_layout import to_channels_last
from bnn.nn.neurons import Binary, Stochastic
from bnn.nn.noise import NoiseLaw
from bnn.nn.readings import Reading, evaluated
from bnn.nn.sites import Site
from bnn.restore import load_checkpoint
from bnn.seeds import stream
from bnn.specify import setup
from bnn.tasks import Classification
from bnn.training import checkpoint
from bnn.training.activations import PICTURE_DRAWS, fixed_images, snapshot, unit_health
from bnn.training.callback import Callback
from bnn.training.loop import FitResult, fit
from bnn.training.step import batches, steps_per_epoch


def prepared(*overrides: str) -> tuple[TrainingSetup, Dataset]:
    words = ["device=cpu", "data=digits", "trainer.progress=none", "trainer.epochs=2", *overrides]
    made = setup(compose(words))
    return made, load(
        made.spec.config["data"], made.training.seed, made.training.settings.validation_fraction
    )


def trained(
    *overrides: str, folder: Path | None = None
) -> tuple[TrainingSetup, Dataset, FitResult]:
    made, data = prepared(*overrides)
    return (
        made,
        data,
        fit(made.model, made.training, data, folder=folder, metadata=dict(made.spec.config)),
    )


@pytest.mark.integration
@pytest.mark.parametrize("estimator", ["st", "reinforce"])
def test_the_same_seed_gives_the_same_metrics_to_the_last_bit(estimator: str) -> None:
    first, second, other = (
        trained(f"estimator={estimator}", f"seed={seed}")[2].history for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other


def test_training_learns_something() -> None:
    _, _, result = trained("trainer.epochs=6", "placement=last", "optimizer.lr=0.1")
    assert result.history[-1]["val/accuracy"] > 0.8
    assert result.history[-1]["train/loss"] < result.history[0]["train/loss"] / 2


def test_an_epoch_sees_every_sample_once() -> None:
    _, data = prepared()
    seen = torch.cat(
        [images for images, _ in batches(data.train, 64, torch.Generator().manual_seed(0))]
    )
    assert torch.equal(
        seen.flatten(1).sum(1).sort().values, data.train.images[:].flatten(1).sum(1).sort().values
    )
    assert steps_per_epoch(len(data.train.labels), 64) == sum(
        1 for _ in batches(data.train, 64, torch.Generator())
    )
    assert steps_per_epoch(129, 64) == 2, (
        "a last batch of one sample has no variance and is dropped"
    )


def test_the_model_is_left_at_its_best_validation_epoch(tmp_path: Path) -> None:
    made, data, result = trained(
        "trainer.epochs=4", "optimizer.lr=0.5", "optimizer.lr_schedule=constant", folder=tmp_path
    )
    losses = [epoch["val/loss"] for epoch in result.history]
    assert result.best_epoch == losses.index(min(losses)) + 1
    reading = Reading.sampled(made.training.seed)
    again = made.training.task.evaluate(made.model, data.validation, reading)
    assert again["loss"] == min(losses)


def test_several_draws_of_the_validation_select_the_epoch_by_their_mean() -> None:
    made, data, result = trained(
        "task=structured", "data.limit=300", "trainer.epochs=3", "trainer.validation_samples=5"
    )
    best = min(epoch["val/loss"] for epoch in result.history)
    task, seed = made.training.task, made.training.seed
    bound, one_draw = (
        task.evaluate(made.model, data.validation, reading)["loss"]
        for reading in (Reading.mc_mean(5, seed), Reading.sampled(seed))
    )
    assert bound == best < one_draw


def test_one_draw_of_the_validation_is_enough_where_nothing_is_drawn() -> None:
    one, several = (
        trained("placement=none", f"trainer.validation_samples={draws}")[2] for draws in (1, 5)
    )
    assert one.history == several.history


def test_a_checkpoint_evaluates_at_the_slope_it_was_trained_to(tmp_path: Path) -> None:
    made, data, result = trained(
        "anneal=geometric", "anneal.rate=2", "trainer.epochs=3", folder=tmp_path
    )
    model, config = load_checkpoint(tmp_path / "best.pt")
    slopes = {float(m.slope) for m in model.modules() if isinstance(m, Binary)}
    assert slopes == {2.0 ** (result.best_epoch - 1)}
    assert [epoch["schedule/slope"] for epoch in result.history] == [1, 2, 4]
    assert config == made.spec.config
    task = made.training.task
    assert task.evaluations(model, data.test, 2, 0) == task.evaluations(made.model, data.test, 2, 0)


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    trained(folder=tmp_path)
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    keys = {"version", "epoch", "value", "model", "estimator", "task", "about", "checksum"}
    assert set(content) == keys


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, data = prepared("trainer.epochs=3")
    calls = 0
    (tmp_path / "best.pt").write_bytes(b"another run's")

    def loss(task, scores, labels, latents):
        nonlocal calls
        calls += 1
        value = nn.functional.cross_entropy(scores, labels, reduction="none")
        return value * math.nan if calls > 30 else value

    monkeypatch.setattr(Classification, "loss", loss)
    with pytest.raises(DivergedError, match=r"optimizer\.lr"):
        fit(made.model, made.training, data, folder=tmp_path, metadata=dict(made.spec.config))
    assert calls < 60
    model, _ = load_checkpoint(tmp_path / "best.pt")
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_the_first_step_warms_up_and_the_last_one_rests() -> None:
    for schedule, last in (("cosine", 0.0), ("one_cycle", 4e-6), ("constant", 1.0)):
        made, _ = prepared(f"optimizer.lr_schedule={schedule}")
        curve = [made.training.optimization.lr_schedule(step, 1000, 0.1) for step in range(1001)]
        assert (
            curve[0] < 0.05
            and max(curve) == pytest.approx(1)
            and curve.index(max(curve)) in (99, 100)
        ), schedule
        assert curve[1000] == pytest.approx(last, abs=1e-5), schedule


def test_mean_of_m_averages_probabilities_not_scores() -> None:
    class Coin(nn.Module):
        def forward(self, x):
            bit = sample(
                Site(torch.zeros(len(x), 1), NoiseLaw.registry.build("logistic"), Site.sample)
            )
            return torch.cat([20 * bit - 10, 10 - 20 * bit], 1)

    torch.manual_seed(0)
    task, targets = Classification(), torch.zeros(400, dtype=torch.int64)

    def scored(draws: int):
        found, latents = evaluated(Coin(), torch.zeros(400, 1), sampled(), draws)
        return found, targets, latents

    once = task.score(*scored(1))["loss"].exp()
    assert set(once.round().tolist()) > {1}, "one draw is right or all wrong"
    p = (-task.score(*scored(64))["loss"]).exp()
    assert (p - 0.5).abs().max() < 0.3


def test_evaluations_that_apply() -> None:
    for overrides, expected in (
        (("placement=none",), {"sampled"}),
        (("neuron=deterministic",), {"sampled"}),
        (("neuron=stochastic",), {"sampled", "mc_mean", "threshold"}),
    ):
        made, data = prepared(*overrides)
        assert set(made.training.task.evaluations(made.model, data.validation, 2, 0)) == expected


def test_a_deterministic_net_evaluates_by_threshold() -> None:
    made, data = prepared("neuron=deterministic")
    task = made.training.task
    own = task.evaluations(made.model, data.validation, 2, 0)["sampled"]
    assert own == task.evaluate(made.model, data.validation, Reading.threshold())


def test_unit_health_counts_what_it_says() -> None:
    _, data = prepared()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = Stochastic(law=NoiseLaw.registry.build("uniform"))

        def forward(self, x):
            return self.act(torch.tensor([-2.0, 2.0, 2.0, 0.0]).expand(len(x), -1))

    health = unit_health(Net(), data.validation.images[:], 0)
    assert health["act/dead"] == 0.25 and health["act/saturated"] == 0.5
    assert health["act/firing_rate"] == pytest.approx(2.5 / 4, abs=0.05)


def test_pictures_show_the_same_images_for_every_seed() -> None:
    views = []
    for seed in (0, 1):
        made, data = prepared(f"seed={seed}")
        views.append(snapshot(made.model, fixed_images(data.test), seed))
    assert torch.equal(views[0].images, views[1].images)
    layer = views[0].layers[0]
    assert layer.bits.shape == layer.p.shape == (10, 16, 4, 4)
    z = (layer.bits - layer.p) / (layer.p * (1 - layer.p) / PICTURE_DRAWS).sqrt()
    assert float(z.abs().mean()) < 1, "mean bits are draws of the probability beside them"


class Researcher(nn.Module):
    """A network of one's own: one hidden layer of neurons, put where they are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 40)
        self.neuron = Stochastic(law=NoiseLaw.registry.build("gaussian"))
        self.readout = nn.Linear(40, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.readout(self.neuron(self.hidden(images.flatten(1))))


@pytest.mark.integration
@pytest.mark.parametrize("estimator", ["st", "reinforce"])
def test_a_network_of_ones_own_trains_with_the_same_trainer(estimator: str) -> None:
    made, data = prepared(
        f"estimator={estimator}", "trainer.epochs=8", "optimizer=adam", "optimizer.lr=0.01"
    )
    model = Researcher()
    before = model.hidden.weight.detach().clone()
    result = fit(model, made.training, data)
    assert result.history[-1]["val/accuracy"] > result.history[0]["val/accuracy"] + 0.05
    assert not torch.equal(model.hidden.weight, before)


@pytest.mark.slow
@pytest.mark.integration
def test_bf16_trains_as_well_as_float32() -> None:
    wide, narrow = (
        trained(f"trainer.precision={p}", "trainer.epochs=5")[2].history[-1]
        for p in ("float32", "bf16")
    )
    assert abs(wide["val/accuracy"] - narrow["val/accuracy"]) < 0.1
    assert wide["train/loss"] != narrow["train/loss"], "the control: bf16 does something"


@pytest.mark.integration
@pytest.mark.parametrize("baseline", ["moving_average", "min_variance", "leave_one_out"])
def test_a_recipe_can_be_used_again(baseline: str) -> None:
    """An estimator's averages of one network do not go into the training of the next."""
    words = ("estimator=reinforce", f"estimator/baseline={baseline}", "optimizer.lr=0.01")
    (first, data), (second, _) = prepared(*words), prepared(*words)
    assert (
        fit(first.model, first.training, data).history
        == fit(second.model, first.training, data).history
    )


def test_streams_of_one_seed_are_apart() -> None:
    draws = {
        purpose: torch.rand(100, generator=torch.Generator().manual_seed(stream(0, purpose)))
        for purpose in "abc"
    }
    assert abs(torch.corrcoef(torch.stack(list(draws.values())))[0, 1:]).max() < 0.4
    assert stream(0, "a") != stream(1, "a") and 0 <= stream(0, "a") < 2**63


def test_building_a_network_leaves_the_callers_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prepared()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.integration
def test_mnist_trains(mnist_root: Path) -> None:
    """One epoch on 6,000 real images is far above chance, with the slowest estimator too."""
    for estimator, least in (("st", 0.8), ("reinforce", 0.5)):
        words = [
            "device=cpu",
            "trainer.epochs=1",
            "trainer.progress=none",
            "data.limit=6000",
            f"data.root={mnist_root}",
        ]
        made = setup(
            compose([*words, f"estimator={estimator}", "placement=last", "optimizer.warmup=0.2"])
        )
        data = load(made.spec.config["data"], 0, 0.1)
        assert len(data.train.labels) == 6000 and len(data.validation.labels) == 6000
        assert fit(made.model, made.training, data).history[-1]["val/accuracy"] > least


def test_information_is_what_a_bit_says_of_the_input() -> None:
    """log 2 for a unit that fires by the input's sign, 0 for one that fires at random or always."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = Stochastic()

        def forward(self, x: Tensor) -> Tensor:
            sign = x.flatten(1).sum(1, keepdim=True).sign()
            scale = torch.tensor([50.0, 0.0, 0.0, 0.0])
            return self.act(sign * scale + torch.tensor([0.0, 0.0, 50.0, -50.0]))

    images = torch.cat([torch.ones(50, 1, 2, 2), -torch.ones(50, 1, 2, 2)])
    health = unit_health(Net(), images, 0)
    assert health["act/information"] == pytest.approx(math.log(2) / 4, abs=1e-6)
    assert health["act/mostly_on"] == health["act/mostly_off"] == 0.25


def test_a_metric_that_is_a_scalar_of_numpy_leaves_a_checkpoint_that_can_be_read(
    tmp_path: Path,
) -> None:
    class Mean(Callback):
        def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
            metrics["mine"] = np.float64(0.5)

    made, data = prepared()
    result = fit(made.model, made.training, data, folder=tmp_path, callbacks=[Mean()])
    assert result.history[-1]["mine"] == 0.5
    assert checkpoint.load_last(tmp_path / checkpoint.LAST)["history"][-1]["mine"] == 0.5


def test_parameters_of_five_axes_keep_their_layout() -> None:
    model = nn.Sequential(nn.Conv3d(2, 3, 2), nn.Conv2d(2, 3, 2))
    weights = [one.weight for one in model]
    assert to_channels_last(model) is model and weights == [one.weight for one in model]
    assert weights[0].is_contiguous()
    assert weights[1].is_contiguous(memory_format=torch.channels_last)
