"""Initialisation of estimators and tasks from a run's seed, and checks that they go together."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.nn.sites import Site
from bnn.nn.weights import WeightRule
from bnn.seeds import stream
from bnn.tasks import Task
from bnn.training.default_generator import DefaultGenerator


def init_estimator(
    estimator: Estimator, model: nn.Module, inputs: Tensor, seed: int
) -> tuple[int, ...]:
    """Initialise an estimator for a network, its learned parameters from a seed.

    Args:
        estimator: gradient estimator.
        model: the network.
        inputs: a batch like those of training, [n, …].
        seed: seed of the run.

    Returns:
        Number of units of each binary layer.

    Raises:
        ConfigError: for a network that the estimator cannot serve.
    """
    drawn = stream(seed, "estimator")
    with (
        DefaultGenerator(drawn, torch.device("cpu")).in_force(),
        DefaultGenerator(drawn, inputs.device).in_force(),
    ):
        estimator.init(model, inputs)
    assert estimator.layers is not None
    return estimator.layers.units


def check_memory(estimator: Estimator, batch_size: int, device: torch.device) -> None:
    """Check that the replicas of a batch fit into the memory of this machine.

    The system would grant them one layer after the other, and end the process at one of the last.

    Args:
        estimator: gradient estimator, initialised for the network.
        batch_size: samples of a batch.
        device: device of the training; GPUs refuse an allocation by themselves.

    Raises:
        ConfigError: for replicas whose bits alone do not fit.
    """
    assert estimator.layers is not None
    units, sites = estimator.layers.units, estimator.layers.sites
    if not units or device.type != "cpu":
        return
    evaluations = estimator.evaluations(units)
    # weights are drawn once for the batch
    bits = min(n if s.shared else n * batch_size for n, s in zip(units, sites, strict=True))
    needed, there = 4 * evaluations * bits, machine_bytes()
    if needed > there:
        raise ConfigError(
            f"estimator: {type(estimator).__name__} takes {evaluations:,} evaluations of each "
            f"sample at {len(units)} binary layers, whose bits need {needed / 2**30:,.0f} GiB of "
            f"this machine's {there / 2**30:,.0f} at trainer.batch_size={batch_size}; take another "
            "estimator, or a baseline such as leave_one_out"
        )


def machine_bytes() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def init_task(task: Task, data: DatasetSpec, seed: int) -> None:
    """Initialise a task for a data set, its networks from a seed.

    Args:
        task: the task.
        data: facts of the data set.
        seed: seed of the run.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "task"))
        task.init(data)


def _check_latents(task: str, sites: Sequence[Site]) -> None:
    for site in sites:
        if not site.law.full_support or site.rule is not Site.sample:
            raise ConfigError(
                f"task: the latent variables of {task} are drawn by a law with full support; write "
                'bnn.Stochastic(law="logistic") or bnn.Stochastic(law="gaussian")'
            )


def check_latent_path(task: Task, estimator: Estimator) -> None:
    """Check that a network reaches its output through its latent variables alone.

    Args:
        task: the task.
        estimator: gradient estimator, initialised for the network.

    Raises:
        ConfigError: for a path around them, by which a decoder would see the image itself.
    """
    assert estimator.layers is not None
    if task.needs_latents and estimator.layers.units and not estimator.layers.chain:
        raise ConfigError(
            f"task: {type(task).__name__} expects a network whose output depends on the image "
            "through its latent variables alone; got one with a path around them"
        )


def check_task(task: Task, estimator: Estimator, rule: WeightRule | None = None) -> None:
    """Check that a network and an estimator serve a task; the command line says it earlier.

    Args:
        task: the task.
        estimator: gradient estimator, initialised for the network.
        rule: rule of the network's binary weights, if any.

    Raises:
        ConfigError: for a loss of latent variables and a network without any, a loss that is not
            defined where the estimator evaluates it, or weights that are drawn in training under a
            task that scores a whole split.
    """
    assert estimator.layers is not None
    name, units = type(task).__name__, estimator.layers.units
    if task.needs_latents and not units:
        raise ConfigError(
            f"task: the latent variables of {name} are binary layers, and the network has none; "
            "put a bnn.Stochastic() into it"
        )
    if task.needs_latents:
        _check_latents(name, estimator.layers.sites)
    if rule is not None and rule.random and not task.scores_samples:
        raise ConfigError(
            f"weights: {name} scores a whole split at once, which no reading of weights that are "
            "drawn in training is compared by; take sign weights"
        )
    check_latent_path(task, estimator)
    if units and estimator.bound and not task.importance_weights:
        raise ConfigError(
            f"estimator: {type(estimator).__name__} takes the mean of exp(-loss) over its draws, "
            f"which is no importance weight of this {name}; take another estimator"
        )
    if units and estimator.up_to_scale and task.logits_in_loss:
        raise ConfigError(
            f"estimator: {type(estimator).__name__} scales the gradient of the bits, and not that "
            f"of the divergence, which this {name} takes from the logits themselves; take "
            'another estimator, or kl="sampled"'
        )
    if units and estimator.fractional_bits and not task.fractional_bits:
        raise ConfigError(
            f"estimator: {type(estimator).__name__} evaluates the loss at bits between 0 and 1, "
            f"where that of this {name} is not defined; take another estimator"
        )
