"""The README and docs/ tell the truth: code runs, commands compose, every page is within reach."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import bnn
from bnn.config.compose import compose
from bnn.estimators import Estimator

ROOT = Path(bnn.__file__).resolve().parent.parent
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the source tree is not at hand")

PAGES = [
    README,
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("sweeps/*.md")),
    *sorted(ROOT.glob("sweeps/results/*.md")),
    ROOT / "CONTRIBUTING.md",
]


def code_blocks(page: Path, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [code for one, code in found if one == language]


def links(page: Path) -> list[str]:
    """Addresses of a page, in Markdown and in img tags, without code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", text)
    return [one or other for one, other in found]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_readme_has_at_most_200_lines() -> None:
    assert len(README.read_text().splitlines()) <= 200


def test_the_readme_names_every_estimator_by_what_it_claims() -> None:
    section = README.read_text().split("## Estimators\n")[1].split("## ")[0]
    named = {
        kind: set(re.findall(r"`(\w+)`", text)) & set(Estimator.registry)
        for kind, text in re.findall(r"- \*\*([\w ,]+)\*\*(.*?)(?=\n- |\n\n)", section, re.DOTALL)
    }
    controls = named.pop("Controls")
    assert named == {
        kind: {
            name
            for name in set(Estimator.registry) - controls
            if (Estimator.registry[name].unbiased or Estimator.registry[name].bound) == unbiased
        }
        for kind, unbiased in (("Biased, of one evaluation", False), ("Unbiased", True))
    }


@pytest.mark.integration
def test_the_example_of_a_network_of_ones_own_runs_and_learns(
    capsys: pytest.CaptureFixture,
) -> None:
    (code,) = code_blocks(README, "python")
    exec(compile(code, "README", "exec"), {"__name__": "readme"})
    accuracy = float(re.search(r"validation accuracy ([\d.]+) %", capsys.readouterr().out).group(1))
    assert accuracy > 50


def test_the_first_block_runs_the_main_job_and_the_second_one_the_tests() -> None:
    main, tests, *_ = (block.splitlines() for block in code_blocks(README))
    assert main[0] == tests[0] == "python -m venv .venv"
    assert main[1].endswith("pip install -e .") and tests[1].endswith('pip install -e ".[test]"')
    assert "-m bnn.train -m " in main[2] and tests[2].endswith('python -m pytest -m "not slow"')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_composes(page: Path) -> None:
    text = re.sub(r"<!-- generated: .*?<!-- /generated -->", "", page.read_text(), flags=re.DOTALL)
    commands = re.findall(r"python -m bnn\.train ([^#\n`]+)", text.replace("\\\n", " "))
    assert page != README or len(commands) >= 5
    for words in map(shlex.split, commands):
        searched = ("interval(", "tag(", "choice(")
        fixed = [word for word in words if "=" in word and not any(s in word for s in searched)]
        choices = [word if "[" in word else word.partition(",")[0] for word in fixed]
        brought = any(word.startswith("plugins=") for word in words)  # tests/test_plugins.py
        placeholder = any("…" in word or word == "data.root=/path/to/images" for word in words)
        if not brought and not placeholder:
            compose(choices)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_and_image_exists(page: Path) -> None:
    for address in links(page):
        if re.match(r"https?://", address):
            continue
        path, _, anchor = address.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), address
        assert not anchor or anchor in anchors(there), address


def test_every_page_is_within_two_clicks_of_the_readme() -> None:
    reached = {README}
    for _ in range(2):
        for page in [page for page in reached if page.suffix == ".md"]:
            addresses = [address.partition("#")[0] for address in links(page)]
            reached |= {(page.parent / one).resolve() for one in addresses if ":" not in one}
    assert not set(PAGES) - reached


def test_lines_of_prose_are_short() -> None:
    for page in PAGES:
        text = re.sub(r"<!-- generated: .*?<!-- /generated -->|```.*?```", "", page.read_text(),
                      flags=re.DOTALL)  # fmt: skip
        long = [line for line in text.splitlines() if len(line) > 100 and line[:1] not in "|<"]
        assert not long, page
