"""Accuracy of several estimators of one gradient, on one network and one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bnn.build import TrainingSetup
from bnn.combinations import check_measurable
from bnn.config.compose import compose, with_values
from bnn.config.titles import estimator_title
from bnn.errors import ConfigError
from bnn.fitted import fit_network, restore_network
from bnn.lab.gradient_sampler import validation_sampler
from bnn.lab.measure import Measurement, measure
from bnn.lab.reference import ReferenceGradient, reference_gradient
from bnn.specify import estimator_choices, setup


@dataclass(frozen=True)
class Comparison:
    """Measurements of several estimators against one reference gradient.

    Args:
        setup: objects of the network that was measured.
        measured: measurement by the estimator's display name.
        reference: gradient that the estimates were compared with.
        refused: for each estimator that cannot serve the network, a line that says why.
    """

    setup: TrainingSetup
    measured: dict[str, Measurement]
    reference: ReferenceGradient
    refused: list[str]


def compare(
    config: DictConfig,
    estimators: Sequence[str] = (),
    *,
    draws: int,
    warm: int,
    reference: int,
    batch: int = 64,
    epochs: int = 1,
    checkpoint: Path | None = None,
) -> Comparison:
    """Comparison of estimators on the first validation examples of a trained network.

    Args:
        config: composed configuration of the network and its training.
        estimators: overrides, each string of which chooses one estimator; empty: all registered
            ones that can serve the network.
        draws: estimates by each estimator.
        warm: training batches that an estimator sees before, for its averages and parameters.
        reference: estimates of the reference gradient, where it cannot be enumerated.
        batch: number of validation examples.
        epochs: epochs of training before.
        checkpoint: checkpoint of a run of this configuration (`bnn.fitted.checkpoint_config`),
            in place of the training.

    Raises:
        ConfigError: for an estimator that was asked for and cannot serve the network, or a noise
            law under which the reference has no score.
    """
    choices = [words.split() for words in estimators] or estimator_choices()
    served, refused = usable_estimators(config, choices, strict=bool(estimators))
    spec = setup(config).spec
    check_measurable(spec.config, spec.units)
    if checkpoint is None:
        network = fit_network(config, epochs, title="before measuring")
    else:
        network = restore_network(config, checkpoint)
    sampler = validation_sampler(network, batch)
    against = reference_gradient(sampler, reference)
    found = {
        title: measure(sampler, sampler.warm_up(one.training.estimator, warm), against, draws)
        for title, one in served.items()
    }
    return Comparison(network.setup, found, against, refused)


def usable_estimators(
    config: DictConfig, choices: Sequence[Sequence[str]], strict: bool
) -> tuple[dict[str, TrainingSetup], list[str]]:
    """Estimators that can serve the network of a configuration.

    Args:
        config: composed configuration.
        choices: overrides, each list of which chooses one estimator.
        strict: raise for one that cannot serve, in place of a line.

    Returns:
        Objects of the training by the estimator's display name; a line for each one that cannot
        serve.

    Raises:
        ConfigError: for overrides of other groups, and where `strict` says so.
    """
    if foreign := [word for words in choices for word in words if not word.startswith("estimator")]:
        raise ConfigError(
            f"--estimator: expected words that begin with estimator, got {foreign[0]}; "
            "write the other overrides outside of it"
        )
    found: dict[str, TrainingSetup] = {}
    refused = []
    for words in choices:
        try:
            checked = setup(with_values(config, estimator=compose(words).estimator))
            if checked.training.estimator.bound:
                raise ConfigError(
                    f"{' '.join(words)}: its objective is a bound of several draws, and the true "
                    "gradient here is that of the expected loss"
                )
        except ConfigError as error:
            if strict:
                raise
            refused.append(f"Not measured: {error}.")
            continue
        found[estimator_title(dict(checked.spec.config))] = checked
    return found, refused
