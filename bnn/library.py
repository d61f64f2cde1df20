"""Training from Python: `bnn.fit` for any network and data set, and `bnn.evaluate`."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bnn.combinations import memory_errors
from bnn.config import provenance
from bnn.config.canonical import digest
from bnn.data import Dataset, Split
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.nn.layers import binary_layers
from bnn.nn.neurons import Neuron, Real
from bnn.nn.weight_layers import weight_rule
from bnn.nn.weights import WeightRule
from bnn.registry import Registry
from bnn.tasks import Classification, Scores, Task
from bnn.training.callback import Callback
from bnn.training.initialisation import init_task
from bnn.training.loop import FitResult, score_test_split
from bnn.training.loop import fit as train
from bnn.training.optimizers import OPTIMIZERS
from bnn.training.progress import ProgressBar, display_mode
from bnn.training.schedules import SCHEDULES
from bnn.training.settings import TrainerSettings, TrainingConfig

if TYPE_CHECKING:
    from bnn.tracking.description import RunDescription

Choice = str | Mapping[str, Any]
"""Name of a choice, or a mapping with `name` and parameters: `{"name": "adam", "lr": 0.01}`."""


@dataclass(frozen=True)
class MLflow:
    """Tracker of `bnn.fit`: an MLflow run with curves, heatmaps and a checkpoint.

    Args:
        experiment: name of the experiment; the data set's name is appended, `mine/digits`.
        uri: tracking store; None: MLFLOW_TRACKING_URI, else mlflow.db in the working directory.
        name: name of the run.
        heatmaps: whether an image of each binary layer, and the task's pictures, are logged after
            each epoch.
    """

    experiment: str = "bnn"
    uri: str | None = None
    name: str | None = None
    heatmaps: bool = True


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    estimator: Estimator | Choice = "st",
    task: Task | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: Choice = "sgd",
    anneal: Choice = "none",
    seed: int = 0,
    precision: str = "float32",
    evaluation_samples: int = 8,
    validation_samples: int = 1,
    progress: str = "auto",
    tracker: MLflow | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | str | None = None,
) -> FitResult:
    """Train a network and leave it at its best validation epoch, in evaluation mode.

    Args:
        model: `forward(inputs) -> output`, with neurons of `bnn.nn` anywhere in it.
        data: training, validation and test split (`bnn.data.load`, `from_tensors`,
            `from_torchvision`), on the device of the training.
        estimator: gradient estimator, or its name.
        task: loss, metrics and evaluation; None: classification.
        epochs: passes over the training split.
        batch_size: samples in a batch.
        optimizer: `sgd`, `adam` or `adamw`, with its learning rate and schedule.
        anneal: schedule of the neurons' slope, `none`, `geometric`, `linear` or `cosine`.
        seed: seed of batches, random bits, dropout and the estimator; the network is initialised
            already.
        precision: `float32`, or `bf16` under autocast.
        evaluation_samples: draws behind the mean reading of a stochastic network.
        validation_samples: draws of the validation that selects the best epoch.
        progress: `auto`, `bar`, `lines` or `none`.
        tracker: `MLflow(...)`; None: the run is not tracked.
        callbacks: hooks of the training loop, called in this order.
        folder: folder for checkpoints; None: none are kept, except in the MLflow run.

    Returns:
        The history by epoch, the best epoch, and the checkpoint's path.

    Raises:
        ConfigError: for parameters that do not fit together, naming the key of the configuration,
            and for an allocation that torch refuses.
        DivergedError: for a loss that is not finite, or 100 times that of the first step.
    """
    integers = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    _check_kinds(model, data, task, estimator, tracker, optimizer, anneal, **integers)
    _check_callbacks(callbacks)
    config: dict[str, Any] = {
        "optimizer": _with_defaults(OPTIMIZERS, optimizer),
        "anneal": _with_defaults(SCHEDULES, anneal),
        "trainer": {
            "epochs": epochs,
            "batch_size": batch_size,
            "precision": precision,
            "evaluation_samples": evaluation_samples,
            "validation_samples": validation_samples,
        },
        "seed": seed,
    }
    training = _training_config(config, data, estimator, task, progress)
    where = _checkpoint_folder(folder) if folder is not None else None
    hooks = [*callbacks, ProgressBar(display_mode(progress))]
    chosen = _parameters(Estimator.registry, training.estimator)
    with memory_errors({"estimator": chosen, **config}, "estimator", "trainer"):
        if tracker is None:
            title = type(model).__name__
            return train(
                model, training, data, callbacks=hooks, folder=where, metadata=config, title=title
            )
        if where is not None:
            return _fit_tracked(model, training, data, tracker, where, config, hooks)
        return _fit_in_scratch(model, training, data, tracker, config, hooks)


def _fit_in_scratch(
    model: nn.Module,
    training: TrainingConfig,
    data: Dataset,
    tracker: MLflow,
    config: dict[str, Any],
    callbacks: Sequence[Callback],
) -> FitResult:
    """Tracked training whose checkpoints are kept in the MLflow run alone."""
    scratch = Path(tempfile.mkdtemp(prefix="bnn-"))
    try:
        result = _fit_tracked(model, training, data, tracker, scratch, config, callbacks)
    finally:
        if not any(scratch.glob("outbox/*")):  # records that wait for the store are kept
            shutil.rmtree(scratch)
    return dataclasses.replace(result, checkpoint=None)


def _checkpoint_folder(folder: Path | str) -> Path:
    """Folder for checkpoints, which is made before the training."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder: {folder} cannot be made ({error.strerror})") from error
    return Path(folder)


