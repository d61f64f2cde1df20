"""Help of `python -m bnn.train`: groups and choices, and of those that are named every key."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from bnn import plugins
from bnn.config import groups
from bnn.config.canonical import PLUGINS, TOP, VARS
from bnn.config.compose import format_hydra_error
from bnn.config.hydra_adapter import parsed, values_of
from bnn.config.overrides import key_of
from bnn.errors import ConfigError
from bnn.paths import folder

Choices = Mapping[str, Sequence[str]]

_HYDRA = re.compile(r"hydra\.(?!launcher|sweeper)")
FLAGS = ("-h", "--help")
WIDTH, COLUMN = 100, 46
"""Characters of a line, and of the longest `key=default` beside which a meaning stands."""
USAGE = """\
python -m bnn.train [-m] [-q] [GROUP=CHOICE] [KEY=VALUE]

Train one configuration, or with -m every combination of choices that are given with commas.
-q: no progress, only results, warnings and errors (trainer.progress=none)."""
FOOTER = """\
python -m bnn.train --help estimator=rebar   keys of a choice, with their defaults and meanings
python -m bnn.train --help optimizer         keys of every choice of a group
python -m bnn.train --cfg job                the composed configuration
python -m bnn.train --hydra-help             Hydra's own options
HYDRA_FULL_ERROR=1 shows the whole traceback of an error."""


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether words of a command line ask for help."""
    return any(word in FLAGS for word in words)


def help_text(words: Sequence[str] = ()) -> str:
    """Help on the groups that a command line names; without any, the list of groups.

    Args:
        words: words of the command line: `estimator=reinforce`, the bare name of a group, or a key,
            which stands for its group. Options are skipped.

    Raises:
        ConfigError: for a group or a choice that does not exist.
    """
    choices, chosen = available(), groups.defaults()
    named = _named([word for word in words if not word.startswith("-")], choices)
    if not named:
        return "\n\n".join([USAGE, _overview(choices, chosen), FOOTER])
    sections = []
    for group, picked in named.items():
        shown = picked or sorted(choices[group], key=lambda name: name != chosen.get(group))
        lines = [_group(group, choices[group], chosen), *_choices(group, shown, named, chosen)]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def available() -> dict[str, list[str]]:
    """Choices of every group, also those that Hydra's and other plug-ins add."""
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return {group: sorted(loader.get_group_options(group)) for group in groups.ABOUT}


def _overview(choices: Choices, chosen: Mapping[str, str]) -> str:
    """List of the groups of a run, of those of a sweep, and of the keys outside of groups."""
    listed = {group: _group(group, choices[group], chosen) for group in groups.ABOUT}
    return "\n".join(
        [
            "== Groups: GROUP=CHOICE ==",
            *(listed.pop(group) for group in groups.COMBINED),
            "\n== Sweeps (-m): launchers, sweepers, samplers and pruners ==",
            *listed.values(),
            "\n== Keys: KEY=VALUE, and within a group GROUP.KEY=VALUE ==",
            *_lines("", groups.keys(folder("conf") / "train.yaml")),
        ]
    )


def _group(group: str, names: Sequence[str], chosen: Mapping[str, str]) -> str:
    """Choices of a group, what it decides, and its default."""
    about = groups.ABOUT[group].replace("`", "")
    default = f" (default: {chosen[group]})" if group in chosen else ""
    return f"{group}: {', '.join(names)}\n    {about}{default}"


def _named(words: Sequence[str], choices: Choices) -> dict[str, list[str]]:
    """Groups of a command line with the choices that it names; an empty list stands for all."""
    named: dict[str, list[str]] = {}
    for word in words:
        key = key_of(word)
        if key.partition(".")[0] in (*TOP, PLUGINS, VARS) or _HYDRA.match(key):
            continue
        group = _group_of(key, choices)
        chosen = named.setdefault(group, [])
        for choice in _values(word) if key == group and "=" in word else ():
            if choice not in choices[group]:
                expected = ", ".join(choices[group])
                raise ConfigError(f"{group}={choice}: expected one of {expected}")
            chosen.append(choice)
    return named


def _values(word: str) -> list[str]:
    """Choices that an override names, those of a sweep too; none for null."""
    try:
        (override,) = parsed([word])
    except HydraException as error:
        raise ConfigError(format_hydra_error(error, [word])) from error
    sweep = override.is_sweep_override()
    values = list(values_of(override)) if sweep else [str(override.value())]
    return [value for value in values if value not in ("None", "null")]


def _group_of(key: str, choices: Choices) -> str:
    """Group of a dotted key, or the group itself: `estimator/baseline` of its key `samples`.

    Raises:
        ConfigError: where there is none.
    """
    parts = re.split(r"[./]", key)
    for length in range(len(parts), 0, -1):
        if (group := "/".join(parts[:length])) in choices:
            return group
    close = difflib.get_close_matches(key, choices, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"--help {key}: there is no such group; {meant}expected one of {', '.join(choices)}"
    )


def _choices(
    group: str, picked: Sequence[str], named: Collection[str], chosen: Mapping[str, str]
) -> Iterator[str]:
    """Description and keys of choices, and of the choices of further groups that come with them."""
    for choice in picked:
        yield f"\n{group}={choice}{' (default)' * (chosen.get(group) == choice)}"
        if (path := _file(group, choice)) is None:
            yield from _without_file(group, choice)
            continue
        yield from (f"    {line}" for line in groups.description(path))
        if group not in groups.RECIPES:
            yield from _lines(group, _keys(group, path)) or ["    no keys"]
        for name, inner in groups.included(path).items():
            if name and f"{group}/{name}" not in named:
                yield from _choices(f"{group}/{name}", [inner], named, chosen)


def _without_file(group: str, choice: str) -> list[str]:
    """Keys of a choice that a signature registers, or the command that shows those of Hydra's."""
    node = plugins.choices().get((group, choice))
    if node is None:
        package = group.replace("/", ".")
        return [f"    keys: python -m bnn.train --cfg hydra -p {package} {group}={choice}"]
    keys = [groups.Key(key, str(value), "") for key, value in node.items() if key != "name"]
    return _lines(group, keys) or ["    no keys"]


def _keys(group: str, path: Path) -> list[groups.Key]:
    """Keys of a file, and those of the file of the same group that it extends."""
    own = groups.keys(path)
    base = groups.included(path).get("")
    extended = _file(group, base) if base else None
    there = {key.name for key in own}
    more = groups.keys(extended) if extended is not None else []
    return [*own, *(key for key in more if key.name not in there)]


def _file(group: str, choice: str) -> Path | None:
    """YAML file of a choice; None for one of Hydra's, or one made from a signature."""
    shelves = [folder("conf"), *plugins.conf_folders().values()]
    paths = (shelf / group / f"{choice}.yaml" for shelf in shelves)
    return next((path for path in paths if path.is_file()), None)


def _lines(group: str, keys: Sequence[groups.Key]) -> list[str]:
    """Lines of `key=default`, each with its meaning beside it, or below where there is no room."""
    prefix = f"{group}.".replace("/", ".") if group else ""
    words = [f"    {prefix}{key.name}={key.value}" for key in keys]
    column = max((len(word) for word in words if len(word) <= COLUMN), default=4) + 3
    lines = []
    for word, key in zip(words, keys, strict=True):
        beside = len(word) + 3 <= column
        first = (word if beside else "").ljust(column) if key.meaning else ""
        told = textwrap.fill(
            key.meaning, WIDTH, initial_indent=first, subsequent_indent=" " * column
        )
        lines += [told] if beside and key.meaning else [word, *([told] if key.meaning else [])]
    return lines
