"""Command lines in notebooks: run by the notebook's interpreter, with their output in the cell."""

from __future__ import annotations

import shlex
import subprocess
import sys


def run_command(line: str) -> None:
    """Run a command line, and print its output as it comes.

    Args:
        line: `python -m … [WORDS]`, as in a shell.

    Raises:
        ValueError: for another program than `python`.
        CalledProcessError: for an exit code that is not 0.
    """
    program, *words = shlex.split(line)
    if program != "python":
        raise ValueError(f"expected a line that begins with python, got {program}")
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for output in process.stdout:
            print(output, end="", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
