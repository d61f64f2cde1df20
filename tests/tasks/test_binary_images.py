"""Structured prediction and the VAE: golden values, bounds, gradients, data and commands."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from support.command_line import bnn_train, runs
from support.estimator_cases import UNBIASED
from support.matrix import one_in
from torch import Tensor, nn
from torch.nn import functional as F

import bnn
from bnn.config.compose import compose
from bnn.data import DatasetSpec, Split, load
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.nn import NoisyRectifier, Stochastic
from bnn.nn.forward import ForwardClosure
from bnn.nn.noise import Logistic
from bnn.nn.readings import Reading, evaluated
from bnn.nn.replicas import branching
from bnn.nn.sites import Latent, Latents, Site
from bnn.specify import setup
from bnn.tasks import StructuredPrediction, Task, VariationalAutoencoder
from bnn.tasks.weight_readings import NETWORKS, WeightEvaluation
from bnn.testing.checks import check_unbiased
from bnn.testing.gradients import exact_loss, gradient
from bnn.training.callback import Callback
from bnn.training.loop import fit

TWO_PIXELS = DatasetSpec("toy", "toy", (1, 1, 2), None, 1, 1, 0.0, 1.0, 1)
LOGITS = torch.tensor([0.5, -1.0], dtype=torch.float64)
PIXELS = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
BITS = [torch.tensor([b], dtype=torch.float64) for b in itertools.product((0.0, 1.0), repeat=2)]


class Autoencoder(nn.Module):
    """Two latent variables of given logits, and decoder logits A b + c."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.act, self.decoder = nn.Linear(2, 2), Stochastic(), nn.Linear(2, 2)
        with torch.no_grad():
            self.encoder.weight.zero_()
            self.encoder.bias.copy_(LOGITS / 2)  # the logistic law is σ(2a)
            self.decoder.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 1.0]]))
            self.decoder.bias.copy_(torch.tensor([0.0, -0.5]))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.act(self.encoder(x)))
        return output


def task(kl: str = "analytic") -> VariationalAutoencoder:
    made = VariationalAutoencoder(kl=kl)
    made.init(TWO_PIXELS)  # a mean of ½ for each pixel, whose logit is 0
    return made


def latents(bits: Tensor, logits: Tensor = LOGITS) -> Latents:
    site = Site(logits.expand_as(bits) / 2, Logistic(), Site.sample)
    return Latents(1, lambda _: Latent(site, bits))


def bound(bits: Tensor, made: VariationalAutoencoder, logits: Tensor = LOGITS) -> Tensor:
    output = Autoencoder().decoder(bits)
    return made.loss(output, PIXELS.expand(len(bits), -1), latents(bits, logits))


def probability(bits: Tensor) -> Tensor:
    p = torch.sigmoid(LOGITS)
    return (bits * p + (1 - bits) * (1 - p)).prod(1)


def test_the_evidence_bound_has_its_golden_values() -> None:
    """Computed apart, with two latent variables and two pixels."""
    sampled = [float(bound(bits, task("sampled"))) for bits in BITS]
    assert sampled == pytest.approx([1.266180, 2.199961, 1.605365, 2.225479], abs=1e-6)
    q = torch.stack([probability(bits) for bits in BITS])[:, 0]
    assert float(task().divergence(latents(BITS[0]))) == pytest.approx(0.141244, abs=1e-6)
    for kl in ("analytic", "sampled"):
        losses = torch.stack([bound(bits, task(kl)) for bits in BITS])[:, 0]
        assert float((q * losses).sum()) == pytest.approx(1.675932, abs=1e-6)
    log_evidence = torch.logsumexp(q.log() - torch.tensor(sampled), 0)
    assert float(-log_evidence) == pytest.approx(1.616850, abs=1e-6)


def test_the_importance_weighted_bound_has_its_golden_value() -> None:
    decode, total = Autoencoder().decoder, 0.0
    for pair in itertools.product(BITS, repeat=2):
        rows = torch.cat(pair)
        scores = task().score(decode(rows)[:, None], PIXELS, latents(rows))
        total += float(math.prod(map(float, map(probability, pair))) * scores["loss"])
    assert total == pytest.approx(1.644955, abs=1e-6)


