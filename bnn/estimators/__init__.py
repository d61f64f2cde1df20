"""Gradient estimators, one file for each family; `Estimator` is their interface.

To add one: its class in a file here, its yaml in conf/estimator, its row in tests/estimators.
"""

from bnn.estimators.base import Estimator, gradient_only
from bnn.estimators.baselines import (
    Baseline,
    LeaveOneOut,
    MinimumVariance,
    MovingAverage,
    NestedLeaveOneOut,
    NoBaseline,
)
from bnn.estimators.controls import Backpropagation, Frozen
from bnn.estimators.enumeration import Enumeration
from bnn.estimators.layerwise import ARM, ARMS, DisARM, LocalExpectation
from bnn.estimators.relaxed import REBAR, RELAX, Concrete, StraightThroughGumbel
from bnn.estimators.score_function import NVIL, MuProp, Reinforce
from bnn.estimators.straight_through import ReinMax, StraightThrough

__all__ = [
    "ARM",
    "ARMS",
    "NVIL",
    "REBAR",
    "RELAX",
    "Backpropagation",
    "Baseline",
    "Concrete",
    "DisARM",
    "Enumeration",
    "Estimator",
    "Frozen",
    "LeaveOneOut",
    "LocalExpectation",
    "MinimumVariance",
    "MovingAverage",
    "MuProp",
    "NestedLeaveOneOut",
    "NoBaseline",
    "ReinMax",
    "Reinforce",
    "StraightThrough",
    "StraightThroughGumbel",
    "gradient_only",
]
