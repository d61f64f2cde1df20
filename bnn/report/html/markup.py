"""HTML elements, in which every string is text unless this module made it.

Hence no name from a store can become a tag. Figures are inside the page, as SVG or PNG in `data:`
addresses: the page loads nothing.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

from bnn.tables import numeric

VOID = ("img", "meta", "br")
"""Elements without content."""


class Html(str):
    """Markup. Any other string is text, and escaped where it enters an element."""

    __slots__ = ()


def as_html(content: object) -> Html:
    """Markup as it is, anything else as escaped text."""
    return content if isinstance(content, Html) else Html(escape(str(content)))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Markup of several parts, one after the other."""
    return Html(as_html(separator).join(map(as_html, parts)))


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """The element `<name attributes>content</name>`.

    Args:
        name: tag.
        content: markup or text, one after the other.
        attributes: a trailing underscore of a name (`class_`) falls away, others become hyphens.
    """
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    start = f"<{name}{''.join(pairs)}>"
    return Html(start if name in VOID else f"{start}{join(content)}</{name}>")


def paragraph(text: str) -> Html:
    """A paragraph, in which text between backticks is code."""
    parts = re.split(r"`([^`]*)`", text)
    return element(
        "p", *(element("code", part) if number % 2 else part for number, part in enumerate(parts))
    )


def table_element(columns: Mapping[str, Sequence[object]]) -> Html:
    """A table; columns of numbers are set to the right.

    Args:
        columns: head -> cells, of one length.
    """
    head, rows = list(columns), list(zip(*columns.values(), strict=True))
    classes: list[dict[str, object]] = [
        {"class_": "number"} if numeric([cell for cell in cells if not _is_html(cell)]) else {}
        for cells in columns.values()
    ]

    def line(cell: str, cells: Sequence[object]) -> Html:
        pairs = zip(cells, classes, strict=True)
        return element("tr", *(element(cell, content, **css) for content, css in pairs))

    body = element("tbody", *(line("td", row) for row in rows))
    return element("div", element("table", element("thead", line("th", head)), body), class_="wide")


def _is_html(content: object) -> bool:
    return isinstance(content, Html)


def details(summary: object, *content: object) -> Html:
    """Content that unfolds at a click on its summary."""
    return element("details", element("summary", summary), *content)


def svg_image(figure: Figure, alt: str) -> Html:
    """A figure as SVG whose text stays text; the same figure gives the same bytes.

    Args:
        figure: figure to draw.
        alt: description for readers who do not see it.
    """
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnn"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _image("image/svg+xml", file.getvalue(), alt)


def png_image(figure: Figure, alt: str, dpi: int = 110) -> Html:
    """A figure as PNG in true colours, since they are read off a scale.

    Args:
        figure: figure to draw.
        alt: description for readers who do not see it.
        dpi: pixels per inch.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return _image("image/png", file.getvalue(), alt)


def _image(kind: str, content: bytes, alt: str) -> Html:
    return element("img", src=f"data:{kind};base64,{base64.b64encode(content).decode()}", alt=alt)


def figure_element(image: Html, *caption: object, wide: bool = False) -> Html:
    """A figure below its caption.

    Args:
        image: element of the figure.
        caption: markup or text.
        wide: keep its size on a narrow screen, which then scrolls.
    """
    return element(
        "figure",
        element("figcaption", *caption),
        element("div", image, class_="wide") if wide else image,
    )
