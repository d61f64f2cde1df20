"""The library: lazy names, functions, estimators as losses, and `bnn.fit` with MLflow."""

from __future__ import annotations

import json
import operator
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor, nn

import bnn
from bnn.errors import CheckpointError, ConfigError
from bnn.estimators import (
    NVIL,
    RELAX,
    Concrete,
    Reinforce,
    ReinMax,
    StraightThrough,
    StraightThroughGumbel,
)
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import generator_noise
from bnn.report.configurations import group_by_configuration
from bnn.report.experiment import read_experiments
from bnn.restore import load_checkpoint
from bnn.tracking.query import finished_runs
from bnn.training import checkpoint
from bnn.training.loop import FitResult


def seeded(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), bnn.Stochastic(), nn.Linear(30, 10))


@pytest.fixture(scope="module")
def data() -> bnn.data.Dataset:
    return bnn.data.load({"name": "digits", "limit": 300}, seed=0, validation_fraction=0.1)


def test_every_name_of_the_package_is_there_and_another_is_refused() -> None:
    for name in bnn.__all__:
        assert getattr(bnn, name) is not None and name in dir(bnn)
    with pytest.raises(
        AttributeError, match="no attribute 'Stochastik'; there are Callback, Deterministic"
    ):
        _ = bnn.Stochastik