def firing(bits: Tensor, model: nn.Module, made: VariationalAutoencoder) -> ForwardClosure:
    """Forward closure whose noise makes the latent variables fire these bits."""
    inputs = torch.zeros(1, 2).double()
    noise = lambda like: (1 - bits).expand_as(like) * (1 - 1e-12)  # noqa: E731
    return ForwardClosure(model, inputs, PIXELS, made.loss, noise)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_gradients_of_the_evidence_bound_have_their_golden_values(kl: str) -> None:
    model, made = Autoencoder(), task(kl)
    exact = gradient(model, exact_loss(model, torch.zeros(1, 2).double(), PIXELS, made.loss))[1] / 2
    assert exact.tolist() == pytest.approx([0.059885, 0.145205], abs=1e-6)
    expected = {"st": [0.067318, 0.090779], "reinmax": [0.059590, 0.140711]}
    for name, golden in expected.items():
        estimator, mean = Estimator.registry.build(name), torch.zeros(2).double()
        for bits in BITS:
            forward = firing(bits, model, made)
            loss = estimator.init(model, forward.inputs).surrogate_loss(forward)
            mean += probability(bits)[0].detach() * gradient(model, loss)[1] / 2
        assert mean.tolist() == pytest.approx(golden, abs=1e-6), name


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_a_scaled_credit_keeps_the_direction_of_a_sampled_divergence_alone(kl: str) -> None:
    """Expectation of NVIL's estimate by all bits, with credits of standard deviation 3."""
    model, made = Autoencoder(), task(kl)
    estimator = Estimator.registry.build("nvil").init(model, torch.zeros(1, 2).double())
    mean = torch.zeros(2, dtype=torch.float64)
    for bits in BITS:
        estimator.moments.copy_(torch.tensor([1.0, 0.0, 9.0]))
        loss = estimator.surrogate_loss(firing(bits, model, made))
        mean += probability(bits)[0].detach() * gradient(model, loss)[1]
    exact = gradient(model, exact_loss(model, torch.zeros(1, 2).double(), PIXELS, made.loss))[1]
    assert torch.allclose(3 * mean, exact, atol=1e-9) == (kl == "sampled")
    assert made.logits_in_loss == (kl == "analytic"), "which is refused"


def test_the_explicit_derivative_of_log_q_is_left_out() -> None:
    """It has mean 0: the control keeps it, and straight-through's estimates vary more."""

    def variance(keep: bool) -> float:
        found = []
        for bits in BITS:
            logits = LOGITS.clone().requires_grad_()
            given = Site(logits[None] / 2, Logistic(), Site.sample)
            fired = bits + (given.probs - given.probs.detach())  # straight-through
            of_q = logits if keep else logits.detach()
            log_q = (fired * of_q - F.softplus(of_q)).sum()
            output = Autoencoder().decoder(fired)
            nll = F.binary_cross_entropy_with_logits(output, PIXELS, reduction="sum")
            (slope,) = torch.autograd.grad(nll + log_q, logits)
            if not keep:
                other = LOGITS.clone().requires_grad_()
                site = Site(other[None] / 2, Logistic(), Site.sample)
                drawn = Latent(site, bits + (site.probs - site.probs.detach()))
                of_pass = Latents(1, lambda _, drawn=drawn: drawn)
                loss = task("sampled").loss(Autoencoder().decoder(drawn.bits), PIXELS, of_pass)
                assert torch.allclose(torch.autograd.grad(loss.sum(), other)[0], slope)
            found.append((probability(bits), slope))
        mean = sum(p * slope for p, slope in found)
        return float(sum(p * (slope - mean).square().sum() for p, slope in found))

    assert variance(keep=True) > 3 * variance(keep=False)


