"""Analysis of trained networks: responses of units, receptive fields, separability of classes.

Each function takes a network and returns tensors; `for_each_network` calls it on several, and
`bnn.plots.layers` draws the results of networks side by side. Layers go by the names of their
modules, `act1`, `act2`; PIXELS and SCORES are the input and the output. `train_network` trains one
from overrides in a notebook. `unit_response` is about a single unit, without a network.
"""

from bnn.analysis.activation_maximization import MaximizedImages, maximize_activation
from bnn.analysis.firing import UnitResponse, annealed_unit_responses, unit_response
from bnn.analysis.networks import (
    TrainedNetwork,
    for_each_network,
    network_table,
    train_network,
)
from bnn.analysis.patches import Patches, top_patches
from bnn.analysis.receptive_fields import ReceptiveFields, receptive_fields
from bnn.analysis.responses import PIXELS, SCORES, first_layer_weights, responses
from bnn.analysis.separability import Separability, separability

__all__ = [
    "PIXELS",
    "SCORES",
    "MaximizedImages",
    "Patches",
    "ReceptiveFields",
    "Separability",
    "TrainedNetwork",
    "UnitResponse",
    "annealed_unit_responses",
    "first_layer_weights",
    "for_each_network",
    "maximize_activation",
    "network_table",
    "receptive_fields",
    "responses",
    "separability",
    "top_patches",
    "train_network",
    "unit_response",
]
