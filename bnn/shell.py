"""Commands as a user types them, for notebooks: by the interpreter that is at work, their output where the cell is."""

from __future__ import annotations

import shlex
import subprocess
import sys


def run_command(line: str) -> None:
    """Run `python -m … [WORDS]`, and print what it prints as it comes.

    Errors: ValueError for another program; CalledProcessError for an exit code that is not 0.
    """
    program, *words = shlex.split(line)
    if program != "python":
        raise ValueError(f"expected a line that begins with python, got {program}")
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for told in process.stdout:
            print(told, end="", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
