"""Catalogue of choices: groups, keys, recipes and estimators, from conf/ and the code."""

from __future__ import annotations

import inspect
import re
from typing import Any

from bnn import schema
from bnn.config import groups
from bnn.estimators import Estimator
from bnn.paths import folder
from bnn.tables import markdown

LAYERS, UNITS = (1, 2, 3), 8
"""Networks for which the evaluations of an estimator are counted: binary layers, units of each."""
_CITATION = re.compile(r"\s*\(([^()]*\b(?:19|20)\d\d[^()]*)\)")


def choices() -> str:
    """Table of groups: the choices of each, its default first, and what it decides."""
    chosen = groups.defaults()
    rows = []
    for group in groups.COMBINED:
        names = [path.stem for path in groups.files(group)]
        names.sort(key=lambda name: (name != chosen.get(group), name))
        rows.append([f"`{group}`", ", ".join(f"`{name}`" for name in names), groups.ABOUT[group]])
    return markdown(["group", "choices, the default first", "decides"], rows)


def keys(group: str) -> str:
    """Table of a group's keys: default, choices that have the key, and meaning.

    Args:
        group: folder of conf/, or `train` for the keys outside of groups.
    """
    paths = [folder("conf") / "train.yaml"] if group == "train" else groups.files(group)
    found: dict[groups.Key, list[str]] = {}
    for path in paths:
        for key in groups.keys(path):
            found.setdefault(key, []).append(path.stem)
    prefix = "" if group == "train" else f"{group.replace('/', '.')}."
    rows = []
    for (name, value, meaning), names in found.items():
        having = "all" if len(names) == len(paths) else ", ".join(f"`{name}`" for name in names)
        rows.append([f"`{prefix}{name}`", f"`{value}`", having, meaning])
    if len(paths) == 1:
        return markdown(["key", "default", "meaning"], [[k, v, c] for k, v, _, c in rows])
    return markdown(["key", "default", "of", "meaning"], rows)


def recipes(group: str) -> str:
    """Table of the recipes of a group: the question and the command of each, from its comments."""
    rows = []
    for path in groups.files(group):
        comments = groups.description(path)
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
        cost = counts[0] if len(set(counts)) == 1 else ", ".join(counts)
        rows.append([f"`{name}`", summary, rule, cost, made.unbiasedness, source])
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


def renamed_tags() -> str:
    """Table of the tags of MLflow runs that version 0.1.0 called otherwise."""
    rows = [[f"`{old}`", f"`{new}`"] for new, old in schema.OLD_TAGS.items()]
    return markdown(["0.1.0", "now"], rows)
