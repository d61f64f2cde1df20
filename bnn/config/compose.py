"""Composition of a configuration from overrides, and Hydra's errors as one-line messages."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Sequence
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.config.canonical import FORMER_KEYS, GROUPS, PLUGINS, TOP, VARS, flat
from bnn.config.overrides import key_of
from bnn.config.syntax import syntax_mistake
from bnn.config.unknown_keys import choices_with_part, keys_beside, suggestion, without_part
from bnn.errors import ConfigError
from bnn.paths import folder

GONE = {
    "estimator.proxy": "write estimator.pseudo_derivative, the pseudo-derivative of st",
    "estimator.scale": (
        "relax takes the unit of its learned function from the estimates; leave it out"
    ),
}
"""Keys of earlier versions, and advice for their users."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Configuration of `python -m bnn.train OVERRIDES`, for use from Python.

    Args:
        overrides: words in Hydra's override grammar.

    Raises:
        ConfigError: for overrides that do not parse or name no key, and for a plug-in that cannot
            be loaded.
    """
    plugins.load(named_plugins(overrides))
    try:
        with initialize_config_dir(str(folder("conf")), version_base="1.3"):
            config = hydra_compose("train", overrides=list(overrides))
            check_choices(config, overrides)
            return config
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(format_hydra_error(error, overrides)) from error


def named_plugins(words: Sequence[str]) -> list[str]:
    """Modules that `plugins=` names on a command line.

    They are imported before the configuration is composed, which may choose what they register.

    Args:
        words: words of the command line.

    Raises:
        ConfigError: for a value that is no list of modules.
    """
    value = None
    for word in words:
        if re.match(r"\+{0,2}plugins=", word):
            try:
                override = OverridesParser.create().parse_override(word)
            except HydraException:
                continue  # composition refuses it
            if override.is_sweep_override():
                raise ConfigError(
                    f"{word}: all runs of a command have the same plug-ins; "
                    "write plugins=[first,second]"
                )
            value = override.value()
    return plugins.module_names(value)


def format_hydra_error(error: Exception, words: Sequence[str] = ()) -> str:
    """Error of Hydra or OmegaConf as one line: what was expected, what came, which key to change.

    Args:
        error: the error.
        words: overrides of the command line, which decide the keys that exist.
    """
    text = str(error)
    if found := re.search(
        r"Could not find '(.+)/(.*)'\s+Available options in '.+':((?:\n\t.+)*)", text
    ):
        return f"{found[1]}={found[2]}: expected one of {', '.join(found[3].split())}"
    if found := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        return _unknown_key(found[1], words)
    if found := re.match(r"Cannot find primary config '([^']+)'", text):
        return (
            f"--config-name {found[1]}: no such file; leave it out: "
            "experiment=NAME chooses a recipe, and KEY=VALUE changes a setting"
        )
    if "does not support sweep type : INTERVAL" in text:
        word = next((word for word in words if "interval(" in word), "interval(…)")
        return (
            f"{word}: an interval is searched by a study; write values with commas, or study=NAME"
        )
    if isinstance(error, OverrideParseException):
        return syntax_mistake(error.override)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if lines and lines[0].startswith("Error in call to target"):
        return " ".join(lines[:2])
    return lines[0] if lines else type(error).__name__


def _controlling_key(config: DictConfig, group: str) -> str | None:
    """Variable by which an experiment sets a whole group, which then takes no choice of its own.

    Returns:
        Its dotted key, such as `vars.by`; None where no interpolation sets the group.
    """
    if group not in config or not OmegaConf.is_interpolation(config, group):
        return None
    written = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))[group]
    keys = re.findall(rf"{VARS}\.\w+(?=}})", str(written))
    return keys[0] if keys else VARS


def check_choices(config: DictConfig, words: Sequence[str]) -> None:
    """Check of the choices that an experiment would ignore, or has no values for.

    Args:
        config: composed configuration.
        words: overrides of the command line.

    Raises:
        ConfigError: for a choice of a group that the experiment sets by a variable, which the
            message names, and for a value that is no key of the tables that it looks up.
    """
    _check_groups(config, words)
    _check_lookups(config)


def _check_groups(config: DictConfig, words: Sequence[str]) -> None:
    """Check of the groups that an experiment sets itself: a choice of one would be ignored."""
    of_group = {word.lstrip("+~").partition("=")[0]: word for word in words}  # the last one counts
    experiment = "experiment" in of_group
    for word in words:
        key, _, choice = word.lstrip("+~").partition("=")
        if key in GROUPS and (by := _controlling_key(config, key)):
            raise ConfigError(
                f"{word}: this experiment sets {key} by {by}; write {by}={choice}, "
                "or leave out experiment="
            )
        if not experiment or key not in GROUPS or word != of_group[key]:
            continue
        if name := _name_in_its_place(config, key, choice):
            raise ConfigError(
                f"{word}: this experiment sets {key}={name} with all of its keys; leave out "
                "experiment= to choose another"
            )


LOOKUP = re.compile(rf"\$\{{({VARS}[\w.]*)\.\$\{{([\w.]+)}}")
"""Interpolation `${vars.TABLE.${KEY}}`: the entry of a table that the value of a key names."""


def _check_lookups(config: DictConfig) -> None:
    """Check of the keys whose values name entries of an experiment's tables."""
    if VARS not in config:
        return
    written = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    tables: dict[str, list[str]] = {}
    for key, value in flat(written).items():
        if not key.startswith(f"{VARS}."):  # entries that are not looked up may stay undefined
            for table, by in LOOKUP.findall(str(value)):
                tables.setdefault(by, []).append(table)
    # variables first: by one of them an experiment may set the group whose name is another key
    for by, names in sorted(tables.items(), key=lambda one: not one[0].startswith(f"{VARS}.")):
        value = str(OmegaConf.select(config, by))
        known = [[str(key) for key in OmegaConf.select(config, name) or {}] for name in names]
        if any(value not in keys for keys in known):
            choices = [key for key in known[0] if all(key in keys for keys in known)]
            key = by.removesuffix(".name")
            raise ConfigError(f"{key}={value}: expected one of {', '.join(choices)}")


