"""Groups of conf/: choices, keys and meanings, from the YAML files and the comments in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from bnn.config.canonical import GROUPS
from bnn.paths import folder

ABOUT: Mapping[str, str] = {
    "task": "inputs, targets, loss, metrics and evaluation",
    "data": "data set",
    "model": "network",
    "model/sparsity": "sparsity objective of the gates of `model=gated_mlp`, `gated_cnn`",
    "neuron": "unit of a binary layer, its noise law, and how its slope scales the gradient",
    "estimator": "gradient estimator",
    "estimator/baseline": "baseline of `estimator=reinforce`",
    "placement": "activations that are binary; `placement.layers=[0,-1]` for others",
    "weights": "real or binary weights, and the rule that trains binary ones",
    "anneal": "slope by epoch",
    "optimizer": "optimizer, learning rate and its schedule",
    "trainer": "epochs, batch size, precision",
    "tracking": "MLflow: a file here, or a team's server",
    "lab": "measurements of the gradient during training",
    "experiment": "published recipes",
    "study": "search spaces of Optuna",
    "hydra/launcher": "how the jobs of a sweep are run: in turn, in parallel, by a cluster",
    "hydra/sweeper": "jobs of a sweep: every combination, or trials of an Optuna study",
    "hydra/sweeper/sampler": "sampler of a study",
    "hydra/sweeper/pruner": "pruner of a study",
}
"""Groups of conf/, and what each decides."""
COMBINED = (
    *GROUPS[:3],
    "model/sparsity",
    *GROUPS[3:5],
    "estimator/baseline",
    *GROUPS[5:],
    "experiment",
    "study",
)
"""Groups that a run is composed of, in the order of its configuration."""
RECIPES = ("experiment", "study")
"""Groups whose files set keys of other groups."""
HYDRA = {"hydra/launcher": "auto", "hydra/sweeper": "bnn_grid"}
"""Default choices of Hydra's groups."""
NO_KEYS = ("name", "defaults", "_target_")
"""Entries of a file by which it is chosen, composed or built, and which no override changes."""


class Key(NamedTuple):
    """Key of a YAML file.

    Args:
        name: dotted key within its group.
        value: default as it is written.
        meaning: comment behind it on its line, else the comment on the lines above it.
    """

    name: str
    value: str
    meaning: str


def defaults() -> dict[str, str]:
    """Default choice of each group that has one: those of conf/train.yaml, and within groups."""
    chosen = included(folder("conf") / "train.yaml") | HYDRA
    for group, choice in (
        ("model", "gated_mlp"),
        ("estimator", "reinforce"),
        ("hydra/sweeper", "bnn_optuna"),
    ):
        inner = included(folder("conf") / group / f"{choice}.yaml")
        chosen |= {f"{group}/{name}": one for name, one in inner.items()}
    return {group: choice for group, choice in chosen.items() if choice}


def included(path: Path) -> dict[str, str]:
    """Choices of further groups in a file's list of defaults; of its own group under an empty name.

    Args:
        path: YAML file.
    """
    found: dict[str, str] = {}
    for entry in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", []):
        if isinstance(entry, dict):
            found |= {group: one for group, one in entry.items() if " " not in group}
        elif entry != "_self_":
            found[""] = entry
    return found


def files(group: str, conf: Path | None = None) -> list[Path]:
    """Choices of a group: the files of its folder.

    Args:
        group: group, such as `estimator/baseline`.
        conf: folder of the groups; None: that of this package.
    """
    return sorted(((conf or folder("conf")) / group).glob("*.yaml"))


def description(path: Path) -> list[str]:
    """Comment at the beginning of a file, line by line, without its package directive."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return [line for line in lines if not line.startswith("@package")]


def keys(path: Path) -> list[Key]:
    """Keys of a file's own group in their order, with their defaults and meanings.

    Args:
        path: YAML file.
    """
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):  # a file that sets keys of other groups too
        root = next((node for key, node in root.value if key.value == path.parent.name), root)
    found = _leaves(root, text, "") if isinstance(root, yaml.MappingNode) else ()
    return [key for key in found if key.name.partition(".")[0] not in NO_KEYS]


def _leaves(node: yaml.MappingNode, text: str, prefix: str) -> Iterator[Key]:
    lines = text.splitlines()
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, text, f"{name}.")
            continue
        line = lines[value.end_mark.line if value.end_mark.column else value.start_mark.line]
        behind = line[value.end_mark.column :].partition("#")[2].strip()
        written = text[value.start_mark.index : value.end_mark.index].strip()
        yield Key(name, written, behind or _above(lines, key.start_mark.line))


def _above(lines: list[str], number: int) -> str:
    """Comment on the lines above a line; that at the beginning of a file belongs to no key."""
    start = number
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    above = lines[start:number] if start else []
    return " ".join(line.strip().removeprefix("#").strip() for line in above)
