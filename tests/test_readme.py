"""The README tells the truth: its example runs, its groups are those of conf, its commands parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import bnn
from bnn.config import GROUPS, compose
from bnn.paths import folder

README = Path(bnn.__file__).resolve().parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the source tree is not at hand")


def test_the_example_of_a_network_of_ones_own_runs_and_learns(capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, "README", "exec"), {"__name__": "readme"})
    accuracy = float(re.search(r"validation accuracy ([\d.]+) %", capsys.readouterr().out).group(1))
    assert accuracy > 50


def test_the_table_of_choices_is_that_of_conf() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README.read_text(), re.MULTILINE))
    assert set(rows) == {*GROUPS, "experiment", "study"}
    for group, cell in rows.items():
        assert set(re.findall(r"`(\w+)`", cell)) == {path.stem for path in (folder("conf") / group).glob("*.yaml")}, group


def test_every_command_composes() -> None:
    commands = re.findall(r"python -m bnn\.train ([^#\n`]+)", README.read_text())
    assert len(commands) >= 3
    for words in map(shlex.split, commands):
        choices = [word.partition(",")[0] for word in words if "=" in word]
        compose(choices)
