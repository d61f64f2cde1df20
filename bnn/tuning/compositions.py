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

from bnn.config.canonical import GROUPS, NOT_RESULT, flat
from bnn.config.overrides import key_of, override_word
from bnn.errors import ConfigError
from bnn.runs.jobs import Job, JobComposer
from bnn.specify import specify
from bnn.tuning.space import SearchSpace, suggested_override

ABSENT = object()


def _picked(values: Mapping[str, Any], asked: set[str], key: str, distribution: Any) -> Any:
    """The value of `key`, or the first that its distribution has; `asked` learns that it was asked for."""
    asked.add(key)
    return (
        values[key]
        if key in values
        else distribution.choices[0]
        if hasattr(distribution, "choices")
        else distribution.low
    )


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
        """The overrides of one configuration, its values picked one by one: groups first, then the keys that exist under
        them. A key that the picked groups do not have is neither asked for nor set.
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
        """Fixed values of keys within a group that is searched: they exist under some of its choices only."""
        groups = tuple(f"{key.replace('/', '.')}." for key in space.searched if self.is_group(key))
        return [
            fixed
            for fixed in space.fixed
            if not self.is_group(key_of(fixed)) and key_of(fixed).startswith(groups)
        ]

    def _exists(self, words: Sequence[str], group: str, choice: str) -> bool:
        """Whether `group` can be chosen beside `words`: a group within a group comes and goes with its choice."""
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
        """The space without what a choice on the command line made pointless, and a checked job for each way through the
        groups and each end of the values. Errors: ConfigError for a job that cannot run, for a key that no way through the
        groups has, or where nothing is left to search.
        """
        jobs: dict[tuple[str, ...], Job] = {}
        seen: set[str] = set()
        for path in self._paths(space):
            for way in self._ways(space):
                words = self.words(space, partial(_picked, {**way, **path}, seen))
                if tuple(words) not in jobs:
                    jobs[tuple(words)] = self.job(words)
        found = list(jobs.values())
        for fixed in self.within_searched(space):
            if not any(fixed in words for words in jobs):
                raise ConfigError(self._unknown(key_of(fixed), found))
        typed = [key_of(argument) for argument in arguments]
        for key in (key for key in space.searched if key not in seen):
            if key in typed or not self._is_elsewhere(key, space, typed):
                raise ConfigError(self._unknown(key, found))
            print(
                f"note: {key} is not searched: what was chosen on the command line does not have it"
            )
        if not seen:
            raise ConfigError(
                "study: nothing is left to search beside what was chosen on the command line"
            )
        return SearchSpace(
            {key: d for key, d in space.searched.items() if key in seen}, space.fixed
        ), found

    def _is_elsewhere(self, key: str, space: SearchSpace, typed: Sequence[str]) -> bool:
        """Whether `key` exists under another choice of a group that was chosen on the command line."""
        for group in filter(self.is_group, typed):
            rest = [
                fixed
                for fixed in space.fixed
                if key_of(fixed) != group and not fixed.startswith(f"{group}.")
            ]
            for choice in self._loader.get_group_options(group):
                try:
                    config = self._compose([*rest, f"{group}={choice}"])
                except ConfigCompositionException:
                    continue
                if _has(config, key.replace("/", ".")):
                    return True
        return False

    def _ways(self, space: SearchSpace) -> Iterator[dict[str, Any]]:
        """Values to try under each path: both ends of every interval at once, and every choice once."""
        values = {key: d for key, d in space.searched.items() if not self.is_group(key)}
        for end in ("low", "high"):
            yield {key: getattr(d, end) for key, d in values.items() if hasattr(d, end)}
        for key, d in values.items():
            yield from ({key: choice} for choice in getattr(d, "choices", ())[1:])

    def _paths(self, space: SearchSpace) -> Iterator[dict[str, str]]:
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
        """A command line that trains the configuration of `job` on `count` seeds, whatever the study's file says."""
        mine = flat(dict(job.spec.config))
        words: list[str] = []
        composed = self._loader.load_configuration("train", words, run_mode=RunMode.RUN)
        while more := self._other_choices(
            composed, job, mine
        ):  # a choice may bring groups of its own
            words += more
            composed = self._loader.load_configuration("train", words, run_mode=RunMode.RUN)
        asked = [key for group in GROUPS for key in sorted(OmegaConf.missing_keys(composed[group]))]
        for key in filter(mine.__contains__, asked):  # a plug-in's parameters without a default
            OmegaConf.update(composed, key, mine[key])
            words.append(override_word(key, mine[key]))
        theirs = flat(dict(specify(composed).config))
        apart = ("seed", *NOT_RESULT)
        for key, value in mine.items():
            told = any(key == part or key.startswith(f"{part}.") for part in apart)
            if not told and theirs.get(key, ABSENT) != value:
                words.append(override_word(key, value))
        first = int(job.spec.general.seed)
        seeds = ",".join(str(first + index) for index in range(count))
        return " ".join(
            ["python -m bnn.train", *(["-m"] if "," in seeds else []), *words, f"seed={seeds}"]
        )

    def _other_choices(self, composed: DictConfig, job: Job, mine: Mapping[str, Any]) -> list[str]:
        """The choices of groups in which `composed` differs from `job`, by the name that the configuration has: a recipe
        may write it there without choosing the file.
        """
        words = []
        chosen = self._compose(job.overrides).hydra.runtime.choices
        for group, choice in composed.hydra.runtime.choices.items():
            name = mine.get(f"{group.replace('/', '.')}.name")
            options = self._loader.get_group_options(group)
            wanted = name if name in options else chosen.get(group, choice)
            if group.partition("/")[0] in GROUPS and wanted != choice:
                words.append(f"{group}={wanted}")
        return words
