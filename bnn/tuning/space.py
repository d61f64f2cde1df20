"""Search space of a study, from overrides in Hydra's grammar; pure functions without a study.

| override | distribution |
|---|---|
| `choice(a,b,c)`, `a,b,c`, `glob(*)` | categorical |
| `range(start,stop,step)` (`stop` is not in it) | integers or multiples of a float step |
| `interval(low,high)`, `int(interval(low,high))` | floats, integers |
| `tag(log,interval(low,high))` | the same on a log scale |
| anything else | fixed |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from bnn.config.hydra_adapter import IntervalSweep, Override, RangeSweep, sweep_of, values_of
from bnn.errors import ConfigError

LOG = "log"
"""Tag of a log scale, as in `tag(log,interval(0.001,1))`."""


@dataclass(frozen=True)
class SearchSpace:
    """Searched keys and fixed overrides of a study.

    Args:
        searched: Optuna distribution by key of an override (with its `+`), in the order given.
        fixed: overrides that every trial has.
    """

    searched: Mapping[str, Any]
    fixed: Sequence[str]

    def as_text(self) -> dict[str, str]:
        """Distribution as text by key; equal for equal spaces."""
        return {
            key: format_distribution(distribution) for key, distribution in self.searched.items()
        }


def search_space(overrides: Sequence[Override]) -> SearchSpace:
    """Search space from parsed overrides; of two with the same key the last counts.

    Raises:
        ConfigError: for an empty distribution, naming the key.
    """
    last = {override.key_or_group: override for override in overrides}.values()
    sweeps = [override for override in last if override.is_sweep_override()]
    fixed = [str(override.input_line) for override in last if not override.is_sweep_override()]
    return SearchSpace({each.get_key_element(): distribution(each) for each in sweeps}, fixed)


def distribution(override: Override) -> Any:
    """Optuna distribution of a sweep override.

    Raises:
        ConfigError: naming the key.
    """
    try:
        return _distribution(override)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def _distribution(override: Override) -> Any:
    sweep = sweep_of(override)
    if hasattr(sweep, "shuffle"):
        # another order of choices would be another space; the sampler decides the order of trials
        sweep.shuffle = False  # type: ignore[union-attr]
    tags = set(getattr(sweep, "tags", ()))
    if unknown := sorted(tags - {LOG}):
        raise ValueError(f"expected the tag {LOG!r} or none, got {unknown[0]!r}")
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep.start, sweep.end, log=LOG in tags)
    if isinstance(sweep, RangeSweep):
        return _range(sweep, log=LOG in tags)
    if tags:
        raise ValueError(f"a choice has no {LOG} scale; write tag({LOG},interval(low,high))")
    choices = values_of(override)
    if not choices:
        raise ValueError("expected at least one choice, got none")
    return CategoricalDistribution(choices)


def _interval(low: Any, high: Any, log: bool) -> Any:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected an interval (low, high) with low < high, got ({low}, {high})")
    if log and low <= 0:
        raise ValueError(f"a {LOG} scale needs a lower end above 0, got {low}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(sweep: RangeSweep, log: bool) -> Any:
    if log:
        raise ValueError(
            f"a range has steps and no {LOG} scale; write tag({LOG},interval(low,high))"
        )
    # Hydra's own count, which for floats depends on rounding
    count = len(list(sweep.range())) if sweep.step else 0
    if count < 1:
        raise ValueError("expected a range that holds a number, got an empty one")
    start, step = Decimal(str(sweep.start)), Decimal(str(sweep.step))
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(value, int) for value in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), step=abs(int(step)))
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def format_distribution(distribution: Any) -> str:
    """A distribution as text, both ends included: `choice(a, b)`, `interval(0.01, 0.3) log`."""
    if hasattr(distribution, "choices"):
        return f"choice({', '.join(map(str, distribution.choices))})"
    ends = f"{distribution.low}, {distribution.high}"
    whole = isinstance(distribution.low, int)
    if distribution.step not in (None, 1) or (whole and distribution.step != 1):
        return f"range({ends}, {distribution.step})"
    return f"{'integers' if whole else 'interval'}({ends}){' log' if distribution.log else ''}"


def suggested_override(key: str, value: Any) -> str:
    """Override that gives a key its suggested value."""
    return f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"


def suggest(trial: Any, key: str, distribution: Any) -> Any:
    """Value of a distribution that an Optuna trial suggests under the name `key`."""
    if hasattr(distribution, "choices"):
        return trial.suggest_categorical(key, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
    options: dict[str, Any] = {"log": True} if distribution.log else {}
    if not distribution.log and distribution.step is not None:
        options["step"] = distribution.step
    return suggest(key, distribution.low, distribution.high, **options)