def test_the_bounds_are_ordered() -> None:
    """-ELBO ≥ -IWAE_2 ≥ -IWAE_3 ≥ -log p(x), by enumeration of all draws."""
    decode, made = Autoencoder().decoder, task("sampled")

    def iwae(draws: int) -> float:
        total = 0.0
        for chosen in itertools.product(BITS, repeat=draws):
            rows = torch.cat(chosen)
            loss = made.score(decode(rows)[:, None], PIXELS, latents(rows))["loss"]
            total += float(math.prod(map(float, map(probability, chosen))) * loss)
        return total

    bounds = [iwae(draws) for draws in (1, 2, 3)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > 1.616850
    assert bounds[0] == pytest.approx(1.675932, abs=1e-6), "one draw is the evidence bound"


@pytest.mark.numerical
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
@pytest.mark.parametrize("config", one_in(3, UNBIASED))
def test_unbiased_estimators_are_so_under_the_evidence_bound(config: dict, kl: str) -> None:
    """Two binary layers, of which the loss takes the divergence of both."""
    made = task(kl)
    estimator = Estimator.registry.build(config)
    if estimator.fractional_bits and kl == "sampled":
        pytest.skip("log q at bits between 0 and 1 is no density; the command line refuses it")
    if config["name"] == "enumeration":
        pytest.skip("its sum goes layer by layer, and it refuses a loss of lower layers' bits")

    def loss(output: Tensor, targets: Tensor, of_pass: Latents) -> Tensor:
        pixels = torch.stack([targets, 1 - targets], 1).clamp(0, 1)
        return made.loss(output, pixels, of_pass)

    check_unbiased(estimator, "two layers", loss, estimates=20_000)


def prepared(*words: str):
    made = setup(compose(["device=cpu", "data=digits", "trainer.progress=none", *words]))
    return made, load(made.spec.config["data"], made.spec.general.seed, 0.1)


INDEPENDENT = (
    "st",
    "mve",
    "reinmax",
    "reinmax_rao",
    "gumbel_rao",
    "st_gumbel",
    "nvil",
    "frozen",
    "reinforce",
    "double_cv",
    "rodeo",
)
"""Estimators whose evaluations are those of independent draws."""


@pytest.mark.parametrize("name", INDEPENDENT)
def test_the_gradient_of_the_decoder_is_that_of_the_mean_loss(name: str) -> None:
    made, data = prepared("task=vae", "model.hidden=[8]", "model.latents=6")
    vae, chosen = made.model, made.training.task
    inputs, targets = chosen.batch(data.train.images[:20], data.train.labels[:20])

    def forward() -> ForwardClosure:
        generator = torch.Generator().manual_seed(3)
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        return ForwardClosure(vae, inputs, targets, chosen.loss, noise)

    config = {"reinforce": {"baseline": {"name": "leave_one_out", "samples": 4}}}.get(name, {})
    estimator = Estimator.registry.build({"name": name, **config}).init(vae, inputs)
    draws = estimator.evaluations([6])
    drawn = forward()(Site.sample, branching(draws))
    output = vae.decode(drawn.bits[0].detach().flatten(0, 1))
    mean = chosen.loss(output, targets.repeat(draws, 1), drawn.latents).mean()
    expected = torch.autograd.grad(mean, list(vae.decoder.parameters()))
    loss = estimator.surrogate_loss(forward())
    found = torch.autograd.grad(loss, list(vae.decoder.parameters()))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_structured_prediction_takes_the_upper_rows_and_predicts_the_lower_ones() -> None:
    made, data = prepared("task=structured")
    chosen, images = made.training.task, data.train.images[:3]
    chosen.measure(data.train)
    pixels = (chosen.pixels(images) > 0.5).float()
    inputs, targets = chosen.batch(images, data.train.labels[:3])
    mean = chosen.pixel_mean
    assert inputs.shape == (3, 1, 4, 8) and targets.shape == (3, 32)
    assert torch.equal(inputs, pixels[:, :, :4] - mean[:, :4])
    assert torch.equal(targets, pixels[:, :, 4:].flatten(1))
    assert torch.equal(chosen.inputs(images), inputs)
    for lower in made.model.parameters():
        nn.init.zeros_(lower)
    found = chosen.evaluate(made.model, data.train, Reading.threshold())["loss"]
    p = (chosen.pixels(data.train.images[:]) > 0.5).double()[:, :, 4:].flatten(1)
    q = p.mean(0).clamp(0.001, 0.999)
    marginal = -(p * q.log() + (1 - p) * (1 - q).log()).sum(1).mean()
    assert found == pytest.approx(float(marginal), rel=1e-5), "a network of zeros knows the means"


def test_the_likelihood_of_several_draws_is_a_log_mean_exp_and_bounds_that_of_one() -> None:
    made, data = prepared("task=structured", "model.hidden=[5]", "data.limit=64")
    chosen, inputs = made.training.task, None
    inputs, targets = chosen.fixed_batch(data.validation)
    outputs, of_pass = evaluated(made.model, inputs, Reading.sampled(0).handler(inputs.device), 6)
    logits = chosen.logits(outputs.double())
    log_p = -F.binary_cross_entropy_with_logits(
        logits, targets.double().expand_as(logits), reduction="none"
    ).sum(2)
    expected = -(log_p.exp().mean(0).log())
    assert torch.allclose(chosen.score(outputs, targets, of_pass)["loss"], expected)
    scores = chosen.evaluations(made.model, data.validation, 50, 0)
    assert scores["mc_mean"]["loss"] < scores["sampled"]["loss"]


def test_a_vae_is_not_evaluated_under_the_more_probable_bits() -> None:
    made, data = prepared("task=vae", "model.hidden=[]", "model.latents=6", "data.limit=64")
    assert set(made.training.task.evaluations(made.model, data.validation, 4, 0)) == {
        "sampled",
        "mc_mean",
    }


def test_pixels_come_back_from_their_normalisation_exactly() -> None:
    values = torch.arange(256, dtype=torch.float32).view(1, 1, 16, 16) / 255
    spec = DatasetSpec("toy", "toy", (1, 16, 16), None, 1, 1, 0.1307, 0.3081, 255)
    made = StructuredPrediction()
    made.init(spec)
    assert torch.equal(made.pixels((values - spec.mean) / spec.std) * 255, (values * 255).round())


def test_dynamic_bits_are_drawn_for_each_batch_and_fixed_in_evaluation() -> None:
    made = VariationalAutoencoder()
    made.init(TWO_PIXELS)
    split = Split(torch.full((2000, 1, 1, 2), 0.3), torch.zeros(2000))
    (_, first), (_, second) = (made.batch(split.images, split.labels) for _ in range(2))
    assert set(first.unique().tolist()) == {0.0, 1.0} and not torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(0.3, abs=0.03)
    (_, one), (_, other) = (made.fixed_batch(split) for _ in range(2))
    assert torch.equal(one, other), "whatever the seed of a run"
    made.measure(split)
    assert made.pixel_mean.flatten().tolist() == pytest.approx([0.3, 0.3])
    threshold = VariationalAutoencoder(binarize="threshold")
    threshold.init(TWO_PIXELS)
    assert not threshold.batch(split.images, split.labels)[1].any()


@pytest.mark.integration
@pytest.mark.parametrize("words", [["task=vae"], ["task=structured", "task.binarize=dynamic"]])
def test_the_stream_of_dynamic_bits_goes_on_after_an_interruption(
    words: list[str], tmp_path: Path
) -> None:
    class Stops(Callback):
        def on_epoch_end(self, epoch: int, metrics) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def trained(folder: Path, resume: bool = False, stops: bool = False):
        made, data = prepared(*words, "trainer.epochs=3", "estimator=disarm")
        hooks = [Stops()] if stops else []
        return fit(
            made.model, made.training, data, folder=folder, resume=resume, callbacks=hooks
        ).history

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "pieces", stops=True)
    assert trained(tmp_path / "pieces", resume=True) == whole


