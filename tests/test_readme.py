"""The README tells the truth: its example runs, its groups are those of conf, its commands parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import bnn
from bnn.config.canonical import GROUPS
from bnn.config.compose import compose
from bnn.estimators import Estimator
from bnn.paths import folder

README = Path(bnn.__file__).resolve().parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the source tree is not at hand")


def test_the_example_of_a_network_of_ones_own_runs_and_learns(
    capsys: pytest.CaptureFixture,
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, "README", "exec"), {"__name__": "readme"})
    accuracy = float(re.search(r"validation accuracy ([\d.]+) %", capsys.readouterr().out).group(1))
    assert accuracy > 50


def rows_under(head: str) -> list[str]:
    """The lines of the README's table whose first cell is headed `head`."""
    (table,) = re.findall(
        rf"^\| {head} \|.*\n\|---.*\n((?:\|.*\n)+)", README.read_text(), re.MULTILINE
    )
    return table.splitlines()


def test_the_table_of_choices_is_that_of_conf() -> None:
    rows = dict(re.match(r"\| `(\w+)` \| (.*?) \|", line).groups() for line in rows_under("group"))
    assert set(rows) == {*GROUPS, "experiment", "study"}
    for group, cell in rows.items():
        assert set(re.findall(r"`(\w+)`", cell)) == {
            path.stem for path in (folder("conf") / group).glob("*.yaml")
        }, group


def test_the_table_of_estimators_says_of_each_what_it_claims() -> None:
    told: dict[str, str] = {}
    for line in rows_under("estimator"):
        first, *_, last = line.strip("| ").split(" | ")
        told |= dict.fromkeys(re.findall(r"`(\w+)`", first), last)
    assert set(told) == set(Estimator.registry) - {"none"}
    for name, words in told.items():
        estimator = Estimator.registry[name]
        assert words.startswith("exact" if estimator.deterministic else "up to" if estimator.up_to_scale else
                                "yes" if estimator.unbiased else "no"), name  # fmt: skip


def test_every_command_composes() -> None:
    commands = re.findall(r"python -m bnn\.train ([^#\n`]+)", README.read_text())
    assert len(commands) >= 3
    for words in map(shlex.split, commands):
        choices = [word.partition(",")[0] for word in words if "=" in word]
        if not any(
            word.startswith("plugins=") for word in words
        ):  # a module that the reader brings: tests/test_plugins.py
            compose(choices)
