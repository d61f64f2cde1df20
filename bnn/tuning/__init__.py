"""Studies: trials of an Optuna study that several processes share, stop early, lose and resume.

`settings` has the settings of a study, `space` and `compositions` its search space, `storage`
its storage, `queue` the distribution of its trials, `worker` a process that runs them,
`objective` one trial in its job, and `summary` its printed results. No other package imports
optuna. The modules are imported when they are first used.
"""

from __future__ import annotations

from bnn.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)
