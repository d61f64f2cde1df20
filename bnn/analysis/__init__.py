"""What a binary layer sees: questions about a trained network, and their answers as pictures.

A question is a function of a network (`most_exciting`, `maximised`, `responses`, `first_weights`, `separability`,
`receptive_fields`) and answers tensors; `each` asks it of several. `figures` has a function for every answer, which draws
networks side by side. Layers go by the name of their module: act1, act2. To get a network in a notebook prefer `trained`.
`unit` and `annealed` look at a single unit, without a network.
"""

from bnn.analysis.activation_maximization import Ascent, maximised
from bnn.analysis.firing import Unit, annealed, unit
from bnn.analysis.networks import Net, each, table, trained
from bnn.analysis.patches import Patches, most_exciting
from bnn.analysis.receptive_fields import Fields, receptive_fields
from bnn.analysis.responses import PIXELS, SCORES, first_weights, responses
from bnn.analysis.separability import Separability, separability

__all__ = [
    "PIXELS",
    "SCORES",
    "Ascent",
    "Fields",
    "Net",
    "Patches",
    "Separability",
    "Unit",
    "annealed",
    "each",
    "first_weights",
    "maximised",
    "most_exciting",
    "receptive_fields",
    "responses",
    "separability",
    "table",
    "trained",
    "unit",
]
