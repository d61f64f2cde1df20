"""HTML page: run lists of its numbers, no request for anything else, and no markup from names."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from bnn.report.configurations import group_by_configuration
from bnn.report.differences import Reference, differences
from bnn.report.display_names import display_names
from bnn.report.experiment import Experiment
from bnn.report.histories import History
from bnn.report.html.epoch_figures import HEALTH, LAB
from bnn.report.html.heatmaps import LayerViews
from bnn.report.html.markup import Html, as_html, element, join, paragraph
from bnn.report.html.sections import differences_section
from bnn.report.rows import Row

ALONE = ("meta", "img")
FROZEN = {"estimator": "frozen", "estimator_title": "frozen"}
HOSTILE = (
    "$\\frac$</td><script>alert(1)</script><img src=x onerror=alert(2)> & \"' ](http://x.example) `"
)


class Read(HTMLParser):
    """Elements of a page with attributes and text, as a browser nests them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(page)
        assert not self._open, "an element was left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))
        if tag not in ALONE:
            self._open.append(len(self.found) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for number in self._open:
            self.found[number][2].append(data)

    def all(self, *tags: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(text)) for tag, attributes, text in self.found if tag in tags]


def histories(rows: list[Row]) -> dict[str, History]:
    keys = [f"{part}/{key}" for part in ("train", "val") for key in ("loss", "accuracy")]
    binary = [f"units/act1/{m.key}" for m in HEALTH] + [f"lab/below/{m.key}" for m in LAB]
    return {
        r.run_id: {key: {1: 0.5, 2: 0.25} for key in keys + (binary if r.neuron != "real" else [])}
        for r in rows
    }


def experiment(rows: list[Row], by_epoch: dict[str, History] | None = None) -> Experiment:
    reference = Reference("estimator", "st", 0.1)
    nothing = LayerViews(missing=["No heatmaps: the data set is away."])
    return Experiment(
        ("seed_table/mnist",), rows, "Left out: 2 failed. ", by_epoch or {}, nothing, reference, ""
    )


@pytest.fixture(scope="module")
def named(row: Callable[..., Row]) -> list[Row]:
    """Two seeds of five configurations; their run ids are words that stand nowhere else."""
    real = {"neuron": "real", "estimator": "none", "estimator_title": "none", "placement": "none"}
    cells = [real] + [
        {"neuron": neuron, **kind}
        for neuron in ("stochastic", "deterministic")
        for kind in ({}, FROZEN)
    ]
    return [
        row(0.9 + k / 100, seed=s, run_id=f"id{k}{s}x", **cell)
        for k, cell in enumerate(cells)
        for s in (0, 1)
    ]


@pytest.fixture(scope="module")
def page(named: list[Row]) -> str:
    return experiment(named, histories(named)).html_page()


def test_every_row_of_every_table_names_the_runs_behind_it(named: list[Row], page: str) -> None:
    rows = [text for _, text in Read(page).all("tr") if text[:13] != "configuration"]
    found = group_by_configuration(named)
    assert len(rows) == 5 + 4 + 5 + 4 + 4 + 10  # results, differences, cost, units, lab, runs
    assert all(re.findall(r"id\d\dx", text) for text in rows)
    for c in found:
        own = sorted(r.run_id for r in c.rows)
        assert sum(sorted(re.findall(r"id\d\dx", text)) == own for text in rows) >= 2


def test_every_figure_of_seeds_names_its_runs_and_every_image_says_what_it_shows(page: str) -> None:
    read = Read(page)
    panels = [text for _, text in read.all("figcaption") if re.search(r"id\d\dx", text)]
    assert len(panels) == 5 + 4 + 4 and all(
        len(re.findall(r"id\d\dx", text)) == 2 for text in panels
    )
    pictures = read.all("img")  # errors and seconds of each neuron, then the panels
    assert len(pictures) == 1 + 2 + 13 and all(attributes["alt"] for attributes, _ in pictures)


def test_a_difference_names_its_own_runs_and_those_of_the_reference_at_common_seeds(
    row: Callable[..., Row],
) -> None:
    rows = [row(seed=s, run_id=f"id{s}0x") for s in (1, 2)] + [
        row(seed=s, run_id=f"id{s}1x", **FROZEN) for s in (2, 3)
    ]
    found = differences(rows, Reference("estimator", "st", 0.1))
    section = differences_section(
        found, display_names(group_by_configuration(rows)), Reference("estimator", "st", 0.1), ""
    )
    lines = {text[:6]: re.findall(r"id\d\dx", text) for _, text in Read(section.body).all("tr")}
    assert lines["frozen"] == ["id21x", "id31x", "id20x"] and lines["st den"] == ["id10x", "id20x"]