@pytest.mark.integration
def test_a_sweep_over_tasks_gives_each_its_network_and_is_reported(tmp_path: Path) -> None:
    words = ["data=digits", "trainer.epochs=1", "trainer.progress=none", "tracking.model=false"]
    result = bnn_train(
        tmp_path, "-m", "task=structured,vae", "estimator=st,disarm", *words, drawn=True
    )
    assert result.returncode == 0, result.stderr
    found = {run.data.tags["mlflow.runName"]: run for run in runs(tmp_path, "run")}
    assert len(found) == 4 and "| task " in result.stdout
    for name, run in found.items():
        params, metrics = run.data.params, run.data.metrics
        vae = params["task.name"] == "vae"
        assert name.startswith("vae ·" if vae else "structured ·")
        assert params["model.name"] == ("vae" if vae else "sbn")
        assert params["task.binarize"] == ("dynamic" if vae else "threshold")
        assert metrics["test/loss_mc_mean"] < metrics["test/loss"]
        assert ("test/reconstruction" in metrics) == vae
        assert ("test/loss_threshold" in metrics) != vae
        assert params["trainer.evaluation_samples"] == "100"
    pictures = {path.name for path in tmp_path.rglob("figures/*.png")}
    assert {"lower_halves.png", "reconstructions.png"} <= pictures
    by_epoch = {tuple(path.name.split("+")[:3:2]) for path in tmp_path.rglob("images/pictures*")}
    names = ("pictures~lower_halves", "pictures~reconstructions")
    assert by_epoch == {(name, epoch) for name in names for epoch in ("0", "1")}
    report = bnn_train(tmp_path, "bnn/digits", module="bnn.report")
    assert report.returncode == 0 and "test bound (nats)" in report.stdout, report.stderr
    assert "structured binarize threshold" in report.stdout
    assert "vae binarize dynamic kl analytic" in report.stdout
    page = (tmp_path / "outputs/bnn_digits.html").read_text()
    assert "over 100 draws of the stochastic units" in page


