"""Forked commands of the tests: equal to `python -m` in output, exit code, store and signals."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from support.command_line import QUICK, ForkedCommand, bnn_train, in_new_interpreter, runs

pytestmark = pytest.mark.integration

SMALL = [*QUICK, "model=mlp", "data.limit=192"]


def shown(text: str) -> str:
    """Output without seconds and ids of runs."""
    return re.sub(r"\b[0-9a-f]{8}(?:[0-9a-f]{24})?\b|\b\d+ s\b|[\d:]+ left", "-", text)


@pytest.mark.slow
def test_a_forked_training_is_that_of_a_new_interpreter(tmp_path: Path) -> None:
    folders = [tmp_path / "new", tmp_path / "forked"]
    found = []
    for folder, command in zip(folders, (in_new_interpreter, bnn_train), strict=True):
        folder.mkdir()
        result = command(folder, *SMALL, "tracking.experiment=${oc.env:WORD}", WORD="a")
        assert result.returncode == 0, result.stderr
        (run,) = runs(folder, "run", "a/digits")
        metrics = {k: v for k, v in run.data.metrics.items() if not k.startswith("seconds/")}
        tags = {key: run.data.tags[key] for key in ("bnn.command", "bnn.threads", "bnn.digest")}
        about = (shown(result.stdout), result.stderr, metrics, tags, run.info.status)
        found.append((*about, sorted(path.name for path in folder.iterdir())))
    assert found[0] == found[1]
    assert found[0][2]["test/loss"] > 0


def test_a_forked_command_ends_with_its_exit_code_and_its_error(tmp_path: Path) -> None:
    result = bnn_train(tmp_path, "estimator=nothing")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: estimator=nothing: expected one of arm, ")
    assert len(result.stderr.splitlines()) == 1
    version = bnn_train(tmp_path, "list", module="bnn")
    assert version.returncode != 0 and "list" in version.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_forked_command_takes_signals(tmp_path: Path, number: signal.Signals) -> None:
    words = [*SMALL, "trainer.epochs=500", "trainer.progress=lines"]
    command = ForkedCommand(tmp_path, *words)
    next(line for line in command.stdout if "epoch 1/500" in line)
    assert command.returncode is None
    command.send_signal(number)
    _, error = command.communicate()
    killed = number == signal.SIGKILL
    assert command.returncode == (-number if killed else 128 + number) and "Traceback" not in error
