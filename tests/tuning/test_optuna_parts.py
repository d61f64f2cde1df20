"""Samplers that begin anew for each trial, and pruners that compare like with like."""

from __future__ import annotations

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from bnn.errors import ConfigError
from bnn.paths import folder
from bnn.tuning.queue import TrialQueue, reenqueue
from bnn.tuning.samplers_pruners import PRUNERS, SAMPLERS, SeedView, pruner, sampler, should_prune

EPOCHS = 5


def study_with(*histories: list[list[float]], direction: str = "minimize") -> optuna.Study:
    """A study whose complete trials reported these values, by seed and epoch."""
    study = optuna.create_study(direction=direction)
    for by_seed in histories:
        trial = study.ask()
        report(study, trial, by_seed)
        study.tell(trial, sum(values[-1] for values in by_seed) / len(by_seed))
    return study


def report(study: optuna.Study, trial: optuna.Trial, by_seed: list[list[float]]) -> None:
    for index, values in enumerate(by_seed):
        for epoch, value in enumerate(values, 1):
            study._storage.set_trial_intermediate_value(
                trial._trial_id, index * EPOCHS + epoch, value
            )


EXTRA = {"qmc": {"scramble": True}}
MEDIAN = {"name": "median", "n_startup_trials": 0, "n_warmup_steps": 0}


def pruned(study: optuna.Study, by_seed: list[list[float]], node: dict = MEDIAN) -> bool:
    """Whether a trial that has reported `by_seed` is stopped at its latest value."""
    trial = study.ask()
    report(study, trial, by_seed)
    verdict = should_prune(pruner(node), study, trial._trial_id, len(by_seed) - 1, EPOCHS)
    study.tell(trial, state=TrialState.FAIL)
    return verdict


def test_a_seed_is_compared_with_the_same_seed_of_other_trials() -> None:
    """Seed 1 is harder than seed 0: on it a trial must not be compared with others on seed 0."""
    study = study_with(*[[[3.0, 2.0, 1.0], [9.0, 8.0, 7.0]]] * 4)
    assert not pruned(study, [[2.9, 1.9, 0.9], [8.9]])
    assert pruned(study, [[2.9, 1.9, 0.9], [9.1]])
    assert pruned(study, [[3.1]]) and not pruned(study, [[2.9]])


def test_without_the_view_the_first_seed_hides_the_second() -> None:
    """Control: without the view Optuna takes the best value so far, which is the first seed's."""
    study = study_with(*[[[3.0, 2.0, 1.0], [9.0, 8.0, 7.0]]] * 4)
    trial = study.ask()
    report(study, trial, [[2.9, 1.9, 0.9], [99.0]])
    frozen = study._storage.get_trial(trial._trial_id)
    assert not pruner(MEDIAN).prune(study, frozen)
    assert should_prune(pruner(MEDIAN), study, trial._trial_id, 1, EPOCHS)


def test_accuracy_is_compared_the_other_way_round() -> None:
    study = study_with(*[[[0.5, 0.6], [0.5, 0.6]]] * 4, direction="maximize")
    assert pruned(study, [[0.4]]) and not pruned(study, [[0.6]])


def test_warm_up_is_the_number_of_epochs_of_each_seed_that_are_never_judged() -> None:
    study = study_with(*[[[3.0, 2.0], [3.0, 2.0]]] * 4)
    patient = {**MEDIAN, "n_warmup_steps": 1}
    assert not pruned(study, [[9.0]], patient) and pruned(study, [[9.0, 9.0]], patient)
    assert not pruned(study, [[1.0, 1.0], [9.0]], patient) and pruned(
        study, [[1.0, 1.0], [9.0, 9.0]], patient
    )


def test_trials_without_this_seed_are_no_measure() -> None:
    study = study_with([[3.0, 2.0]], [[3.0, 2.0]])
    assert SeedView(study, 1, EPOCHS).get_trials() == []
    assert not pruned(study, [[1.0], [9.0]])


