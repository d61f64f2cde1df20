"""python -m bnn.train [-m] [GROUP=CHOICE] [KEY=VALUE]: train one configuration, or with -m every combination."""

from __future__ import annotations

import hydra

from bnn.job import run
from bnn.paths import folder

main = hydra.main(version_base="1.3", config_path=str(folder("conf")), config_name="train")(run)

if __name__ == "__main__":
    main()
