"""Tracked runs: one run, a sweep over a grid, and a dry run.

The modules are imported when they are first used, so that a command line is answered before torch
and mlflow are loaded.
"""

from __future__ import annotations

from bnn.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)
