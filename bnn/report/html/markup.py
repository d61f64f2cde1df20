"""Markup in which every string is text unless it was made here: what the store calls a thing cannot become a tag.

A figure travels inside the page, as SVG or PNG in a `data:` address: the page asks for nothing.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

from bnn.tables import numeric

ALONE = ("img", "meta", "br")
"""Elements without content."""


class Html(str):
    """Markup. Any other string is text, and escaped where it enters an element."""

    __slots__ = ()


def html(content: object) -> Html:
    return content if isinstance(content, Html) else Html(escape(str(content)))


def joined(parts: Iterable[object], between: str = "") -> Html:
    return Html(html(between).join(map(html, parts)))


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """`<name attributes>content</name>`; a trailing underscore in an attribute's name (`class_`) falls away."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{shown}>" + ("" if name in ALONE else f"{joined(content)}</{name}>"))


def prose(markdown: str) -> Html:
    """A paragraph, in which text between backticks is code."""
    parts = re.split(r"`([^`]*)`", markdown)
    return element(
        "p", *(element("code", part) if number % 2 else part for number, part in enumerate(parts))
    )


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> Html:
    """A table; a column of numbers is set to the right."""
    right = [
        numeric([row[i] for row in rows if not isinstance(row[i], Html)]) for i in range(len(head))
    ]

    def line(cell: str, cells: Sequence[object]) -> Html:
        looks: list[dict[str, object]] = [{"class_": "number"} if r else {} for r in right]
        return element(
            "tr",
            *(element(cell, content, **look) for content, look in zip(cells, looks, strict=True)),
        )

    body = element("tbody", *(line("td", row) for row in rows))
    return element("div", element("table", element("thead", line("th", head)), body), class_="wide")


def folded(summary: object, *content: object) -> Html:
    """Content that is shown on demand."""
    return element("details", element("summary", summary), *content)


def drawing(figure: Figure, alt: str) -> Html:
    """A figure as SVG whose text stays text; the same figure gives the same bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnn"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _image("image/svg+xml", file.getvalue(), alt)


def pixels(figure: Figure, alt: str, dpi: int = 110) -> Html:
    """A figure of pixels as PNG, its colours as they are: they are read off a scale."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return _image("image/png", file.getvalue(), alt)


def _image(kind: str, content: bytes, alt: str) -> Html:
    return element("img", src=f"data:{kind};base64,{base64.b64encode(content).decode()}", alt=alt)


def captioned(image: Html, *caption: object, wide: bool = False) -> Html:
    """A figure below its caption; a wide one keeps its size on a narrow screen, which then moves over it."""
    return element(
        "figure",
        element("figcaption", *caption),
        element("div", image, class_="wide") if wide else image,
    )
