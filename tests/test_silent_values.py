"""Values that would train in silence to nothing: each is answered by one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import QUICK, run_here
from support.matrix import one_in

from bnn.build import read_dataset
from bnn.combinations import ignored_choices
from bnn.config.canonical import GROUPS, flat
from bnn.config.compose import compose
from bnn.data import DATASETS, Dataset, DatasetSpec, Raw, Source, from_tensors, load
from bnn.data.loading import Split
from bnn.errors import ConfigError, DataError
from bnn.models import MLP, MODELS
from bnn.plugins import choices
from bnn.registry import validate
from bnn.specify import setup, specify
from bnn.training.settings import TrainerSettings
from bnn.training.step import TrainState

QUIET = ["data=digits", "device=cpu", "model=mlp", "trainer.progress=none"]


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        specify(compose([*QUIET, *overrides]))
    assert "\n" not in str(refused.value)
    return str(refused.value)


DEFAULTS = compose(QUIET)
FLOATS = [
    f"{group}.{key}"
    for group in GROUPS
    for key, value in flat(dict(DEFAULTS[group])).items()
    if isinstance(value, float)
]


def test_there_are_keys_of_numbers_to_check() -> None:
    assert {"optimizer.lr", "anneal.end", "trainer.validation_fraction"} <= set(FLOATS)


@pytest.mark.parametrize("value", one_in(3, ["nan", "inf", "-inf"]))
@pytest.mark.parametrize("key", [*FLOATS, "optimizer.groups.task.lr"])
def test_a_number_that_is_not_finite_is_refused(key: str, value: str) -> None:
    assert refusal(f"{key}={value}") == f"{key}: expected a finite number, got {value}"


def test_a_number_from_python_is_checked_too() -> None:
    node = {**compose(QUIET).trainer, "validation_fraction": float("nan")}
    with pytest.raises(ConfigError, match="expected a finite number, got nan"):
        validate(TrainerSettings, node, "trainer")


@pytest.mark.parametrize("hidden", [10**9, 10**18, 10**30])
def test_a_size_that_does_not_fit_into_memory_is_one_line(hidden: int) -> None:
    said = refusal(f"model.hidden={hidden}")
    assert said.startswith(f"model.hidden={hidden}: ") and "bytes" in said
    assert hidden != 10**9 or "256000000000 bytes" in said


def test_one_training_example_is_too_few() -> None:
    assert "expected at least 2 training examples" in refusal("data.limit=1")
    made = setup(compose(QUIET))
    data = read_dataset(made.spec)
    one = replace(data, train=Split(data.train.images[:1], data.train.labels[:1]))
    with pytest.raises(ConfigError, match=r"expected at least 2 training examples .* got 1"):
        TrainState(made.model, made.training, one)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_images_that_are_not_finite_are_refused(part: str, value: float) -> None:
    data = load({"name": "digits"}, 0, 0.1)
    split: Split = getattr(data, part)
    images = split.images[:].clone()
    images[:3, 0, 0] = value
    with pytest.raises(DataError) as refused:
        replace(data, **{part: Split(images, split.labels)})
    assert f"data=digits, {part}: expected finite images, but 3 of {len(images)}" in str(
        refused.value
    )


class Broken(Source):
    """Source whose third training image has a hole."""

    def spec(self) -> DatasetSpec:
        return DatasetSpec("broken", "broken", (1, 4, 4), 2, 20, 20, 0.5, 0.3, 1)

    def read(self) -> tuple[Raw, Raw]:
        images = np.random.default_rng(0).random((20, 1, 4, 4)).astype(np.float32)
        broken = images.copy()
        broken[2, 0, 1, 1] = np.nan
        labels = np.arange(20) % 2
        return Raw(broken, labels), Raw(images, labels)


def test_a_source_of_images_that_are_not_finite_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(DATASETS._constructors, "broken", Broken)
    with pytest.raises(DataError, match=r"data=broken, \w+: expected finite images, but 1 of"):
        load({"name": "broken"}, 0, 0.5)


def test_how_many_images_of_a_function_are_not_finite_is_said() -> None:
    images, labels = torch.rand(20, 4, 4), torch.arange(20) % 2
    broken = images.clone()
    broken[:7, 0, 0] = torch.nan
    with pytest.raises(DataError, match="mine, train: expected finite images, but 7 of 20"):
        from_tensors(train=(broken, labels), test=(images, labels), name="mine")
    assert isinstance(from_tensors(train=(images, labels), test=(images, labels)), Dataset)


def notes(*words: str) -> list[str]:
    return ignored_choices([specify(compose([*QUIET, *words]))], words)


def test_choices_that_do_not_matter_without_binary_layers_are_named() -> None:
    (note,) = notes("placement=none", "estimator=reinforce", "anneal=linear", "neuron.law=gaussian")
    assert note.startswith("note: estimator=reinforce anneal=linear: without binary layers")
    assert notes("placement=none") == notes("placement=none", "estimator=none") == []
    assert notes("placement=both", "estimator=reinforce") == []


def test_a_product_with_other_placements_needs_no_note() -> None:
    words = ["estimator=st", "placement=none", "placement=both"]
    specs = [specify(compose([*QUIET, f"placement={place}"])) for place in ("none", "both")]
    assert ignored_choices(specs, words) == []


def test_a_placement_that_is_named_otherwise_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneLayer(MLP):
        depth = 1

        def __init__(self, shape, outputs, activations, *, hidden: int = 8) -> None:
            (only,) = activations
            super().__init__(shape, outputs, [only, torch.nn.Identity()], hidden=hidden)

    monkeypatch.setitem(MODELS._constructors, "one_layer", OneLayer)
    assert ("model", "one_layer") in choices()
    words = ["+model={name: one_layer, hidden: 8}", "placement=first"]
    config = compose(["data=digits", "device=cpu", "placement=first"])
    config.model = {"name": "one_layer", "hidden": 8}
    spec = specify(config)
    (note,) = ignored_choices([spec], words)
    assert spec.title.split(" · ")[2] == "last" and "named by placement=last" in note


@pytest.mark.integration
def test_the_note_is_printed_and_the_run_goes_on(tmp_path: Path) -> None:
    words = [*QUICK, "data.limit=192", "placement=none"]
    for command in ([*words, "estimator=reinforce"], ["-m", *words, "estimator=reinforce,st"]):
        result = run_here(tmp_path, *command)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("note: estimator=reinforce: without binary layers") == 1
