"""Configurations of a search space.

Which keys exist under which choices, whether a configuration can run, and the command line that
trains it alone.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bnn.config.canonical import GROUPS, NOT_RESULT, flat, is_within
from bnn.config.overrides import key_of, override_word
from bnn.errors import ConfigError
from bnn.runs.jobs import Job, JobComposer
from bnn.specify import specify
from bnn.tuning.space import SearchSpace, suggested_override

ABSENT = object()
ROOT = "data.root"
"""Key of the folder with the data."""


def _picked(values: Mapping[str, Any], asked: set[str], key: str, distribution: Any) -> Any:
    """Given value of a key, else the first of its distribution; the key is added to `asked`."""
    asked.add(key)
    if key in values:
        return values[key]
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low


def _has(config: DictConfig, key: str) -> bool:
    return OmegaConf.select(config, key, default=ABSENT) is not ABSENT


class Compositions:
    """Configurations of a search space, composed on top of the configuration of a sweep.

    Args:
        composer: composition and check of jobs.
    """

    def __init__(self, composer: JobComposer) -> None:
        self.composer, self._loader = composer, composer.loader
        self.is_group, self._compose, self.job = composer.is_group, composer.compose, composer.job

    def words(self, space: SearchSpace, pick: Callable[[str, Any], Any]) -> list[str]:
        """Overrides of one configuration: groups first, then the keys that exist under them.

        A key that does not exist under the picked groups is neither asked for nor set.

        Args:
            space: search space.
            pick: value by key and distribution.
        """
        late = self.within_searched(space)
        words = [fixed for fixed in space.fixed if fixed not in late]
        for key in filter(self.is_group, space.searched):
            if self._exists(words, key, space.searched[key].choices[0]):
                words.append(suggested_override(key, pick(key, space.searched[key])))
        config = self._compose(words)
        words += [fixed for fixed in late if _has(config, key_of(fixed))]
        keys = [key for key in space.searched if not self.is_group(key)]
        return words + [
            suggested_override(key, pick(key, space.searched[key]))
            for key in keys
            if key.startswith("+") or _has(config, key)
        ]

    def within_searched(self, space: SearchSpace) -> list[str]:
        """Fixed overrides of keys within a searched group, which some of its choices may lack."""
        groups = tuple(f"{key.replace('/', '.')}." for key in space.searched if self.is_group(key))
        return [
            fixed
            for fixed in space.fixed
            if not self.is_group(key_of(fixed)) and key_of(fixed).startswith(groups)
        ]

    def _exists(self, words: Sequence[str], group: str, choice: str) -> bool:
        """Whether a group can be chosen beside `words`; nested groups depend on outer choices."""
        if "/" not in group:
            return True
        try:
            self._compose([*words, f"{group}={choice}"])
        except ConfigCompositionException as error:
            if f"Could not override '{group}'" in str(error):
                return False
            raise
        return True

    def check(self, space: SearchSpace, arguments: Sequence[str]) -> tuple[SearchSpace, list[Job]]:
        """Check of a search space at every combination of groups and both ends of every value.

        Args:
            space: search space.
            arguments: words of the command line.

        Returns:
            The space without keys that do not exist beside the choices on the command line, and
            the jobs that were checked.

        Raises:
            ConfigError: for a job that cannot run, for a key that no combination of groups has, or
                where nothing is left to search.
        """
        jobs: dict[tuple[str, ...], Job] = {}
        seen: set[str] = set()
        for groups in self._group_choices(space):
            for values in self._value_choices(space):
                words = self.words(space, partial(_picked, {**values, **groups}, seen))
                if tuple(words) not in jobs:
                    jobs[tuple(words)] = self.job(words)
        found = list(jobs.values())
        for fixed in self.within_searched(space):
            if not any(fixed in words for words in jobs):
                raise ConfigError(self._unknown(key_of(fixed), found))
        given = [key_of(argument) for argument in arguments]
        for key in (key for key in space.searched if key not in seen):
            if key in given or not self._is_elsewhere(key, space, given):
                raise ConfigError(self._unknown(key, found))
            print(f"note: {key} is not searched: the choices on the command line do not have it")
        if not seen:
            raise ConfigError(
                "study: nothing is left to search beside the choices on the command line"
            )
        searched = {key: value for key, value in space.searched.items() if key in seen}
        return SearchSpace(searched, space.fixed), found

    def _is_elsewhere(self, key: str, space: SearchSpace, given: Sequence[str]) -> bool:
        """Whether a key exists under another choice of a group that the command line chooses."""
        for group in filter(self.is_group, given):
            rest = [
                fixed
                for fixed in space.fixed
                if key_of(fixed) != group and not fixed.startswith(f"{group}.")
            ]
            for choice in sorted(self.composer.group_options(group)):
                try:
                    config = self._compose([*rest, f"{group}={choice}"])
                except ConfigCompositionException:
                    continue
                if _has(config, key.replace("/", ".")):
                    return True
        return False

    def _value_choices(self, space: SearchSpace) -> Iterator[dict[str, Any]]:
        """Values to check: both ends of all intervals at once, and each choice once."""
        values = {key: d for key, d in space.searched.items() if not self.is_group(key)}
        for end in ("low", "high"):
            yield {key: getattr(d, end) for key, d in values.items() if hasattr(d, end)}
        for key, d in values.items():
            yield from ({key: choice} for choice in getattr(d, "choices", ())[1:])

    def _group_choices(self, space: SearchSpace) -> Iterator[dict[str, str]]:
        """Combinations of the choices of searched groups."""
        groups = [key for key in space.searched if self.is_group(key)]
        for choices in itertools.product(*(space.searched[key].choices for key in groups)):
            yield dict(zip(groups, choices, strict=True))

    @staticmethod
    def _unknown(key: str, jobs: Sequence[Job]) -> str:

        keys = sorted(set(GROUPS).union(*(flat(dict(job.spec.config)) for job in jobs)))
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key}: no configuration of this search space has this key{hint}"

    def command(self, job: Job, count: int) -> str:
        """Command line that trains a configuration on its own, without the study's file.

        Args:
            job: job with the configuration.
            count: number of seeds, from the configuration's seed upwards.
        """
        mine = flat(dict(job.spec.config))
        words: list[str] = []
        composed = self._loader.load_configuration("train", words, run_mode=RunMode.RUN)
        # repeated, since a choice may bring groups of its own
        while more := self._other_choices(composed, job, mine):
            words += more
            composed = self._loader.load_configuration("train", words, run_mode=RunMode.RUN)
        asked = [key for group in GROUPS for key in sorted(OmegaConf.missing_keys(composed[group]))]
        for key in filter(mine.__contains__, asked):  # a plug-in's parameters without a default
            OmegaConf.update(composed, key, mine[key])
            words.append(override_word(key, mine[key]))
        # no part of the result, and needed to find the data
        if ROOT in mine and OmegaConf.select(composed, ROOT) != mine[ROOT]:
            OmegaConf.update(composed, ROOT, mine[ROOT])
            words.append(override_word(ROOT, mine[ROOT]))
        theirs = flat(dict(specify(composed).config))
        apart = ("seed", *NOT_RESULT)
        for key, value in mine.items():
            if not is_within(key, apart) and theirs.get(key, ABSENT) != value:
                words.append(override_word(key, value))
        first = int(job.spec.general.seed)
        seeds = ",".join(str(first + index) for index in range(count))
        program = "python -m bnn.train" + (" -m" if "," in seeds else "")
        return " ".join([program, *words, f"seed={seeds}"])

    def _other_choices(self, composed: DictConfig, job: Job, mine: Mapping[str, Any]) -> list[str]:
        """Choices of groups in which a composition differs from a job.

        The `name` in the job's configuration decides: an experiment may set it without choosing the
        file of that name.
        """
        words = []
        chosen = self._compose(job.overrides).hydra.runtime.choices
        for group, choice in composed.hydra.runtime.choices.items():
            if group.partition("/")[0] not in GROUPS:
                continue
            name = mine.get(f"{group.replace('/', '.')}.name")
            options = self.composer.group_options(group)
            wanted = name if name in options else chosen.get(group, choice)
            if wanted != choice:
                words.append(f"{group}={wanted}")
        return words
