"""Modules of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType


def lazy_modules(package: str) -> Callable[[str], ModuleType]:
    """`__getattr__` of a package whose modules are imported at their first use (PEP 562)."""

    def import_module(name: str) -> ModuleType:
        full = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full)

    return import_module
