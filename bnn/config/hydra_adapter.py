"""Parsed overrides of Hydra, and their values.

Hydra has no public way to read the values of a parsed sweep override: `_value` and the iterator are
private, if stable since Hydra 1.1. The tests of the search space fail on a release that moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

__all__ = ["IntervalSweep", "Override", "RangeSweep", "parsed", "sweep_of", "values_of"]


def sweep_of(override: Override) -> Any:
    """Sweep of an override: ChoiceSweep, IntervalSweep, RangeSweep or Glob."""
    return override._value


def values_of(override: Override) -> Sequence[str]:
    """Values of a sweep override as text, in order, each once."""
    return list(dict.fromkeys(override.sweep_string_iterator()))


def parsed(words: Sequence[str], loader: Any = None) -> list[Override]:
    """Overrides in Hydra's grammar; `loader` knows the groups that a glob ranges over."""
    return OverridesParser.create(config_loader=loader).parse_overrides(list(words))
