"""Studies on the command line: pruned, over several seeds, interrupted, shared, and resumed."""

from __future__ import annotations

import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.command_line import UNSEEN, ForkedCommand, client, run_here, runs
from support.matrix import one_in

from bnn.config.compose import compose
from bnn.specify import setup
from bnn.tuning.__main__ import main
from bnn.tuning.settings import IDENTITY
from bnn.tuning.storage import open_storage

pytestmark = pytest.mark.integration

SMALL = ["data=digits", "device=cpu", "trainer.epochs=3", "trainer.progress=none", *UNSEEN]
QUICK = [*SMALL, "data.limit=300"]
PRUNED = ["hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.pruner.n_warmup_steps=1"]
EAGER = ["hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.pruner.n_warmup_steps=0"]
SEARCH = ["hydra/sweeper=bnn_optuna", *UNSEEN, "optimizer.lr=tag(log,interval(0.01,0.3))"]
DONE = {TrialState.COMPLETE, TrialState.PRUNED}


def study(folder: Path, name: str | None = None) -> optuna.Study:
    storage = open_storage(str(folder / "optuna.journal"))
    (found,) = optuna.get_all_study_names(storage) if name is None else [name]
    return optuna.load_study(study_name=found, storage=storage)


@pytest.fixture(scope="module")
def annealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("anneal")
    words = [
        "study=anneal",
        "estimator=st",
        "placement=both",
        *QUICK,
        *EAGER,
        "hydra.sweeper.n_trials=6",
    ]
    return folder, run_here(folder, "-m", *words)


def test_a_study_ends_with_the_asked_number_of_trials(annealed) -> None:
    folder, result = annealed
    assert result.returncode == 0, result.stderr
    trials = study(folder).trials
    assert len(trials) == 6 and {trial.state for trial in trials} == DONE
    for trial in trials:
        (line,) = [
            line for line in result.stdout.splitlines() if line.startswith(f"trial {trial.number}:")
        ]
        assert (
            f"anneal={trial.params['anneal']}" in line and f"{trial.number + 1} of 6 done" in line
        )
        assert ("pruned after epoch" in line) == (trial.state == TrialState.PRUNED)
    assert "ETA" in result.stdout and "optuna-dashboard" in result.stdout


def test_a_parameter_exists_only_under_its_choice(annealed) -> None:
    folder, _ = annealed
    own = {
        "none": set(),
        "geometric": {"start", "rate"},
        "linear": {"start", "step"},
        "cosine": {"start", "end"},
    }
    kinds = set()
    for trial in study(folder).trials:
        kinds.add(trial.params["anneal"])
        searched = {
            key.removeprefix("anneal.") for key in trial.params if key.startswith("anneal.")
        }
        assert searched == own[trial.params["anneal"]]
    assert len(kinds) > 1


def test_the_value_is_the_mean_over_seeds_and_the_spread_is_kept(annealed) -> None:
    folder, _ = annealed
    complete = [trial for trial in study(folder).trials if trial.state == TrialState.COMPLETE]
    for trial in complete:
        one, two = trial.user_attrs["values_by_seed"]["val/loss"]
        assert one != two and trial.value == pytest.approx((one + two) / 2)
        assert trial.user_attrs["spread"]["val/loss"] == pytest.approx(abs(one - two) / 2**0.5)
        mine = [
            run
            for run in runs(folder, "trial", "study_anneal/digits")
            if run.data.tags["trial"] == str(trial.number)
        ]
        assert [run.data.params["seed"] for run in mine] == ["0", "1"]
        assert [run.data.metrics["val_best/loss"] for run in mine] == [one, two]
        assert all(run.info.status == "FINISHED" for run in mine)


