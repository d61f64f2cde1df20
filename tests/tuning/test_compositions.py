"""Compositions of a sweep: each set of overrides is composed once, each group is listed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from optuna import create_study
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from PIL import Image

from bnn.paths import folder
from bnn.runs.jobs import JobComposer
from bnn.tuning.compositions import Compositions
from bnn.tuning.space import SearchSpace
from bnn.tuning.summary import markdown_summary


def test_each_set_of_overrides_is_composed_once_and_each_group_listed_once() -> None:
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", ["data=digits"], run_mode=RunMode.MULTIRUN)
        asked: list[tuple[str, ...]] = []

        class Counted:
            def load_sweep_config(self, config, words):
                asked.append(tuple(words))
                return loader.load_sweep_config(config, words)

            def get_group_options(self, group):
                asked.append((group,))
                return loader.get_group_options(group)

        composer = JobComposer(Counted(), config)
        first, again, other = map(composer.compose, (["model=mlp"], ["model=mlp"], ["model=cnn"]))
        assert first is again and (first.model.name, other.model.name) == ("mlp", "cnn")
        assert composer.is_group("model") and composer.is_group("+model")
        assert composer.group_options("model") >= {"cnn", "mlp"}
        assert not composer.is_group("optimizer.lr")
    assert asked == [("model=mlp",), ("model=cnn",), ("model",), ("optimizer.lr",)]


@pytest.fixture
def compositions() -> Iterator[Compositions]:
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", ["data=digits"], run_mode=RunMode.MULTIRUN)
        yield Compositions(JobComposer(loader, config))


def test_the_command_of_a_trial_leaves_out_what_its_choice_does_not_have(
    compositions: Compositions,
) -> None:
    key = "estimator/baseline"
    choices = CategoricalDistribution(["leave_one_out", "moving_average"])
    fixed = ["data=digits", "placement=last", "estimator=reinforce", "estimator.baseline.samples=8"]
    study = create_study()
    for number, choice in enumerate(choices.choices):
        trial = create_trial(params={key: choice}, distributions={key: choices}, value=1.0 - number)
        study.add_trial(trial)
        settings = SimpleNamespace(metrics=["val/loss"], seeds=1)
        space = SearchSpace({key: choices}, fixed)
        text = markdown_summary(study, settings, space, compositions)  # type: ignore[arg-type]
        assert f"best, trial {number}" in text
        assert ("samples=8" in text) == (choice == "leave_one_out")


def test_the_command_of_a_configuration_finds_its_data(
    compositions: Compositions, tmp_path: Path
) -> None:
    job = compositions.job(["data=mnist", "data.root=/elsewhere"])
    assert "data.root=/elsewhere" in compositions.command(job, 1)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.new("L", (8, 8), 20 * number).save(tmp_path / name / f"{number}.png")
    job = compositions.job(["data=folder", f"data.root={tmp_path}", "data.size=8"])
    command = compositions.command(job, 1)
    assert "data=folder" in command and f"data.root={tmp_path}" in command
