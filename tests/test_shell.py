"""Command lines of a notebook: their output, and errors for those that fail."""

from __future__ import annotations

import subprocess

import pytest

from bnn.shell import run_command


def test_a_command_prints_both_of_its_streams(capfd: pytest.CaptureFixture) -> None:
    run_command("python -c 'import sys; print(1); print(2, file=sys.stderr)'")
    assert sorted(capfd.readouterr().out.split()) == ["1", "2"]


def test_a_command_that_fails_and_another_program_are_errors() -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        run_command("python -c 'raise SystemExit(3)'")
    with pytest.raises(ValueError, match="begins with python"):
        run_command("rm -r folder")
