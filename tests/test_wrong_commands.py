"""Wrong commands: each is answered in one line that says what to write, and leaves nothing behind.

`python tests/test_wrong_commands.py` tries them all and prints how many were answered so.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from support.command_line import environment, in_new_interpreter, run_here
from support.matrix import one_in

Wrong = tuple[str, list[str], str]
"""A command, its words, and what its answer must contain."""

TRAIN: dict[str, list[tuple[list[str], str]]] = {
    "several values without -m": [
        (["estimator=st,reinforce"], "several values: write -m"),
        (["optimizer.lr=0,1"], "-m optimizer.lr=0,1"),
        (["placement=first,last"], "-m placement=first,last"),
        (["seed=range(3)"], "write -m"),
        (["placement.layers=0,1"], "write -m"),
    ],
    "choice": [
        (["placement=1"], "expected one of all, both, first, last, none"),
        (["estimator=4"], "reinforce, reinmax"),
        (["-m", "placement=1,2"], "expected one of all, both, first, last, none"),
        (["estimator=nope"], "reinforce, reinmax"),
        (["estimator="], "reinforce, reinmax"),
        (["estimator=null"], "reinforce, reinmax"),
        (["estimator=[st,reinforce]"], "-m estimator=st,reinforce"),
        (["optimizer=adamm"], "adam, adamw, sgd"),
        (["data=MNIST"], "digits, fashion_mnist"),
        (["trainer=3"], "default"),
        (["experiment=nope"], "estimators, gan, gating, norms"),
        (["-m", "study=nope"], "anneal, learning_rate"),
        (["-m", "estimator=st,nope"], "reinforce, reinmax"),
        (["-m", "placement=first,lst", "estimator=st,arm"], "both, first, last"),
        (["experiment=vae", "vars.by=rebarr"], "vars.by=rebarr: expected one of st, mve, reinmax"),
        (["experiment=seed_table", "vars.by=nope"], "vars.by=nope: expected one of st, reinforce"),
        (["-m", "experiment=vae", "vars.by=st,rebarr"], "vars.by=rebarr: expected one of st, mve"),
        (
            ["experiment=reinforce_tuned", "placement=none"],
            "placement=none: expected one of first, last, both",
        ),
    ],
    "group": [
        (["estmator=st"], "did you mean estimator?"),
        (["optimiser=adam"], "did you mean optimizer?"),
        (["estimator/baseline=moving_average"], "st has no baseline; write estimator=reinforce"),
        (["estimator.baseline=none"], "st has no baseline; write estimator=reinforce"),
        (["estimatr=st", "-m", "placement=first,last"], "did you mean estimator?"),
        (["a=b", "-m", "c=1,2"], "a: there is no such key"),
    ],
    "key": [
        (["estimator.samples=8"], "did you mean estimator.baseline.samples"),
        (
            ["estimator=reinforce", "estimator.samples=8"],
            "did you mean estimator.baseline.samples?",
        ),
        (["estimator=reinforce", "estimator.baseline.sample=8"], "estimator.baseline.samples"),
        (["estimator.baseline.samples=8"], "estimator=reinforce"),
        (["lr=0.1"], "did you mean optimizer.lr or weights.lr (with weights="),
        (["optimizer.learning_rate=0.1"], "did you mean optimizer.lr?"),
        (["n_trials=5"], "did you mean hydra.sweeper.n_trials"),
        (["n_jobs=2"], "did you mean hydra.launcher.n_jobs"),
        (["hydra.launcher.n_jobs=2"], "one run is not launched; write -m"),
        (["hydra/launcher=joblib"], "one run is not launched; write -m"),
        (["epochs=3"], "did you mean trainer.epochs?"),
        (["-m", "epochs=3,4"], "did you mean trainer.epochs?"),
        (["-m", "study=anneal", "hydra.sweeper.n_trial=3"], "did you mean hydra.sweeper.n_trials"),
        (["-m", "hydra.sweeper.n_trials=3", "seed=1,2"], "study=NAME"),
        (["hydra.nope=1"], "hydra.nope"),
        (["+trainer.foo=1"], "epochs, batch_size"),
        (["~trainer.foo"], "trainer.epochs"),
        (["=st"], "KEY=VALUE"),
    ],
    "type": [
        (["placement.layers=0"], "expected a list, such as [0,-1], or all, got 0; write [0]"),
        (["-m", "placement.layers=0,-1"], "expected a list"),
        (["seed="], "seed: expected an integer, got nothing"),
        (["optimizer.lr="], "optimizer.lr: expected a number, got nothing"),
        (["trainer.epochs=three"], "trainer.epochs: expected an integer, got 'three'"),
        (["trainer.epochs=2.5"], "trainer.epochs: expected an integer"),
        (["resume=maybe"], "resume: expected true or false, got 'maybe'"),
        (["seed=[1,2]"], "seed: expected an integer"),
    ],
    "range": [
        (["trainer.epochs=0"], "trainer.epochs: expected at least 1"),
        (["-m", "trainer.epochs=1,0"], "trainer.epochs: expected at least 1"),
        (["optimizer.lr=-1"], "optimizer.lr"),
        (["device=gpu"], "auto, cpu, cuda"),
        (["placement.layers=[7]"], "[-2, 1]"),
        (["data=folder", "data.root=/nowhere"], "data.root"),
        (["data=mnist", "data.root="], "data.root"),
        (["estimator=none"], "placement=none"),
    ],
    "quoting": [
        (["estimator=st,", "reinforce"], "write -m estimator=st,reinforce"),
        (["-m", "estimator=st,", "reinforce"], "no space may follow a comma"),
        (["seed", "=", "1"], "without spaces"),
        (["seed=", "1"], "write seed=1"),
        (["trainer.epochs = 3"], "write trainer.epochs=3"),
        (["seed"], "write seed=VALUE"),
        (["estimator:st"], "write estimator=st"),
        (["estimator==st"], "write estimator=st"),
        (["estimator='st"], "a quote is not closed"),
        (["'estimator=st'"], "estimator=st"),
        (["placement.layers=[0,", "-1]"], "in quotes"),
        (["estimator=st placement=first"], "two settings in one word"),
        (["-m", "optimizer.lr=choice(0.1"], "a bracket is not closed"),
    ],
    "option": [
        (["--epochs", "3"], "write trainer.epochs="),
        (["--epochs=3"], "write trainer.epochs=3"),
        (["--foo"], "--foo"),
        (["--multi", "seed=1,2"], "did you mean --multirun?"),
        (["-x"], "-x"),
        (["-M", "estimator=st,reinforce"], "a sweep is -m"),
        (["m", "estimator=st,reinforce"], "the option of a sweep is -m"),
        (["-cn", "nope"], "--config-name nope"),
        (["--config-name"], "--config-name"),
        (["--config-dir", "nope"], "nope"),
        (["--cfg", "nope"], "'job', 'hydra', 'all'"),
        (["--resolve"], "--cfg job"),
        (["-m", "--cfg", "job"], "--multirun --cfg"),
        (["--experimental-rerun", "nope"], "nope: no such file"),
    ],
    "study and launcher": [
        (["study=anneal"], "write -m"),
        (["-m", "study=anneal,learning_rate"], "one study"),
        (["-m", "experiment=estimators,norms"], "one experiment"),
        (["-m", "seed=interval(0,1)"], "study=NAME"),
        (["-m", "hydra/sweeper/pruner=median"], "study=NAME"),
        (["-m", "hydra/sweeper/sampler=nope", "study=anneal"], "nsga2, qmc, random, tpe"),
        (["-m", "hydra/launcher=nope", "seed=1,2"], "joblib"),
        (
            ["-m", "hydra/launcher=basic", "hydra.launcher.n_jobs=2", "seed=1,2"],
            "hydra/launcher=auto",
        ),
        (["-m", "hydra/launcher=slurm", "seed=1,2"], "srun"),
        (["-m", "study=anneal", "hydra.sweeper.metric=val/los"], "val/loss, val/accuracy"),
        (["-m", "study=anneal", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials"),
        (["plugins=nope"], "plugins: nope"),
        (["plugins=a,b"], "plugins=[first,second]"),
    ],
}
"""Wrong words of `python -m bnn.train`."""

OTHERS: list[Wrong] = [
    ("report", [], "EXPERIMENT"),
    ("report", ["nope"], "--uri"),
    ("report", ["nope", "--exprt"], "did you mean --export?"),
    ("report", ["a", "b", "--run", "0123abcd"], "--run: expected one EXPERIMENT"),
    ("report", ["nope", "--margin", "much"], "--margin"),
    ("report", ["--result"], "did you mean --results?"),
    ("predict", [], "MODEL"),
    ("predict", ["nope.pt", "image.png"], "nope.pt: no such file"),
    ("predict", ["a", "b", "--draw_ing"], "did you mean --drawing?"),
    ("tuning", ["nope"], "optuna.journal"),
    ("tuning", ["--trails"], "did you mean --trials?"),
    ("tuning", ["--storage"], "--storage"),
    ("sync", ["nowhere"], "nowhere"),
    ("sync", ["--uri", "x"], "--to"),
    ("sync", ["--too", "x"], "did you mean --to?"),
    ("sync", ["--exp", "x"], "did you mean --experiment?"),
    ("benchmark", ["--steps", "0"], "--steps"),
    ("benchmark", ["--device", "tpu"], "cuda"),
    ("benchmark", ["estimator=nope"], "reinforce, reinmax"),
    ("benchmark", ["--round", "x"], "--round"),
    ("lab", ["--draws", "1"], "--draws"),
    ("lab", ["estimator=nope"], "reinforce, reinmax"),
    ("lab", ["--figure", "x.pdf"], "--figure"),
    ("lab", ["--drawz", "3"], "did you mean --draws?"),
    ("lab", ["--draw", "3"], "did you mean --draws?"),
]
"""Wrong words of the other commands."""

WRONG: list[Wrong] = [
    *(("train", words, said) for lines in TRAIN.values() for words, said in lines),
    *OTHERS,
]


def answer(command: str, words: Sequence[str], folder: Path) -> tuple[int | str | None, str]:
    """Exit code and stderr of `python -m bnn.COMMAND WORDS` in this process.

    Args:
        command: name of the command.
        words: its words.
        folder: working directory.
    """
    if command == "train":
        done = run_here(folder, *words)
        return done.returncode, done.stderr
    error, code = io.StringIO(), None
    names = {"predict": "bnn.predict", "sync": "bnn.sync"}
    main = importlib.import_module(names.get(command, f"bnn.{command}.__main__")).main
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment(), clear=True),
        mock.patch.object(sys, "argv", [f"bnn {command}", *words]),
        redirect_stdout(io.StringIO()),
        redirect_stderr(error),
        warnings.catch_warnings(),
    ):
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
            if isinstance(ended.code, str):
                print(ended.code, file=error)
    return code, error.getvalue()


def mistake(command: str, words: Sequence[str], said: str, folder: Path) -> str | None:
    """What is wrong with the answer to a wrong command; None for an answer in one line.

    Args:
        command: name of the command.
        words: its words.
        said: what the line must contain.
        folder: empty working directory.
    """
    try:
        code, error = answer(command, words, folder)
    except Exception as raised:
        return f"a traceback: {type(raised).__name__}: {raised}"
    lines = error.strip().splitlines()
    if code in (0, None):
        return "exit code 0"
    if len(lines) != 1 or not lines[0].startswith("error: ") or "Traceback" in error:
        return f"{len(lines)} lines: {error}"
    if said not in lines[0]:
        return f"it lacks {said!r}: {lines[0]}"
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return f"it leaves {', '.join(left)}" if left else None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "words", "said"),
    one_in(3, WRONG),
    ids=[f"{name} {' '.join(words)}" for name, words, _ in WRONG],
)
def test_a_wrong_command_is_answered_in_one_line_and_leaves_nothing(
    command: str, words: list[str], said: str, tmp_path: Path
) -> None:
    assert (wrong := mistake(command, words, said, tmp_path)) is None, wrong


def test_the_table_has_every_command_and_kind() -> None:
    assert {command for command, _, _ in WRONG} >= {
        *("train", "report", "predict", "tuning", "sync", "benchmark", "lab")
    }
    assert len(WRONG) >= 65 and all(len(lines) >= 5 for lines in TRAIN.values())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "said"),
    one_in(
        3, [(["placement=1"], "both, first"), (["a=b", "-m", "c=1,2"], "a: "), (["seed="], "seed")]
    ),
    ids=str,
)
def test_a_process_of_its_own_answers_the_same(words: list[str], said: str, tmp_path: Path) -> None:
    done = in_new_interpreter(tmp_path, *words)
    (line,) = done.stderr.splitlines()
    assert done.returncode and said in line and not list(tmp_path.iterdir())


def test_a_command_that_is_right_with_its_option_in_the_middle_is_not_refused(
    tmp_path: Path,
) -> None:
    done = run_here(tmp_path, "data=digits", "-m", "seed=1,2", "dry_run=true")
    assert done.returncode == 0, done.stderr


def count() -> int:
    """Print how many wrong commands were answered in one line, and the others; the exit code."""
    failures = 0
    for command, words, said in WRONG:
        with tempfile.TemporaryDirectory() as folder:
            if wrong := mistake(command, words, said, Path(folder)):
                failures += 1
                print(f"bnn.{command} {' '.join(words)}: {wrong}")
    print(f"tried {len(WRONG)} / answered in one line {len(WRONG) - failures}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(count())
