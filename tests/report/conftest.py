"""Rows of a sweep under the reference protocol, with values that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bnn.report.rows import Row

SETTINGS = "data.limit=None; neuron.rescale_gradient=False; optimizer.momentum=0.9"


def _row(accuracy: float = 0.98, *, seed: int = 0, **changed: Any) -> Row:
    facts: dict[str, Any] = {
        "experiment": "seed_table/mnist",
        "dataset": "mnist",
        "model": "cnn",
        "neuron": "stochastic",
        "law": "uniform",
        "estimator": "st",
        "estimator_title": "st density",
        "samples_in_training": "no",
        "evaluations": 1,
        "placement": "both",
        "anneal": "none",
        "epochs": 10,
        "precision": "float32",
        "norm": "batch",
        "optimizer": "sgd lr 0.1 constant",
        "evaluation_samples": 8,
        "best_epoch": 9,
        "val_loss": 0.06,
        "val_accuracy": 0.982,
        "test_loss": 0.07,
        "test_loss_mc_mean": 0.05,
        "test_accuracy_mc_mean": 0.985,
        "test_loss_threshold": 0.06,
        "test_accuracy_threshold": 0.984,
        "seconds_train": 90.0,
        "seconds_total": 100.5,
        "commit": "abc123",
        "hardware": "AMD EPYC, 2 cores",
        "threads": 1,
        "versions": "python 3.11.7, torch 2.15.0",
        "command": "python -m bnn.train -m experiment=seed_table seed=0,1",
        "settings": SETTINGS,
    }
    facts |= changed
    identity = ("neuron", "estimator_title", "placement", "settings")
    name = "-".join([*(facts[key] for key in identity), str(seed)])
    return Row(
        seed=seed, test_accuracy=accuracy, **{"run_id": f"run {name}", "digest": name, **facts}
    )


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    return _row


@pytest.fixture
def rows() -> list[Row]:
    """Two seeds of every cell of the reference table."""
    estimators = {
        "st": ("st density", "uniform"),
        "reinforce": ("reinforce leave_one_out 4", "logistic"),
        "frozen": ("frozen", "uniform"),
    }
    real = {"neuron": "real", "estimator": "none", "estimator_title": "none", "placement": "none"}
    cells = [real] + [
        {
            "neuron": neuron,
            "estimator": estimator,
            "estimator_title": title,
            "placement": placement,
            "law": law,
        }
        for placement in ("both", "last", "first")
        for estimator, (title, law) in estimators.items()
        for neuron in ("deterministic", "stochastic")
    ]
    return [
        _row(0.9 + 0.004 * i + 0.001 * seed, seed=seed, **cell)
        for i, cell in enumerate(cells)
        for seed in (1, 0)
    ]
