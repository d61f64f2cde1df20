"""Tasks: one of a plug-in trains by the command line, is tracked, resumed, tuned and reported."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from support.command_line import QUICK, bnn_train, runs
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.config.compose import compose
from bnn.data import load
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.nn import Stochastic
from bnn.nn.sites import Latents
from bnn.specify import setup, specify
from bnn.tasks import Classification, Metric, Task
from bnn.training.callback import Callback
from bnn.training.loop import FitResult, fit
from bnn.training.optimizers import OPTIMIZERS, parameter_groups

PLUGIN = '''
import torch
from torch.nn import functional as F
from bnn.tasks import Metric, Task

@Task.registry.add("reconstruction")
class Reconstruction(Task):
    """Reconstruction of the pixels, with a price on every bit that fires."""

    metrics = {"loss": Metric("minimize", "nats", digits=2)}
    fractional_bits = False

    def __init__(self, *, price: float = 0.01) -> None:
        super().__init__()
        self.price = price

    def output_size(self, data):
        return data.shape[0] * data.shape[1] * data.shape[2]

    def targets(self, images, labels):
        return (images > 0).float().flatten(1)

    def loss(self, output, targets, latents):
        likelihood = F.binary_cross_entropy_with_logits(output, targets, reduction="none").sum(1)
        return likelihood + self.price * sum(bits.flatten(1).sum(1) for _, bits in latents)

    def score(self, outputs, targets, latents):
        targets = targets.expand(len(outputs), *targets.shape)
        error = F.binary_cross_entropy_with_logits
        nll = error(outputs.double(), targets.double(), reduction="none").sum(2)
        return {"loss": -torch.logsumexp(-nll, 0) + torch.log(torch.tensor(float(len(outputs))))}
'''
WORDS = [
    "plugins=[toy_task]",
    "task=reconstruction",
    "model=mlp",
    "model.hidden=24",
    *QUICK,
    "data.limit=192",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("reconstruction")
    (folder / "toy_task.py").write_text(PLUGIN)
    result = bnn_train(
        folder,
        "-m",
        *WORDS,
        "trainer.epochs=2",
        "estimator=st,disarm",
        "seed=1,2",
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


@pytest.mark.integration
def test_a_task_of_a_plug_in_trains_and_its_tables_show_its_metrics(
    swept: tuple[Path, str],
) -> None:
    folder, out = swept
    assert "accuracy" not in out and "mean of M (nats)" in out
    found = runs(folder, "run")
    assert len(found) == 4
    for run in found:
        metrics = run.data.metrics
        assert {
            "test/loss",
            "test/loss_mc_mean",
            "test/loss_threshold",
            "val_best/loss",
            "train/loss",
        } <= set(metrics)
        assert not any("accuracy" in key for key in metrics)
        assert metrics["test/loss_mc_mean"] < metrics["test/loss"], (
            "log-mean-exp of eight draws is below one"
        )
        assert run.data.params["task.price"] == "0.01"
        head = run.data.tags["mlflow.note.content"].split("\n")[2]
        assert [cell.strip() for cell in head.strip("|").split("|")] == [
            "evaluation",
            "loss (nats)",
        ]


@pytest.mark.integration
def test_a_task_of_a_plug_in_is_reported_by_its_loss(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    result = bnn_train(folder, "bnn/digits", module="bnn.report")
    assert result.returncode == 0, result.stderr
    assert "test loss (nats)" in result.stdout and "accuracy" not in result.stdout
    page = (folder / "outputs/bnn_digits.html").read_text()
    assert "Test loss" in page and "accuracy" not in page.lower()


@pytest.mark.integration
def test_a_finished_sweep_of_a_plug_ins_task_is_not_trained_again(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    again = bnn_train(
        folder,
        "-m",
        *WORDS,
        "trainer.epochs=2",
        "estimator=st,disarm",
        "seed=1,2",
        "resume=true",
    )
    assert again.returncode == 0 and "4 of them finished before" in again.stdout, again.stderr


@pytest.mark.slow
@pytest.mark.integration
def test_a_study_optimises_what_the_task_offers(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    words = ["-m", *WORDS, "study=learning_rate", "hydra.sweeper.n_trials=1", "estimator=st"]
    refused = bnn_train(folder, *words, "hydra.sweeper.metric=val/accuracy")
    assert refused.returncode != 0
    assert refused.stderr.strip().endswith(
        "expected one of val/loss, seconds/train; got 'val/accuracy'"
    )
    assert bnn_train(folder, *words).returncode == 0


@pytest.mark.integration
def test_a_lab_measures_estimators_under_the_loss_of_the_task(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    few = ["--draws", "20", "--epochs", "0", "--batch", "8", "--reference", "4"]
    both = ["--estimator", "estimator=st", "--estimator", "estimator=disarm"]
    asked = [*WORDS, "model.norm=none", "trainer.progress=none"]
    result = bnn_train(folder, *few, *both, *asked, module="bnn.lab")
    assert result.returncode == 0, result.stderr
    assert "| disarm " in result.stdout and "| st density " in result.stdout


@pytest.mark.integration
def test_estimators_that_evaluate_fractional_bits_are_refused_where_the_loss_is_not_defined(
    swept: tuple[Path, str],
) -> None:
    folder, _ = swept
    fractional = [name for name in Estimator.registry if Estimator.registry[name].fractional_bits]
    assert fractional == ["concrete", "muprop", "rebar", "relax"]
    result = bnn_train(folder, *WORDS, "estimator=muprop")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert "bits between 0 and 1" in result.stderr and "task=reconstruction" in result.stderr


@pytest.mark.integration
def test_an_unknown_task_is_one_line(tmp_path: Path) -> None:
    result = bnn_train(tmp_path, "task=nothing", *QUICK)
    assert (
        result.returncode != 0 and "task=nothing: expected one of classification" in result.stderr
    )


class Critic(Task):
    """Task with a network of its own, trained in a step of its own: it predicts the loss."""

    metrics = {"loss": Metric("minimize", "nats")}  # noqa: RUF012
    fractional_bits = True

    def init(self, data) -> None:
        self.critic = nn.Linear(math.prod(data.shape), 1)
        self.scale = nn.Parameter(torch.ones(()))
        self.own = torch.optim.Adam(self.critic.parameters(), 0.01)
        self.steps = 0

    def output_size(self, data) -> int:
        return data.classes

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        return labels

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        return F.cross_entropy(self.scale * output, targets, reduction="none")

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(outputs.mean(0).double(), targets, reduction="none")}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"critic": self.own}

    def step(self, train, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = train(inputs, targets)
        self.own.zero_grad()
        (self.critic(inputs.flatten(1)).mean() - loss).square().backward()
        self.own.step()
        self.steps += 1
        return loss


def trained(
    folder: Path | None = None, *, epochs: int = 2, resume: bool = False, stop: int | None = None
) -> Critic:
    made = setup(
        compose(
            [
                "device=cpu",
                "data=digits",
                "trainer.progress=none",
                f"trainer.epochs={epochs}",
                "model=mlp",
            ]
        )
    )
    task = Critic()
    recipe = dataclasses.replace(made.training, task=task)

    class Stops(Callback):
        def on_epoch_end(self, epoch: int, metrics) -> None:
            if epoch == stop:
                raise KeyboardInterrupt

    data = load(made.spec.config["data"], 0, 0.1)
    try:
        result: FitResult | None = fit(
            made.model, recipe, data, folder=folder, resume=resume, callbacks=[Stops()]
        )
    except KeyboardInterrupt:
        result = None
    task.result = result
    return task


@pytest.mark.integration
def test_a_task_trains_a_network_of_its_own_in_a_step_of_its_own_and_goes_on_with_it(
    tmp_path: Path,
) -> None:
    whole = trained(tmp_path / "whole", epochs=3)
    assert whole.steps == 3 * 22 and float(whole.scale.detach()) != 1, (
        "its other parameters are the run's optimizer's"
    )
    trained(tmp_path / "pieces", epochs=3, stop=2)
    rest = trained(tmp_path / "pieces", epochs=3, resume=True)
    assert rest.steps == 2 * 22
    assert rest.result.history == whole.result.history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    state, other = whole.own.state_dict()["state"], rest.own.state_dict()["state"]
    assert all(
        torch.equal(state[k][m], other[k][m]) for k in state for m in ("exp_avg", "exp_avg_sq")
    )


def test_a_task_is_left_at_the_best_epoch_as_the_network_is() -> None:
    """Its learned scale belongs to that epoch's weights: the validation loss comes out again."""
    made = setup(
        compose(
            [
                "device=cpu",
                "data=digits",
                "trainer.progress=none",
                "trainer.epochs=6",
                "model=mlp",
                "optimizer.lr=0.2",
                "optimizer.lr_schedule=constant",
            ]
        )
    )
    data = load(made.spec.config["data"], 0, 0.1)

    class Scaled(Critic):
        def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
            return super().score(self.scale.detach() * outputs, targets, latents)

    task = Scaled()
    result = fit(made.model, dataclasses.replace(made.training, task=task), data)
    losses = [epoch["val/loss"] for epoch in result.history]
    assert result.best_epoch < 6, "the control: the last epoch is another"
    assert task.evaluations(made.model, data.validation, 1, made.training.seed)["sampled"][
        "loss"
    ] == min(losses)


