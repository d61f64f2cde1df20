"""Frame of the HTML page: title, contents and sections, without scripts or addresses elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnn.report.html.markup import Html, element

CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A browser loads nothing but the page itself, whatever else should have come into it."""
STYLE = """
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: #1a1a1a; background: #fff;
  line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0.5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; } p { max-width: 50rem; }
a { color: #0b57a4; } nav ul { padding-left: 1.2rem; columns: 16rem; }
pre, code { font-family: ui-monospace, Menlo, Consolas, monospace, monospace; font-size: 0.85em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: 0.6rem; }
.wide { overflow-x: auto; } .wide > img { min-width: 40rem; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.5rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
.number { text-align: right; }
details > ul { margin: 0.2rem 0; padding-left: 1.1rem; }
summary { cursor: pointer; color: #0b57a4; }
.panels { display: grid; gap: 0.5rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0.5rem 0; } figcaption { font-size: 0.9rem; }
img { max-width: 100%; height: auto; }
@media print {
  details > ul { display: block; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        anchor: word that its address ends in.
        title: heading.
        body: elements below the heading.
    """

    anchor: str
    title: str
    body: Html


def page(title: str, lead: Html, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: heading.
        lead: elements above the table of contents.
        sections: parts, in their order.
    """
    links = (element("li", element("a", one.title, href=f"#{one.anchor}")) for one in sections)
    body = element(
        "body",
        element("h1", title),
        lead,
        element("nav", element("ul", *links), aria_label="contents"),
        element("main", *map(_section_element, sections)),
    )
    return Html("<!DOCTYPE html>\n") + element("html", _head(title), body, lang="en") + "\n"


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )


def _section_element(section: Section) -> Html:
    return element("section", element("h2", section.title), section.body, id=section.anchor)
