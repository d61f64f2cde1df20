"""Binary layers: noise laws, neurons and their sample sites, effect handlers, forward passes, and norms."""

from bnn.nn.handlers import apply, handling, sampled, threshold
from bnn.nn.neurons import (
    Deterministic,
    Neuron,
    NoisyRectifier,
    Real,
    Stochastic,
    StochasticSmooth,
    set_slope,
)
from bnn.nn.noise import Gaussian, Logistic, NoiseLaw, Triangular, Uniform
from bnn.nn.norms import BatchNorm, GroupNorm, NoNorm, RunningNorm, convert_batch_norms

__all__ = [
    "BatchNorm",
    "Deterministic",
    "Gaussian",
    "GroupNorm",
    "Logistic",
    "Neuron",
    "NoNorm",
    "NoiseLaw",
    "NoisyRectifier",
    "Real",
    "RunningNorm",
    "Stochastic",
    "StochasticSmooth",
    "Triangular",
    "Uniform",
    "apply",
    "convert_batch_norms",
    "handling",
    "sampled",
    "set_slope",
    "threshold",
]
