"""Training of binary weights: groups, decay, streams, resumption and the readings at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from support.matrix import one_in
from torch import nn

import bnn
from bnn import schema
from bnn.build import TrainingSetup
from bnn.config.canonical import canonical, digest
from bnn.config.compose import compose
from bnn.config.titles import run_title, varying_keys
from bnn.data import Dataset, Split, load
from bnn.errors import ConfigError
from bnn.nn.statistics import running_statistics
from bnn.nn.weight_draws import LRT
from bnn.nn.weight_layers import WEIGHTS, binary_weight_layers
from bnn.nn.weights import WeightRule
from bnn.restore import load_trained
from bnn.specify import setup
from bnn.tasks import Classification
from bnn.tasks.weight_readings import WeightEvaluation
from bnn.training import checkpoint
from bnn.training.callback import Callback
from bnn.training.loop import FitResult, fit
from bnn.training.step import TrainState

RULES = [name for name in WeightRule.registry if name != "real"]


def prepared(*overrides: str) -> tuple[TrainingSetup, Dataset]:
    words = ["device=cpu", "data=digits", "data.limit=256", "trainer.progress=none", *overrides]
    made = setup(compose(words))
    fraction = made.training.settings.validation_fraction
    return made, load(made.spec.config["data"], made.training.seed, fraction)


def trained(
    *overrides: str, folder: Path | None = None, resume: bool = False, stop: int = 0
) -> tuple[TrainingSetup, Dataset, FitResult]:
    """Training of three epochs, which an error ends after `stop` epochs."""

    class Stop(Callback):
        def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
            if epoch == stop + 1:
                raise KeyboardInterrupt

    made, data = prepared("trainer.epochs=3", *overrides)
    callbacks = [Stop()] if stop else []
    result = fit(
        made.model,
        made.training,
        data,
        folder=folder,
        resume=resume,
        callbacks=callbacks,
        metadata=made.spec.checkpoint_metadata,
    )
    return made, data, result


@pytest.mark.integration
@pytest.mark.parametrize("rule", one_in(2, RULES))
def test_an_interrupted_training_goes_on_to_the_last_bit(rule: str, tmp_path: Path) -> None:
    words = (f"weights={rule}", "estimator=disarm")
    whole, _, expected = trained(*words)
    with pytest.raises(KeyboardInterrupt):
        trained(*words, folder=tmp_path, stop=1)
    again, _, found = trained(*words, folder=tmp_path, resume=True)
    assert found.history == expected.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert trained(*words, "seed=1")[2].history != expected.history


def groups(*overrides: str) -> dict[str, dict[str, object]]:
    made, data = prepared(*overrides)
    state = TrainState(made.model, made.training, data)
    return {group.get("name", "bop"): group for group in state.optimizer.param_groups}


def test_latent_weights_are_a_group_with_a_rate_and_no_ordinary_decay() -> None:
    for optimizer in ("adamw", "sgd", "adam"):
        words = [f"optimizer={optimizer}", "optimizer.weight_decay=0.1", "weights.lr=0.02"]
        found = groups("weights=sign", "weights.decay=0.3", *words)
        assert found[WEIGHTS]["weight_decay"] == 0
        assert found[WEIGHTS]["initial_lr"] == 0.02
        assert found["network"]["weight_decay"] == 0.1
        assert len(found[WEIGHTS]["params"]) == 1  # type: ignore[arg-type]
    assert WEIGHTS not in groups("weights=real")
    assert groups("weights=bop")["bop"]["gamma"] == WeightRule.registry.defaults("bop")["gamma"]


def test_latent_weights_may_have_a_momentum_of_their_own() -> None:
    words = ("weights=sign", "weights.momentum=0.5")
    assert groups(*words, "optimizer=sgd")[WEIGHTS]["momentum"] == 0.5
    assert groups(*words, "optimizer=sgd")["network"]["momentum"] == 0.9
    assert groups(*words, "optimizer=adam")[WEIGHTS]["betas"] == (0.5, 0.999)


def test_decay_shrinks_latent_weights_by_its_factor_at_each_step() -> None:
    """With a gradient of zero a step of SGD divides by 1 + ελ, and nothing else."""
    made, data = prepared(
        "weights=sign", "weights.decay=0.5", "weights.lr=0.1", "optimizer=sgd",
        "optimizer.lr_schedule=constant", "optimizer.warmup=0",
    )  # fmt: skip
    state = TrainState(made.model, made.training, data)
    ((_, layer),) = binary_weight_layers(made.model)
    before = layer.weight.detach().clone()
    for parameter in made.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    assert torch.allclose(layer.weight, before / 1.05, atol=1e-7)


@pytest.mark.integration
@pytest.mark.parametrize("rule", RULES)
def test_statistics_of_the_weights_are_metrics_of_each_epoch(rule: str) -> None:
    _, _, result = trained(f"weights={rule}")
    flips = [epoch["weights/conv2/flip_rate"] for epoch in result.history]
    assert all(0 <= rate <= 1 for rate in flips) and sum(flips) > 0
    if rule != "bop":
        means = [epoch["weights/conv2/mean_abs"] for epoch in result.history]
        assert 0.3 < means[0] < 1 and means[0] != means[-1]


@pytest.mark.integration
def test_a_network_whose_weights_are_drawn_is_left_as_their_signs(tmp_path: Path) -> None:
    """With statistics of its own, also in the checkpoint; those of the training are kept beside."""
    made, data, result = trained("weights=sample", folder=tmp_path)
    own, kept = running_statistics(made.model), result.training_statistics
    assert kept is not None
    assert set(own) == set(kept)
    assert not any(torch.equal(own[name], kept[name]) for name in own if "norm2" in name)

    content = checkpoint.load(tmp_path / checkpoint.BEST)
    assert torch.equal(
        content["training_statistics"]["norm2.running_var"], kept["norm2.running_var"]
    )
    task, seed = made.training.task, made.training.seed
    restored = load_trained(tmp_path / checkpoint.BEST).model
    scores = task.evaluations(restored, data.validation, 2, seed)
    best = result.history[result.best_epoch - 1]
    assert scores[schema.SAMPLED]["loss"] == pytest.approx(best["val/loss"], rel=1e-6)

    assert trained("weights=sign")[2].training_statistics is None


@pytest.mark.integration
def test_readings_agree_where_the_weights_are_certain_and_differ_elsewhere() -> None:
    made, data, result = trained("weights=sample", "placement=none")
    assert result.training_statistics is not None
    evaluation = WeightEvaluation(made.training.task, made.model, data.train, 0)

    def losses() -> dict[str, float]:
        found = evaluation.all_scores(data.validation, 3, result.training_statistics)
        return {name: scores["loss"] for name, scores in found.items()}

    before = running_statistics(made.model)
    uncertain = losses()
    assert len(uncertain) == 7 and len(set(uncertain.values())) == 7
    assert all(torch.equal(before[k], v) for k, v in running_statistics(made.model).items())
    with torch.no_grad():
        for _, layer in binary_weight_layers(made.model):
            layer.weight.mul_(1000)
    certain = losses()
    anew = [v for k, v in certain.items() if not k.endswith(schema.TRAINING_STATISTICS)]
    assert max(anew) - min(anew) < 1e-2


def test_noise_of_weights_and_of_neurons_is_independent() -> None:
    """A unit that fires where its pre-activation is above 0 by the noise of the weights alone."""

    class Agreement(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(1, 2000, bias=False), bnn.Stochastic()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = self.layer(x)
            return (self.act(a) == (a > 0)).float()

    class Mean(Classification):
        def score(self, outputs, targets, latents):
            return {"agreement": outputs.mean(0).mean(-1)}

    model = bnn.binarize(Agreement(), "lrt", "all")
    with torch.no_grad():
        model.layer.weight.zero_()  # a weight is then a fair coin, and a a standard normal variable
    split = Split(torch.ones(20, 1), torch.zeros(20, dtype=torch.long))
    (found,) = WeightEvaluation(Mean(), model, split, 0).scores(split, LRT).values()
    a = torch.linspace(-5, 5, 10_001, dtype=torch.float64)
    density = torch.exp(-a.square() / 2)
    expected = float((density * torch.sigmoid(2 * a.abs())).sum() / density.sum())
    assert found == pytest.approx(expected, abs=0.01)


def test_a_task_of_whole_splits_refuses_weights_that_are_drawn_in_training() -> None:
    made, data = prepared("task=gan")
    bnn.binarize(made.model, "sample", "all")
    with pytest.raises(ConfigError, match="scores a whole split at once"):
        fit(made.model, made.training, data)


def test_real_weights_leave_digests_and_names_as_they_were() -> None:
    real = canonical(compose([]))
    assert digest(real) == digest({key: one for key, one in real.items() if key != "weights"})
    sign = canonical(compose(["weights=sign"]))
    assert digest(sign) != digest(real)
    assert run_title(real) == "stochastic · st · both · s0"
    assert run_title(sign) == "stochastic · st · both · sign weights · s0"
    assert run_title(real, varying_keys([real, sign])).startswith("real weights · ")


def test_binary_weights_alone_keep_their_rule() -> None:
    """Without binary neurons the estimator is plain backpropagation, and the weights are binary."""
    made = setup(compose(["placement=none", "weights=lrt", "estimator=reinmax", "device=cpu"]))
    assert made.spec.config["estimator"]["name"] == "none"
    assert made.spec.title == "real · lrt weights · s0"
    assert [name for name, _ in binary_weight_layers(made.model)] == ["conv2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights=sign", "weights.clip=true"], "weights.law=logistic"),
        (["weights=sign", "weights.layers=[act1]"], "act1 is a Stochastic"),
        (["weights=bop", "weights.gamma=2"], "weights.gamma"),
        (
            ["weights=lrt", "weights.layers=all", "estimator=local_expectation", "model=mlp",
             "model.hidden=4"],
            "local reparameterisation",
        ),
    ],
)  # fmt: skip
def test_wrong_choices_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        setup(compose([*words, "device=cpu"]))
    assert "\n" not in str(error.value)


def test_settings_of_the_group_of_latent_weights_are_those_of_the_rule() -> None:
    with pytest.raises(ConfigError, match=r"write weights\.lr or weights\.momentum"):
        setup(compose(["weights=sign", "+optimizer.groups.weights.lr=0.5", "device=cpu"]))


@pytest.mark.integration
def test_a_tracked_fit_describes_the_rule_of_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), bnn.Stochastic(), nn.Linear(8, 8), nn.Linear(8, 10)
    )
    bnn.binarize(net, {"name": "sample", "law": "gaussian", "lr": 0.02})
    data = load({"name": "digits", "limit": 128}, 0, 0.1)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = bnn.MLflow(uri=uri, heatmaps=False)
    bnn.fit(net, data, epochs=1, progress="none", tracker=tracker, folder=tmp_path / "run")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("bnn/digits")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["weights"] == run.data.params["weights.name"] == "sample"
    assert run.data.params["weights.law"] == "gaussian"
    assert run.data.params["weights.lr"] == "0.02"
    assert "test/accuracy_ensemble" in run.data.metrics
