"""Private parts of Optuna that this project uses, in one place.

Optuna's public `Trial` belongs to the process that asked for it. Here one process asks, another one
trains and reports, and a third may end what both left behind, so trials are addressed through the
storage by their number. Optuna's own heartbeat is not used: its documentation excludes `ask` and
`tell`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


def storage_of(study: Study) -> BaseStorage:
    """Storage of a study."""
    return study._storage


def name_objectives(study: Study, names: Sequence[str]) -> None:
    """Give Optuna the names of a study's objectives, which its dashboard and figures show.

    Nothing else of the study changes: one of an earlier version gets them when it goes on.

    Args:
        study: the study.
        names: name of each objective.
    """
    if study.metric_names != list(names):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(names))


def trial_id(study: Study, number: int) -> int:
    """Id of a trial in its storage."""
    return storage_of(study).get_trial_id_from_study_id_trial_number(study._study_id, number)


def id_of(trial: FrozenTrial) -> int:
    """Id of a trial in its storage."""
    return trial._trial_id


def trial(study: Study, number: int) -> FrozenTrial:
    """A trial as it stands now."""
    return storage_of(study).get_trial(trial_id(study, number))


def trial_state(study: Study, number: int) -> TrialState:
    """State of a trial as it stands now."""
    return trial(study, number).state


def set_attribute(study: Study, number: int, key: str, value: Any) -> None:
    """Set a user attribute of a trial.

    Raises:
        UpdateFinishedTrialError: where the trial has ended.
    """
    storage_of(study).set_trial_user_attr(trial_id(study, number), key, value)


def set_intermediate_value(study: Study, number: int, step: int, value: float) -> None:
    """Report a value of a running trial."""
    storage_of(study).set_trial_intermediate_value(trial_id(study, number), step, value)


def end_trial(study: Study, number: int, state: TrialState) -> None:
    """End a trial without values.

    Raises:
        UpdateFinishedTrialError: where the trial has ended.
    """
    storage_of(study).set_trial_state_values(trial_id(study, number), state)


def add_trial(study: Study, template: FrozenTrial) -> int:
    """Number of a new trial made from a template."""
    storage = storage_of(study)
    made = storage.create_new_trial(study._study_id, template_trial=template)
    return storage.get_trial_number_from_id(made)


class SeedView:
    """View of a study for a pruner: every trial has the intermediate values of its j-th seed alone.

    Epoch e of the j-th seed is step j · stride + e of the study, and step e - 1 + `first` of the
    view: Optuna's warm-up counts from 0, its rungs from 1.

    Args:
        study: the study.
        seed_index: position j of the seed.
        stride: steps of the study between two seeds.
        first: step of the view that is the first epoch.
    """

    def __init__(self, study: Study, seed_index: int, stride: int, first: int = 0) -> None:
        self._study = study
        self._shift = seed_index * stride + 1 - first
        self._first = seed_index * stride
        self._last = self._first + stride
        self._prefix = f"seed {seed_index}: "
        self.direction = study.direction
        self._storage = _PrefixedAttributes(study, self._prefix)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        found = self._study.get_trials(deepcopy=False, states=states)
        trials = (self.trial(trial) for trial in found)
        # a trial that was pruned or failed before its j-th seed has nothing to compare with
        return [trial for trial in trials if trial.intermediate_values]

    def trial(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial with the values and attributes of the seed alone."""
        values = {
            s - self._shift: v
            for s, v in trial.intermediate_values.items()
            if self._first < s <= self._last
        }
        attributes = {
            k.removeprefix(self._prefix): v
            for k, v in trial.system_attrs.items()
            if k.startswith(self._prefix)
        }
        return FrozenTrial(
            number=trial.number,
            state=trial.state,
            value=None,
            values=trial.values,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=attributes,
            intermediate_values=values,
            trial_id=id_of(trial),
        )


class _PrefixedAttributes:
    """Storage in which a pruner keeps the rungs of each seed apart, by a prefix."""

    def __init__(self, study: Study, prefix: str) -> None:
        self._storage, self._prefix = storage_of(study), prefix

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._storage.set_trial_system_attr(trial_id, f"{self._prefix}{key}", value)
