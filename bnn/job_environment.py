"""Contract between a sweep and its jobs: one environment variable that every launcher passes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "BNN_JOB"


@dataclass(frozen=True)
class JobEnvironment:
    """Values that a job needs from the sweep that launched it.

    Args:
        command: command line of the sweep.
        parent: MLflow run id of the sweep.
        jobs: number of jobs of the sweep.
        plugin_folders: folders in which the sweep found its plug-ins.
        trial: trial of a study (`bnn.tuning.settings.Assignment` as a mapping); None in a grid.
        process: process id of the sweep; a job in another process shares its terminal.
        started: start of the sweep in seconds since 1970.
        varying: keys that vary in the sweep, for the display names of its runs.
        estimates: expected cost of each job in any unit; empty where it is not known.
        at_once: number of jobs that run at once.
        display: folder of the display of all jobs (`bnn.training.shared_display`); empty: none.
    """

    command: str
    parent: str
    jobs: int
    plugin_folders: list[str] = field(default_factory=list)
    trial: Mapping[str, Any] | None = None
    process: int = 0
    started: float = 0.0
    varying: list[str] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)
    at_once: int = 1
    display: str = ""

    @property
    def shares_terminal(self) -> bool:
        """Whether this process writes to the terminal beside other jobs of the sweep."""
        return self.process != os.getpid()

    def time_left(self, number: int, share: float) -> float | None:
        """Seconds that are left of the sweep, from what it took so far.

        Args:
            number: number of this job, from 0; jobs start in their order.
            share: share of this job that is done, in [0, 1].

        Returns:
            The seconds; None where too little is known.
        """
        if not 0 <= number < len(self.estimates):
            return None
        total = sum(self.estimates)
        done = sum(self.estimates[:number]) + share * self.estimates[number]
        # the jobs that run beside this one are, on average, half done
        done -= sum(self.estimates[max(0, number - self.at_once + 1) : number]) / 2
        elapsed = time.time() - self.started
        if done <= total / 50 or elapsed < 0:
            return None
        return elapsed * (total - done) / done

    def to_environment(self) -> dict[str, str]:
        """Environment variables of the job."""
        return {VARIABLE: json.dumps(asdict(self))}

    @staticmethod
    def current() -> JobEnvironment | None:
        """The values that this process was launched with; None outside a sweep."""
        text = os.environ.get(VARIABLE)
        return None if text is None else JobEnvironment(**json.loads(text))
