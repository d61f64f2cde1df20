"""Catalogue of choices: groups, keys, recipes and estimators, from conf/ and the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bnn import schema
from bnn.config.canonical import GROUPS
from bnn.estimators import Estimator
from bnn.paths import folder
from bnn.tables import markdown

ABOUT: Mapping[str, str] = {
    "task": "inputs, targets, loss, metrics and evaluation",
    "data": "data set",
    "model": "network",
    "neuron": "unit of a binary layer, its noise law and its slope's part in the gradient",
    "estimator": "gradient estimator",
    "estimator/baseline": "baseline of `estimator=reinforce`",
    "placement": "activations that are binary; `placement.layers=[0,-1]` for others",
    "anneal": "slope by epoch",
    "optimizer": "optimizer, learning rate and its schedule",
    "trainer": "epochs, batch size, precision",
    "tracking": "MLflow: a file here, or a team's server",
    "lab": "measurements of the gradient during training",
    "experiment": "published recipes",
    "study": "search spaces of Optuna",
    "hydra/launcher": "jobs of a sweep: beside Hydra's own and its plug-ins",
    "hydra/sweeper": "combinations, or a study",
    "hydra/sweeper/sampler": "sampler of a study",
    "hydra/sweeper/pruner": "pruner of a study",
}
"""Groups of conf/, and what each decides."""
COMBINED = (*GROUPS[:5], "estimator/baseline", *GROUPS[5:], "experiment", "study")
"""Groups of the table of choices."""
LAYERS, UNITS = (1, 2, 3), 8
"""Networks for which the evaluations of an estimator are counted: binary layers, units of each."""
_CITATION = re.compile(r"\s*\(([^()]*\b(?:19|20)\d\d[^()]*)\)")


def defaults() -> dict[str, str]:
    """Default choice of each group of conf/train.yaml, and of REINFORCE's baseline."""
    listed = _load(folder("conf") / "train.yaml")["defaults"]
    chosen = {group: one for entry in listed if entry != "_self_" for group, one in entry.items()}
    reinforce = _load(folder("conf") / "estimator" / "reinforce.yaml")["defaults"]
    return chosen | {
        f"estimator/{group}": one for entry in reinforce for group, one in entry.items()
    }


def choices() -> str:
    """Table of groups: the choices of each, its default first, and what it decides."""
    chosen = defaults()
    rows = []
    for group in COMBINED:
        names = [path.stem for path in files(group)]
        names.sort(key=lambda name: (name != chosen.get(group), name))
        rows.append([f"`{group}`", ", ".join(f"`{name}`" for name in names), ABOUT[group]])
    return markdown(["group", "choices, the default first", "decides"], rows)


def files(group: str) -> list[Path]:
    """Choices of a group: the files of its folder in conf/."""
    return sorted((folder("conf") / group).glob("*.yaml"))


def keys(group: str) -> str:
    """Table of a group's keys: default, choices that have the key, and the comment beside it.

    Args:
        group: folder of conf/, or `train` for the keys outside of groups.
    """
    paths = [folder("conf") / "train.yaml"] if group == "train" else files(group)
    found: dict[tuple[str, str, str], list[str]] = {}
    for path in paths:
        for key, value, comment in _leaves(path):
            if key.partition(".")[0] not in ("name", "defaults", "_target_"):
                found.setdefault((key, value, comment), []).append(path.stem)
    prefix = "" if group == "train" else f"{group.replace('/', '.')}."
    rows = []
    for (key, value, comment), names in found.items():
        having = "all" if len(names) == len(paths) else ", ".join(f"`{name}`" for name in names)
        rows.append([f"`{prefix}{key}`", f"`{value}`", having, comment])
    if len(paths) == 1:
        return markdown(["key", "default", "meaning"], [[k, v, c] for k, v, _, c in rows])
    return markdown(["key", "default", "of", "meaning"], rows)


def recipes(group: str) -> str:
    """Table of the recipes of a group: the question and the command of each, from its comments."""
    rows = []
    for path in files(group):
        comments = [
            line.removeprefix("#").strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("#") and not line.startswith("# @package")
        ]
        at = next(i for i, line in enumerate(comments) if line.startswith("python -m"))
        command = comments[at].removesuffix("\\").strip()
        rows.append([f"`{path.stem}`", " ".join(comments[:at]).rstrip(":"), f"`{command}`"])
    return markdown([group, "question", "command"], rows)


def estimators() -> str:
    """Table of the estimators: their docstrings, and their cost and bias by their claims.

    Costs are counted at the defaults, for one, two and three binary layers of eight units.
    """
    rows = []
    for name in sorted(set(Estimator.registry) - {"none"}):
        summary, rule, source = _docstring(Estimator.registry[name])
        made = Estimator.registry[name]()
        counts = [str(made.evaluations([UNITS] * layers)) for layers in LAYERS]
        cost = counts[0] if len(set(counts)) == 1 else " · ".join(counts)
        rows.append([f"`{name}`", summary, rule, cost, _bias(made), source])
    head = ["name", "estimator", "rule", "evaluations of f", "unbiased", "source"]
    return markdown(head, rows)


def _docstring(estimator: Any) -> tuple[str, str, str]:
    """Summary of a docstring, the formula indented below it, and the first citation."""
    summary, *paragraphs = (inspect.getdoc(estimator) or "").split("\n\n")
    formula = paragraphs[0] if paragraphs and paragraphs[0].startswith("    ") else ""
    cited = _CITATION.search(" ".join([summary, *paragraphs]))
    shown = _CITATION.sub("", " ".join(summary.split())).rstrip(".")
    rule = f"`{' '.join(formula.split())}`" if formula else ""
    return shown, rule, " ".join(cited[1].split()) if cited else ""


def _bias(made: Estimator) -> str:
    if made.deterministic:
        return "exact"
    return "no" if not made.unbiased else "up to a scale" if made.up_to_scale else "yes"


def renamed_tags() -> str:
    """Table of the tags of MLflow runs that version 0.1.0 called otherwise."""
    rows = [[f"`{old}`", f"`{new}`"] for new, old in schema.OLD_TAGS.items()]
    return markdown(["0.1.0", "now"], rows)


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _leaves(path: Path) -> Iterator[tuple[str, str, str]]:
    """Dotted key, value as it is written, and comment of each leaf of a YAML file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, str, str]]:
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if isinstance(value, yaml.MappingNode):
                yield from walk(value, f"{name}.")
                continue
            line = lines[value.end_mark.line if value.end_mark.column else value.start_mark.line]
            comment = line[value.end_mark.column :].partition("#")[2].strip() if "#" in line else ""
            yield name, text[value.start_mark.index : value.end_mark.index].strip(), comment

    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from walk(root, "")
