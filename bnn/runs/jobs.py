"""Jobs of a sweep: overrides, and the specification that they come to.

Composing a configuration takes Hydra about a tenth of a second. Jobs that differ only in the values
of single keys share one composition, so that a sweep of ten thousand jobs is checked in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from bnn.config.canonical import GROUPS, TOP, canonical, is_within
from bnn.config.compose import check_choices
from bnn.config.hydra_adapter import Override, parsed
from bnn.config.overrides import key_of
from bnn.config.specification import RunSpec
from bnn.errors import ConfigError
from bnn.specify import specify, specify_canonical

SCALARS = (str, bool, int, float)
KEPT_COMPOSITIONS = 128
"""Latest compositions that a sweep keeps."""
REPLACED = ("neuron", "estimator", "anneal")
"""Groups that the canonical form replaces where no layer is binary."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Args:
        overrides: overrides of the sweep that choose it.
        spec: checked specification.
    """

    overrides: list[str]
    spec: RunSpec


@dataclass(frozen=True)
class _Base:
    """A composition that jobs share: its canonical form, and the keys that interpolations read."""

    plain: dict[str, Any]
    interpolated: frozenset[str]


class JobComposer:
    """Composition and check of the jobs of one sweep.

    Args:
        loader: Hydra's loader of configurations.
        config: configuration of the sweep itself.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self.loader, self.config = loader, config
        self._bases: dict[tuple[str, ...], _Base | None] = {}
        self._options: dict[str, frozenset[str]] = {}
        self._parsed: dict[str, Override] = {}
        self._checks: dict[str, Any] = {}
        self._composed = lru_cache(KEPT_COMPOSITIONS)(
            lambda words: self.loader.load_sweep_config(self.config, list(words))
        )

    def group_options(self, group: str) -> frozenset[str]:
        """Choices of a group of the configuration; empty for a key that is no group."""
        if group not in self._options:
            self._options[group] = frozenset(self.loader.get_group_options(group))
        return self._options[group]

    def is_group(self, key: str) -> bool:
        """Whether a key is a group of the configuration."""
        return bool(self.group_options(key.lstrip("+~")))

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Composed configuration of a job, to be read and not changed: it is composed once."""
        return self._composed(tuple(overrides))

    def job(self, overrides: Sequence[str]) -> Job:
        """A checked job.

        Raises:
            ConfigError: naming the overrides of the job.
        """
        words = list(overrides)
        try:
            values = [word for word in words if self._sets_value(word)]
            base = self._base([word for word in words if word not in values]) if values else None
            plain = None if base is None else self._with_values(base, values)
            if plain is not None:
                return Job(words, specify_canonical(plain, cache=self._checks))
            config = self.compose(words)
            check_choices(config, words)
            return Job(words, specify(config))
        except ConfigError as error:
            raise ConfigError(f"{error} (in the job {' '.join(words)})") from error

    def _sets_value(self, word: str) -> bool:
        """Whether an override sets one key of a group, or one outside the groups, to a scalar."""
        key = key_of(word)
        if word.startswith(("+", "~")) or not (key in TOP or key.partition(".")[0] in GROUPS):
            return False
        if self.is_group(key) or key.startswith(("data.", "placement.", "tracking.")):
            return False
        if word not in self._parsed:
            self._parsed[word] = parsed([word])[0]
        override = self._parsed[word]
        return not override.is_sweep_override() and isinstance(override.value(), SCALARS)

    def _base(self, rest: Sequence[str]) -> _Base | None:
        """Composition without the values of single keys; None where it cannot stand alone."""
        key = tuple(rest)
        if key not in self._bases:
            config = self.compose(rest)
            groups = OmegaConf.to_container(config, resolve=False)
            text = str({k: v for k, v in dict(groups).items() if k != "hydra"})  # type: ignore[arg-type]
            read = frozenset(re.findall(r"\$\{([\w.]+)", text))
            try:
                check_choices(config, rest)
                specify(config)
                self._bases[key] = _Base(canonical(config), read)
            except ConfigError:  # the values may be what it lacks
                self._bases[key] = None
        return self._bases[key]

    def _with_values(self, base: _Base, words: Sequence[str]) -> dict[str, Any] | None:
        """Canonical form with other values of single keys; None where composition has to decide."""
        plain = dict(base.plain)
        for word in words:
            group, *path = key_of(word).split(".")
            value = self._parsed[word].value()
            if not plain["placement"]["layers"] and group in REPLACED:
                return None
            if any(is_within(read, [group]) for read in base.interpolated):
                return None
            if not path:
                plain[group] = value
                continue
            node = plain[group] = dict(plain[group])
            for part in path[:-1]:
                if not isinstance(node.get(part), dict):
                    return None
                node[part] = node = dict(node[part])
            if path[-1] not in node or isinstance(node[path[-1]], dict | list):
                return None
            node[path[-1]] = value
        return plain
