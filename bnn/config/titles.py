"""Display names of runs and estimators, from canonical configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnn.config.canonical import flat


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted keys in which configurations differ, without those that a run's title names.

    A configuration without binary layers has no slope, and differs from no other in it; parameters
    of a rule of the weights are compared with those of the same rule.

    Args:
        configs: canonical configurations.
    """
    leaves = [flat(dict(config)) for config in configs]
    binary = [flat(dict(config)) for config in configs if config["placement"]["layers"]]
    keys = sorted(set().union(*leaves))
    in_title = (
        "task.name",
        "estimator.",
        "placement.",
        "neuron.name",
        "neuron.law",
        "weights.name",
        "seed",
    )

    def varies(key: str) -> bool:
        if key.startswith("weights."):
            rules = {leaf.get("weights.name") for leaf in leaves}
            of_rules = [[one for one in leaves if one.get("weights.name") == r] for r in rules]
        else:
            of_rules = [binary if key.startswith("anneal.") else leaves]
        return any(len({str(leaf.get(key)) for leaf in group}) > 1 for group in of_rules)

    return [key for key in keys if not key.startswith(in_title) and varies(key)]


def estimator_title(plain: dict[str, Any]) -> str:
    """Display name of an estimator with its parameters: `reinforce leave_one_out 4`.

    A switch stands as its key where it is on, and is left out where it is off:
    `muprop 0.9 conditional`.

    Args:
        plain: canonical configuration.
    """
    words: list[str] = []
    for key, value in flat(plain["estimator"]).items():
        words += [key.rpartition(".")[2]] * value if isinstance(value, bool) else [str(value)]
    name = str(plain["estimator"]["name"])
    words.remove(name)
    return " ".join([name, *words])


PARTS = ("task", "neuron", "estimator", "placement", "weights", "seed")
"""Keys that every display name shows, in their order where nothing varies; classification and real
weights are left out."""
SHOWN = 3
"""Further keys that a display name shows where they vary."""


def varying_keys(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Keys in which the configurations of a sweep differ, as their display names show them first.

    Args:
        configs: canonical configurations.

    Returns:
        Of PARTS those that vary, and dotted keys of other values between them and the seed.
    """
    shown = [{part: _part(dict(config), part) for part in PARTS} for config in configs]
    parts = [part for part in PARTS if len({one[part] for one in shown}) > 1]
    parts.sort(key=("task", "weights", "estimator", "placement", "neuron", "seed").index)
    leaves = [flat(dict(config)) for config in configs]
    if "estimator" not in parts:  # its own parameters tell runs of one estimator apart
        names = sorted({key for leaf in leaves for key in leaf if key.startswith("estimator.")})
        others = [key for key in names if len({str(leaf.get(key)) for leaf in leaves}) > 1]
    else:
        others = []
    others = [*others, *differing_keys(configs)][:SHOWN]
    return (*(part for part in parts if part != "seed"), *others, *(["seed"] * ("seed" in parts)))


def run_title(plain: dict[str, Any], varying: Sequence[str] = ()) -> str:
    """Display name of a run: `stochastic · reinforce · both · s0`.

    Args:
        plain: canonical configuration.
        varying: keys that come first, see `varying_keys`: `reinforce · lr 0.1 · stochastic · s0`.
    """
    keys = [*varying, *(part for part in PARTS if part not in varying)]
    if not plain["placement"]["layers"]:
        keys = [key for key in keys if key not in ("estimator", "placement")]
    if "weights" not in varying and _weights(plain) == "real":
        keys = [key for key in keys if key != "weights"]
    if "task" not in varying and _task(plain) == "classification":
        keys = [key for key in keys if key != "task"]
    there = flat(plain)
    return " · ".join(_part(plain, key) for key in keys if key in PARTS or key in there)


def _weights(plain: Mapping[str, Any]) -> str:
    """Name of the rule of the weights; checkpoints of earlier versions have real ones."""
    return str(plain.get("weights", {"name": "real"})["name"])


def _task(plain: Mapping[str, Any]) -> str:
    """Name of the task; checkpoints of version 0.1.0 have classification."""
    return str(plain.get("task", {"name": "classification"})["name"])


def _part(plain: dict[str, Any], key: str) -> str:
    """Text of a key in a display name."""
    if key == "seed":
        return f"s{plain['seed']}"
    if key == "task":
        return _task(plain)
    if key == "weights":
        return f"{_weights(plain)} weights"
    if key in PARTS:
        return str(plain[key]["name"])
    group = key.removesuffix(".name")  # a choice of a group goes by the group
    return f"{group.rpartition('.')[2]} {flat(plain).get(key)}"
