"""Command lines for notebooks, run by the interpreter of the notebook."""

from __future__ import annotations

import shlex
import subprocess
import sys


def run_command(line: str) -> None:
    """Run `python -m … [WORDS]`, and print its output in the cell as it comes.

    Args:
        line: command line, as it is typed in a terminal.

    Raises:
        ValueError: for another program than `python`.
        CalledProcessError: for an exit code other than 0.
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
