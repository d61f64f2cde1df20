"""Published results of the reference protocol, to stand beside runs of it.

Source: the README of DejasDejas/Pytorch_CNN_vanilla_binary_weights at commit 02431f708d6e (its
network and much of its code are those of Wizaron/binary-stochastic-neurons): MNIST, 10 epochs,
slope 1 throughout, single unseeded runs. In that table differences under about 0.2 points are
noise.

Its six rows named REINFORCE never use log q: the unit fires and no gradient is sent below it. They
are results of the control `frozen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnn.report.rows import Row

PROTOCOL = ("mnist", "cnn", 10, "sgd lr 0.1 constant")
"""Data set, model, epochs and optimizer of the published runs; others do not compare with them."""


@dataclass(frozen=True)
class Reported:
    """Published result of one configuration.

    Args:
        loss: mean test loss in nats.
        accuracy: test accuracy in %.
    """

    loss: float
    accuracy: float


REPORTED: Mapping[tuple[str, str, str], Reported] = {  # by neuron, estimator and placement
    ("real", "none", "none"): Reported(0.0341, 98.79),
    ("stochastic", "st", "first"): Reported(0.0539, 98.29),
    ("stochastic", "st", "last"): Reported(0.0534, 98.31),
    ("stochastic", "st", "both"): Reported(0.0710, 97.54),
    ("stochastic", "frozen", "first"): Reported(0.0749, 97.56),
    ("stochastic", "frozen", "last"): Reported(1.2811, 88.95),
    ("stochastic", "frozen", "both"): Reported(3.2085, 80.68),
    ("deterministic", "st", "first"): Reported(0.0391, 98.65),
    ("deterministic", "st", "last"): Reported(0.0743, 97.81),
    ("deterministic", "st", "both"): Reported(0.0745, 97.57),
    ("deterministic", "frozen", "first"): Reported(0.0684, 97.76),
    ("deterministic", "frozen", "last"): Reported(0.5569, 95.42),
    ("deterministic", "frozen", "both"): Reported(0.8538, 93.40),
}


def misnamed(row: Row) -> bool:
    """Whether the published row of this name is of another estimator (see this module)."""
    return row.estimator == "reinforce"


def reported(row: Row) -> Reported | None:
    """Published result of a row's configuration.

    Returns:
        None where none was published, or where the row is of another protocol.
    """
    if (row.dataset, row.model, row.epochs, row.optimizer) != PROTOCOL:
        return None
    if (row.norm, row.weights, row.anneal) != ("batch", "real", "none"):
        return None
    settings = dict(pair.split("=", 1) for pair in row.settings.split("; ") if pair)
    size, limit = settings.get("trainer.batch_size", "64"), settings.get("data.limit", "None")
    if float(settings.get("anneal.slope", 1)) != 1 or (size, limit) != ("64", "None"):
        return None
    if row.estimator == "st" and (row.estimator_title, row.law) != ("st density", "uniform"):
        return None
    return REPORTED.get((row.neuron, "frozen" if misnamed(row) else row.estimator, row.placement))
