"""Composed configurations: their canonical form, digest and name. No torch here, so that `--help` stays quick.

Two cells of a sweep that come to the same computation have the same canonical form, hence the same digest, and run once.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.errors import ConfigError
from bnn.paths import folder

GROUPS = (
    "task",
    "data",
    "model",
    "neuron",
    "estimator",
    "placement",
    "anneal",
    "optimizer",
    "trainer",
    "tracking",
    "lab",
)
TOP = ("seed", "device", "dry_run", "fresh", "resume")
PLUGINS = "plugins"
"""Modules to import for what they register (bnn.plugins). Part of a canonical configuration where there are any."""
RECIPE = "recipe"
"""A key in which a recipe may hold what its own interpolations read."""
GONE = {
    "estimator.scale": "relax takes the unit of its learned function from the estimates; leave it out"
}
"""Keys of earlier versions, and what to write instead."""
NOT_RESULT = (
    "tracking",
    "lab",
    "dry_run",
    "fresh",
    "resume",
    "data.root",
    "data.offline_fallback",
    "trainer.progress",
)
"""Keys that say where and how a run is watched, and do not move its result."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of `python -m bnn.train OVERRIDES`, for use from Python.

    Errors: ConfigError for overrides that do not parse or that lead nowhere, and for a plug-in that cannot be loaded.
    """
    plugins.load(named_plugins(overrides))
    try:
        with initialize_config_dir(str(folder("conf")), version_base="1.3"):
            config = hydra_compose("train", overrides=list(overrides))
            refuse_ignored(config, overrides)
            return config
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explained(error, overrides)) from error


def named_plugins(words: Sequence[str]) -> list[str]:
    """The modules that `plugins=` names on a command line, which are read before it is composed: their choices have to be
    there by then. Errors: ConfigError for what is no list of modules."""
    value = None
    for word in words:
        if re.match(r"\+{0,2}plugins=", word):
            try:
                override = OverridesParser.create().parse_override(word)
            except HydraException:
                continue  # composition refuses it
            if override.is_sweep_override():
                raise ConfigError(
                    f"{word}: all runs of a command have the same plug-ins; write plugins=[first,second]"
                )
            value = override.value()
    return plugins.module_names(value)


def explained(error: Exception, words: Sequence[str] = ()) -> str:
    """What Hydra or OmegaConf refuses in many lines, in one: what was expected, what came, which key to change.

    words: the overrides of the command line, under which a key that is asked for does not exist.
    """
    text = str(error)
    if found := re.search(
        r"Could not find '(.+)/(.+)'\s+Available options in '.+':((?:\n\t.+)*)", text
    ):
        return f"{found[1]}={found[2]}: expected one of {', '.join(found[3].split())}"
    if found := re.match(r"Could not override '([^']+)'", text):
        return _no_such(found[1], words)
    if isinstance(error, OverrideParseException):
        detail = [
            line for line in text.splitlines() if not line.startswith(("See http", "Error parsing"))
        ]
        return f"{error.override!r}: expected KEY=VALUE in Hydra's grammar ({detail[0] if detail else text})"
    return " ".join(text.split("\n")[0].split())


def _set_by(config: DictConfig, group: str) -> str | None:
    """The key of a recipe by which an experiment sets a whole group, which then has no choice of its own."""
    if group not in config or not OmegaConf.is_interpolation(config, group):
        return None
    keys = re.findall(
        rf"{RECIPE}\.\w+(?=}})", str(OmegaConf.to_container(config, resolve=False)[group])
    )  # type: ignore[index, call-overload]
    return keys[0] if keys else RECIPE


def refuse_ignored(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse overrides of a group that an experiment sets by a recipe, and that would be without effect.

    Raises:
        ConfigError: naming the key of the recipe.
    """
    for word in words:
        key, _, choice = word.lstrip("+~").partition("=")
        if key in GROUPS and (by := _set_by(config, key)):
            raise ConfigError(
                f"{word}: this experiment sets {key} by {by}; write {by}={choice}, or leave out experiment="
            )


def _no_such(key: str, words: Sequence[str]) -> str:
    """Why `key` cannot be set: the keys and groups that there are beside it."""
    plain = [
        word
        for word in words
        if "=" in word and "," not in word and word.partition("=")[0].lstrip("+~") != key
    ]
    try:
        config = compose([word for word in plain if not word.startswith("hydra")])
    except ConfigError:
        config = compose()
    group = re.split(r"[./]", key)[0]
    if by := _set_by(config, group):
        return f"{key}: this experiment sets {group} by {by}, with all of its keys; leave out experiment= to change one"
    if key in GONE:
        return f"{key}: {GONE[key]}"
    node = config.get(group) if "." in key else config
    if "/" in key or not isinstance(node, DictConfig):
        return (
            f"{key}: there is no such group beside the other choices; groups: {', '.join(GROUPS)}"
        )
    there = (
        [f"{group}.{name!s}" for name in node] if node is not config else [*GROUPS, *TOP, PLUGINS]
    )
    close = difflib.get_close_matches(key, there, 1, 0.7)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{key}: there is no such key; {meant}expected one of {', '.join(there)}"


