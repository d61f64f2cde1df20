"""Binary layers: noise laws, neurons, sample sites, site handlers, forward passes, norms."""

from bnn.nn.forward import ForwardClosure, ForwardPass
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
from bnn.nn.readings import Reading, outputs
from bnn.nn.replicas import branching, join
from bnn.nn.sites import Latents, Site

__all__ = [
    "BatchNorm",
    "Deterministic",
    "ForwardClosure",
    "ForwardPass",
    "Gaussian",
    "GroupNorm",
    "Latents",
    "Logistic",
    "Neuron",
    "NoNorm",
    "NoiseLaw",
    "NoisyRectifier",
    "Reading",
    "Real",
    "RunningNorm",
    "Site",
    "Stochastic",
    "StochasticSmooth",
    "Triangular",
    "Uniform",
    "apply",
    "branching",
    "convert_batch_norms",
    "handling",
    "join",
    "outputs",
    "sampled",
    "set_slope",
    "threshold",
]