@pytest.mark.parametrize(
    "words, said",
    [
        (["task=vae", "placement=none"], "write placement=all"),
        (["task=vae", "neuron=deterministic"], "write neuron=stochastic"),
        (["task=vae", "neuron=noisy_rectifier", "estimator=none"], "write neuron=stochastic"),
        (["task=vae", "neuron.law=uniform"], "write neuron.law= one of gaussian, logistic"),
        (["task=vae", "estimator=muprop", "task.kl=sampled"], "bits between 0 and 1"),
        (["task=vae", "estimator=nvil"], "scales the gradient of the bits"),
        (["task=vae", "estimator=nvil"], "write task.kl=sampled"),
        (["task=vae", "task.kl=exact"], "task.kl: expected one of analytic, sampled; got 'exact'"),
        (["task=vae", "estimator=none"], "a binary layer; choose an estimator"),
        (["task=structured", "estimator=vimco", "lab.every=1"], "or lab.every=0"),
        (
            ["task=structured", "task.binarize=no"],
            "expected one of threshold, dynamic, nonzero; got 'no'",
        ),
        (["task=structured", "model.hidden=[]"], "model.hidden: expected a list of at least one"),
        (["task=structured", "model.hidden=200"], "model.hidden: expected a list, got 200"),
        (["task=vae", "model.latents=0"], "model.latents: expected at least 1 latent variable"),
        (["placement.layers=0"], "expected a list, such as [0,-1], or all, got 0; write [0]"),
    ],
)
def test_choices_that_make_no_sense_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        setup(compose(["device=cpu", "data=digits", *words]))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_network_on_the_command_line_wins_over_that_of_the_task() -> None:
    made, data = prepared("task=structured", "model=mlp", "placement=first")
    assert type(made.model).__name__ == "MLP"
    assert made.spec.config["placement"] == {"name": "first", "layers": [0]}
    chosen = made.training.task
    with torch.no_grad():
        assert made.model(chosen.inputs(data.train.images[:2])).shape == (2, 32)


def test_all_activations_are_binary_under_placement_all() -> None:
    three = setup(compose(["device=cpu", "data=digits", "task=structured", "model.hidden=[5,4,3]"]))
    assert three.spec.units == (5, 4, 3)
    assert three.spec.config["placement"] == {"name": "all", "layers": [0, 1, 2]}
    two = setup(compose(["device=cpu", "data=digits", "placement=all"]))
    both = setup(compose(["device=cpu", "data=digits", "placement=both"]))
    assert two.spec.digest == both.spec.digest


def test_every_task_of_this_package_says_whether_it_needs_latents() -> None:
    needs = {name: Task.registry.attribute(name, "needs_latents") for name in Task.registry}
    assert needs["vae"] and not needs["structured"] and not needs["classification"]


def test_pictures_of_a_vae_hold_reconstructions_and_samples_of_the_prior() -> None:
    made, data = prepared("task=vae", "model.hidden=[8]", "model.latents=6")
    made.training.task.measure(data.train)
    images = data.test.images[:4]
    (grid,) = made.training.task.pictures(made.model, images, 0).values()
    assert list(grid.rows) == ["image", "reconstruction", "again", "sample"]
    assert all(one.shape == (4, 1, 8, 8) and one.min() >= 0 for one in grid.rows.values())
    with torch.no_grad():
        made.model.encoder[-1].bias.fill_(50)  # every latent variable fires under q
    (changed,) = made.training.task.pictures(made.model, images, 0).values()
    assert torch.equal(changed.rows["reconstruction"], changed.rows["again"])
    assert torch.equal(changed.rows["sample"], grid.rows["sample"]), "the prior knows no encoder"


def test_a_task_that_is_replaced_keeps_the_settings_of_the_training() -> None:
    made, _ = prepared("task=vae", "trainer.epochs=3")
    assert dataclasses.asdict(made.training.settings)["batch_size"] == 100
    assert made.spec.config["optimizer"]["lr"] == 0.001
    assert made.spec.config["anneal"]["name"] == "none"


