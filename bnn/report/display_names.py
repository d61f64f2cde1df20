"""What a configuration is called and how it is drawn: the same in every table and figure of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnn.report.configurations import SHOWN_IF_VARYING, Configuration, varying

TITLE = "estimator"
PROTOCOL = ("precision", "M", "optimizer", "epochs", "law", "norm", "model")
"""Heads that a short label leaves out first."""
LONGEST = 80
"""Characters of a name that a figure shows."""


def plain(name: str) -> str:
    """A name from the store as a figure takes it: as text and no formula, in one line, with what is too long cut off."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return (shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…").replace("$", r"\$")


def place(c: Configuration) -> str:
    """`stochastic · both`, the unit and where it is; `real-valued` for a network without binary layers."""
    return "real-valued" if c.first.neuron == "real" else f"{c.first.neuron} · {c.first.placement}"


def labels(found: Sequence[Configuration]) -> list[str]:
    """`st density, sgd lr 0.1 cosine, 12 epochs`: the estimator, and all that tells it apart from others."""
    return _joined(_parts(found))


def short(found: Sequence[Configuration]) -> list[str]:
    """`labels` without what they need not say: a setting goes where the rest still tells the configurations of each `place`
    apart, and so does an estimator that all have."""
    parts, places = _parts(found), [place(c) for c in found]
    for head in (*PROTOCOL, *(head for head in parts if "." in head), TITLE):
        fewer = {key: values for key, values in parts.items() if key != head}
        names = _joined(fewer) if fewer else []
        if (
            head in parts
            and all(names)
            and len(set(zip(places, names, strict=False))) == len(found) > 1
        ):
            alike = len({c.first.estimator_title for c in found if c.first.neuron != "real"}) == 1
            parts = fewer if head != TITLE or alike else parts
    return _joined(parts)


def _parts(found: Sequence[Configuration]) -> dict[str, list[str]]:
    """What a label can say: head -> a text for each configuration, empty where there is nothing to say."""
    columns = dict(varying(found))
    if len({c.first.law for c in found}) > 1:
        columns = {"law": [c.first.law for c in found], **columns}
    columns.pop("passes", None)  # the estimator's title tells them
    titles = ["real-valued" if c.first.neuron == "real" else c.first.estimator_title for c in found]
    return {TITLE: titles} | {
        head: [_told(head, value) for value in values] for head, values in columns.items()
    }


def _joined(parts: Mapping[str, Sequence[str]]) -> list[str]:
    return [", ".join(filter(None, texts)) for texts in zip(*parts.values(), strict=True)]


def _told(head: str, value: str) -> str:
    """A value, with its name where it needs one: `step 0.04`, but `cosine`; nothing for what is not there."""
    name = head.rpartition(".")[2]
    if value in ("–", "False"):
        return ""
    if head == "epochs":
        return f"{value} epochs"
    if value == "none":
        return f"{head} none"
    return (
        name
        if value == "True"
        else value
        if head in ("law", *SHOWN_IF_VARYING)
        else f"{name} {value}"
    )
