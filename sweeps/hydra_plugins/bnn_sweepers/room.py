"""Disk: a study keeps the checkpoints of its best trials, and gives back those of the others."""

from typing import Any


class Room:
    """The checkpoints of `study`, of which those of its best `keep` trials stay. `removed`: of how many runs any went."""

    def __init__(self, study: Any, store: Any, keep: int) -> None:
        self._study, self._store, self._keep = study, store, keep
        self._outdone: set[int] = set()
        self.removed = 0

    def make(self) -> None:
        """Remove the checkpoints of trials that others have outdone, but for runs that a trial shares with a better one."""
        from bnn.tracking.sweep import remove_checkpoints
        from bnn.tuning.outcome import outdone
        from bnn.tuning.trial import RUNS

        found = outdone(self._study, self._keep)
        others = {trial.number for trial in found}
        kept = {
            run
            for trial in self._study.trials
            if trial.number not in others
            for run in trial.user_attrs.get(RUNS, [])
        }
        for trial in found:
            if trial.number not in self._outdone:
                self._outdone.add(trial.number)
                for run_id in set(trial.user_attrs.get(RUNS, [])) - kept:
                    why = f"not among the best {self._keep} trials of the study"
                    self.removed += remove_checkpoints(self._store, run_id, why)

    def shown(self) -> str:
        best = f"hydra.sweeper.keep_checkpoints={self._keep}"
        return f"removed the checkpoints of {self.removed} runs; those of the best trials are kept ({best})"