def test_rungs_are_kept_apart_by_seed() -> None:
    node = {
        "name": "successive_halving",
        "min_resource": 1,
        "reduction_factor": 2,
    }  # first rung: after the first epoch
    study = optuna.create_study(direction="minimize")
    judge = pruner(node)
    for value in (1.0, 2.0):
        trial = study.ask()
        for index in (0, 1):
            study._storage.set_trial_intermediate_value(
                trial._trial_id, index * EPOCHS + 1, value + 10 * index
            )
            verdict = should_prune(judge, study, trial._trial_id, index, EPOCHS)
            assert verdict == (value == 2.0), (value, index)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_trials_also_after_a_break(name: str) -> None:
    def trials(breaks: bool) -> list[dict]:
        node = {"name": name, "seed": 3} | EXTRA.get(name, {})
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler(node))
        for number in range(14):
            if breaks and number in (3, 11):
                study = optuna.load_study(storage=storage, study_name="s", sampler=sampler(node))
            trial = study.ask()
            x, kind = trial.suggest_float("x", 0, 1), trial.suggest_categorical("kind", ["a", "b"])
            study.tell(trial, (x - 0.3) ** 2 + (kind == "a"))
        return [trial.params for trial in study.trials]

    def interrupted() -> list[dict]:
        """One that is lost in the middle of its third trial, by one worker."""
        study = optuna.create_study(
            sampler=sampler({"name": name, "seed": 3} | EXTRA.get(name, {}))
        )
        book = TrialQueue(study, 8, 60)
        while (trial := book.claim()) is not None:
            x, kind = trial.suggest_float("x", 0, 1), trial.suggest_categorical("kind", ["a", "b"])
            if trial.number == 2:
                reenqueue(study, 2, "interrupted", tried=False)
            else:
                study.tell(trial, (x - 0.3) ** 2 + (kind == "a"))
        return [trial.params for trial in study.trials if trial.state == TrialState.COMPLETE]

    whole = trials(breaks=False)
    if name != "qmc":  # its sequence is handed out in the order of asking
        assert interrupted() == whole[:8]
    assert whole == trials(breaks=True)
    assert len({params["x"] for params in whole}) == len(whole), "no draw comes twice"


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_seed_gives_other_trials(name: str) -> None:
    """All of them: replicates of a study that share draws would have no spread."""

    def draws(seed: int) -> set[float]:
        node = {"name": name, "seed": seed} | EXTRA.get(name, {})
        study = optuna.create_study(sampler=sampler(node))
        for _ in range(6):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            study.tell(trial, trial.params["x"])
        return {trial.params["x"] for trial in study.trials}

    assert len(draws(0)) == 6 and not draws(0) & draws(1)


@pytest.mark.parametrize(
    "make, node, words",
    [
        (pruner, {"name": "medium"}, ["hydra.sweeper.pruner.name", "median", "medium"]),
        (
            pruner,
            {"name": "median", "startup": 3},
            ["hydra.sweeper.pruner.startup", "n_startup_trials"],
        ),
        (
            pruner,
            {"name": "percentile", "percentile": 150},
            ["hydra.sweeper.pruner", "percentile", "150"],
        ),
        (pruner, {"name": "median", "n_startup_trials": -1}, ["hydra.sweeper.pruner", "-1"]),
        (sampler, {"name": "tpe"}, ["hydra.sweeper.sampler.seed", "None"]),
        (sampler, {"name": "tpe", "seed": -1}, ["hydra.sweeper.sampler.seed", "-1"]),
        (sampler, {"name": "bayes", "seed": 0}, ["hydra.sweeper.sampler.name", "tpe", "bayes"]),
        (sampler, {"name": "random", "seed": 0, "n": 2}, ["hydra.sweeper.sampler.n", "random"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_what_optuna_does_not_have_is_refused(make, node: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make(node)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(PRUNERS) - {"percentile", "threshold"}))
def test_every_pruner_builds_without_parameters(name: str) -> None:
    pruner({"name": name})


@pytest.mark.parametrize(
    "group, kinds, make",
    [("pruner", PRUNERS, pruner), ("sampler", SAMPLERS, sampler)],
    ids=["pruner", "sampler"],
)
def test_every_kind_has_its_file(group: str, kinds: dict, make) -> None:
    files = {
        path.stem: path for path in (folder("conf") / "hydra" / "sweeper" / group).glob("*.yaml")
    }
    assert set(files) == set(kinds)
    for path in files.values():
        make(OmegaConf.to_container(OmegaConf.load(path)))
