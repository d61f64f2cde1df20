"""What a binary layer sees: questions about a trained network, and their answers as pictures.

A question is a function of a network (`most_exciting`, `maximised`, `responses`, `first_weights`, `separability`,
`receptive_fields`) and answers tensors; `each` asks it of several. `figures` has a function for every answer, which draws
networks side by side. Layers go by the name of their module: act1, act2. To get a network in a notebook prefer `trained`.
`unit` and `annealed` look at a single unit, without a network.
"""

from bnn.visual import figures
from bnn.visual.ascent import Ascent, maximised
from bnn.visual.fields import Fields, receptive_fields
from bnn.visual.layers import PIXELS, SCORES, first_weights, responses
from bnn.visual.nets import Net, each, table, trained
from bnn.visual.patches import Patches, most_exciting
from bnn.visual.representations import Separability, separability
from bnn.visual.units import Unit, annealed, unit

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
    "figures",
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
