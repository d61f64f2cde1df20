"""python -m bnn.train [-m] [-q] [GROUP=CHOICE] [KEY=VALUE]: train one configuration, or with -m every combination."""

from __future__ import annotations

import os
import signal
import sys

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins
from bnn.config import explained, named_plugins
from bnn.errors import BnnError
from bnn.job import run
from bnn.paths import folder

_main = hydra.main(version_base="1.3", config_path=str(folder("conf")), config_name="train")(run)
FULL = "HYDRA_FULL_ERROR"
QUIET = {"-q": "trainer.progress=none", "--quiet": "trainer.progress=none"}
"""What Hydra's command line does not know, and the override that it stands for."""


def answer() -> None:
    """Do what the command line asks; what Hydra refuses is one line, unless HYDRA_FULL_ERROR asks for the whole."""
    sys.argv = [QUIET.get(word, word) for word in sys.argv]
    if FULL in os.environ:
        plugins.load(named_plugins(sys.argv[1:]))
        return _main()
    os.environ[FULL] = "1"  # so that Hydra raises what it would print
    try:
        plugins.load(
            named_plugins(sys.argv[1:])
        )  # what they register can be chosen by the rest of the line
        _main()
    except BnnError as error:
        raise SystemExit(f"error: {error}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {explained(error, sys.argv[1:])}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command with resume=true goes on", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        os.environ.pop(FULL, None)


def main() -> None:
    # as Ctrl-C does: runs end as KILLED and the table of what has finished is printed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    answer()


if __name__ == "__main__":
    main()