def _training_config(
    config: Mapping[str, Any],
    data: Dataset,
    estimator: Estimator | Choice,
    task: Task | None,
    progress: str,
) -> TrainingConfig:
    """Objects of a training, from the arguments of `fit`."""
    if not isinstance(estimator, Estimator):
        estimator = Estimator.registry.build(_as_mapping(estimator))
    held_out = len(data.validation.labels)
    fraction = held_out / (held_out + len(data.train.labels))
    return TrainingConfig(
        task=task if task is not None else Classification(),
        estimator=estimator,
        optimization=OPTIMIZERS.build(config["optimizer"]),
        schedule=SCHEDULES.build(config["anneal"]),
        settings=TrainerSettings(
            **config["trainer"], validation_fraction=fraction, progress=progress
        ),
        seed=config["seed"],
    )


def _check_callbacks(callbacks: Sequence[Any]) -> None:
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ConfigError(f"callbacks: expected objects of bnn.Callback; got {callback!r}")


def _check_kinds(
    model: Any,
    data: Any,
    task: Any,
    estimator: Any,
    tracker: Any,
    optimizer: Any,
    anneal: Any,
    **integers: Any,
) -> None:
    """Check of the kinds of arguments of `fit`.

    Raises:
        ConfigError: naming the argument.
    """
    expected = (
        ("model", model, nn.Module, "a network"),
        ("data", data, Dataset, "a data set of bnn.data, as load or from_tensors give it"),
        ("task", task, Task | None, "an object of bnn.tasks, or None"),
        (
            "estimator",
            estimator,
            Estimator | str | Mapping,
            "an object such as bnn.estimators.ReinMax(), or a name",
        ),
        (
            "optimizer",
            optimizer,
            str | Mapping,
            f"one of {', '.join(OPTIMIZERS)}, or a mapping with a name",
        ),
        (
            "anneal",
            anneal,
            str | Mapping,
            f"one of {', '.join(SCHEDULES)}, or a mapping with a name",
        ),
    )
    for name, value, kind, words in expected:
        if not isinstance(value, kind):
            got = repr(value) if isinstance(value, str | int | float) else _kind(value)
            raise ConfigError(f"{name}: expected {words}; got {got}")
    if not isinstance(tracker, MLflow | None):
        raise ConfigError(f"tracker: expected bnn.MLflow(...), or None; got {tracker!r}")
    for name, value in integers.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name}: expected an integer, got {value!r}")
    if not 0 <= integers["seed"] < 2**32:
        raise ConfigError(f"seed: expected an integer in [0, 2^32), got {integers['seed']}")