def test_a_pruned_trial_stops_within_its_epoch_and_is_marked(annealed) -> None:
    folder, _ = annealed
    children = runs(folder, "trial", "study_anneal/digits")
    pruned = [trial for trial in study(folder).trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        *earlier, last = [run for run in children if run.data.tags["trial"] == str(trial.number)]
        steps = [
            metric.step
            for metric in client(folder).get_metric_history(last.info.run_id, "val/loss")
        ]
        assert len(earlier) * 3 + steps[-1] == max(trial.intermediate_values), (
            "nothing was trained after the verdict"
        )
        assert last.info.status == "KILLED" and last.data.tags["bnn.pruned"] == "true"
        assert f"pruned after epoch {steps[-1]}" in last.data.tags["mlflow.note.content"]


def test_no_trial_reads_the_test_set(annealed) -> None:
    folder, _ = annealed
    for run in runs(folder, "trial", "study_anneal/digits"):
        assert not [key for key in run.data.metrics if key.startswith("test")]


def test_the_parent_has_the_figures_and_the_children_their_values(annealed) -> None:
    folder, _result = annealed
    (parent,) = runs(folder, "sweep", "study_anneal/digits")
    assert parent.info.status == "FINISHED"
    figures = {item.path for item in client(folder).list_artifacts(parent.info.run_id, "figures")}
    names = ("optimization_history", "param_importances", "slice", "parallel_coordinate")
    assert figures == {f"figures/{name}.png" for name in names}
    best = study(folder).best_trial
    assert f"best, trial {best.number}" in parent.data.tags["mlflow.note.content"]
    for run in runs(folder, "trial", "study_anneal/digits"):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        trial = study(folder).trials[int(run.data.tags["trial"])]
        assert float(run.data.params["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert f"anneal={trial.params['anneal']}" in run.data.tags["trial_params"]


def test_the_best_is_given_as_a_command_that_makes_it_again(annealed) -> None:
    folder, result = annealed
    best = study(folder).best_trial
    (line,) = [
        line for line in result.stdout.splitlines() if line.startswith("    python -m bnn.train")
    ]
    words = shlex.split(line)[3:]
    assert words[0] == "-m" and words[-1] == "seed=0,1"
    again = setup(compose([*words[1:-1], "seed=1"]))
    run = client(folder).get_run(best.user_attrs["runs"][1])
    assert again.spec.digest == run.data.tags["bnn.digest"]


@pytest.mark.slow
def test_the_command_of_a_recipe_stands_without_the_recipe(tmp_path: Path) -> None:
    """Schedule, samples and estimator come from interpolations of an experiment, not choices."""
    for recipe in (
        ["experiment=annealing", "vars.arm=geometric_gs"],
        ["experiment=reinforce_tuned", "placement=both"],
    ):
        words = [*recipe, "study=learning_rate", *QUICK]
        result = run_here(
            tmp_path,
            "-m",
            *words,
            "neuron=deterministic",
            "hydra.sweeper.n_trials=1",
            "trainer.epochs=1",
        )
        assert result.returncode == 0, result.stderr
        (line,) = [
            line
            for line in result.stdout.splitlines()
            if line.startswith("    python -m bnn.train")
        ]
        assert "recipe" not in line and "experiment" not in line
        again = setup(compose(shlex.split(line)[3:]))
        name = next(
            n
            for n in optuna.get_all_study_names(open_storage(str(tmp_path / "optuna.journal")))
            if recipe[0] in n
        )
        run = client(tmp_path).get_run(study(tmp_path, name).best_trial.user_attrs["runs"][0])
        assert again.spec.digest == run.data.tags["bnn.digest"]


def test_the_same_command_goes_on_and_a_changed_space_is_refused(annealed) -> None:
    folder, _first = annealed
    words = ["study=anneal", "estimator=st", "placement=both", *QUICK, *EAGER]
    more = run_here(folder, "-m", *words, "hydra.sweeper.n_trials=7")
    assert more.returncode == 0, more.stderr
    assert "6 of 7 trials done" in more.stdout and len(study(folder).trials) == 7
    (parent,) = runs(folder, "sweep", "study_anneal/digits")
    table = json.loads(
        Path(
            client(folder).download_artifacts(parent.info.run_id, "table.json", str(folder))
        ).read_text()
    )
    assert len(table["data"]) == 7
    changed = run_here(folder, "-m", *words, "anneal.end=interval(1,9)")
    assert changed.returncode == 1 and "Traceback" not in changed.stderr
    for text in ("anneal.end=interval(1.0, 6.0)", "anneal.end=interval(1.0, 9.0)", "fresh=true"):
        assert text in changed.stderr
    other = run_here(folder, "-m", *words, "hydra/sweeper/pruner=none")
    assert other.returncode == 1 and "pruner" in other.stderr, (
        "with and without pruning are two studies"
    )
    assert len(study(folder).trials) == 7


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_and_fresh_starts_over(tmp_path: Path) -> None:
    words = ["-m", *SEARCH, *QUICK, "hydra.sweeper.n_trials=3", "trainer.epochs=1"]
    assert run_here(tmp_path, *words).returncode == 0
    before = [(trial.params, trial.values) for trial in study(tmp_path).trials]
    again = run_here(tmp_path, *words, "fresh=true")
    assert again.returncode == 0 and "0 of 3 trials done" in again.stdout
    assert [(trial.params, trial.values) for trial in study(tmp_path).trials] == before
    run_here(
        tmp_path, *words, "fresh=true", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.n_trials=1"
    )
    assert study(tmp_path).trials[0].params != before[0][0]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
@pytest.mark.slow
def test_pruning_works_through_launchers_that_run_several(tmp_path: Path, launcher: str) -> None:
    if launcher == "submitit_local":
        pytest.importorskip("submitit")
        at_once = ["hydra/launcher=submitit_local", "hydra.sweeper.n_jobs=2"]
    else:
        at_once = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words = [*SMALL, *PRUNED, "hydra/sweeper=bnn_optuna", "hydra.sweeper.n_trials=4"]
    # of the first two, which end complete, one learns and one does not; so does the next pair
    result = run_here(
        tmp_path,
        "-m",
        *words,
        *at_once,
        "hydra.sweeper.sampler.seed=1",
        "optimizer.lr=choice(0.1,1e-7)",
    )
    assert result.returncode == 0, result.stderr
    trials = study(tmp_path).trials
    assert [trial.params["optimizer.lr"] for trial in trials] == ["1e-07", "0.1", "1e-07", "0.1"]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    (parent,) = runs(tmp_path, "sweep")
    children = runs(tmp_path, "run") + runs(tmp_path, "trial")
    assert len(children) == 4 and {run.data.tags["mlflow.parentRunId"] for run in children} == {
        parent.info.run_id
    }


def wait_for(worker: ForkedCommand, text: str) -> None:
    for line in worker.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {worker.communicate()[1]}")


LONG = ["data=digits", "device=cpu", "data.limit=100", "trainer.epochs=14",
        "trainer.progress=lines", *SEARCH,
        "hydra.sweeper.n_trials=3", "hydra/sweeper/pruner=none"]  # fmt: skip


@pytest.mark.slow
def test_a_killed_worker_leaves_nothing_that_the_next_does_not_take_up(tmp_path: Path) -> None:
    """SIGKILL in the middle of a trial, twice."""
    for kill in (0, 1):
        worker = ForkedCommand(tmp_path, "-m", *LONG)
        wait_for(worker, f"[trial {kill}]")
        wait_for(worker, "epoch 2/14")
        worker.kill()
        worker.wait()
        assert [t.number for t in study(tmp_path).trials if t.state == TrialState.RUNNING] == [kill]
    result = run_here(tmp_path, "-m", *LONG)
    assert result.returncode == 0, result.stderr
    assert "lost" in result.stdout
    trials = study(tmp_path).trials
    states = [trial.state for trial in trials]
    assert states.count(TrialState.COMPLETE) == 3
    assert set(states) == {TrialState.COMPLETE, TrialState.FAIL}, (
        "no zombie is left running or waiting"
    )
    lost = [trial.params for trial in trials if trial.state == TrialState.FAIL]
    assert len(lost) == 2 and lost[0] == lost[1], (
        "the lost trial was tried again with its own values"
    )
    assert lost[0] in [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    statuses = [run.info.status for run in runs(tmp_path, "trial")]
    assert sorted(statuses) == ["FINISHED"] * 3 + ["KILLED"] * 2, "nor is one in the tracking store"


def test_with_resume_a_trial_goes_on_in_its_own_run_and_trains_no_seed_twice(
    tmp_path: Path,
) -> None:
    """SIGKILL in the second seed of a trial."""
    two = [*LONG, "hydra.sweeper.seeds=2", "hydra.sweeper.n_trials=1"]
    worker = ForkedCommand(tmp_path, "-m", *two)
    wait_for(worker, "s1  epoch 2/14")
    worker.kill()
    worker.wait()
    result = run_here(tmp_path, "-m", *two, "resume=true")
    assert result.returncode == 0, result.stderr
    found = runs(tmp_path, "trial")
    assert [(run.info.status, run.data.params["seed"]) for run in found] == [
        ("FINISHED", "0"),
        ("FINISHED", "1"),
    ]
    steps = [
        point.step
        for point in client(tmp_path).get_metric_history(found[1].info.run_id, "val/loss")
    ]
    assert steps == list(range(1, 15))
    lost, done = study(tmp_path).trials
    assert (lost.state, done.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert len(done.intermediate_values) == 28 and done.user_attrs["runs"] == [
        run.info.run_id for run in found
    ]
    assert done.value == pytest.approx(sum(run.data.metrics["val_best/loss"] for run in found) / 2)


@pytest.mark.slow
def test_only_the_best_trials_keep_their_checkpoints(tmp_path: Path) -> None:
    words = [
        "data=digits",
        "device=cpu",
        "data.limit=100",
        "trainer.epochs=1",
        "trainer.progress=none",
        *SEARCH,
    ]
    result = run_here(
        tmp_path, "-m", *words, "hydra.sweeper.n_trials=5", "hydra.sweeper.keep_checkpoints=2"
    )
    assert result.returncode == 0, result.stderr
    assert "removed the checkpoints of 3 runs" in result.stdout
    ranked = sorted(study(tmp_path).trials, key=lambda trial: trial.value)
    kept = {run_id for trial in ranked[:2] for run_id in trial.user_attrs["runs"]}
    for run in runs(tmp_path, "trial"):
        there = [
            item.path for item in client(tmp_path).list_artifacts(run.info.run_id, "checkpoint")
        ]
        assert there == (["checkpoint/best.pt"] if run.info.run_id in kept else [])
        assert (Path(run.data.tags["bnn.run_dir"]) / "best.pt").exists() == (
            run.info.run_id in kept
        )
        assert ("bnn.checkpoint" in run.data.tags) == (run.info.run_id not in kept)


@pytest.mark.slow
def test_equal_trials_share_a_run_and_its_checkpoint_stays(tmp_path: Path) -> None:
    """With resume=true the second of two equal trials is the first one's run."""
    words = [
        "data=digits",
        "device=cpu",
        "data.limit=100",
        "trainer.epochs=1",
        "trainer.progress=none",
    ]
    search = [
        "hydra/sweeper=bnn_optuna",
        "optimizer.lr=choice(0.1,0.001)",
        "hydra.sweeper.n_trials=5",
    ]
    result = run_here(
        tmp_path, "-m", *words, *search, "resume=true", "hydra.sweeper.keep_checkpoints=1"
    )
    assert result.returncode == 0, result.stderr
    assert len(runs(tmp_path, "trial")) == 2, "five trials of two configurations"
    best = min(study(tmp_path).trials, key=lambda trial: trial.value)
    (run_id,) = best.user_attrs["runs"]
    assert [item.path for item in client(tmp_path).list_artifacts(run_id, "checkpoint")] == [
        "checkpoint/best.pt"
    ]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_an_interrupted_trial_waits_for_the_same_command(
    tmp_path: Path, number: signal.Signals
) -> None:
    worker = ForkedCommand(tmp_path, "-m", *LONG)
    wait_for(worker, "[trial 0]")
    wait_for(worker, "epoch 2/14")
    worker.send_signal(number)
    _out, error = worker.communicate(timeout=120)
    assert worker.returncode != 0 and "Traceback" not in error
    assert [trial.state for trial in study(tmp_path).trials] == [
        TrialState.FAIL,
        TrialState.WAITING,
    ]
    (parent,) = runs(tmp_path, "sweep")
    assert parent.info.status == "KILLED"
    result = run_here(tmp_path, "-m", *LONG, "trainer.progress=none")
    assert result.returncode == 0, result.stderr
    trials = study(tmp_path).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]
    assert trials[1].params == trials[0].params
    assert [run.info.status for run in runs(tmp_path, "sweep")] == ["FINISHED"]


@pytest.mark.slow
def test_two_workers_share_a_study(tmp_path: Path) -> None:
    words = [*QUICK, *SEARCH, "hydra.sweeper.n_trials=9"]
    workers = [ForkedCommand(tmp_path, "-m", *words) for _ in range(2)]
    said = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert not any("lock" in error.lower() or "Traceback" in error for _, error in said)
    trials = study(tmp_path).trials
    assert sum(trial.state in DONE for trial in trials) == 9
    assert not [t for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    done = [trial for trial in trials if trial.state in DONE]
    assert len({tuple(trial.user_attrs["job"]) for trial in done}) == 2, (
        "one worker did it all: the test shows nothing"
    )
    assert len(runs(tmp_path, "trial")) == 9, "none was trained twice"
    (parent,) = runs(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    assert all("best, trial" in out for out, _ in said), "both end with the outcome of the whole"


def test_a_trial_that_diverges_fails_and_the_study_goes_on(tmp_path: Path) -> None:
    words = ["-m", *QUICK, "hydra/sweeper=bnn_optuna", "optimizer.lr=choice(0.1,1e39)"]
    result = run_here(tmp_path, *words, "hydra.sweeper.n_trials=3", "hydra.sweeper.max_failures=9")
    assert result.returncode == 0, result.stderr
    trials = study(tmp_path).trials
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert failed and sum(trial.state in DONE for trial in trials) == 3
    assert all("lower optimizer.lr" in trial.user_attrs["reason"] for trial in failed)
    assert f"trial {failed[0].number}: optimizer.lr=1e+39: failed:" in result.stdout
    statuses = {run.data.tags["trial"]: run.info.status for run in runs(tmp_path, "trial")}
    assert statuses[str(failed[0].number)] == "FAILED"


def test_too_many_failures_end_the_study(tmp_path: Path) -> None:
    words = ["-m", *QUICK, "hydra/sweeper=bnn_optuna", "optimizer.lr=choice(1e38,1e39)"]
    result = run_here(tmp_path, *words, "hydra.sweeper.max_failures=1")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "2 trials failed, more than hydra.sweeper.max_failures=1" in result.stderr
    assert runs(tmp_path, "sweep")[0].info.status == "FAILED"


@pytest.mark.slow
def test_several_objectives(tmp_path: Path) -> None:
    objectives = [
        "hydra.sweeper.metric=[val/accuracy,seconds/train]",
        "hydra.sweeper.direction=[maximize,minimize]",
    ]
    words = ["-m", *QUICK, *SEARCH, *objectives, "hydra.sweeper.n_trials=3"]
    refused = run_here(tmp_path, *words)
    assert refused.returncode == 1 and "hydra/sweeper/pruner=none" in refused.stderr
    result = run_here(tmp_path, *words, "hydra/sweeper/pruner=none")
    assert result.returncode == 0, result.stderr
    found = study(tmp_path)
    assert len(found.trials) == 3 and all(len(trial.values) == 2 for trial in found.trials)
    (parent,) = runs(tmp_path, "sweep")
    figures = [item.path for item in client(tmp_path).list_artifacts(parent.info.run_id, "figures")]
    assert figures == ["figures/pareto_front.png"]
    for trial in found.best_trials:
        assert f"best, trial {trial.number}" in result.stdout


REFUSED = [
    (["optimizer.lrr=interval(0.01,0.1)"], ["optimizer.lrr", "did you mean optimizer.lr?"]),
    (
        ["estimator=reinforce", "estimator.baseline.decay=interval(0.5,0.9)"],
        ["estimator.baseline.decay"],
    ),
    (["anneal.rate=interval(1,2)"], ["anneal.rate"]),
    (["optimizer.lr=interval(-1,0.1)"], ["optimizer.lr", "positive"]),
    (["optimizer.lr=interval(0.2,0.1)"], ["optimizer.lr", "low < high"]),
    (["neuron.law=logistic,cauchy", "optimizer.lr=interval(0.1,0.2)"], ["neuron.law", "cauchy"]),
    (
        ["estimator=st,reinforce", "neuron.law=logistic,uniform"],
        ["estimator=reinforce", "neuron.law=uniform"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.metric=test/accuracy"],
        ["test/accuracy", "val/loss"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.metric=loss"],
        ["hydra.sweeper.metric", "val/loss"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.direction=maximize"],
        ["hydra.sweeper.direction", "minimize"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.metric=seconds/train"],
        ["hydra/sweeper/pruner=none"],
    ),
    (["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.metric=[]"], ["hydra.sweeper.metric"]),
    (
        ["optimizer.lr=interval(0.1,0.2)", "+hydra.sweeper.n_trails=3"],
        ["hydra.sweeper.n_trails", "n_trials"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.study_name=7"],
        ["hydra.sweeper.study_name", "7"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.n_trials=0"],
        ["hydra.sweeper.n_trials", "0"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "+hydra.sweeper.pruner.startup=3"],
        ["hydra.sweeper.pruner.startup", "n_startup"],
    ),
    (
        ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.storage=nowhere/optuna.journal"],
        ["hydra.sweeper.storage"],
    ),
    (["seed=0,1"], ["hydra.sweeper.seeds"]),
    (["++seed=range(0,5)"], ["hydra.sweeper.seeds"]),
    (["data=digits,mnist"], ["data", "fixed"]),
    (["tracking.experiment=a,b"], ["tracking.experiment", "fixed"]),
    (["study=anneal", "anneal=cosine", "anneal.rate=interval(1,2)"], ["anneal.rate"]),
    (
        ["study=anneal", "anneal=cosine", "+hydra.sweeper.params={optimizer.lrr: 'interval(0,1)'}"],
        ["optimizer.lrr"],
    ),
    (
        ["study=anneal", "optimizer=adam", "+hydra.sweeper.params.optimizer.lrr='interval(0,1)'"],
        ["optimizer.lrr"],
    ),
    (["optimizer.lr=0.1"], ["nothing is searched"]),
]


@pytest.mark.parametrize(
    "words, said",
    one_in(3, REFUSED),
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_what_makes_no_study_is_refused_before_any_trial(
    tmp_path: Path, words: list[str], said: list[str]
) -> None:
    result = run_here(tmp_path, "-m", "hydra/sweeper=bnn_optuna", "data=digits", *words)
    assert result.returncode == 1 and result.stderr.startswith("error: "), result.stderr
    assert len(result.stderr.splitlines()) == 1
    for word in said:
        assert word in result.stderr
    assert not (tmp_path / "optuna.journal").exists() or not optuna.get_all_study_names(
        open_storage(str(tmp_path / "optuna.journal"))
    )


def test_fresh_without_a_study_is_refused(tmp_path: Path) -> None:
    for words in (["fresh=true"], ["-m", "fresh=true", "seed=0,1"]):
        result = run_here(tmp_path, *words, "data=digits")
        assert result.returncode == 1 and result.stderr.startswith("error: fresh=true")
        assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_a_choice_on_the_command_line_narrows_a_study(tmp_path: Path) -> None:
    words = ["-m", "data=digits", "dry_run=true"]
    narrowed = run_here(tmp_path, *words, "study=anneal", "anneal=cosine")
    assert narrowed.returncode == 0, narrowed.stderr
    assert "| anneal.end" in narrowed.stdout and "| anneal.rate" not in narrowed.stdout
    assert "note: anneal.rate is not searched" in narrowed.stdout
    baseline = run_here(
        tmp_path,
        *words,
        "study=reinforce_baseline",
        "placement=last",
        "estimator/baseline=leave_one_out",
    )
    assert baseline.returncode == 0, baseline.stderr
    assert (
        "| estimator.baseline.samples" in baseline.stdout
        and "| estimator.baseline.decay" not in baseline.stdout
    )
    fixed = run_here(
        tmp_path,
        *words,
        "study=reinforce_baseline",
        "placement=last",
        "estimator.baseline.samples=8",
    )
    assert fixed.returncode == 0, fixed.stderr
    assert (
        "| estimator/baseline" in fixed.stdout
        and "| estimator.baseline.samples" not in fixed.stdout
    )


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1], ids=["outer first", "inner first"])
def test_a_group_within_a_group_is_searched_where_it_exists(tmp_path: Path, order: int) -> None:
    search = ["estimator=st,reinforce", "estimator/baseline=none,moving_average"][::order]
    words = ["-m", *QUICK, "hydra/sweeper=bnn_optuna", "hydra.sweeper.n_trials=4"]
    result = run_here(tmp_path, *words, *search, "placement=none,both", "trainer.epochs=1")
    assert result.returncode == 0, result.stderr
    for trial in study(tmp_path).trials:
        assert ("estimator/baseline" in trial.params) == (trial.params["estimator"] == "reinforce")
    assert "best, trial" in result.stdout


def test_a_study_without_m_is_refused(tmp_path: Path) -> None:
    result = run_here(tmp_path, "study=anneal", "data=digits")
    assert (
        result.returncode == 1
        and result.stderr.startswith("error: study=anneal")
        and "-m study=anneal" in result.stderr
    )
    assert not (tmp_path / "mlflow.db").exists()


def test_a_dry_run_shows_the_space_and_trains_nothing(tmp_path: Path) -> None:
    result = run_here(
        tmp_path, "-m", "study=reinforce_baseline", "placement=last", "data=digits", "dry_run=true"
    )
    assert result.returncode == 0, result.stderr
    assert (
        "choice(leave_one_out, moving_average, min_variance, none)" in result.stdout
        and "30 trials" in result.stdout
    )
    assert not list(tmp_path.glob("*.db")) and not list(tmp_path.glob("*.journal"))


def test_a_study_of_ten_lines_is_a_study(tmp_path: Path) -> None:
    """What CONTRIBUTING promises, from a folder of the user's own."""
    (tmp_path / "conf" / "study").mkdir(parents=True)
    text = """# @package _global_
defaults:
  - override /hydra/sweeper: bnn_optuna
hydra:
  sweeper:
    n_trials: 2
    params:
      neuron.law: logistic,gaussian
      optimizer.lr: tag(log,interval(0.01,0.3))
"""
    assert len(text.splitlines()) <= 10
    (tmp_path / "conf" / "study" / "law.yaml").write_text(text)
    words = [f"hydra.searchpath=[file://{tmp_path}/conf]", "study=law", *QUICK]
    result = run_here(tmp_path, "-m", *words)
    assert result.returncode == 0, result.stderr
    assert len(study(tmp_path).trials) == 2


@pytest.mark.slow
def test_a_study_lies_in_a_database_too(tmp_path: Path) -> None:
    words = [
        *QUICK,
        *SEARCH,
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.storage=sqlite:///studies.db",
    ]
    result = run_here(tmp_path, "-m", *words)
    assert result.returncode == 0, result.stderr
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    (name,) = optuna.get_all_study_names(storage)
    found = optuna.load_study(study_name=name, storage=storage)
    assert [trial.state in DONE for trial in found.trials] == [True, True]
    assert (
        IDENTITY in found.user_attrs
        and f"optuna-dashboard sqlite:///{tmp_path}/studies.db" in result.stdout
    )


def test_studies_are_listed_and_held_side_by_side(
    annealed, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = annealed
    monkeypatch.chdir(folder)
    assert main([]) == 0
    name = "anneal/digits data.limit=300 estimator=st placement=both trainer.epochs=3"
    assert f"| {name} |" in capsys.readouterr().out
    assert main([name, name, "--trials"]) == 0
    said = capsys.readouterr().out
    best = study(folder).best_trial
    total = sum(trial.duration.total_seconds() for trial in study(folder).trials)
    assert (
        f"val/loss {best.value:.5g} ±" in said
        and f"{total:,.0f}" in said
        and "0 % fewer seconds" in said
    )
    assert "-m study=anneal" in said and f"|     {best.number} |" in said
    assert main(["another"]) == 1 and name in capsys.readouterr().err
    monkeypatch.chdir(folder.parent)
    assert (
        main([]) == 1
        and "no such file" in capsys.readouterr().err
        and not Path("optuna.journal").exists()
    )


def test_the_dashboard_opens_the_study(annealed) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    folder, _ = annealed
    app = dashboard._app.create_app(open_storage(str(folder / "optuna.journal")))
    seen: list[str] = []
    body = b"".join(
        app(
            {
                "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies",
                "SERVER_NAME": "x", "SERVER_PORT": "80",
                "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
            },
            lambda status, headers, info=None: seen.append(status),
        )
    )  # fmt: skip
    assert (
        seen[0].startswith("200")
        and b"anneal/digits data.limit=300 estimator=st placement=both" in body
    )
