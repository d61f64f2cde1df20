"""Networks with binary neurons, and estimators of their gradients.

The command line is `python -m bnn.train`. In Python:

    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 200), bnn.Stochastic(), nn.Linear(200, 10))
    loss = bnn.estimators.ReinMax()(net, images, labels)
    loss.backward()

Names are imported when they are first used, so that `import bnn` imports neither torch nor mlflow.
It makes the Hydra plugins in sweeps/hydra_plugins discoverable, in a source tree, an editable
install and a wheel alike.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from bnn.paths import folder
from bnn.version import __version__ as __version__

if TYPE_CHECKING:
    from bnn import data, estimators, functional, models, nn, tasks, testing
    from bnn.library import MLflow, evaluate, fit
    from bnn.nn import Deterministic, NoisyRectifier, Stochastic, StochasticSmooth
    from bnn.nn.weight_layers import binarize
    from bnn.training.callback import Callback

_NAMES = {
    "Callback": "bnn.training.callback",
    "Deterministic": "bnn.nn",
    "MLflow": "bnn.library",
    "NoisyRectifier": "bnn.nn",
    "Stochastic": "bnn.nn",
    "StochasticSmooth": "bnn.nn",
    "binarize": "bnn.nn.weight_layers",
    "evaluate": "bnn.library",
    "fit": "bnn.library",
}
_MODULES = ("data", "estimators", "functional", "models", "nn", "tasks", "testing")

__all__ = [
    "Callback",
    "Deterministic",
    "MLflow",
    "NoisyRectifier",
    "Stochastic",
    "StochasticSmooth",
    "binarize",
    "data",
    "estimators",
    "evaluate",
    "fit",
    "functional",
    "models",
    "nn",
    "tasks",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"bnn.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'bnn' has no attribute {name!r}; there are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


_plugins = str(folder("sweeps"))
if _plugins not in sys.path:
    sys.path.append(_plugins)
