"""Studies: trials of an Optuna study that several processes share, stop early, lose and resume.

`settings` is what a study is asked for, `space` and `compositions` its search space, `storage`
where it lies, `queue` the distribution of its trials, `worker` a process that runs them,
`objective` one trial in its job, and `summary` what is printed of it. No other package imports
optuna. The modules are imported when they are first used.
"""

from __future__ import annotations

from bnn.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)
