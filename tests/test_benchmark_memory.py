"""Memory table of the benchmark: its reading of /proc, and a run in which every phase is seen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import environment

from bnn.benchmark import memory
from bnn.benchmark.__main__ import main

STATUS = """Name:\tpython
VmHWM:\t  204800 kB
VmRSS:\t  102400 kB
RssAnon:\t   61440 kB
RssFile:\t   40960 kB
Threads:\t3
"""
SMAPS = """7f00-7f10 r--p 00000000 08:01 12   /lib/a/libtorch.so
Size:                 64 kB
Rss:                  60 kB
Pss:                  10 kB
7f10-7f20 r-xp 00010000 08:01 12   /lib/a/libtorch.so
Size:                 64 kB
Rss:                   4 kB
7f20-7f30 rw-p 00000000 00:00 0
Size:                 64 kB
Rss:                  50 kB
7f30-7f40 rw-p 00000000 08:01 13   /lib/a/libc.so.6
Size:                 64 kB
Rss:                   8 kB
"""


def test_status_and_maps_are_read_by_field_and_by_file() -> None:
    found = memory.resident(STATUS)
    assert found == {"VmRSS": 100, "RssAnon": 60, "RssFile": 40, "VmHWM": 200}
    assert memory.mapped(SMAPS) == {"libtorch.so": 64, "libc.so.6": 8}


ALLOCATION = """
import numpy as np
from bnn.benchmark import memory
account = memory.Account()
account.point("before")
held = np.ones(64 * 2**20, np.uint8)
account.before("allocated", len)(held)
print(account.table())
"""


@pytest.mark.skipif(not memory.STATUS.is_file(), reason="needs Linux's /proc")
def test_what_was_allocated_between_two_points_is_in_the_table() -> None:
    """In a process of its own: one that has run other tests may have the memory already."""
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATION], capture_output=True, text=True, check=True
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[2:]] == ["before", "allocated"]
    assert 60 <= int(rows[3][1]) <= 80


def test_without_proc_the_command_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    with pytest.raises(SystemExit, match="--memory: expected Linux"):
        main(["--memory"])


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(not memory.STATUS.is_file(), reason="needs Linux's /proc")
def test_every_phase_of_a_run_has_its_row(tmp_path: Path) -> None:
    words = ["data=digits", "data.limit=64", "model=mlp", "trainer.epochs=1"]
    command = [sys.executable, "-m", "bnn.benchmark", "--memory", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (\S.*?) +\| +[+-]\d+ \| +(\d+) ", done.stdout, re.MULTILINE))
    phases = ["Python", "torch", "MLflow", "data set", "training", "evaluation of the test split"]
    assert [row for row in rows if row in phases] == phases
    assert int(rows["Python"]) < 60 < 100 < int(rows["torch"]) < int(rows["training"])
    assert "libtorch_cpu.so" in done.stdout and not list(tmp_path.iterdir())