def _kind(value: object) -> str:
    """Type of an object with its module, for messages: `a torch.optim.adam.Adam`."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a {module}{kind.__qualname__}"


def evaluate(
    model: nn.Module, split: Split, *, task: Task | None = None, draws: int = 8, seed: int = 0
) -> dict[str, Scores]:
    """Metrics of a network on a split, under every reading of its random units.

    Args:
        model: the network.
        split: `data.validation` or `data.test`.
        task: the object that `fit` was given, which holds what it took from the training split;
            None: classification.
        draws: forward passes of the reading `mc_mean`.
        seed: seed of the random bits.

    Returns:
        Metrics by name, for each reading: `sampled`, and for a stochastic network `mc_mean` and,
        where the task has it, `threshold`.

    Raises:
        ConfigError: for a task that has seen no data, or arguments of another kind.
    """
    if not isinstance(split, Split):
        raise ConfigError(f"split: expected data.validation or data.test; got {_kind(split)}")
    if draws < 1:
        raise ConfigError(f"draws: expected at least 1, got {draws}")
    return (task if task is not None else Classification()).evaluations(model, split, draws, seed)


def _as_mapping(choice: Choice) -> dict[str, Any]:
    return {"name": choice} if isinstance(choice, str) else dict(choice)


def _with_defaults(registry: Registry[Any], choice: Choice) -> dict[str, Any]:
    """Mapping of a choice with the defaults of the parameters that it does not name."""
    named = _as_mapping(choice)
    return {"name": named.get("name"), **registry.defaults(str(named.get("name"))), **named}


def _fit_tracked(
    model: nn.Module,
    training: TrainingConfig,
    data: Dataset,
    tracker: MLflow,
    folder: Path,
    config: dict[str, Any],
    callbacks: Sequence[Callback],
) -> FitResult:
    """Train in an MLflow run, and evaluate on the test split at the end."""
    from bnn.tracking.run import MlflowRun
    from bnn.tracking.run_dir import lock_run_dir
    from bnn.tracking.store import open_store

    task = training.task
    init_task(task, data.spec, training.seed)  # a task may have a network of its own
    uri = tracker.uri or os.environ.get("MLFLOW_TRACKING_URI")
    store = open_store(uri, f"{tracker.experiment}/{data.spec.name}")
    about = _description(model, training, data, tracker, config)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(folder), MlflowRun(store, about, folder) as run:
        run.dataset(data)
        result = train(
            model,
            training,
            data,
            callbacks=[run, *callbacks],
            folder=folder,
            metadata=dict(about.config),
            title=about.title,
        )
        run.finish(result, score_test_split(model, training, data, result))
    return result


def _description(
    model: nn.Module,
    training: TrainingConfig,
    data: Dataset,
    tracker: MLflow,
    config: Mapping[str, Any],
) -> RunDescription:
    """Description of a run by the keys of a configuration, so that reports read it like others."""
    from bnn.runs.describe import run_tags
    from bnn.tracking.description import RunDescription

    estimator, task = training.estimator, training.task
    registry = Estimator.registry
    units = binary_layers(model, task.inputs(data.train.images[:2])).units
    if not units:  # nothing is estimated
        estimator = registry["none"]()
    chosen = {"name": _registered_name(registry, estimator), **_parameters(registry, estimator)}
    neurons = [m for m in model.modules() if isinstance(m, Neuron) and not isinstance(m, Real)]
    first = neurons[0] if neurons else None
    neuron = {
        "name": _registered_name(Neuron.registry, first) if first is not None else "real",
        "law": type(first.law).__name__.lower() if first is not None else "none",
    }
    full = {
        **config,
        "task": {
            "name": _registered_name(Task.registry, task),
            **_parameters(Task.registry, task),
        },
        "data": {"name": data.spec.name, "limit": None, "examples": len(data.train.labels)},
        "model": {
            "name": type(model).__name__,
            "norm": "custom",
            "structure": hashlib.sha256(repr(model).encode()).hexdigest()[:8],
        },
        "neuron": neuron,
        "estimator": chosen,
        "placement": {"name": "custom" if units else "none"},
        "weights": _weights(model),
    }
    names = [neuron["name"], str(chosen["name"]), type(model).__name__, f"s{training.seed}"]
    content = digest({**full, "examples": _hash(model, data)})
    tags = run_tags(
        full,
        source="bnn.fit",
        digest=content,
        result_key=provenance.result_key(content),
        device=str(data.train.images.device),
        dataset=data.spec.name,
        estimator=estimator,
        units=units,
    )
    title = tracker.name or " · ".join(names)
    return RunDescription(title, data.spec.title, full, tags, task, tracker.heatmaps)


def _weights(model: nn.Module) -> dict[str, Any]:
    """Rule of the binary weights of a network by its name and parameters."""
    rule = weight_rule(model)
    if rule is None:
        return {"name": "real"}
    found = {"name": _registered_name(WeightRule.registry, rule)}
    parameters = _parameters(WeightRule.registry, rule)
    law = parameters.get("law")
    return found | parameters | ({"law": law["name"]} if law is not None else {})


def _hash(model: nn.Module, data: Dataset) -> str:
    """Hexadecimal digest of the initial weights and the examples, which no configuration names."""
    content = hashlib.sha256()
    for tensor in (*model.state_dict().values(), data.train.images[:], data.train.labels):
        plain = tensor.detach().cpu().contiguous()  # numpy has no bfloat16
        if plain.dtype == torch.bfloat16:
            plain = plain.float()
        content.update(plain.numpy().tobytes())
    return content.hexdigest()


def _registered_name(registry: Registry[Any], thing: object) -> str:
    """Registered name of an object's class, or the name of the class."""
    return next((name for name in registry if registry[name] is type(thing)), type(thing).__name__)


def _parameters(registry: Registry[Any], thing: object) -> dict[str, Any]:
    """Configurable parameters of a registered object, as far as it keeps them under their names."""
    name = _registered_name(registry, thing)
    if name not in set(registry):
        return {}
    found: dict[str, Any] = {}
    for key, kind in registry.parameters(name).items():
        value = getattr(thing, key, None)
        if hasattr(kind, "registry"):
            found[key] = {
                "name": _registered_name(kind.registry, value),
                **_parameters(kind.registry, value),
            }
        elif value is not None:
            found[key] = value
    return found
