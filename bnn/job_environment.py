"""Contract between a sweep and its jobs: one environment variable that every launcher passes on."""

from __future__ import annotations

import json
import os
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
    """

    command: str
    parent: str
    jobs: int
    plugin_folders: list[str] = field(default_factory=list)
    trial: Mapping[str, Any] | None = None

    def to_environment(self) -> dict[str, str]:
        """Environment variables of the job."""
        return {VARIABLE: json.dumps(asdict(self))}

    @staticmethod
    def current() -> JobEnvironment | None:
        """The values that this process was launched with; None outside a sweep."""
        text = os.environ.get(VARIABLE)
        return None if text is None else JobEnvironment(**json.loads(text))
