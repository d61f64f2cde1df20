"""What a configuration is called and how it is drawn: the same in every table and figure of a report."""

from __future__ import annotations

from collections.abc import Sequence

from bnn.figures import COLOURS
from bnn.report.configurations import SHOWN_IF_VARYING, Configuration, varying

REAL = "#444444"
LONGEST = 100
"""Characters of a name that a figure shows."""


def plain(name: str) -> str:
    """A name from the store as a figure shows it: as text and no formula, in one line, with what is too long cut off."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return (shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…").replace("$", r"\$")


def place(c: Configuration) -> str:
    """`stochastic · both`, the unit and where it is; `real-valued` for a network without binary layers."""
    return "real-valued" if c.first.neuron == "real" else f"{c.first.neuron} · {c.first.placement}"


def labels(found: Sequence[Configuration]) -> list[str]:
    """`st density, 12 epochs`: the estimator, and what tells it apart from others of its `place`."""
    columns = dict(varying(found))
    if len({c.first.law for c in found}) > 1:
        columns = {"law": [c.first.law for c in found], **columns}
    titles = ["real-valued" if c.first.neuron == "real" else c.first.estimator_title for c in found]
    columns.pop("passes", None)  # the estimator's title tells them
    rows = zip(*columns.values(), strict=True) if columns else [()] * len(found)
    return [
        plain(", ".join([title, *filter(None, map(_told, columns, row))])) for title, row in zip(titles, rows, strict=True)
    ]


def short(found: Sequence[Configuration]) -> list[str]:
    """The estimators alone where these tell the configurations of each `place` apart, else `labels`."""
    titles = ["real-valued" if c.first.neuron == "real" else c.first.estimator_title for c in found]
    alone = len({(place(c), title) for c, title in zip(found, titles, strict=True)}) == len(found)
    return [plain(title) for title in titles] if alone else labels(found)


def _told(head: str, value: str) -> str:
    """A value, with its name where it needs one: `step 0.04`, but `cosine`; nothing for what is not there."""
    name = head.rpartition(".")[2]
    if value in ("–", "False"):
        return ""
    if head == "epochs":
        return f"{value} epochs"
    return name if value == "True" else value if head in ("law", *SHOWN_IF_VARYING) else f"{name} {value}"


def colours(found: Sequence[Configuration]) -> dict[str, str]:
    """A colour for each estimator, by its title; they come again after six."""
    titles = dict.fromkeys(c.first.estimator_title for c in found if c.first.neuron != "real")
    return {title: COLOURS[i % len(COLOURS)] for i, title in enumerate(titles)}
