"""Objects of a run from its specification: network, task, estimator, optimizer and data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bnn.data import Dataset, DatasetSpec, load
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.models import MODELS
from bnn.nn.neurons import Neuron, Real
from bnn.nn.noise import NoiseLaw
from bnn.nn.weight_layers import binarize
from bnn.registry import validate
from bnn.seeds import stream
from bnn.tasks import Task
from bnn.training.initial_weights import load_weights, read_weights
from bnn.training.initialisation import init_estimator, init_task
from bnn.training.optimizers import OPTIMIZERS
from bnn.training.schedules import SCHEDULES
from bnn.training.settings import TrainerSettings, TrainingConfig

if TYPE_CHECKING:
    from bnn.config.specification import RunSpec


ALL = "all"
"""Value of `placement.layers` for every activation of a network."""


@dataclass(frozen=True)
class Placement:
    """Group `placement`.

    Args:
        name: display name.
        layers: positions of the binary activations from the input; negative ones count from the
            output. `all`: every one.
    """

    name: str
    layers: Any


@dataclass(frozen=True)
class TrainingSetup:
    """Objects of one run: the specification, its network, and everything that trains it.

    Args:
        spec: specification that they were built from.
        model: initialised network.
        training: task, estimator, optimizer, slope schedule and trainer settings.
    """

    spec: RunSpec
    model: nn.Module
    training: TrainingConfig

    @property
    def device(self) -> torch.device:
        """Device of the run."""
        return torch.device(self.spec.general.device)


def binary_positions(node: Mapping[str, Any], depth: int) -> frozenset[int]:
    """Positions from the input of the binary activations of a network.

    Args:
        node: group `placement`.
        depth: number of activations.

    Raises:
        ConfigError: for a position that the network lacks or that is named twice.
    """
    placement = Placement(**validate(Placement, node, "placement"))
    if placement.layers == ALL:
        return frozenset(range(depth))
    if not isinstance(placement.layers, list) or not all(type(k) is int for k in placement.layers):
        written = f"; write [{placement.layers}]" if isinstance(placement.layers, int) else ""
        raise ConfigError(
            f"placement.layers: expected a list, such as [0,-1], or {ALL}, got "
            f"{placement.layers!r}{written}"
        )
    for layer in placement.layers:
        if not -depth <= layer < depth:
            raise ConfigError(
                f"placement.layers: the model has {depth} activations, expected positions in "
                f"[{-depth}, {depth - 1}], got {layer}"
            )
    layers = frozenset(layer % depth for layer in placement.layers)
    both_of_one = depth == 1 and sorted(placement.layers) == [-1, 0]  # placement=both
    if len(layers) < len(placement.layers) and not both_of_one:
        raise ConfigError(
            f"placement.layers: expected each activation once, got {placement.layers}"
        )
    return layers


def build_task(config: Mapping[str, Any]) -> Task:
    """Task of a configuration; version 0.1.0 had one alone, classification."""
    return Task.registry.build(config.get("task", "classification"))


def build_model(config: Mapping[str, Any], spec: DatasetSpec) -> nn.Module:
    """Network with binary neurons and binary weights where they belong, initialised from the seed.

    The weights that `model.init_from` names are no part of it; see `build`.

    Args:
        config: canonical configuration.
        spec: facts of the data set.

    Raises:
        ConfigError: for a placement that the network lacks, or parameters that make no sense.
    """
    task = build_task(config)
    shape, outputs = task.input_shape(spec), task.output_size(spec)
    neuron = dict(config["neuron"])
    model = {key: value for key, value in config["model"].items() if key != "init_from"}
    depth = MODELS.depth(model)
    binary = binary_positions(config["placement"], depth)
    law = NoiseLaw.registry.build(neuron["law"])
    # the caller's stream goes on as if nothing had been drawn
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(config["seed"], "weights"))
        activations = [
            Neuron.registry.build(neuron) if layer in binary else Real(law=law)
            for layer in range(depth)
        ]
        network = MODELS.build(model, shape, outputs, activations)
        return binarize(network, config.get("weights", "real"))


def build(spec: RunSpec, weights: Mapping[str, Tensor] | None = None) -> TrainingSetup:
    """Objects of a specification: the initialised network and everything that trains it.

    Args:
        spec: the specification.
        weights: state of the network of the run that `model.init_from` names. Where it names a file
            they are read from there.

    Raises:
        ConfigError: for initial weights that cannot be read or do not fit.
    """
    config, seed = spec.config, spec.general.seed
    task, estimator = build_task(config), Estimator.registry.build(config["estimator"])
    model = build_model(config, spec.data)
    if (source := config["model"].get("init_from")) is not None:
        given = read_weights(Path(source), source) if weights is None else weights
        load_weights(model, given, source)
    init_task(task, spec.data, seed)
    init_estimator(estimator, model, task.inputs(torch.zeros(2, *spec.data.shape)), seed)
    training = TrainingConfig(
        task=task,
        estimator=estimator,
        optimization=OPTIMIZERS.build(config["optimizer"]),
        schedule=SCHEDULES.build(config["anneal"]),
        settings=TrainerSettings(**validate(TrainerSettings, config["trainer"], "trainer")),
        seed=seed,
    )
    return TrainingSetup(spec, model, training)


def read_dataset(spec: RunSpec) -> Dataset:
    """Data set of a specification, on its device."""
    fraction = spec.config["trainer"]["validation_fraction"]
    dataset = load(spec.config["data"], spec.general.seed, fraction)
    return dataset.to(torch.device(spec.general.device))