def test_the_page_asks_for_nothing_and_runs_nothing(page: str) -> None:
    read = Read(page)
    assert not read.all("script", "link", "iframe", "object", "embed", "base", "form")
    addresses = [
        value
        for _, attributes, _ in read.found
        for key, value in attributes.items()
        if key in ("src", "href")
    ]
    assert len(addresses) > 20 and all(
        str(value).startswith(("data:image/", "#")) for value in addresses
    )
    assert not re.search(r"url\(|@import", read.all("style")[0][1])
    [policy] = [
        a["content"]
        for a, _ in read.all("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert str(policy).startswith("default-src 'none'") and "script" not in str(policy)


def drawings(page: Read) -> list[ElementTree.Element]:
    sources = [str(attributes["src"]) for attributes, _ in page.all("img")]
    return [
        ElementTree.fromstring(base64.b64decode(s.partition(",")[2]))
        for s in sources
        if s.startswith("data:image/svg")
    ]


def test_figures_are_drawings_with_text_in_them_that_ask_for_nothing_either(page: str) -> None:
    for drawing in drawings(Read(page)):
        assert [part for part in drawing.iter() if part.tag.endswith("}text")]
        links = [
            value
            for part in drawing.iter()
            for key, value in part.attrib.items()
            if key.endswith("href")
        ]
        assert all(value.startswith("#") for value in links)
        assert not [
            part for part in drawing.iter() if part.tag.endswith(("script", "foreignObject"))
        ]


def test_the_same_material_gives_the_same_page(named: list[Row], page: str) -> None:
    assert experiment(named, histories(named)).html_page() == page


def test_every_entry_of_the_contents_leads_to_a_section(page: str) -> None:
    there = [attributes.get("id") for attributes, _ in Read(page).all("section")]
    assert [str(attributes["href"])[1:] for attributes, _ in Read(page).all("a")] == there and len(
        there
    ) == 8


def test_a_section_without_its_material_says_so(named: list[Row]) -> None:
    text = experiment(named).html_page()
    said = (
        "no losses and accuracies by epoch",
        "No heatmaps: the data set is away.",
        "no record of their units",
        "<code>lab.every=1</code>",
        "Left out: 2 failed.",
    )
    for sentence in said:
        assert sentence in text
    without = Experiment(
        ("x",), named, "", {}, LayerViews(), None, "No differences, for a reason."
    ).html_page()
    assert "No differences, for a reason." in without and "Left out" not in without


def test_a_configuration_that_lacks_what_others_have_is_named(page: str) -> None:
    assert page.count("Without such a record: real-valued.") == 2


@pytest.fixture
def hostile(row: Callable[..., Row]) -> list[Row]:
    """Rows in which the store has markup for every name."""
    words = (
        "model",
        "neuron",
        "law",
        "estimator",
        "estimator_title",
        "placement",
        "anneal",
        "optimizer",
        "precision",
        "norm",
        "commit",
        "hardware",
        "versions",
        "command",
        "run_id",
        "dataset",
        "experiment",
    )
    made = []
    for seed in (0, 1):
        texts = {word: f"{word}{HOSTILE}" for word in words}
        texts["run_id"] += seed * "2"
        made.append(row(seed=seed, settings=f"a.b={HOSTILE}; c=1", **texts))
    return made + [row(seed=s, dataset=f"dataset{HOSTILE}") for s in (0, 1)]


def test_names_from_the_store_stay_text_in_the_page(hostile: list[Row]) -> None:
    by_epoch = {
        r.run_id: {f"units/<b>{HOSTILE.replace('/', '')}/dead": {1: 0.1}, "val/loss": {1: 0.5}}
        for r in hostile
    }
    made = Experiment(
        (HOSTILE,), hostile, HOSTILE, by_epoch, LayerViews(missing=[HOSTILE]), None, HOSTILE
    )
    page = Read(made.html_page())
    ours = (
        "html head meta title style body h1 h2 p code pre nav ul li a main section div figure img "
        "figcaption table thead tbody tr th td details summary strong"
    )
    assert {tag for tag, _, _ in page.found} <= set(ours.split())
    assert not [
        key for _, attributes, _ in page.found for key in attributes if key.startswith("on")
    ]
    assert all(
        str(attributes["src"]).startswith("data:image/") for attributes, _ in page.all("img")
    )
    assert page.all("title") == [({}, HOSTILE)]
    for shown_in in ("p", "td", "code", "strong", "img"):
        told = [text + str(attributes.get("alt")) for attributes, text in page.all(shown_in)]
        assert any("<script>alert(1)</script>" in text for text in told), shown_in
    for drawing in drawings(page):
        assert not [
            part for part in drawing.iter() if part.tag.rpartition("}")[2] in ("script", "img", "b")
        ]


def test_names_from_the_store_stay_text_in_markdown(hostile: list[Row]) -> None:
    made = Experiment(("x",), hostile, "", {}, LayerViews(), None, "")
    text, _, rest = made.markdown("x").partition("```bash\n")
    code, _, after = rest.partition("\n```")
    assert "<script" in code and "<" not in text + after and "](http://x" not in text + after
    assert "&lt;script>" in text and "[the page](x.html)" in after


def test_a_string_is_text_wherever_it_enters_an_element() -> None:
    assert element("p", "<b>", id='"x') == '<p id="&quot;x">&lt;b&gt;</p>'
    assert element("p", element("b", "x"), as_html("&")) == "<p><b>x</b>&amp;</p>"
    assert join(["<", Html("<br>")], "&") == "&lt;&amp;<br>"
    assert paragraph("a `<b>` <c>") == "<p>a <code>&lt;b&gt;</code> &lt;c&gt;</p>"
    assert (
        element("p", Html("<b>") + "</b>") == "<p>&lt;b&gt;&lt;/b&gt;</p>"
    )  # a sum of markup and text is text again
