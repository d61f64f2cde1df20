"""From overrides to what is measured: the estimators that can serve a network, and the network, trained for a while."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Generator, Tensor, nn

    from bnn.build import TrainingSetup
    from bnn.data import Dataset
    from bnn.estimators import Estimator
    from bnn.lab.bench import Bench


def able(
    config: DictConfig, choices: Sequence[Sequence[str]], asked: bool
) -> tuple[dict[str, Estimator], list[str]]:
    """By title, those of `choices` that can serve `config`, and lines about the others.

    Errors: ConfigError where one that was asked for cannot.
    """
    from bnn.config.compose import with_values, compose
    from bnn.config.titles import estimator_title
    from bnn.errors import ConfigError
    from bnn.specify import setup

    if foreign := [word for words in choices for word in words if not word.startswith("estimator")]:
        raise ConfigError(
            f"--estimator: expected words that begin with estimator, got {foreign[0]}; the rest stands outside"
        )
    found: dict[str, Estimator] = {}
    refused = []
    for words in choices:
        try:
            checked = setup(with_values(config, estimator=compose(words).estimator))
        except ConfigError as error:
            if asked:
                raise
            refused.append(f"Not measured: {error}.")
            continue
        found[estimator_title(dict(checked.spec.config))] = checked.training.estimator
    return found, refused


def prepared(
    config: DictConfig, epochs: int, checkpoint: Path | None, batch: int
) -> tuple[TrainingSetup, Bench]:
    """The network, trained so far, on the first `batch` images of the validation split."""
    from bnn.build import read_dataset
    from bnn.config.compose import with_values
    from bnn.restore import load_checkpoint
    from bnn.specify import setup
    from bnn.training.loop import fit

    checked = setup(with_values(config, trainer__epochs=max(1, epochs)))
    data = read_dataset(checked.spec)
    model = checked.model.to(checked.device)
    if checkpoint is not None:
        model = load_checkpoint(checkpoint)[0].to(checked.device)
    elif epochs:
        fit(model, checked.training, data, title="before measuring")
    return checked, _bench(checked, model, data, batch)


def _bench(checked: TrainingSetup, model: nn.Module, data: Dataset, batch: int) -> Bench:
    import torch

    from bnn.lab.bench import Bench

    task, split = checked.training.task, data.validation
    inputs, targets = task.batch(split.images[:batch], split.labels[:batch])
    train, precision = data.train, checked.training.settings.precision

    def training(picks: Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(train.images), (batch,), generator=picks).to(train.images.device)
        return task.batch(train.images[chosen], train.labels[chosen])

    return Bench(model, inputs, targets, checked.spec.general.seed, task.loss, precision, training)


def of_checkpoint(path: Path) -> DictConfig:
    """The configuration of a checkpoint; its plug-ins are loaded. Errors: ConfigError for a file that is none, or a plug-in
    that is not here."""
    from omegaconf import OmegaConf

    from bnn import plugins
    from bnn.config.canonical import PLUGINS
    from bnn.data.datasets import FACTS
    from bnn.errors import ConfigError
    from bnn.training import checkpoint

    if not path.is_file():
        raise ConfigError(f"--checkpoint: no such file: {path}")
    try:
        about = dict(checkpoint.load(path)["about"])
    except Exception as error:  # torch.load has no exception of its own for what it cannot read
        raise ConfigError(
            f"--checkpoint: {path} is no checkpoint of a run ({type(error).__name__})"
        ) from error
    plugins.load(plugins.module_names(about.get(PLUGINS)))
    config = {key: value for key, value in about.items() if key != FACTS}
    return OmegaConf.create(
        {"task": {"name": "classification"}, **config, "device": "auto"}
    )  # version 0.1.0 had no tasks
