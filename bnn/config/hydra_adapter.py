"""Private parts of Hydra: values of parsed overrides, its command-line parser, choices of a group.

Hydra has no public way to read the values of a parsed sweep override: `_value` and the iterator are
private, if stable since Hydra 1.1. The tests of the search space fail on a release that moves them,
and those of wrong commands on one that moves the command-line parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.main import get_args_parser

from bnn.errors import ConfigError
from bnn.paths import folder

__all__ = [
    "IntervalSweep",
    "Override",
    "RangeSweep",
    "command_line",
    "group_options",
    "parsed",
    "sweep_of",
    "values_of",
]


def sweep_of(override: Override) -> Any:
    """Sweep of an override: ChoiceSweep, IntervalSweep, RangeSweep or Glob."""
    return override._value


def values_of(override: Override) -> Sequence[str]:
    """Values of a sweep override as text, in order, each once."""
    return list(dict.fromkeys(override.sweep_string_iterator()))


def parsed(words: Sequence[str], loader: Any = None) -> list[Override]:
    """Overrides in Hydra's grammar; `loader` knows the groups that a glob ranges over."""
    return OverridesParser.create(config_loader=loader).parse_overrides(list(words))


def group_options(group: str) -> list[str]:
    """Choices of a group, from the files of the project, of Hydra and of loaded plug-ins."""
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        return list(GlobalHydra.instance().config_loader().get_group_options(group))


def command_line_options() -> list[str]:
    """Options of Hydra's command line, such as `--multirun` and `-m`."""
    return [option for action in get_args_parser()._actions for option in action.option_strings]


def command_line(words: Sequence[str]) -> argparse.Namespace:
    """Options of Hydra's command line, which may stand between its overrides.

    Args:
        words: words of the command line.

    Returns:
        Hydra's namespace; its `overrides` are the words that are no options.

    Raises:
        ConfigError: for an unknown option, or options that exclude each other.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.allow_abbrev = False
    chosen = parser.parse_intermixed_args(list(words))
    modes = ("run", "multirun", "cfg", "info", "shell_completion")
    if len(given := [f"--{mode}" for mode in modes if getattr(chosen, mode)]) > 1:
        raise ConfigError(f"{' '.join(given)}: expected one of these options".replace("_", "-"))
    if chosen.resolve and not (chosen.cfg or chosen.help):
        raise ConfigError("--resolve: expected --cfg job beside it")
    rerun = chosen.experimental_rerun
    if rerun is not None and not Path(rerun).is_file():
        raise ConfigError(f"--experimental-rerun: {rerun}: no such file")
    return chosen