@pytest.mark.integration
def test_importing_the_package_imports_no_torch_until_a_name_is_used() -> None:
    code = (
        "import sys, bnn; before = 'torch' in sys.modules; bnn.Stochastic; "
        "print(before, 'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.split() == ["False", "True"]


PAIRS = {
    "straight_through": (
        lambda a, noise: bnn.functional.straight_through(a, noise=noise),
        StraightThrough(),
    ),
    "identity": (
        lambda a, noise: bnn.functional.straight_through(
            a, pseudo_derivative="identity", noise=noise
        ),
        StraightThrough(pseudo_derivative="identity"),
    ),
    "reinmax": (lambda a, noise: bnn.functional.reinmax(a, 1.5, noise=noise), ReinMax(tau=1.5)),
    "st_gumbel": (
        lambda a, noise: bnn.functional.st_gumbel(a, 0.7, noise=noise),
        StraightThroughGumbel(tau=0.7),
    ),
    "concrete": (lambda a, noise: bnn.functional.concrete(a, 0.3, noise=noise), Concrete(tau=0.3)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_functions_are_the_estimators_without_an_object(name: str) -> None:
    function, estimator = PAIRS[name]
    a = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    found, expected = a.clone().requires_grad_(), a.clone().requires_grad_()
    mine = function(found, seeded())
    with estimator.in_force(seeded()):
        theirs = bnn.Stochastic().train()(expected)
    assert torch.equal(mine, theirs)
    weights = torch.arange(24.0).view(6, 4)
    (mine * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.equal(found.grad, expected.grad) and found.grad.abs().sum() > 0


def test_functions_take_any_law_and_refuse_temperatures_as_the_estimators_do() -> None:
    for law in NoiseLaw.registry:
        assert set(
            bnn.functional.straight_through(torch.zeros(100), law=law).unique().tolist()
        ) == {0.0, 1.0}
    for function, tau in (
        (bnn.functional.reinmax, 0.5),
        (bnn.functional.st_gumbel, 0.0),
        (bnn.functional.concrete, -1.0),
    ):
        with pytest.raises(ConfigError, match=r"estimator\.tau"):
            function(torch.zeros(2), tau)


def test_shapes_of_public_arguments_are_checked_in_the_tests() -> None:
    with pytest.raises(Exception, match=r"cross_entropy"):
        bnn.tasks.cross_entropy(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("estimator", [NVIL(), RELAX()], ids=["nvil", "relax"])
def test_a_call_that_makes_learned_parameters_warns_and_after_init_it_does_not(
    estimator: nn.Module, data
) -> None:
    net, x, y = network(), data.train.images[:8], data.train.labels[:8]
    with pytest.warns(UserWarning, match=r"write estimator\.init\(net, inputs\) first"):
        estimator(net, x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type(estimator)().init(net, x)(net, x, y)
        Reinforce()(net, x, y)


def test_an_estimator_takes_any_loss_of_single_samples(data) -> None:
    def absolute(output: Tensor, targets: Tensor) -> Tensor:
        return (output - nn.functional.one_hot(targets, 10)).abs().sum(1)

    net, x, y = network(), data.train.images[:8], data.train.labels[:8]
    loss = Reinforce()(net, x, y, loss=absolute)
    loss.backward()
    assert loss.dim() == 0 and net[1].weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="one value per sample"):
        Reinforce()(net, x, y, loss=lambda output, targets: absolute(output, targets).mean())


def test_a_law_without_full_support_is_refused_by_estimators_that_take_its_logarithm(data) -> None:
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 4), bnn.Stochastic(law="uniform"), nn.Linear(4, 10)
    )
    with pytest.raises(ConfigError, match="Reinforce with the uniform law"):
        Reinforce()(net, data.train.images[:4], data.train.labels[:4])
    StraightThrough()(net, data.train.images[:4], data.train.labels[:4]).backward()


def test_torchs_batch_norms_are_refused_with_the_conversion_and_serve_after_it(data) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), bnn.Stochastic(), nn.Linear(8, 10)
    )
    net[2].running_mean += 1
    x, y = data.train.images[:8], data.train.labels[:8]
    StraightThrough()(net, x, y).backward()
    with pytest.raises(ConfigError, match=r"2: BatchNorm1d .*bnn\.nn\.convert_batch_norms\(net\)"):
        Reinforce()(net, x, y)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    converted = bnn.nn.convert_batch_norms(net)
    assert converted is net and isinstance(net[2], bnn.nn.BatchNorm)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(map(operator.is_, net.parameters(), optimizer.param_groups[0]["params"]))
    Reinforce()(net, x, y).backward()
    with pytest.raises(ConfigError, match="momentum"):
        bnn.nn.convert_batch_norms(nn.BatchNorm1d(3, momentum=None))


def test_fit_trains_and_repeats_itself(data) -> None:
    histories = []
    for _ in range(2):
        net = network()
        result = bnn.fit(
            net,
            data,
            estimator=ReinMax(),
            epochs=3,
            optimizer={"name": "adam", "lr": 0.01},
            progress="none",
        )
        histories.append(result.history)
    assert histories[0] == histories[1]
    assert histories[0][-1]["val/accuracy"] > 0.6 and not net.training
    scores = bnn.evaluate(net, data.validation)
    assert set(scores) == {"sampled", "mc_mean", "threshold"}
    assert scores["sampled"]["loss"] == min(epoch["val/loss"] for epoch in histories[0])


@pytest.mark.integration
def test_fit_with_mlflow_leaves_the_run_that_the_command_line_leaves(data, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = bnn.MLflow("mine", uri=uri, name="my run")
    estimator = Reinforce(baseline="moving_average")
    result = bnn.fit(
        network(),
        data,
        estimator=estimator,
        epochs=2,
        progress="none",
        tracker=tracker,
        anneal="geometric",
    )
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine/digits").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "my run"
    curves = {
        point.step: point.value for point in client.get_metric_history(run.info.run_id, "val/loss")
    }
    assert curves == {k: epoch["val/loss"] for k, epoch in enumerate(result.history, 1)}
    assert {
        "test/accuracy",
        "test/accuracy_mc_mean",
        "test/loss_threshold",
        "seconds/train",
    } <= set(run.data.metrics)
    params = run.data.params
    assert (params["estimator.name"], params["estimator.baseline.name"]) == (
        "reinforce",
        "moving_average",
    )
    assert (params["anneal.rate"], params["optimizer.lr"], params["trainer.epochs"]) == (
        "1.1",
        "0.05",
        "2",
    )

    def there(folder: str | None = None) -> set[str]:
        found = client.list_artifacts(run.info.run_id, folder)
        return {
            path for item in found for path in (there(item.path) if item.is_dir else {item.path})
        }

    artifacts = there()
    assert {
        "checkpoint/best.pt",
        "figures/curves.png",
        "figures/unit_health.png",
        "config.json",
    } <= artifacts
    assert any("heatmap" in path for path in artifacts)
    config = json.loads(Path(client.download_artifacts(run.info.run_id, "config.json")).read_text())
    assert config["model"]["name"] == "Sequential"
    assert len(finished_runs(uri, "mine/digits")) == 1, "a report takes it"


@pytest.mark.integration
def test_runs_of_other_networks_and_other_data_are_other_results(data, tmp_path: Path) -> None:
    """Networks of equal class, size and seed are different results, which reports keep apart."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    fewer = bnn.data.load({"name": "digits", "limit": 200}, seed=0, validation_fraction=0.1)
    for net, on in ((network(), data), (network(1), data), (network(), fewer), (network(), data)):
        bnn.fit(
            net, on, epochs=1, progress="none", tracker=bnn.MLflow("mine", uri=uri, heatmaps=False)
        )
    digests = [run.tags["bnn.digest"] for run in finished_runs(uri, "mine/digits")]
    assert len(digests) == 4 and len(set(digests)) == 3, "the last is the first again"


class OwnTask(bnn.tasks.Classification):
    """Task that no registry knows."""


@pytest.mark.integration
def test_a_report_keeps_networks_and_data_apart_and_takes_a_task_of_ones_own(
    data, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = bnn.MLflow("mine", uri=uri, heatmaps=False)
    fewer = bnn.data.load({"name": "digits", "limit": 200}, seed=0, validation_fraction=0.1)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), bnn.Stochastic(), nn.Linear(40, 10))
    real = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for net, on in ((network(), data), (wide, data), (network(), fewer), (real, data)):
        bnn.fit(net, on, task=OwnTask(), epochs=1, progress="none", tracker=tracker)
    (experiment,) = read_experiments(uri, ["mine/digits"], [], None, 0.0)
    found = group_by_configuration(experiment.rows)
    assert len(found) == 4 and all(c.preliminary for c in found)
    (plain,) = (c.first for c in found if c.real_valued)
    assert (plain.estimator, plain.placement) == ("none", "none")
    assert "best validation metric" in experiment.markdown("mine")


@pytest.mark.integration
def test_fit_ends_its_run_as_failed_with_the_reason(data, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(ArithmeticError):
        bnn.fit(network(), data, epochs=1, optimizer={"name": "sgd", "lr": 1e38}, progress="none",
                tracker=bnn.MLflow("mine", uri=uri))  # fmt: skip
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine/digits").experiment_id])
    assert run.info.status == "FAILED" and "lower optimizer.lr" in run.data.tags["bnn.reason"]


@pytest.mark.parametrize(
    "words, said",
    [
        ({"estimator": "sst"}, "estimator.name: expected one of"),
        ({"optimizer": {"name": "sgd", "lr": -1}}, "optimizer.lr: expected a positive number"),
        ({"epochs": 0}, "trainer.epochs: expected at least 1"),
        ({"anneal": "linera"}, "anneal.name: expected one of"),
        ({"estimator": "enumeration"}, "at most 12 binary units"),
    ],
)
def test_bad_arguments_are_one_line(words: dict, said: str, data) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        bnn.fit(network(), data, progress="none", **words)


def test_slips_are_one_line_that_names_the_argument(data, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    slips = {
        r"split: expected data\.validation or data\.test; got a bnn\.data\.": lambda: bnn.evaluate(
            network(), data
        ),
        "draws: expected at least 1, got 0": lambda: bnn.evaluate(network(), data.test, draws=0),
        "folder: .* cannot be made": lambda: bnn.fit(network(), data, folder=tmp_path / "file/a"),
        "data: .*; got a tuple$": lambda: bnn.fit(network(), (torch.zeros(2), torch.zeros(2))),
        r"optimizer: .*; got a torch\.optim\.": lambda: bnn.fit(
            network(), data, optimizer=torch.optim.Adam(network().parameters())
        ),
        "expected floating-point pre-activations": lambda: bnn.functional._sample(
            StraightThrough(), torch.arange(3), "logistic", torch.rand_like
        ),
        r"Reinforce takes 17,179,869,184 evaluations .* 12 binary layers": lambda: bnn.fit(
            Recurrent(), data, estimator="reinforce", epochs=1, progress="none"
        ),
    }
    for said, slip in slips.items():
        with pytest.raises(ConfigError, match=said) as refused:
            slip()
        assert "\n" not in str(refused.value)


def test_a_data_set_is_loaded_by_its_name() -> None:
    by_name = bnn.data.load("digits", seed=0, validation_fraction=0.1)
    assert torch.equal(by_name.train.labels, bnn.data.load({"name": "digits"}, 0, 0.1).train.labels)


class Recurrent(nn.Module):
    """Network that calls one neuron twelve times."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.act, self.above = nn.Linear(64, 64), bnn.Stochastic(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for _ in range(12):
            x = self.act(self.below(x))
        return self.above(x)


def test_records_that_wait_for_the_store_outlive_a_tracked_fit(
    data, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def tracked(model, training, data, tracker, folder: Path, *others):
        folders.append(folder)
        if len(folders) == 1:
            (folder / "outbox").mkdir()
            (folder / "outbox/records.jsonl").write_text("{}")
        statistics = {"mean": torch.zeros(1)}
        return FitResult(1, ({},), 0.0, folder / "best.pt", statistics)

    monkeypatch.setattr("bnn.library._fit_tracked", tracked)
    for _ in range(2):
        result = bnn.fit(network(), data, tracker=bnn.MLflow(), progress="none")
        assert result.checkpoint is None and result.training_statistics is not None
    assert [folder.exists() for folder in folders] == [True, False]
    shutil.rmtree(folders[0])


def test_a_checkpoint_of_fit_says_how_it_is_loaded(data, tmp_path: Path) -> None:
    net = network()
    bnn.fit(net, data, epochs=1, folder=tmp_path, progress="none")
    with pytest.raises(CheckpointError, match=r"of bnn\.fit, .*net\.load_state_dict") as refused:
        load_checkpoint(tmp_path / "best.pt")
    assert "\n" not in str(refused.value)
    net.load_state_dict(checkpoint.load(tmp_path / "best.pt")["model"])


def test_a_batch_norm_of_two_names_stays_one_norm() -> None:
    norm = nn.BatchNorm1d(3)
    net = bnn.nn.convert_batch_norms(nn.Sequential(nn.Linear(3, 3), norm, nn.Linear(3, 3), norm))
    assert isinstance(net[1], bnn.nn.BatchNorm) and net[1] is net[3]


@pytest.mark.parametrize("name", ["straight_through", "reinmax", "st_gumbel", "concrete"])
def test_functions_compute_probabilities_of_half_precision_in_float32(name: str) -> None:
    a = torch.full((100_000,), -4.0, dtype=torch.bfloat16, requires_grad=True)
    noise = generator_noise(torch.Generator().manual_seed(0))
    bits = getattr(bnn.functional, name)(a, noise=noise)
    assert bits.dtype == torch.float32
    expected = float(torch.sigmoid(torch.tensor(-8.0)))
    assert float((bits > 0.5).float().mean()) == pytest.approx(expected, abs=3e-4)
    bits.sum().backward()
    assert a.grad is not None and a.grad.dtype == torch.bfloat16