@pytest.mark.parametrize(
    "middle, kl, estimator, said",
    [
        (nn.Tanh(), "analytic", "none", "put a bnn.Stochastic() into it"),
        (Stochastic(), "sampled", "muprop", "MuProp evaluates the loss at bits between 0 and 1"),
        (Stochastic(), "analytic", "vimco", "VIMCO takes the mean of exp(-loss)"),
        (Stochastic(), "analytic", "nvil", "NVIL scales the gradient of the bits"),
        (bnn.Deterministic(), "analytic", "st", "are drawn by a law with full support"),
        (Stochastic(law="uniform"), "analytic", "st", "are drawn by a law with full support"),
    ],
)
def test_networks_of_ones_own_that_do_not_serve_a_task_are_one_line(
    middle: nn.Module, kl: str, estimator: str, said: str
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), middle, nn.Linear(4, 64))
    data = load({"name": "digits"}, 0, 0.1)
    with pytest.raises(ConfigError) as error:
        bnn.fit(
            net,
            data,
            task=VariationalAutoencoder(kl=kl),
            estimator=estimator,
            epochs=1,
            progress="none",
        )
    assert said in str(error.value)


@pytest.mark.integration
def test_the_lab_measures_estimators_against_enumeration_under_the_evidence_bound(
    tmp_path: Path,
) -> None:
    """The divergence reaches the encoder without an estimator, whose layers are below as ever."""
    few = ["--draws", "20", "--epochs", "0", "--batch", "8", "--reference", "4"]
    both = ["--estimator", "estimator=st", "--estimator", "estimator=double_cv"]
    words = ["task=vae", "data=digits", "model.latents=5", "model.hidden=[]"]
    result = bnn_train(tmp_path, *few, *both, *words, "trainer.progress=none", module="bnn.lab")
    assert result.returncode == 0, result.stderr
    assert "task vae dynamic analytic" in result.stdout
    assert "| encoder.0 | decoder.0 |" in result.stdout


def test_a_task_that_has_seen_no_data_is_told() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Stochastic(), nn.Linear(4, 64))
    data = load({"name": "digits"}, 0, 0.1)
    with pytest.raises(ConfigError, match=r"pass the object that bnn\.fit was given"):
        bnn.evaluate(net, data.test, task=VariationalAutoencoder())


def test_an_ensemble_of_drawn_weights_has_a_bounded_number_of_networks() -> None:
    """The outputs of all are in memory at once, and bounds take 100 draws."""
    words = ["model.hidden=[]", "model.latents=4", "weights=sample", "weights.layers=all"]
    made, data = prepared("task=vae", *words)
    made.training.task.measure(data.train)
    evaluation = WeightEvaluation(made.training.task, made.model, data.train, 0)
    part = Split(data.test.images[:20], data.test.labels[:20])
    ensembles = [evaluation.all_scores(part, count, {})["ensemble"] for count in (NETWORKS, 100)]
    assert ensembles[0] == ensembles[1]


def test_black_pixels_of_floating_point_images_stay_black() -> None:
    """The rounding of normalisation and back leaves 0 a little above or below."""
    pixels = torch.zeros(20, 1, 4, 4)
    pixels[:, :, 0, 0] = 1.0
    task = StructuredPrediction(binarize="nonzero")
    for step in range(200):
        mean, std = 0.01 + step / 1000, 0.1 + step / 700
        task.init(DatasetSpec("toy", "toy", (1, 4, 4), None, 1, 1, mean, std, 1))
        assert torch.equal(task.binary((pixels - mean) / std, torch.rand_like), pixels)


def test_statistics_are_estimated_again_by_binary_pixels() -> None:
    made, data = prepared("task=structured", "task.binarize=dynamic", "weights=sample")
    task = made.training.task
    task.measure(data.train)
    evaluation = WeightEvaluation(task, made.model, data.train, 0)
    mean = task.inputs(torch.zeros(1, *data.spec.shape).sub(data.spec.mean).div(data.spec.std))
    for inputs in evaluation.batches():
        pixels = inputs - mean
        torch.testing.assert_close(pixels, pixels.round())


def test_samples_of_the_prior_draw_latent_variables_alone() -> None:
    """A rectifier with noise in the decoder is no latent variable."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 4), Stochastic(), nn.Linear(4, 8), NoisyRectifier(),
        nn.Linear(8, 64),
    )  # fmt: skip
    hidden: list[Tensor] = []
    net[4].register_forward_hook(lambda module, inputs, output: hidden.append(output))
    data = load({"name": "digits"}, 0, 0.1)
    task = VariationalAutoencoder()
    task.init(data.spec)
    task.measure(data.train)
    task.pictures(net, data.test.images[:4], 0)
    assert len(hidden) == 3 and all(len(one.unique()) > 2 for one in hidden)
