"""Messages about keys that no configuration has, or that another choice of their group has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from bnn.config.canonical import GROUPS, PLUGINS, TOP, flat
from bnn.paths import folder

FOREIGN = {
    "learning_rate": "optimizer.lr",
    "batch": "trainer.batch_size",
    "num_epochs": "trainer.epochs",
    "n_jobs": "hydra.launcher.n_jobs",
    "random_state": "seed",
}
"""Names of other tools, or of launchers that are packages of their own, and the keys they mean."""

NEEDS = {
    "hydra.launcher": "-m hydra/launcher=auto",
    "hydra.sweeper": "a study: -m study=NAME",
}
"""Nodes of Hydra whose keys depend on a choice, and what to write for those below."""


@cache
def choices_by_key() -> Mapping[str, list[str]]:
    """Choices that have a key, `group=name`, by dotted key; of all groups in `conf`."""
    found: dict[str, list[str]] = {"hydra.launcher.n_jobs": ["hydra/launcher=auto"]}
    root = folder("conf")
    for file in sorted(root.rglob("*.yaml")):
        group = file.relative_to(root).parent.as_posix()
        if group.split("/")[0] not in GROUPS and group != "hydra/sweeper":
            continue
        node: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        own = node.get(group, node)  # a file may set keys of other groups too
        leaves = flat({key: value for key, value in own.items() if key != "defaults"})
        for leaf in leaves:
            key = f"{group.replace('/', '.')}.{leaf}"
            found.setdefault(key, []).append(f"{group}={file.stem}")
    return found


@cache
def choices_with_part(group: str, part: str) -> list[str]:
    """Choices of a group whose file takes a choice of the group below it: `reinforce`."""
    found = []
    for file in sorted((folder("conf") / group).glob("*.yaml")):
        node: Any = OmegaConf.load(file)
        if any(not isinstance(entry, str) and part in entry for entry in node.get("defaults", [])):
            found.append(file.stem)
    return found


def without_part(group: str, part: str, choice: str, word: str) -> str | None:
    """Message about a group below a choice that has none: `estimator/baseline` under `st`.

    Args:
        group: group above.
        part: name of the group below it.
        choice: choice of the group above.
        word: override of the command line.

    Returns:
        The message; None where no choice has such a group.
    """
    if not (having := choices_with_part(group, part)):
        return None
    return f"{word}: {group}={choice} has no {part}; write {group}={having[0]} beside it"


def owners(key: str) -> str:
    """Choices under which a key exists: `estimator=arms`; empty outside the groups."""
    if (need := NEEDS.get(key.rpartition(".")[0])) is not None:
        return need
    choices = choices_by_key().get(key, [])
    group = key.partition(".")[0]
    if key.startswith("estimator.baseline."):
        return f"estimator={choices_with_part(group, 'baseline')[0]}"
    return " or ".join(choices[:3]) + (" or others" if len(choices) > 3 else "")


def suggestion(key: str, there: Mapping[str, Any]) -> str:
    """Sentence with the key that was meant, or empty: `did you mean optimizer.lr?`.

    A key of the same name is meant first, then one of a similar name. Those of the configuration
    are found first, then those of other choices.

    Args:
        key: dotted key that does not exist.
        there: leaves of the composed configuration by dotted key.
    """
    elsewhere = [name for name in choices_by_key() if name not in there]
    group, leaf = key.partition(".")[0], key.rpartition(".")[2]
    if key in elsewhere:
        same = [name for name in _named(leaf, [*there, *elsewhere], group) if name != key]
        meant = " or ".join(_with_owner(name, there) for name in same)
        return f"{f'did you mean {meant}? ' if same else ''}{key} needs {owners(key)};"
    for name in (leaf, *difflib.get_close_matches(leaf, _leaf_names(there, elsewhere), 1, 0.75)):
        exact = [FOREIGN[name]] if name in FOREIGN else []
        found = [
            *exact,
            *(
                other
                for keys in (there, elsewhere)
                for other in _named(name, keys, group if "." in key else None)
            ),
        ]
        if found := list(dict.fromkeys(found))[:3]:
            return f"did you mean {' or '.join(_with_owner(each, there) for each in found)}?"
    return ""


def _leaf_names(*keys: Any) -> list[str]:
    """Last parts of dotted keys, each once."""
    return list(dict.fromkeys(key.rpartition(".")[2] for some in keys for key in some))


def _named(leaf: str, keys: Any, group: str | None) -> list[str]:
    """Keys of which the last part is `leaf`, in the group if one is given; not those of groups."""
    return [
        key
        for key in keys
        if key.rpartition(".")[2] == leaf
        and "groups" not in key
        and (group is None or key.partition(".")[0] == group)
    ]


def _with_owner(key: str, there: Mapping[str, Any]) -> str:
    """Key, with what it needs where the configuration lacks it."""
    return key if key in there or not (needed := owners(key)) else f"{key} (with {needed})"


def keys_beside(group: str, there: Mapping[str, Any]) -> list[str]:
    """Keys that exist where an unknown one stands: those of its group, or the groups and others."""
    inside = [key for key in there if key.startswith(f"{group}.")]
    return inside or [*GROUPS, *TOP, PLUGINS]


def option_mistake(message: str, there: Iterable[str]) -> str:
    """Message of the command-line parser, with the key or option that an unknown option means.

    Args:
        message: text of the parser: `unrecognized arguments: --epochs`.
        there: options of the parser.
    """
    start, _, options = message.partition("unrecognized arguments: ")
    if start or not options:
        return message
    option = options.split()[0]
    if option[-1:] in "])}":
        return f"{option}: a space parts words; write the setting without it, or in quotes"
    name, _, value = option.lstrip("-").partition("=")
    if option == "-M":
        return "-M: there is no such option; a sweep is -m"
    name = name.replace("-", "_")
    meant = [
        key for key in [*TOP, *_named(name, choices_by_key(), None)] if key.split(".")[-1] == name
    ] or ([name] if name in GROUPS else [])
    begun = [one for one in there if one.startswith(option.partition("=")[0])]
    if begun and not meant:
        return f"{option}: there is no such option; did you mean {begun[0]}?"
    written = f"{meant[0]}={value or 'VALUE'}" if meant else "KEY=VALUE"
    return f"{option}: there is no such option; settings have no dashes: write {written}"