class Grouped(nn.Module):
    """A layer that puts its own parameters into a group of their own."""

    parameter_group = "latent"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def test_parameters_go_into_the_groups_of_network_estimator_task_and_layers() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, Stochastic(), Grouped(), shared)
    estimator = Estimator.registry.build("nvil").init(
        nn.Sequential(nn.Linear(2, 2), Stochastic()), torch.zeros(2, 2)
    )
    task = Critic()
    task.init(load({"name": "digits"}, 0, 0.1).spec)
    groups = parameter_groups(model, estimator, task)
    assert {name: len(own) for name, own in groups.items()} == {
        "network": 2,
        "latent": 1,
        "estimator": 4,
        "task": 1,
    }
    assert groups["task"][0] is task.scale, "the critic's are its own optimizer's"
    assert set(parameter_groups(shared, nn.Identity(), Classification())) == {"network"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_groups_have_learning_rates_and_decays_of_their_own(optimizer: str) -> None:
    settings = {"estimator": {"lr": 0.001}, "latent": {"lr": 0.02, "weight_decay": 0.5}}
    made = OPTIMIZERS.build(
        {"name": optimizer, "lr": 0.1, "lr_schedule": "constant", "groups": settings}
    )
    groups = {
        name: [nn.Parameter(torch.ones(2))] for name in ("network", "estimator", "task", "latent")
    }
    found, _ = made.start(groups, 100)
    by_name = {group["name"]: group for group in found.param_groups}
    decay = by_name["network"]["weight_decay"]
    rates = {name: group["initial_lr"] for name, group in by_name.items()}
    assert rates == {"network": 0.1, "estimator": 0.001, "task": 0.1, "latent": 0.02}
    assert [by_name[name]["weight_decay"] for name in ("estimator", "task", "latent")] == [
        decay,
        decay,
        0.5,
    ]


@pytest.mark.parametrize(
    "words, said",
    [
        (
            "optimizer.groups.estimator.lr=-1",
            "optimizer.groups.estimator.lr: expected a number >= 0",
        ),
        (
            "+optimizer.groups.estimator.rate=1",
            "optimizer.groups.estimator: expected a mapping with lr and weight_decay",
        ),
        ("+optimizer.groups.latent=1", "optimizer.groups.latent: expected a mapping"),
        ("+optimizer.groups.latent.lr=1", "optimizer.groups.latent: no parameter is in this group"),
    ],
)
def test_settings_of_groups_that_mean_nothing_are_refused(words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        setup(compose(["data=digits", words]))


def test_a_group_without_settings_is_refused_before_data_are_read(monkeypatch) -> None:
    monkeypatch.setattr(nn.Linear, "parameter_group", "codes", raising=False)
    words = ["data=digits", "model=mlp"]
    with pytest.raises(ConfigError, match=r"settings of the group codes, .* \+optimizer\.groups"):
        specify(compose(words))
    specify(compose([*words, "+optimizer.groups.codes={}"]))


def test_a_group_without_settings_is_refused() -> None:
    made = setup(compose(["data=digits"]))
    with pytest.raises(ConfigError, match=r"\+optimizer\.groups\.latent="):
        made.training.optimization.start({"latent": [nn.Parameter(torch.ones(2))]}, 10)


def test_best_epoch_is_that_of_the_selection_metric_in_its_direction() -> None:
    class ByAccuracy(Classification):
        selection = "accuracy"

    made = setup(
        compose(
            [
                "device=cpu",
                "data=digits",
                "trainer.progress=none",
                "trainer.epochs=4",
                "optimizer.lr=0.4",
            ]
        )
    )
    result = fit(
        made.model,
        dataclasses.replace(made.training, task=ByAccuracy()),
        load(made.spec.config["data"], 0, 0.1),
    )
    values = [epoch["val/accuracy"] for epoch in result.history]
    assert result.best_epoch == values.index(max(values)) + 1
