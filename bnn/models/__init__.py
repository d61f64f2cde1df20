"""Networks: ordinary modules with activation modules; no estimator is known here."""

from bnn.models.base import MODELS
from bnn.models.cnn import ConvNet
from bnn.models.gated import GatedConvNet, GatedMLP, GatedNetwork
from bnn.models.generators import CNNGenerator, MLPGenerator
from bnn.models.mlp import MLP
from bnn.models.sbn import SigmoidBeliefNetwork
from bnn.models.vae import VAE

__all__ = [
    "MLP",
    "MODELS",
    "VAE",
    "CNNGenerator",
    "ConvNet",
    "GatedConvNet",
    "GatedMLP",
    "GatedNetwork",
    "MLPGenerator",
    "SigmoidBeliefNetwork",
]
