"""Gradient estimators, one file for each family; `Estimator` is their interface.

A new one needs its class in a file here, its yaml in conf/estimator and its row in
tests/estimators.
"""

from bnn.estimators.antithetic import ARM, ARMS, DisARM
from bnn.estimators.base import Estimator, gradient_only
from bnn.estimators.baselines import (
    Baseline,
    LeaveOneOut,
    MinimumVariance,
    MovingAverage,
    NestedLeaveOneOut,
    NoBaseline,
)
from bnn.estimators.bounds import VIMCO, DisARMBound
from bnn.estimators.concrete import Concrete, StraightThroughGumbel
from bnn.estimators.controls import Backpropagation, Frozen
from bnn.estimators.double_cv import DoubleControlVariates
from bnn.estimators.enumeration import Enumeration
from bnn.estimators.gumbel_rao import GumbelRao, ReinMaxRao
from bnn.estimators.local_expectation import LocalExpectation
from bnn.estimators.rebar import REBAR
from bnn.estimators.relax import RELAX
from bnn.estimators.rodeo import RODEO
from bnn.estimators.score_function import NVIL, MuProp, Reinforce
from bnn.estimators.straight_through import (
    MinimumVarianceStraightThrough,
    ReinMax,
    StraightThrough,
)

__all__ = [
    "ARM",
    "ARMS",
    "NVIL",
    "REBAR",
    "RELAX",
    "RODEO",
    "VIMCO",
    "Backpropagation",
    "Baseline",
    "Concrete",
    "DisARM",
    "DisARMBound",
    "DoubleControlVariates",
    "Enumeration",
    "Estimator",
    "Frozen",
    "GumbelRao",
    "LeaveOneOut",
    "LocalExpectation",
    "MinimumVariance",
    "MinimumVarianceStraightThrough",
    "MovingAverage",
    "MuProp",
    "NestedLeaveOneOut",
    "NoBaseline",
    "ReinMax",
    "ReinMaxRao",
    "Reinforce",
    "StraightThrough",
    "StraightThroughGumbel",
    "gradient_only",
]
