"""Networks: ordinary modules with activation modules; no estimator is known here."""

from bnn.models.base import MODELS
from bnn.models.cnn import ConvNet
from bnn.models.mlp import MLP

__all__ = ["MLP", "MODELS", "ConvNet"]
