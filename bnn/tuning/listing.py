"""List of the studies of a storage."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.study import Study

from bnn.tables import BLANK, markdown
from bnn.tuning.settings import metrics_of
from bnn.tuning.summary import best_trials, date, format_objectives


def overview(studies: Sequence[Study]) -> str:
    """List of studies in Markdown: trials by state, best value, and time of the latest trial.

    Args:
        studies: studies of a storage.
    """
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING"}
    rows = []
    for study in studies:
        trials = study.get_trials(deepcopy=False)
        counts = [
            str(sum(trial.state.name == state for trial in trials)) for state in states.values()
        ]
        metrics = metrics_of(study.user_attrs)
        best = "; ".join(format_objectives(trial, metrics) for trial in best_trials(study))
        times = [trial.datetime_complete or trial.datetime_start for trial in trials]
        latest = max((time for time in times if time is not None), default=None)
        rows.append([study.study_name, *counts, best or BLANK, date(latest)])
    return markdown(["study", *states, "best", "latest trial"], rows)
