"""Networks. No estimator is known here: a network is an ordinary module with activation modules."""

from bnn.models.base import MODELS
from bnn.models.cnn import ConvNet
from bnn.models.mlp import MLP

__all__ = ["MLP", "MODELS", "ConvNet"]
