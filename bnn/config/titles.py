"""Display names of runs and estimators, from canonical configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnn.config.canonical import flat


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted keys in which configurations differ, without those that a run's title names.

    Args:
        configs: canonical configurations.
    """
    leaves = [flat(dict(config)) for config in configs]
    keys = sorted(set().union(*leaves))
    in_title = ("estimator.", "placement.", "neuron.name", "neuron.law", "seed")
    return [
        key
        for key in keys
        if not key.startswith(in_title) and len({str(leaf.get(key)) for leaf in leaves}) > 1
    ]


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


def run_title(plain: dict[str, Any]) -> str:
    """Display name of a run: `stochastic · reinforce · both · s0`."""
    parts = [
        plain["neuron"]["name"],
        plain["estimator"]["name"],
        plain["placement"]["name"],
        f"s{plain['seed']}",
    ]
    return " · ".join(parts if plain["placement"]["layers"] else [parts[0], parts[3]])
