"""python -m bnn.train [-m] [-q] [GROUP=CHOICE] [KEY=VALUE]: train one configuration, or many."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.closed_pipe import lasting_output
from bnn.config.compose import format_hydra_error, named_plugins
from bnn.config.help import asks_for_help, help_text
from bnn.config.hydra_adapter import command_line, command_line_options
from bnn.config.syntax import check_launcher, check_words
from bnn.config.unknown_keys import option_mistake
from bnn.errors import BnnError, ConfigError, keep_files_private, without_password
from bnn.job import run
from bnn.paths import folder
from bnn.version import __version__

train = hydra.main(version_base="1.3", config_path=str(folder("conf")), config_name="train")(run)
FULL_ERROR = "HYDRA_FULL_ERROR"
QUIET = {"-q": "trainer.progress=none", "--quiet": "trainer.progress=none"}
"""Options that Hydra's command line lacks, and the overrides that replace them."""


def run_command_line() -> None:
    """Run the command line; errors are one line each, unless HYDRA_FULL_ERROR is set.

    Raises:
        SystemExit: with the message, or with 128 + SIGINT after an interruption.
    """
    if "--version" in sys.argv[1:]:
        print(f"binary-neurons {__version__}")
        return
    sys.argv = [QUIET.get(word, word) for word in sys.argv]
    if FULL_ERROR in os.environ:
        _help_or_train()
        return
    os.environ[FULL_ERROR] = "1"  # Hydra then raises errors instead of printing them
    try:
        _help_or_train()
    except BnnError as error:
        raise SystemExit(f"error: {without_password(str(error))}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {format_hydra_error(error, sys.argv[1:])}") from error
    except OSError as error:  # such as a folder of outputs that cannot be made
        raise SystemExit(
            f"error: {error.filename or 'input or output'}: {error.strerror or error}"
        ) from error
    except KeyboardInterrupt:
        print("interrupted; the same command with resume=true continues", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        os.environ.pop(FULL_ERROR, None)


def _help_or_train() -> None:
    words = sys.argv[1:]
    plugins.load(named_plugins(words))  # before their choices are listed or composed
    if asks_for_help(words):
        print(help_text(words))
    else:
        sys.argv[1:] = _checked(words)
        train()


def _checked(words: Sequence[str]) -> list[str]:
    """Words of the command line with its options first, as Hydra reads them.

    Raises:
        ConfigError: for an option or a word that Hydra cannot read.
    """
    try:
        chosen = command_line(words)
    except ConfigError as error:
        raise ConfigError(option_mistake(str(error), command_line_options())) from error
    overrides = list(chosen.overrides)
    mode = any(word.startswith("hydra.mode=") for word in overrides)
    if not (chosen.help or chosen.hydra_help or chosen.info or chosen.shell_completion):
        check_words(overrides, chosen.multirun or mode)
    if not chosen.cfg and "dry_run=true" not in overrides:
        check_launcher(overrides, chosen.multirun or mode)
    return [*(word for word in words if word not in overrides), *overrides]


def main() -> None:
    """Entry point of `python -m bnn.train`; SIGTERM ends runs as Ctrl-C does, as KILLED."""
    keep_files_private([*sys.argv[1:], os.environ.get("MLFLOW_TRACKING_URI", "")])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with lasting_output():
        run_command_line()


if __name__ == "__main__":
    main()
