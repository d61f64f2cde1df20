"""Binary neurons, their gradient estimators, and what each costs. The entry point is `python -m bnn.train`.

Importing the package makes its Hydra plugins (sweeps/hydra_plugins) discoverable in a source tree, an editable install
and a wheel alike; it imports neither torch nor mlflow.
"""

import sys

from bnn.paths import folder

__version__ = "0.1.0"

_plugins = str(folder("sweeps"))
if _plugins not in sys.path:
    sys.path.append(_plugins)
