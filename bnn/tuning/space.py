"""The search space of a study, read from overrides in Hydra's own grammar. Pure: nothing is composed, asked or trained.

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
"""The tag that asks for a log scale, as in `tag(log,interval(0.001,1))`."""


@dataclass(frozen=True)
class SearchSpace:
    """What a study searches and what it holds fixed. Names are the keys of overrides, with their `+`."""

    searched: Mapping[str, Any]
    """Key -> an Optuna distribution, in the order in which they were given."""
    fixed: Sequence[str]
    """Overrides that every trial has."""

    def as_text(self) -> dict[str, str]:
        """Key -> a line that says what is searched: equal for equal spaces."""
        return {
            key: format_distribution(distribution) for key, distribution in self.searched.items()
        }


def search_space(overrides: Sequence[Override]) -> SearchSpace:
    """The space of parsed overrides; of two with one key the last stands.

    Errors: ConfigError for a distribution that holds nothing, naming the key.
    """
    last = {override.key_or_group: override for override in overrides}
    searched = {
        o.get_key_element(): distribution(o) for o in last.values() if o.is_sweep_override()
    }
    return SearchSpace(
        searched, [str(o.input_line) for o in last.values() if not o.is_sweep_override()]
    )


def distribution(override: Override) -> Any:
    """The Optuna distribution that a sweep override means. Errors: ConfigError, naming the key."""
    try:
        return _distribution(override)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def _distribution(override: Override) -> Any:
    sweep = sweep_of(override)
    if hasattr(sweep, "shuffle"):
        sweep.shuffle = False  # type: ignore[union-attr]  # the order is the sampler's; another one would be another space
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
    whole = isinstance(low, int) and isinstance(high, int)
    return (
        IntDistribution(low, high, log=log)
        if whole
        else FloatDistribution(float(low), float(high), log=log)
    )


def _range(sweep: RangeSweep, log: bool) -> Any:
    if log:
        raise ValueError(
            f"a range has steps and no {LOG} scale; write tag({LOG},interval(low,high))"
        )
    count = (
        len(list(sweep.range())) if sweep.step else 0
    )  # Hydra's own count, which rounding moves for floats
    if count < 1:
        raise ValueError("expected a range that holds a number, got an empty one")
    start, step = Decimal(str(sweep.start)), Decimal(str(sweep.step))
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(value, int) for value in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), step=abs(int(step)))
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def format_distribution(distribution: Any) -> str:
    """`choice(a, b)`, `interval(0.01, 0.3) log`, `range(1, 9, 2)`: a distribution in one line; both ends are in it."""
    if hasattr(distribution, "choices"):
        return f"choice({', '.join(map(str, distribution.choices))})"
    ends = f"{distribution.low}, {distribution.high}"
    whole = isinstance(distribution.low, int)
    if distribution.step not in (None, 1) or (whole and distribution.step != 1):
        return f"range({ends}, {distribution.step})"
    return f"{'integers' if whole else 'interval'}({ends}){' log' if distribution.log else ''}"


def suggested_override(key: str, value: Any) -> str:
    """The override that gives `key` the value that was suggested for it."""
    return f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"


def suggest(trial: Any, key: str, distribution: Any) -> Any:
    """Ask an Optuna trial for a value of `distribution` under the name `key`."""
    if hasattr(distribution, "choices"):
        return trial.suggest_categorical(key, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
    options = (
        {"log": True}
        if distribution.log
        else {}
        if distribution.step is None
        else {"step": distribution.step}
    )
    return suggest(key, distribution.low, distribution.high, **options)
