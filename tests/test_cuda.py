"""Training on a GPU: the same gradients as on the CPU, and checkpoints that go either way."""

from __future__ import annotations

import copy
import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from support.estimator_cases import CASES
from torch import Tensor

from bnn.build import read_dataset
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import Estimator, StraightThrough
from bnn.fitted import fit_network
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Noise
from bnn.restore import load_checkpoint
from bnn.specify import setup
from bnn.testing.checks import serves
from bnn.testing.gradients import gradient
from bnn.testing.networks import NETWORKS, batch, network, tangled
from bnn.training import checkpoint
from bnn.training.callback import Callback
from bnn.training.loop import fit
from bnn.training.step import TrainState, steps_per_epoch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DIGITS = ["data=digits", "trainer.progress=none", "device=cuda"]


def cpu_noise(seed: int) -> Noise:
    """Uniform numbers that are drawn on the CPU, so that every device sees the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like)


def estimate(estimator: Estimator, name: str, device: str) -> list[Tensor]:
    """Gradient of one step on 64 samples, after one step that moves running averages."""
    model = network(name).to(device)
    inputs, targets = (one.to(device) for one in batch(64))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        ready = copy.deepcopy(estimator).init(model, inputs[:2])
    noise = cpu_noise(3)
    ready(model, inputs, targets, tangled, noise=noise)
    found = gradient(model, ready(model, inputs, targets, tangled, noise=noise))
    assert all(one.device.type == torch.device(device).type for one in found)
    return [one.cpu() for one in found]


@pytest.mark.parametrize("config", CASES)
def test_an_estimate_on_the_gpu_equals_that_on_the_cpu_for_the_same_noise(config):
    estimator = Estimator.registry.build(config)
    names = [name for name in NETWORKS if serves(estimator, network(name))]
    assert names or config["name"] == "none"
    for name in names:
        for ours, theirs in zip(
            estimate(estimator, name, "cuda"), estimate(estimator, name, "cpu"), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("estimator", sorted(set(Estimator.registry) - {"none"}))
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_estimator_trains_on_the_gpu(estimator, precision):
    words = [f"estimator={estimator}", f"trainer.precision={precision}", "data.limit=512"]
    small = ["model=mlp", "model.hidden=4"] if estimator == "enumeration" else []
    try:
        config = compose([*DIGITS, *words, *small, "placement=last", "trainer.epochs=2"])
        fitted = fit_network(config)
    except ConfigError as error:
        pytest.skip(str(error))
    assert next(fitted.model.parameters()).is_cuda
    assert fitted.fit is not None
    assert all(math.isfinite(epoch["train/loss"]) for epoch in fitted.fit.history)


def losses(*words: str, model: str = "mlp", limit: int = 500) -> list[float]:
    """Training losses of three epochs, each of which ends with a smaller batch."""
    size = [f"data.limit={limit}", f"model={model}", "trainer.epochs=3"]
    fitted = fit_network(compose([*DIGITS, *size, *words]))
    assert fitted.fit is not None
    return [epoch["train/loss"] for epoch in fitted.fit.history]


@pytest.mark.parametrize("estimator", sorted(set(Estimator.registry) - {"none"}))
@pytest.mark.parametrize("words", [["optimizer=adam"], ["optimizer=sgd", "trainer.precision=bf16"]])
def test_captured_steps_train_like_launched_ones(estimator, words):
    words = [f"estimator={estimator}", *words]
    words += ["model.hidden=4"] if estimator == "enumeration" else []
    words += ["placement=last"] if estimator == "local_expectation" else []
    words += ["estimator.tau=0.5"] if estimator in ("rebar", "relax") else []
    try:
        launched = losses("trainer.cuda_graph=never", *words)
    except ConfigError as error:
        pytest.skip(str(error))
    assert losses("trainer.cuda_graph=always", *words) == pytest.approx(launched, rel=1e-4)


@pytest.mark.parametrize("estimator", ["st", "reinforce"])
def test_captured_steps_of_convolutions_train_like_launched_ones(estimator):
    launched, captured = (
        losses(f"estimator={estimator}", f"trainer.cuda_graph={how}", model="cnn")
        for how in ("never", "auto")
    )
    assert captured == pytest.approx(launched, rel=0.05)


@pytest.mark.parametrize("rule", ["sign", "sample", "lrt", "bop"])
def test_captured_steps_of_binary_weights_train_like_launched_ones(rule):
    launched, captured = (
        losses(f"weights={rule}", "weights.layers=all", f"trainer.cuda_graph={how}", model="cnn")
        for how in ("never", "auto")
    )
    assert captured == pytest.approx(launched, rel=0.05)


@pytest.mark.parametrize("estimator", ["rebar", "relax"])
def test_steps_that_differ_are_not_captured(estimator):
    assert losses(f"estimator={estimator}", "trainer.cuda_graph=auto")
    with pytest.raises(ConfigError, match="cuda_graph=never"):
        losses(f"estimator={estimator}", "trainer.cuda_graph=always")


class CountsItsSteps(StraightThrough):
    """Straight-through estimator with a step counter in Python and a wait for the GPU."""

    steps = 0

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        self.steps += 1
        loss = super().surrogate_loss(forward)
        return loss if math.isfinite(float(loss)) else loss.nan_to_num()


def test_parts_of_other_packages_are_captured_where_that_is_asked_for_alone():
    made = setup(compose([*DIGITS, "model=mlp", "data.limit=512"]))
    data = read_dataset(made.spec)
    for how, captured in (("auto", False), ("never", False), ("always", True)):
        estimator = CountsItsSteps()
        settings = dataclasses.replace(made.training.settings, cuda_graph=how)
        training = dataclasses.replace(made.training, settings=settings, estimator=estimator)
        with pytest.raises(ConfigError, match="cuda_graph=never") if captured else nullcontext():
            TrainState(made.model, training, data).epoch(Callback())
            assert estimator.steps == steps_per_epoch(len(data.train.labels), settings.batch_size)


def test_a_training_of_captured_steps_is_resumed_whichever_way(tmp_path: Path):
    def state(how: str) -> TrainState:
        made = setup(compose([*DIGITS, "model=mlp", "data.limit=500", f"trainer.cuda_graph={how}"]))
        return TrainState(made.model, made.training, read_dataset(made.spec))

    whole = state("always")
    first = whole.epoch(Callback())
    saved = copy.deepcopy(whole.state_dict())
    second = whole.epoch(Callback())
    assert first != second
    for how in ("always", "never"):
        resumed = state(how)
        resumed.load_state_dict(copy.deepcopy(saved))
        assert resumed.epoch(Callback()) == pytest.approx(second, rel=1e-4)
    launched = state("never")
    launched.epoch(Callback())
    resumed = state("always")
    resumed.load_state_dict(copy.deepcopy(launched.state_dict()))
    assert resumed.epoch(Callback()) == pytest.approx(second, rel=1e-4)


@pytest.mark.parametrize("estimator", ["st", "reinforce"])
def test_a_network_learns_as_well_on_the_gpu_as_on_the_cpu(estimator):
    accuracy = {}
    for device in ("cpu", "cuda"):
        words = [f"estimator={estimator}", "model=mlp", "trainer.epochs=10", f"device={device}"]
        fitted = fit_network(compose(["data=digits", "trainer.progress=none", *words]))
        assert fitted.fit is not None
        accuracy[device] = max(epoch["val/accuracy"] for epoch in fitted.fit.history)
    assert accuracy["cuda"] > accuracy["cpu"] - 0.04
    assert accuracy["cuda"] > 0.85


def test_the_state_of_a_training_on_the_gpu_is_restored_with_its_stream_of_noise():
    made = setup(compose([*DIGITS, "model=mlp", "data.limit=256"]))
    data = read_dataset(made.spec)
    first = TrainState(made.model.to("cuda"), made.training, data)
    saved = copy.deepcopy(first.state_dict())
    like = torch.empty(1000, device="cuda")
    drawn = first.noise(like)
    again = setup(compose([*DIGITS, "model=mlp", "data.limit=256"]))
    second = TrainState(again.model.to("cuda"), again.training, data)
    second.noise(like)
    second.load_state_dict(saved)
    assert torch.equal(second.noise(like), drawn)


def test_a_checkpoint_of_a_training_on_the_gpu_opens_on_the_cpu(tmp_path: Path):
    made = setup(compose([*DIGITS, "model=mlp", "data.limit=256", "trainer.epochs=1"]))
    data = read_dataset(made.spec)
    about = made.spec.checkpoint_metadata
    fit(made.model.to("cuda"), made.training, data, folder=tmp_path, metadata=about)
    restored = load_checkpoint(tmp_path / checkpoint.BEST)[0]
    for ours, theirs in zip(restored.parameters(), made.model.parameters(), strict=True):
        assert not ours.is_cuda
        assert torch.equal(ours, theirs.detach().cpu())
