"""Canonical form of a composed configuration, and its digest.

Two jobs of a sweep that come to the same computation have the same canonical form, hence the same
digest, and run once.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.errors import ConfigError

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


def canonical(config: DictConfig) -> dict[str, Any]:
    """The resolved groups and seed of a configuration, with what cannot matter put to one value.

    Without binary layers there is nothing to estimate, fire or anneal: estimator and annealing become `none`, the neuron
    `real`. Errors: ConfigError for a group that was removed or an interpolation that leads nowhere.
    """
    groups = cast(dict[str, Any], OmegaConf.to_container(config))
    config = OmegaConf.create({key: value for key, value in groups.items() if key != "hydra"})
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


RENAMED = {"estimator.pseudo_derivative": "estimator.proxy"}
"""Dotted keys that version 0.1.0 called otherwise; digests and a study's identity keep its names."""


def digest(plain: dict[str, Any]) -> str:
    """12 hexadecimal digits of what determines a run's result, from a canonical configuration."""
    leaves = {
        # 1 and 1.0 are the same choice
        RENAMED.get(key, key): float(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for key, value in flat(plain).items()
        if moves_result(key) and not in_0_1_0(key, value)
    }
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:12]
