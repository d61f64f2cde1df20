"""Gradient estimators by name. To add one: its file here, its yaml in conf/estimator, its row in tests/estimators."""

from bnn.estimators import controls, enumeration, layerwise, relaxed, score_function, straight_through
from bnn.estimators.base import Estimator
from bnn.estimators.baselines import Baseline

__all__ = [
    "Baseline",
    "Estimator",
    "controls",
    "enumeration",
    "layerwise",
    "relaxed",
    "score_function",
    "straight_through",
]
