"""Private parts of Optuna that this project uses, in one place.

Optuna's public `Trial` belongs to the process that asked for it. Here one process asks, another one
trains and reports, and a third may end what both left behind, so trials are addressed through the
storage by their number. Optuna's own heartbeat is not used: its documentation excludes `ask` and
`tell`.
"""

from __future__ import annotations

from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


def storage_of(study: Study) -> BaseStorage:
    """Storage of a study."""
    return study._storage


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