def changed(config: DictConfig, **values: Any) -> DictConfig:
    """A copy of `config` with other values; `trainer__epochs` stands for `trainer.epochs`."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return config


def canonical(config: DictConfig) -> dict[str, Any]:
    """The resolved groups and seed of a configuration, with what cannot matter put to one value.

    Without binary layers there is nothing to estimate, fire or anneal: estimator and annealing become `none`, the neuron
    `real`. Errors: ConfigError for a group that was removed or an interpolation that leads nowhere.
    """
    config = OmegaConf.create(
        {k: v for k, v in OmegaConf.to_container(config).items() if k != "hydra"}
    )  # type: ignore
    if unknown := sorted(set(map(str, config)) - {*GROUPS, *TOP, PLUGINS, RECIPE}):
        expected = ", ".join((*GROUPS, *TOP, PLUGINS))
        raise ConfigError(
            f"{unknown[0]}: expected a key of {expected}, or a key within one of the groups"
        )
    for group in GROUPS:
        if not isinstance(config.get(group), DictConfig):
            raise ConfigError(
                f"{group}: expected a choice of this group, got {config.get(group)!r}"
            )
    if config.placement.get("layers") == []:
        with open_dict(config):
            config.estimator = {"name": "none"}
            config.anneal = {"name": "none", "slope": 1.0}
            config.neuron = {
                "name": "real",
                "law": config.neuron.get("law"),
                "rescale_gradient": False,
            }
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(plain, dict)
    modules = plugins.module_names(plain.get(PLUGINS))
    return {key: plain.get(key) for key in (*GROUPS, *TOP)} | (
        {PLUGINS: modules} if modules else {}
    )


def override_word(key: str, value: Any) -> str:
    """The override that sets a leaf to `value`, as a shell takes it: `optimizer.lr=0.1`, `'placement.layers=[0,-1]'`."""
    return shlex.quote(f"{key}={in_grammar(value)}")


def without_password(text: str) -> str:
    """`text` with the passwords of the addresses in it left out: `postgresql://user:***@host/db`."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)


def in_grammar(value: Any) -> str:
    """`value` in Hydra's override grammar, which reads it back as it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if _reads_back(value) else quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{in_grammar(k)}:{in_grammar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    return repr(value)


def _reads_back(text: str) -> bool:
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and "${" not in text and override.value() == text


def quoted(text: str) -> str:
    """`text` as a quoted string of Hydra's override grammar, without interpolation."""
    text = re.sub(r"(\\+)(?='|$)", r"\1\1", text)  # a backslash is itself, but before a quote
    return "'" + text.replace("'", "\\'").replace("${", "\\${") + "'"


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves.update(flat(value, f"{path}.") if isinstance(value, dict) else {path: value})
    return leaves


def moves_result(key: str) -> bool:
    """Whether a run's result can depend on the value of this dotted key."""
    return not any(key == watched or key.startswith(f"{watched}.") for watched in NOT_RESULT)


def in_0_1_0(key: str, value: Any) -> bool:
    """Whether version 0.1.0, which lacked this dotted key, did what its value says: one task, one parameter group.

    Such values are left out of digests and of a study's identity, so that those of 0.1.0 stay what they are.
    """
    return (key == "task.name" and value == "classification") or (
        key.startswith("optimizer.groups.") and value is None
    )


def digest(plain: dict[str, Any]) -> str:
    """12 hexadecimal digits of what determines a run's result, from a canonical configuration."""
    leaves = {
        # 1 and 1.0 are the same choice
        key: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in flat(plain).items()
        if moves_result(key) and not in_0_1_0(key, value)
    }
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:12]


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted keys whose value differs between canonical configurations, but those that a run's title tells already."""
    leaves = [flat(dict(config)) for config in configs]
    keys = sorted(set().union(*leaves))
    told = ("estimator.", "placement.", "neuron.name", "neuron.law", "seed")
    return [
        key
        for key in keys
        if not key.startswith(told) and len({str(leaf.get(key)) for leaf in leaves}) > 1
    ]


def estimator_title(plain: dict[str, Any]) -> str:
    """`st density`, `reinforce leave_one_out 4`, `muprop 0.9 conditional`: the estimator with what distinguishes it.

    A switch goes by its key where it is on, and by nothing where it is off.
    """
    words: list[str] = []
    for key, value in flat(plain["estimator"]).items():
        words += [key.rpartition(".")[2]] * value if isinstance(value, bool) else [str(value)]
    name = str(plain["estimator"]["name"])
    words.remove(name)
    return " ".join([name, *words])


def run_title(plain: dict[str, Any]) -> str:
    """`stochastic · reinforce · both · s0`."""
    parts = [
        plain["neuron"]["name"],
        plain["estimator"]["name"],
        plain["placement"]["name"],
        f"s{plain['seed']}",
    ]
    return " · ".join(parts if plain["placement"]["layers"] else [parts[0], parts[3]])
