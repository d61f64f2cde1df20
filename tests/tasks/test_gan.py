"""Generation against a critic: losses, steps, the metrics of samples, and a resume."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import QUICK, bnn_train, runs
from torch import Tensor, nn

import bnn
from bnn.config.compose import compose
from bnn.data import DatasetSpec, load
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.models.generators import CNNGenerator
from bnn.nn.readings import Reading
from bnn.report.headline import headline
from bnn.report.row_files import read_csv
from bnn.runs.dry_run import seconds_per_step
from bnn.specify import setup
from bnn.tasks import GenerativeAdversarial, sample_quality
from bnn.tasks.critics import CRITICS, clip_weights, critic_loss, generator_loss
from bnn.tasks.sample_quality import FeatureNetwork, components, coverage, kernel_distance
from bnn.training.callback import Callback
from bnn.training.loop import fit

STEPS = sample_quality.STEPS


@pytest.fixture(autouse=True)
def few_steps_of_the_features(monkeypatch, request) -> None:
    """Features of 20 steps, but in the slow tests; one other asks for their quality, too."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(sample_quality, "STEPS", 20)


DIGITS = DatasetSpec("toy", "toy", (1, 8, 8), 10, 100, 10, 0.0, 1.0, 1)


def prepared(*words: str):
    made = setup(
        compose(["device=cpu", "data=digits", "task=gan", "trainer.progress=none", *words])
    )
    return made, load(made.spec.config["data"], made.spec.general.seed, 0.1)


class Linear(nn.Module):
    """Critic D(x) = w · x + c."""

    def __init__(self, w: list[float], c: float) -> None:
        super().__init__()
        self.w, self.c = nn.Parameter(torch.tensor(w)), nn.Parameter(torch.tensor(c))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.w + self.c)[:, None]


REAL = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
FAKE = torch.tensor([[0.0, 0.0], [0.0, 1.0]])


def test_losses_have_their_golden_values() -> None:
    """D(real) = 4, 0 and D(fake) = 1, -3 under w = (3, -4), c = 1; |w| = 5 at every point."""
    critic = Linear([3.0, -4.0], 1.0)
    real, fake = ([4.0, 0.0], [1.0, -3.0])
    soft = lambda x: math.log1p(math.exp(x))  # noqa: E731
    expected = {
        "gan": sum(soft(-x) for x in real) / 2 + sum(soft(x) for x in fake) / 2,
        "wgan": -1.0 - 2.0,
        "wgan_gp": -1.0 - 2.0 + 10 * (5 - 1) ** 2,
    }
    for objective, value in expected.items():
        found = critic_loss(objective, critic, REAL, FAKE, torch.rand_like)
        assert float(found.detach()) == pytest.approx(value, rel=1e-6), objective
    of_fake = torch.tensor(fake)
    assert generator_loss("gan", of_fake).tolist() == pytest.approx([soft(-1.0), soft(3.0)])
    for objective in ("wgan", "wgan_gp"):
        assert generator_loss(objective, of_fake).tolist() == [-1.0, 3.0]


