"""Retention of checkpoints: a study keeps those of its best trials."""

from __future__ import annotations

from optuna.study import Study

from bnn.tracking.parent import remove_checkpoints
from bnn.tracking.store import Store
from bnn.tuning.objective import RUNS
from bnn.tuning.summary import not_in_top_k


class CheckpointRetention:
    """Checkpoints of a study, of which those of its best trials are kept.

    Args:
        study: the study.
        store: tracking store with its runs.
        keep_top_k: trials whose checkpoints are kept.
    """

    def __init__(self, study: Study, store: Store, keep_top_k: int) -> None:
        self._study, self._store, self._keep_top_k = study, store, keep_top_k
        self._pruned: set[int] = set()
        self.removed_runs = 0

    def prune(self) -> None:
        """Remove checkpoints of trials outside the top k, except runs shared with better trials."""
        outside = not_in_top_k(self._study, self._keep_top_k)
        numbers = {trial.number for trial in outside}
        kept = {
            run_id
            for trial in self._study.trials
            if trial.number not in numbers
            for run_id in trial.user_attrs.get(RUNS, [])
        }
        reason = f"not among the best {self._keep_top_k} trials of the study"
        for trial in outside:
            if trial.number in self._pruned:
                continue
            self._pruned.add(trial.number)
            for run_id in set(trial.user_attrs.get(RUNS, [])) - kept:
                self.removed_runs += remove_checkpoints(self._store, run_id, reason)

    def summary(self) -> str:
        """One line about the checkpoints that were removed."""
        return (
            f"removed the checkpoints of {self.removed_runs} runs; those of the best trials are "
            f"kept (hydra.sweeper.keep_checkpoints={self._keep_top_k})"
        )
