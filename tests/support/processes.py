"""Processes of the tests: forked from one that has imported libraries, and nothing of the tests."""

from __future__ import annotations

import multiprocessing

IMPORTS = [
    "mlflow.store.tracking.sqlalchemy_store",
    "optuna",
    "torch._dynamo",
    "bnn.report.__main__",
    "bnn.runs.grid",
    "bnn.runs.single",
    "bnn.tuning.objective",
    "bnn.tuning.study",
]
"""Modules whose imports take most of the seconds of a short process."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(IMPORTS)
