"""Networks. No estimator is known here: a network hands its `draw` to its activations, and that is all."""

from bnn.models.base import MODELS
from bnn.models.cnn import ConvNet
from bnn.models.mlp import MLP

__all__ = ["MLP", "MODELS", "ConvNet"]
