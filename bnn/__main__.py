"""python -m bnn COMMAND [ARGUMENTS]: the commands of the package."""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Sequence

from bnn.version import __version__

COMMANDS = {
    "train": "train one configuration, or with -m every combination of choices",
    "report": "tables, figures and an HTML page of an MLflow experiment",
    "tuning": "Optuna studies: list them, or compare their results",
    "lab": "bias and variance of gradient estimators, measured",
    "predict": "class of an image by a trained network, with the bits of its layers",
    "summary": "bits, memory and multiply-adds of a network by layer",
    "export": "a trained network as a file of packed bits, or as ONNX",
    "sync": "bring runs of a local store, or kept while a server was away, to a server",
    "benchmark": "time of training, of its parts, and of each estimator",
}


def usage() -> str:
    """List of the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: bnn COMMAND [ARGUMENTS]     (or python -m bnn.COMMAND [ARGUMENTS])",
            "",
            *lines,
            "",
            "bnn COMMAND --help says what a command takes; bnn --version prints the version.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names.

    Returns:
        Exit code; that of a command is its own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *rest = words
    if name == "--version":
        print(f"binary-neurons {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        expected = ", ".join(COMMANDS)
        print(f"error: {name}: no such command; {meant}expected one of {expected}", file=sys.stderr)
        return 2
    sys.argv = [f"bnn {name}", *rest]
    runpy.run_module(f"bnn.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
