"""Display names of configurations: the same in every table and figure of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnn.report.configurations import COLUMNS_IF_VARYING, EVALUATIONS, Configuration, varying
from bnn.tables import BLANK

REAL, TITLE = "real-valued", "estimator"
"""Heads of the first parts of a name; either has a text where the other has none."""
PROTOCOL = ("precision", "M", "optimizer", "epochs", "law", "norm", "model")
"""Heads of the parts that a short name leaves out first."""
LONGEST = 80
"""Characters of a name that a figure shows."""


def plot_text(name: str) -> str:
    """A name from the store as text that matplotlib shows literally.

    It is one printable line without formulas, cut off after LONGEST characters.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return (line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…").replace("$", r"\$")


def placement_name(c: Configuration) -> str:
    """Neuron and placement, `stochastic · both`; `real-valued` without binary layers."""
    return "real-valued" if c.real_valued else f"{c.first.neuron} · {c.first.placement}"


def full_names(configurations: Sequence[Configuration]) -> list[str]:
    """Estimator and every part that varies: `st density, sgd lr 0.1 cosine, 12 epochs`."""
    return _join(_parts(configurations))


def short_names(configurations: Sequence[Configuration]) -> list[str]:
    """Full names reduced to the parts that tell configurations of one `placement_name` apart.

    Parts are tried in a fixed order: those of PROTOCOL, then settings, and the estimator last if
    all have the same one. A part goes where the names that are left are not empty, and differ
    within each placement. A real-valued network stays named as one.
    """
    parts = _parts(configurations)
    placements = [placement_name(c) for c in configurations]
    estimators = {c.first.estimator_title for c in configurations if not c.real_valued}
    dispensable = [*PROTOCOL, *(head for head in parts if "." in head)]
    for head in [*dispensable, TITLE] if len(estimators) == 1 else dispensable:
        rest = {key: texts for key, texts in parts.items() if key != head}
        if head in parts and _tell_apart(_join(rest), placements):
            parts = rest
    return _join(parts)


def display_names(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """Names of a page: `stochastic · both, st density`, or less where that tells them apart."""
    rows = [c.first for c in configurations if not c.real_valued]
    varied = [
        field for field in ("neuron", "placement") if len({getattr(row, field) for row in rows}) > 1
    ]
    names = {}
    for c, name in zip(configurations, short_names(configurations), strict=True):
        where = "" if c.real_valued else " · ".join(getattr(c.first, field) for field in varied)
        names[c] = ", ".join(filter(None, [where, name]))
    return names


def _tell_apart(names: Sequence[str], placements: Sequence[str]) -> bool:
    """Whether several names are all there, and all different at each placement."""
    pairs = set(zip(placements, names, strict=True))
    return all(names) and len(pairs) == len(names) > 1


def _parts(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """Parts of a full name: head -> text for each configuration, empty where it has none."""
    columns = dict(varying(configurations))
    if len({c.first.law for c in configurations}) > 1:
        columns = {"law": [c.first.law for c in configurations], **columns}
    columns.pop(EVALUATIONS, None)  # the estimator's title implies them
    real = ["real-valued" if c.real_valued else "" for c in configurations]
    titles = ["" if c.real_valued else c.first.estimator_title for c in configurations]
    return {REAL: real, TITLE: titles} | {
        head: [_value_text(head, value) for value in values] for head, values in columns.items()
    }


def _join(parts: Mapping[str, Sequence[str]]) -> list[str]:
    return [", ".join(filter(None, texts)) for texts in zip(*parts.values(), strict=True)]


def _value_text(head: str, value: str) -> str:
    """A value, with its name where it needs one: `step 0.04`, but `cosine`; empty for no value."""
    name = head.rpartition(".")[2]
    if value in (BLANK, "False"):
        return ""
    if head == "weights":
        rule, space, rest = value.partition(" ")
        return f"{rule} weights{space}{rest}"
    if head == "epochs":
        return f"{value} epochs"
    if value == "none":
        return f"{head} none"
    if value == "True":
        return name
    return value if head in ("law", *COLUMNS_IF_VARYING) else f"{name} {value}"
