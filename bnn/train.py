"""python -m bnn.train [-m] [GROUP=CHOICE] [KEY=VALUE]: train one configuration, or with -m every combination."""

from __future__ import annotations

import signal
import sys

import hydra

from bnn.job import run
from bnn.paths import folder

_main = hydra.main(version_base="1.3", config_path=str(folder("conf")), config_name="train")(run)


def main() -> None:
    # as Ctrl-C does: runs end as KILLED and the table of what has finished is printed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    _main()


if __name__ == "__main__":
    main()
