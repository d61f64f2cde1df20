"""Canonical form of a composed configuration, and its digest.

Two jobs of a sweep that come to the same computation have the same canonical form, hence the same
digest, and run once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.errors import ConfigError, format_error

GROUPS = (
    "task",
    "data",
    "model",
    "neuron",
    "estimator",
    "placement",
    "weights",
    "anneal",
    "optimizer",
    "trainer",
    "tracking",
    "lab",
)


TOP = ("seed", "device", "dry_run", "fresh", "resume")


PLUGINS = "plugins"
"""Key of the modules to import; a canonical configuration has it if the list is not empty."""


VARS = "vars"
"""Key under which an experiment holds the variables that its own interpolations read."""


FORMER_KEYS = {"recipe": VARS}
"""Top keys of earlier versions, and their names now."""


NOT_RESULT = (
    "tracking",
    "lab",
    "dry_run",
    "fresh",
    "resume",
    "data.root",
    "data.offline_fallback",
    "trainer.progress",
    "trainer.keep_last",
    "trainer.threads",
    "trainer.cuda_graph",
)
"""Keys left out of the digest: where data lie, how a run is shown and tracked, and how it is
computed. Threads and CUDA graphs move the last bits, and are left out on purpose."""


def canonical(config: DictConfig) -> dict[str, Any]:
    """Canonical form of a composed configuration: its resolved groups and the keys beside them.

    Without binary layers estimator, annealing and neuron cannot matter: they become `none`, `none`
    and `real`. `model.init_from=null` is left out, as if there were no such key.

    Args:
        config: composed configuration.

    Returns:
        Nested plain values.

    Raises:
        ConfigError: for an unknown key, a group that was removed, or an interpolation of a key that
            does not exist.
    """
    groups = cast(dict[str, Any], OmegaConf.to_container(config))
    config = OmegaConf.create({key: value for key, value in groups.items() if key != "hydra"})
    if unknown := sorted(set(map(str, config)) - {*GROUPS, *TOP, PLUGINS, VARS}):
        if (name := FORMER_KEYS.get(unknown[0])) is not None:
            raise ConfigError(f"{unknown[0]}: this key is called {name} now; rename it")
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
        raise ConfigError(format_error(error)) from error
    assert isinstance(plain, dict)
    if plain["model"].get("init_from") is None:
        plain["model"].pop("init_from", None)
    modules = plugins.module_names(plain.get(PLUGINS))
    return {key: plain.get(key) for key in (*GROUPS, *TOP)} | (
        {PLUGINS: modules} if modules else {}
    )


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted key: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves.update(flat(value, f"{path}.") if isinstance(value, dict) else {path: value})
    return leaves


def moves_result(key: str) -> bool:
    """Whether a run's result can depend on the value of this dotted key."""
    return not is_within(key, NOT_RESULT)


def is_within(key: str, parts: Iterable[str]) -> bool:
    """Whether a dotted key is one of `parts` or lies in it: `a.b` is within `a`, as `a/b=…` is.

    Args:
        key: key of a value, or of a group's choice.
        parts: keys, or names of groups.
    """
    return any(key == part or key.startswith((f"{part}.", f"{part}/")) for part in parts)


def in_0_1_0(key: str, value: Any) -> bool:
    """Whether a dotted key that version 0.1.0 lacked has the value by which that version acted.

    These are its one task, its one parameter group, its real weights, its local expectations over
    one draw, and its validation by one. Digests and identities of studies leave such values out,
    and so are equal to those of 0.1.0.

    Args:
        key: dotted key.
        value: its value, or the text of it that a run's parameters keep.
    """
    text = str(value)
    return (
        (key == "task.name" and text == "classification")
        or (key == "weights.name" and text == "real")
        or (key in ("estimator.samples", "trainer.validation_samples") and text == "1")
        or (key.startswith("optimizer.groups.") and text == "None")
    )


RENAMED = {"estimator.pseudo_derivative": "estimator.proxy"}
"""Keys since version 0.1.0 -> their names in it, which digests and identities of studies keep."""


def _as_float(value: Any) -> Any:
    """Value with an integer as a float: 1 and 1.0 are the same choice."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def digest(plain: dict[str, Any]) -> str:
    """Digest of the result-relevant leaves of a canonical configuration: 12 hexadecimal digits."""
    leaves = {
        RENAMED.get(key, key): _as_float(value)
        for key, value in flat(plain).items()
        if moves_result(key) and not in_0_1_0(key, value)
    }
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:12]