def test_the_penalty_is_of_the_gradient_between_real_and_fake_images() -> None:
    """Of a critic |x|²/2 it is the norm of the point itself, at the share that the noise says."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.square().sum(1) / 2)[:, None]

    share = torch.tensor([[0.25], [1.0]])
    found = critic_loss("wgan_gp", Square(), REAL, FAKE, lambda like: share)
    points = share * REAL + (1 - share) * FAKE
    penalty = (points.norm(dim=1) - 1).square().mean()
    values = Square()(FAKE).mean() - Square()(REAL).mean()
    assert float(found) == pytest.approx(float(values + 10 * penalty), abs=1e-4)


@pytest.mark.parametrize("name", CRITICS)
def test_the_value_of_an_image_does_not_depend_on_its_neighbours(name: str) -> None:
    critic = CRITICS[name]((1, 8, 8))
    images = torch.rand(6, 64)
    alone = torch.cat([critic(image[None]) for image in images])
    assert torch.allclose(critic(images), alone, atol=1e-6) and alone.shape == (6, 1)


def test_weights_are_clipped_under_wgan_alone() -> None:
    critic = Linear([3.0, -0.005], 1.0)
    clip_weights(critic)
    assert critic.w.tolist() == pytest.approx([0.01, -0.005])
    for objective, most in (("wgan", 0.01), ("wgan_gp", 1.0), ("gan", 1.0)):
        made, data = prepared(f"task.objective={objective}", "task.early_critic_steps=2")
        task, steps = made.training.task, Steps(torch.rand(10, 64))
        task.init(data.spec)
        task.step(steps, *task.batch(data.train.images[:10], data.train.labels[:10]))
        largest = max(float(p.detach().abs().max()) for p in task.network.parameters())
        assert largest <= most and (objective == "wgan" or largest > 0.01)


class Steps:
    """Step of a network, which counts its calls."""

    def __init__(self, fake: Tensor) -> None:
        self.fake, self.calls = fake, []
        self.noise = torch.rand_like

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.calls.append("generator")
        return torch.zeros(())

    def outputs(self, inputs: Tensor) -> Tensor:
        self.calls.append("critic")
        return self.fake


def test_the_critic_takes_its_steps_before_the_generator_and_more_of_them_at_first() -> None:
    made, data = prepared("task.critic_steps=2", "task.early_critic_steps=3")
    task, train = made.training.task, Steps(torch.rand(10, 64))
    task.init(data.spec)
    for _ in range(26):
        task.step(train, *task.batch(data.train.images[:10], data.train.labels[:10]))
    early, late = [*["critic"] * 3, "generator"], [*["critic"] * 2, "generator"]
    assert train.calls == early * 25 + late
    task.trained_batches.fill_(500)
    task.step(train, *task.batch(data.train.images[:10], data.train.labels[:10]))
    assert train.calls[-4:] == early


def test_each_network_is_moved_by_its_own_optimizer_alone() -> None:
    made, data = prepared("trainer.epochs=1", "data.limit=64", "task.early_critic_steps=1")
    task = made.training.task
    seen: list[tuple[bool, bool]] = []
    critic_step, before = task._critic_step, {}

    def watched(real: Tensor, fake: Tensor, noise) -> None:
        assert not fake.requires_grad and set(fake.unique().tolist()) <= {0.0, 1.0}
        before["critic"] = [p.detach().clone() for p in task.network.parameters()]
        before["model"] = [p.detach().clone() for p in made.model.parameters()]
        critic_step(real, fake, noise)
        seen.append((moved("critic", task.network), moved("model", made.model)))
        before["critic"] = [p.detach().clone() for p in task.network.parameters()]

    def moved(name: str, module: nn.Module) -> bool:
        pairs = zip(before[name], module.parameters(), strict=True)
        return any(not torch.equal(one, other) for one, other in pairs)

    class Ends(Callback):
        def on_step_end(self) -> None:
            seen.append((moved("critic", task.network), moved("model", made.model)))

    task._critic_step = watched
    fit(made.model, made.training, data, callbacks=[Ends()])
    assert seen == [(True, False), (False, True)], "one batch of 64: the critic, then the generator"


def test_latent_variables_are_normal_and_pixels_follow_the_choice() -> None:
    task = GenerativeAdversarial(latents=50)
    task.init(DIGITS)
    images = torch.tensor([0.0, 0.3, 0.7]).repeat(400, 22)[:, :64].view(400, 1, 8, 8)
    z, pixels = task.batch(images, torch.zeros(400))
    assert z.shape == (400, 50, 1, 1) and task.input_shape(DIGITS) == (50, 1, 1)
    assert abs(float(z.mean())) < 0.03 and float(z.std()) == pytest.approx(1, abs=0.03)
    kurtosis = float((z - z.mean()).pow(4).mean() / z.var().square())
    assert kurtosis == pytest.approx(3, abs=0.2), "and not, say, uniform"
    assert torch.equal(pixels, (images > 0).float().flatten(1))
    half = GenerativeAdversarial(binarize="threshold")
    half.init(DIGITS)
    assert torch.equal(half.batch(images, torch.zeros(400))[1], (images > 0.5).float().flatten(1))
    assert torch.equal(task.inputs(images), task.inputs(images)), "the same for every picture"


def test_the_kernel_distance_is_its_unbiased_estimate() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    kernel = lambda a, b: (float(a @ b) / 3 + 1) ** 3  # noqa: E731
    blocks = []
    for start in (0, 2):  # two blocks of two
        (a, b), (c, d) = x[start : start + 2], y[start : start + 2]
        across = sum(kernel(one, other) for one, other in itertools.product((a, b), (c, d))) / 4
        blocks.append(kernel(a, b) + kernel(c, d) - 2 * across)
    distance, error = kernel_distance(x, y)
    assert distance == pytest.approx(np.mean(blocks), rel=1e-5)
    assert error == pytest.approx(np.std(blocks, ddof=1) / math.sqrt(2), rel=1e-5)


def test_the_kernel_distance_of_one_distribution_is_0_within_its_error_and_grows_with_a_shift() -> (
    None
):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 20_000, 4, generator=generator)
    distance, error = kernel_distance(x, y)
    assert abs(distance) < 4 * error
    far, farther = (kernel_distance(x, y + shift)[0] for shift in (0.2, 0.4))
    assert distance + 10 * error < far < farther
    with pytest.raises(ConfigError, match="at least 4 images"):
        kernel_distance(x[:3], y[:3])


def test_components_are_counted_over_eight_neighbours_within_an_image() -> None:
    diagonal = torch.eye(5)
    dots = torch.zeros(5, 5)
    dots[::2, ::2] = 1
    images = torch.stack([diagonal, dots, torch.zeros(5, 5), torch.ones(5, 5), torch.ones(5, 5)])
    assert components(images).tolist() == [1, 9, 0, 1, 1]


def test_coverage_counts_classes_and_their_entropy() -> None:
    even = torch.arange(10).repeat(50)
    assert coverage(even, 10) == (10, pytest.approx(math.log(10)))
    rare = torch.cat([torch.zeros(995, dtype=torch.int64), torch.ones(5, dtype=torch.int64)])
    covered, entropy = coverage(rare, 10)
    assert covered == 1 and 0 < entropy < 0.04


def test_the_features_are_the_same_for_the_same_examples_and_tell_the_classes(
    monkeypatch,
) -> None:
    monkeypatch.setattr(sample_quality, "STEPS", STEPS)
    made, data = prepared()
    task = made.training.task
    task.init(data.spec)
    torch.manual_seed(5)
    task.measure(data.train)
    first = {key: value.clone() for key, value in task.features.state_dict().items()}
    torch.manual_seed(6)
    state = torch.get_rng_state()
    again = FeatureNetwork(data.spec.shape, data.spec.classes)
    pixels = task.targets(data.train.images[:], data.train.labels)
    torch.set_rng_state(state)
    again.fit(lambda index: pixels[index], data.train.labels)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers go on"
    assert all(torch.equal(value, first[key]) for key, value in again.state_dict().items())
    assert not any(p.requires_grad for p in again.parameters())
    held_out = task.targets(data.validation.images[:], data.validation.labels)
    correct = (again.classes(held_out) == data.validation.labels).float().mean()
    assert correct > 0.8
    features = again.features(pixels)
    assert float(features.square().mean()) == pytest.approx(1, abs=1e-5)


class Copies(nn.Module):
    """Generator whose output has given probabilities, whatever its inputs."""

    def __init__(self, pixels: Tensor, activation: nn.Module) -> None:
        super().__init__()
        self.logits, self.act = nn.Parameter((pixels - 0.5) * 100), activation

    def forward(self, z: Tensor) -> Tensor:
        index = torch.arange(len(z)) % len(self.logits)
        output: Tensor = self.act(self.logits[index])
        return output


@pytest.mark.slow
@pytest.mark.parametrize("activation", [bnn.Stochastic(), bnn.Deterministic(), nn.Sigmoid()])
def test_copies_of_real_images_have_no_distance_and_noise_has(activation: nn.Module) -> None:
    made, data = prepared()
    task = made.training.task
    task.init(data.spec)
    task.measure(data.train)
    pixels = task.targets(data.train.images[:], data.train.labels)
    reading = Reading.sampled(0)
    good = task.evaluate(Copies(pixels, activation), data.test, reading)
    bad = task.evaluate(Copies(torch.full((1, 64), 0.5), activation), data.test, reading)
    assert good["classes"] == 10 and good["entropy"] > 2.2 and good["near_threshold"] == 0
    assert abs(good["distance"]) < 4 * good["distance_error"] < bad["distance"]
    assert abs(good["fragments"]) < 0.2
    assert bad["near_threshold"] == 1
    assert set(good) == set(task.metrics)


def test_a_real_valued_output_is_drawn_or_thresholded_by_the_reading() -> None:
    made, data = prepared("placement=none", "estimator=none")
    task = made.training.task
    task.init(data.spec)
    model = Copies(torch.full((1, 64), 0.503), nn.Sigmoid())
    inputs, _ = task.fixed_batch(data.test)
    thresholded, p = task.samples(model, inputs, Reading.threshold())
    drawn, _ = task.samples(model, inputs, Reading.sampled(3))
    assert thresholded.unique().tolist() == [1.0] and p.unique().numel() == 1
    assert float(drawn.mean()) == pytest.approx(float(p[0, 0]), abs=0.02)
    assert torch.equal(drawn, task.samples(model, inputs, Reading.sampled(3))[0])
    assert not torch.equal(drawn[:100], drawn[100:200]), "its noise goes on from part to part"
    assert [one.name for one in task.readings(model, 8, 0)] == ["sampled", "threshold"]


def test_a_deterministic_unit_is_drawn_for_the_critic_as_the_estimator_draws_it() -> None:
    """REINFORCE samples it in training; straight-through thresholds it."""
    found = {}
    for name in ("st", "reinforce"):
        made, data = prepared(
            f"estimator={name}", "neuron=deterministic", "trainer.epochs=1", "data.limit=64"
        )
        assert Estimator.registry[name].samples_in_training in (True, False)
        task, fakes = made.training.task, []
        task._critic_step = lambda real, fake, noise, fakes=fakes: fakes.append(fake)
        task.critic_steps = task.early_critic_steps = 2
        with torch.no_grad():
            made.model.norm2.weight.fill_(0.1)  # far from certain
        fit(made.model, made.training, data)
        found[name] = torch.equal(*fakes)
    assert found == {"st": True, "reinforce": False}


@pytest.mark.integration
def test_a_training_goes_on_with_its_critic_after_a_break(tmp_path: Path) -> None:
    class Stops(Callback):
        def on_epoch_end(self, epoch: int, metrics) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def trained(folder: Path, *, stop: bool = False, resume: bool = False):
        made, data = prepared("trainer.epochs=3", "data.limit=256", "task.early_critic_steps=4")
        hooks = [Stops()] if stop else []
        try:
            result = fit(
                made.model, made.training, data, folder=folder, callbacks=hooks, resume=resume
            )
        except KeyboardInterrupt:
            return None
        return made, result

    made, whole = trained(tmp_path / "whole")
    assert trained(tmp_path / "pieces", stop=True) is None
    again, rest = trained(tmp_path / "pieces", resume=True)
    assert rest.history == whole.history
    assert int(again.training.task.trained_batches) <= 12
    for name, value in made.training.task.state_dict().items():
        assert torch.equal(value, again.training.task.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.integration
def test_a_sweep_over_objectives_is_tracked_with_samples_and_probabilities(tmp_path: Path) -> None:
    small = ["task=gan", "task.early_critic_steps=2", "data.limit=128", "model.hidden=32"]
    done = bnn_train(tmp_path, "-m", *QUICK, *small, "task.objective=gan,wgan_gp", drawn=True)
    assert done.returncode == 0, done.stderr
    found = runs(tmp_path, "run")
    metrics = {"distance", "loss", "distance_error", "classes", "entropy", "fragments"}
    for run in found:
        keys = set(run.data.metrics)
        assert {f"test/{name}" for name in metrics} | {"test/distance_threshold"} <= keys
        assert "test/distance_mc_mean" not in keys
        assert run.data.params["model.name"] == "mlp_generator"
    names = {path.name for path in tmp_path.rglob("figures/*.png")}
    assert {"samples.png", "unit_probabilities.png"} <= names
    assert "| distance |" in done.stdout and "mean of M" not in done.stdout
    report = bnn_train(tmp_path, "bnn/digits", module="bnn.report")
    assert report.returncode == 0 and "| test distance |" in report.stdout, report.stderr
    first, *_ = read_csv(tmp_path / "outputs/bnn_digits.csv")
    by_id = {run.info.run_id: run.data.metrics for run in found}
    values = by_id[first.run_id]
    assert headline([first]).value(first) == values["test/distance"]
    shown = {name: values[f"test/{name}"] for name in metrics - {"loss"}}
    assert {name: first.further_metrics[name] for name in shown} == shown


@pytest.mark.parametrize(
    "words, said",
    [
        (["task.objective=lsgan"], "task.objective: expected one of gan, wgan, wgan_gp"),
        (["task.critic=rnn"], "task.critic: expected one of mlp, cnn; got 'rnn'"),
        (["task.critic_steps=0"], "task.critic_steps: expected at least 1, got 0"),
        (["task.latents=0"], "task.latents: expected at least 1, got 0"),
        (["task.binarize=no"], "expected one of threshold, dynamic, nonzero; got 'no'"),
        (["model=cnn"], "expects a generator of pixels in [0, 1]"),
        (["model=mlp"], "write model= one of cnn_generator, mlp_generator"),
        (["estimator=frozen"], "nothing would be trained"),
        (["weights=sample"], "write weights=sign or weights=bop"),
        (["model=cnn_generator"], "expected images of 28x28 pixels in one channel, got 64"),
        (["model.hidden=0"], "model.hidden: expected at least 1 unit, got 0"),
    ],
)
def test_choices_that_make_no_sense_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        prepared(*words)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_group_norm_of_one_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.norm=group: its last layer has one channel"):
        CNNGenerator((100, 1, 1), 784, [nn.Sigmoid()], norm="group")


def test_outputs_that_are_no_pixels_are_refused_before_the_first_step() -> None:
    made, data = prepared("trainer.epochs=1", "neuron=noisy_rectifier", "estimator=none")
    with pytest.raises(ConfigError, match=r"expected a network whose outputs are pixels in \[0, 1"):
        fit(made.model, made.training, data)


def test_pixels_of_random_units_that_are_no_bits_are_drawn_apart_from_their_noise() -> None:
    """The mean of the bits is the mean of the outputs, which noise of their own makes."""
    made, data = prepared("neuron=stochastic_smooth", "estimator=none")
    task = made.training.task
    task.init(data.spec)
    inputs = task.inputs(data.train.images[:500])
    drawn, p = task.samples(made.model, inputs, Reading.sampled(0))
    assert float(drawn.mean()) == pytest.approx(float(p.mean()), abs=0.01)
    spread = float((drawn - p).square().mean())
    assert spread == pytest.approx(float((p * (1 - p)).mean()), abs=0.01)


@pytest.mark.slow
def test_half_precision_sums_the_losses_of_an_epoch_in_float32() -> None:
    made, data = prepared(
        "trainer.epochs=1", "trainer.precision=bf16", "trainer.batch_size=2",
        "task.early_critic_steps=1", "task.critic_steps=1", "task.objective=gan",
    )  # fmt: skip
    losses: list[float] = []

    step = type(made.training.task).step

    def watched(task, train, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = step(task, train, inputs, targets)
        losses.append(float(loss))
        return loss

    made.training.task.step = watched.__get__(made.training.task)
    (epoch,) = fit(made.model, made.training, data).history
    assert len(losses) > 300
    assert epoch["train/loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_time_of_a_training_counts_the_steps_of_the_critic() -> None:
    few, many = (
        seconds_per_step(prepared(f"task.critic_steps={steps}", "task.objective=gan")[0])
        for steps in (1, 30)
    )
    assert many > 3 * few


@pytest.mark.slow
@pytest.mark.integration
def test_fit_tracks_a_generator_from_python(tmp_path: Path) -> None:
    data = load({"name": "digits"}, 0, 0.1)
    task = GenerativeAdversarial(early_critic_steps=1)
    net = bnn.models.MLPGenerator((128, 1, 1), 64, [bnn.Stochastic()], hidden=16)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = bnn.MLflow("generators", uri=uri)
    bnn.fit(net, data, task=task, estimator="st", epochs=1, progress="none", tracker=tracker)
    found = bnn.evaluate(net, data.test, task=task)
    assert set(found) == {"sampled", "threshold"} and found["sampled"]["distance"] > 0


def test_a_data_set_without_classes_is_refused() -> None:
    spec = DatasetSpec("toy", "toy", (1, 8, 8), None, 100, 10, 0.0, 1.0, 1)
    with pytest.raises(ConfigError, match="expected class labels"):
        GenerativeAdversarial().init(spec)


def test_the_convolutional_generator_makes_28_by_28_pixels() -> None:
    net = bnn.models.CNNGenerator((128, 1, 1), 784, [bnn.Stochastic()]).eval()
    assert net(torch.randn(3, 128, 1, 1)).shape == (3, 784)
    sizes = [tuple(layer.weight.shape) for layer in net.layers if hasattr(layer, "kernel_size")]
    assert sizes == [(128, 128, 2, 2), (128, 64, 4, 4), (64, 32, 3, 3), (32, 1, 4, 4)]
