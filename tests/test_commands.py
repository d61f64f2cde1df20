"""The command `bnn`: the list of commands, each of them, and what is answered in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bnn.__main__ import COMMANDS, main
from bnn.version import __version__


def bnn(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnn", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_commands_are_listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean train?" in line


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"binary-neurons {__version__}\n"


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_the_module_of_its_name(name: str) -> None:
    shown = bnn(name, "--help")
    alone = [sys.executable, "-m", f"bnn.{name}", "--help"]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=120)
    assert shown.returncode == done.returncode == 0, shown.stderr
    assert shown.stdout == done.stdout


def test_train_tells_the_version_of_this_package() -> None:
    assert bnn("train", "--version").stdout == f"binary-neurons {__version__}\n"


def test_a_command_fails_with_its_own_exit_code() -> None:
    failed = bnn("train", "estimator=nope")
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("error: estimator=nope: expected one of")
