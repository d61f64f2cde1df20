"""Binary neurons and weights, noise laws, sample sites, site handlers, forward passes, norms."""

from bnn.nn.bop import Bop
from bnn.nn.forward import ForwardClosure, ForwardPass
from bnn.nn.handlers import apply, handling, sampled, threshold
from bnn.nn.latent_updates import LatentUpdates
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
from bnn.nn.weight_draws import WeightDraws, drawing_weights
from bnn.nn.weight_layers import BinaryConv1d, BinaryConv2d, BinaryLinear, binarize
from bnn.nn.weight_sites import WeightSites
from bnn.nn.weights import LocalReparameterisation, SampledWeights, SignWeights, WeightRule

__all__ = [
    "BatchNorm",
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryLinear",
    "Bop",
    "Deterministic",
    "ForwardClosure",
    "ForwardPass",
    "Gaussian",
    "GroupNorm",
    "LatentUpdates",
    "Latents",
    "LocalReparameterisation",
    "Logistic",
    "Neuron",
    "NoNorm",
    "NoiseLaw",
    "NoisyRectifier",
    "Reading",
    "Real",
    "RunningNorm",
    "SampledWeights",
    "SignWeights",
    "Site",
    "Stochastic",
    "StochasticSmooth",
    "Triangular",
    "Uniform",
    "WeightDraws",
    "WeightRule",
    "WeightSites",
    "apply",
    "binarize",
    "branching",
    "convert_batch_norms",
    "drawing_weights",
    "handling",
    "join",
    "outputs",
    "sampled",
    "set_slope",
    "threshold",
]
