"""Networks trained in this process from a configuration, without tracking, files or test scores.

Prefer `fit_network`; `restore_network` takes the weights from a checkpoint instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from bnn import plugins
from bnn.build import TrainingSetup, read_dataset
from bnn.config.canonical import PLUGINS
from bnn.config.compose import with_values
from bnn.data import Dataset
from bnn.data.datasets import FACTS
from bnn.errors import CheckpointError, ConfigError
from bnn.restore import load_trained
from bnn.specify import setup
from bnn.training import checkpoint
from bnn.training.loop import FitResult, fit
from bnn.training.threads import threads


@dataclass(frozen=True)
class FittedNetwork:
    """Network with everything that it was trained with.

    Args:
        setup: specification, task, estimator, optimizer and settings.
        model: network, on the device of the run; after a training it holds the weights of the best
            validation epoch and is in evaluation mode.
        data: data set, on the same device.
        fit: history of the training; None for initial weights and for those of a checkpoint.
    """

    setup: TrainingSetup
    model: nn.Module
    data: Dataset
    fit: FitResult | None = None


def fit_network(
    config: DictConfig, epochs: int | None = None, title: str | None = None
) -> FittedNetwork:
    """Network of a composed configuration, trained in this process.

    Nothing is tracked, saved or downloaded, and the test split is not scored.

    Args:
        config: composed configuration; its data set has to be on disk (see `bnn.data.use_data`).
        epochs: epochs of training, in place of `trainer.epochs`; 0 leaves the initial weights.
        title: display name of the training; None: title of the run.

    Raises:
        ConfigError: for a configuration that cannot run, naming the key to change.
        DataError: for a data set that is not on disk.
        DivergedError: for a loss that is not finite, or 100 times that of the first step.
    """
    if epochs is not None:
        config = with_values(config, trainer__epochs=max(1, epochs))
    checked = setup(config)
    data = read_dataset(checked.spec)
    model = checked.model.to(checked.device)
    if epochs == 0:
        checked.training.task.to(checked.device).measure(data.train)
        return FittedNetwork(checked, model, data)
    with threads(checked.training.settings.threads):
        result = fit(
            model, checked.training, data, title=checked.spec.title if title is None else title
        )
    return FittedNetwork(checked, model, data, result)


def restore_network(config: DictConfig, file: Path) -> FittedNetwork:
    """Network of a checkpoint, with the objects of its configuration.

    Args:
        config: configuration of the checkpoint, see `checkpoint_config`.
        file: checkpoint of a run, `best.pt`.

    Raises:
        CheckpointError: for a network that this version cannot build.
        DataError: for a data set that is not on disk.
    """
    checked = setup(config)
    data = read_dataset(checked.spec)
    trained = load_trained(file)
    checked.training.task.load_state_dict(trained.task.state_dict())
    checked.training.task.to(checked.device)
    return FittedNetwork(checked, trained.model.to(checked.device), data)


def checkpoint_config(file: Path) -> DictConfig:
    """Configuration of a checkpoint, for any device; its plug-ins are loaded.

    Raises:
        ConfigError: for a file that is no checkpoint of a run, or a plug-in that is missing.
    """
    if not file.is_file():
        raise ConfigError(f"--checkpoint: no such file: {file}")
    try:
        about = dict(checkpoint.load(file)["about"])
        about["model"] = {k: v for k, v in about["model"].items() if k != "init_from"}
    except CheckpointError as error:
        raise ConfigError(f"--checkpoint: {error}") from error
    except Exception as error:  # torch.load has no exception of its own for what it cannot read
        raise ConfigError(
            f"--checkpoint: {file} is no checkpoint of a run ({type(error).__name__})"
        ) from error
    plugins.load(plugins.module_names(about.get(PLUGINS)))
    config = {key: value for key, value in about.items() if key != FACTS}
    # version 0.1.0 had no tasks
    return OmegaConf.create({"task": {"name": "classification"}, **config, "device": "auto"})