def _name_in_its_place(config: DictConfig, group: str, choice: str) -> str | None:
    """Name in a group that is not the one of the choice; None where the choice is followed.

    Args:
        config: composed configuration.
        group: group of the choice.
        choice: name of its file.
    """
    file = folder("conf") / group / f"{choice}.yaml"
    if not file.is_file():
        return None
    expected = cast(DictConfig, OmegaConf.load(file)).get("name")
    node = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)).get(group)
    name = node.get("name") if isinstance(node, dict) else None
    return str(name) if None not in (expected, name) and name != expected else None


def _unknown_key(key: str, words: Sequence[str]) -> str:
    """Message about a key that does not exist, with the keys and groups that do.

    Args:
        key: dotted key, or a group.
        words: overrides of the command line.
    """
    group, *rest = re.split(r"[./]", key)
    if group in FORMER_KEYS:
        value = next((word.partition("=")[2] for word in words if key_of(word) == key), "…")
        renamed = ".".join([FORMER_KEYS[group], *rest])
        return f"{key}: this key is called {renamed} now; write {renamed}={value}"
    config = _nearest(key, words)
    if by := _controlling_key(config, group):
        return (
            f"{key}: this experiment sets {group} by {by}, with all of its keys; "
            "leave out experiment= to change one"
        )
    if key in GONE:
        return f"{key}: {GONE[key]}"
    if "/" in key or choices_with_part(*key.partition(".")[::2]):
        return _unknown_group(key, config, words)
    there = flat(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)))
    names = keys_beside(group, there) if "." in key else [*GROUPS, *TOP, PLUGINS]
    close = difflib.get_close_matches(key, names, 1, 0.7) if "." not in key else []
    meant = f"did you mean {close[0]}?" if close else suggestion(key, there)
    if group == "hydra":
        return f"{key}: there is no such key; {meant or '--cfg hydra lists those that exist'}"
    return f"{key}: there is no such key; {meant} expected one of {', '.join(names)}".replace(
        "  ", " "
    )


def _nearest(key: str, words: Sequence[str]) -> DictConfig:
    """Configuration of the other words of a command line, or that without any."""
    plain = [
        word
        for word in words
        if "=" in word and "," not in word and word.partition("=")[0].lstrip("+~") != key
    ]
    try:
        return compose([word for word in plain if not word.startswith("hydra")])
    except ConfigError:
        return compose()


def _unknown_group(key: str, config: DictConfig, words: Sequence[str]) -> str:
    """Message about a group that does not exist, or not beside the other choices."""
    group, _, part = key.replace(".", "/").partition("/")
    word = next((word for word in words if key_of(word) == key), key)
    choice = str((config.get(group) or {}).get("name", ""))
    if said := without_part(group, part, choice, word):
        return said
    if group == "hydra" and part.startswith("sweeper/"):
        return (
            f"{word}: only a study has a {part.rpartition('/')[2]}; write -m study=NAME beside it"
        )
    return f"{key}: there is no such group beside the other choices; groups: {', '.join(GROUPS)}"


def with_values(config: DictConfig, **values: Any) -> DictConfig:
    """Copy of a configuration with other values; `trainer__epochs` stands for `trainer.epochs`."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return config
