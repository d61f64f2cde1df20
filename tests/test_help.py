"""Laws of `python -m bnn.train --help`: groups, choices, and every key with its meaning."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from bnn import train
from bnn.config import groups, help
from bnn.config.canonical import flat
from bnn.config.compose import compose
from bnn.config.help import help_text
from bnn.errors import ConfigError
from bnn.paths import folder

CONF = folder("conf")
FILES = sorted(
    path
    for path in CONF.glob("*/**/*.yaml")
    if path.parent != CONF / "hydra" and path.parent.name not in groups.RECIPES
)


@pytest.fixture(scope="module", autouse=True)
def one_discovery() -> Iterator[None]:
    """Hydra's plug-ins and groups are discovered once for all tests of this module."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(help, "available", cache(help.available))
        yield


def group_of(path: Path) -> str:
    return path.parent.relative_to(CONF).as_posix()


def told(shown: str, key: str) -> str:
    """What the help says behind `key=default`, up to the next key."""
    lines = shown.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith(f"    {key}=")]
    words = [lines[at].strip().partition("   ")[2]]
    for line in lines[at + 1 :]:
        if not line.startswith(" " * 8):
            break
        words.append(line)
    return " ".join(" ".join(words).split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{group_of(path)}/{path.stem}")
def test_every_key_of_a_choice_is_shown_with_its_default_and_a_meaning(path: Path) -> None:
    group = group_of(path)
    shown = help_text([f"{group}={path.stem}"])
    node = yaml.safe_load(path.read_text())
    for key, value in flat(node.get(group, node)).items():
        if key in groups.NO_KEYS:
            continue
        name = f"{group}.{key}".replace("/", ".")
        (line,) = [one for one in shown.splitlines() if one.startswith(f"    {name}=")]
        default = line.strip().removeprefix(f"{name}=").partition("   ")[0]
        assert yaml.safe_load(default) == value
        assert len(told(shown, name)) >= 5, f"{path}: {key} needs a comment that says what it is"


def test_every_key_outside_of_groups_is_shown_with_a_meaning() -> None:
    shown = help_text()
    for key in yaml.safe_load((CONF / "train.yaml").read_text()):
        assert key == "defaults" or len(told(shown, key)) >= 5, key


def test_launchers_sweepers_samplers_and_pruners_are_listed_with_hydras_own() -> None:
    lines = help_text().splitlines()
    for group in ("hydra/sweeper/sampler", "hydra/sweeper/pruner"):
        names = sorted(path.stem for path in groups.files(group))
        assert f"{group}: {', '.join(names)}" in lines
    (launchers,) = [line for line in lines if line.startswith("hydra/launcher: ")]
    assert {"basic,", "joblib,", "slurm"} <= set(launchers.replace("slurm,", "slurm").split())
    assert any(line.startswith("hydra/sweeper: ") and "bnn_optuna" in line for line in lines)


def test_a_default_is_the_choice_of_a_run_without_overrides() -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = hydra_compose("train", return_hydra_config=True).hydra.runtime.choices
    named = groups.defaults()
    assert {group: chosen[group] for group in named if group in chosen} == {
        group: choice for group, choice in named.items() if group in chosen
    }
    assert set(named) - set(chosen) == {
        "estimator/baseline",
        "model/sparsity",
        "hydra/sweeper/sampler",
        "hydra/sweeper/pruner",
    }
    assert compose(["model=gated_mlp"]).model.sparsity.name == named["model/sparsity"]
    assert compose(["estimator=reinforce"]).estimator.baseline.name == named["estimator/baseline"]


def test_a_choice_shows_the_choices_that_come_with_it_unless_others_are_named() -> None:
    shown = help_text(["estimator=reinforce"])
    assert "estimator/baseline=nested_leave_one_out (default)" in shown
    assert "estimator.baseline.nested=8" in shown
    other = help_text(["estimator=reinforce", "estimator/baseline=min_variance"])
    assert "estimator.baseline.decay=0.9" in other and "leave_one_out (default)" not in other


def test_a_choice_that_extends_another_shows_the_keys_of_both_once() -> None:
    shown = help_text(["tracking=server"])
    assert shown.count("tracking.uri=") == 1 and "127.0.0.1:5000" in shown
    assert "tracking.experiment=bnn" in shown


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (["optimizer"], ["adam (default)", "adamw", "sgd"]),
        (["optimizer.lr=0.1", "-m"], ["adam (default)", "adamw", "sgd"]),
        (["optimizer=sgd,adam", "seed=1", "vars.by=st", "hydra.run.dir=x"], ["sgd", "adam (def"]),
        (["+optimizer=adamw"], ["adamw"]),
    ],
)
def test_words_of_a_command_line_name_groups_and_choices(
    words: list[str], choices: list[str]
) -> None:
    shown = help_text(words)
    heads = [line for line in shown.splitlines() if line.startswith("optimizer=")]
    assert len(heads) == len(choices)
    for head, choice in zip(heads, choices, strict=True):
        assert head.startswith(f"optimizer={choice}")


def test_a_recipe_is_shown_with_its_question_and_command() -> None:
    shown = help_text(["experiment=baselines"])
    assert "Which baseline should REINFORCE have?" in shown
    assert "python -m bnn.train -m experiment=baselines" in shown


def test_keys_that_hydra_documents_are_left_to_its_own_command() -> None:
    assert "--cfg hydra -p hydra.launcher hydra/launcher=joblib" in help_text(["hydra/launcher"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("estimatr", "--help estimatr: there is no such group; did you mean estimator? expected"),
        ("foo.bar=1", "--help foo.bar: there is no such group; expected one of task, data"),
        ("estimator=nope", "estimator=nope: expected one of arm, arms"),
        ("estimator=a,", "estimator=a,: no space may follow a comma"),
    ],
)
def test_a_group_or_choice_that_does_not_exist_is_one_line(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        help_text([word])
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)


def test_the_command_line_asks_for_it_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bnn.train", "-m", "lab.every=1", "-h"])
    train.run_command_line()
    assert capsys.readouterr().out == f"{help_text(['lab'])}\n"


def test_it_imports_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv = ['bnn.train', '--help', 'estimator', 'hydra/launcher', 'data']\n"
        "from bnn.train import main; main()\n"
        "heavy = {'torch', 'mlflow', 'matplotlib', 'optuna', 'scipy', 'sklearn', 'mlxtend'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n") and "estimator=rebar" in done.stdout


def test_a_comment_is_the_meaning_of_the_key_on_its_line_or_below_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "# The file.\nname: a\nrate: 0.5   # a share | of all\nplain: x\n"
        "nest:  # not this\n  one: [1, 2]  # this\n"
        "flow: {lr: null}  # and this\n"
        "# Above,\n#  in two lines.\nlong: 'a # b'\n\n# apart\n\nlast: 1\n"
    )
    assert groups.keys(file) == [
        ("rate", "0.5", "a share | of all"),
        ("plain", "x", ""),
        ("nest.one", "[1, 2]", "this"),
        ("flow.lr", "null", "and this"),
        ("long", "'a # b'", "Above, in two lines."),
        ("last", "1", ""),
    ]
    assert groups.description(file) == ["The file."]


def test_the_comment_at_the_beginning_of_a_file_is_no_meaning(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# @package _global_\n# The file.\nrate: 1\n")
    assert groups.keys(file) == [("rate", "1", "")]
    assert groups.description(file) == ["The file."]
