"""Laws of data that is somebody else's: functions, sources, tensors, torchvision's data sets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from bnn.build import read_dataset
from bnn.config.canonical import digest
from bnn.config.compose import compose, with_values
from bnn.data import (
    DATASETS,
    Dataset,
    DatasetSpec,
    Raw,
    Source,
    from_tensors,
    from_torchvision,
    load,
    recorded_spec,
    resolve,
    spec_of,
)
from bnn.errors import CheckpointError, ConfigError, DataError
from bnn.restore import load_checkpoint
from bnn.specify import setup
from bnn.training import checkpoint
from bnn.training.loop import fit

Pair = tuple[torch.Tensor, torch.Tensor]
QUICK = [
    "data=digits",
    "trainer.epochs=6",
    "trainer.batch_size=16",
    "trainer.progress=none",
    "device=cpu",
    "optimizer=adam",
]


def bars(count: int, side: int, seed: int) -> Pair:
    """Horizontal and vertical bars, uint8 [count, side, side], and which they are."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, side, side), generator=generator, dtype=torch.uint8)
    for image, vertical in zip(images, targets.tolist(), strict=True):
        (image.T if vertical else image)[side // 2] = 255
    return images, targets


@pytest.fixture
def calls() -> Iterator[list[int]]:
    """`stripes` is registered; its widths are noted whenever it is called."""
    noted: list[int] = []

    @DATASETS.add("stripes")
    def stripes(*, side: int = 8, seed: int = 0) -> tuple[Pair, Pair]:
        noted.append(side)
        return bars(120, side, seed), bars(40, side, seed + 1)

    yield noted
    del DATASETS._constructors["stripes"]


@pytest.fixture
def register() -> Iterator:
    """Registers under `own`, until the test is over."""
    yield DATASETS.add("own")
    DATASETS._constructors.pop("own", None)


# Functions


def test_the_parameters_are_the_keys_and_the_facts_are_measured(calls: list[int]) -> None:
    (images, _), _ = bars(120, 12, 3), None
    spec = spec_of({"name": "stripes", "side": 12, "seed": 3})
    assert (spec.name, spec.shape, spec.classes, spec.train_size, spec.test_size) == (
        "stripes",
        (1, 12, 12),
        2,
        120,
        40,
    )
    pixels = images.double() / 255
    assert spec.mean == pytest.approx(pixels.mean().item()) and spec.std == pytest.approx(
        pixels.std(correction=0).item()
    )
    assert spec_of({"name": "stripes"}).shape == (1, 8, 8), "defaults stand for what is left out"
    for node, said in (
        ({"width": 3}, r"data\.width.*side, seed, limit"),
        ({"side": "x"}, r"data\.side"),
    ):
        with pytest.raises(ConfigError, match=said):
            spec_of({"name": "stripes", **node})


def test_a_function_is_called_once_for_its_arguments(calls: list[int]) -> None:
    for node in ({"side": 8}, {"side": 8, "limit": 10}, {}):
        spec_of({"name": "stripes", **node}), load({"name": "stripes", **node}, 0, 0.1)
    assert calls == [8]
    spec_of({"name": "stripes", "side": 9}), spec_of({"name": "stripes"})
    assert calls == [8, 9]


def test_a_limit_is_taken_without_being_declared(calls: list[int]) -> None:
    whole, limited = (load({"name": "stripes", "limit": limit}, 0, 0.25) for limit in (None, 7))
    assert len(whole.train.labels) == 90 and torch.equal(
        limited.train.images[:], whole.train.images[:7]
    )
    with pytest.raises(ConfigError, match=r"data\.limit"):
        load({"name": "stripes", "limit": 0}, 0, 0.25)


def test_loading_twice_gives_the_same_and_leaves_the_tensors_as_they_were(register) -> None:
    train = (torch.rand(20, 1, 4, 4), torch.arange(20) % 2)
    before = train[0].clone()
    register(lambda: (train, train))
    one, other = load({"name": "own"}, 0, 0.2), load({"name": "own"}, 0, 0.2)
    assert torch.equal(one.train.images[:], other.train.images[:]) and torch.equal(train[0], before)


def test_a_run_is_planned_trained_and_told_apart_by_its_examples(calls: list[int]) -> None:
    made = setup(with_values(compose(QUICK), data={"name": "stripes"}))
    assert made.spec.config["data"] == {"name": "stripes", "side": 8, "seed": 0, "limit": None}
    other = setup(with_values(compose(QUICK), data={"name": "stripes", "seed": 5}))
    assert made.spec.digest != other.spec.digest
    best = fit(made.model, made.training, read_dataset(made.spec))
    assert best.history[-1]["val/accuracy"] > 0.9


def test_a_function_that_draws_anew_is_refused(register) -> None:
    def noise() -> tuple[Pair, Pair]:
        part = (torch.rand(10, 4, 4), torch.arange(10) % 2)
        return part, part

    register(noise)
    spec_of({"name": "own"})
    spec_of({"name": "digits"})
    load({"name": "own"}, 0, 0.2)
    register(noise)
    from bnn.data.source import Measured

    Measured._latest = None
    with pytest.raises(DataError, match=r"data=own: expected the same examples.*seed of its own"):
        load({"name": "own"}, 0, 0.2)


def test_targets_that_are_numbers_load_but_do_not_train_as_classes(register) -> None:
    part = (torch.rand(10, 4, 4), torch.rand(10, 2))
    register(lambda: (part, part))
    data = load({"name": "own"}, 0, 0.2)
    assert (
        data.spec.classes is None
        and data.train.labels.dtype == torch.float32
        and data.test.labels.shape == (10, 2)
    )
    with pytest.raises(ConfigError, match="data=own: expected class labels"):
        setup(with_values(compose(QUICK), data={"name": "own"}))


PART = (torch.zeros(4, 5, 5).add_(torch.arange(5) / 5), torch.arange(4))


@pytest.mark.parametrize(
    "returned, words",
    [
        (None, ["train_images", "NoneType"]),
        ((PART,), ["train_images", "tuple"]),
        ((PART, None), ["test part", "(images, targets)", "NoneType"]),
        (((PART[0].long(), PART[1]), PART), ["training part", "uint8", "int64 [4, 5, 5]"]),
        (((PART[0].flatten(1), PART[1]), PART), ["[n, h, w]", "[4, 25]"]),
        (((PART[0], PART[1][:3]), PART), ["as many", "4 and 3"]),
        (((PART[0][:0], PART[1][:0]), PART), ["at least 1"]),
        (((PART[0], PART[1] - 1), PART), ["from 0", "-1"]),
        (((PART[0], PART[1] > 1), PART), ["targets", "bool"]),
        (((PART[0] / 0, PART[1]), PART), ["finite images"]),
        (((PART[0], PART[1] / 0), PART), ["finite targets"]),
        ((PART, (PART[0][:, :4], PART[1])), ["images of one kind", "[4, 1, 4, 5]"]),
        ((PART, (PART[0], PART[1].float())), ["targets of one kind", "float32"]),
        (((PART[0] * 0, PART[1]), PART), ["every pixel is 0"]),
    ],
)
def test_what_does_not_fit_together_is_one_line(
    register, returned: object, words: list[str]
) -> None:
    register(lambda: returned)
    with pytest.raises(DataError) as refused:
        spec_of({"name": "own"})
    assert all(word in str(refused.value) for word in ["data=own", *words]) and "\n" not in str(
        refused.value
    )


def positional(side: int) -> None: ...
def untyped(*, side=3) -> None: ...
def reserved(*, limit: int = 3) -> None: ...
def anything(**keys: int) -> None: ...


class NoSource: ...


@pytest.mark.parametrize("made", [positional, untyped, reserved, anything, NoSource])
def test_what_no_configuration_could_give_is_refused_when_it_is_registered(
    register, made: object
) -> None:
    with pytest.raises(ConfigError, match="data set own"):
        register(made)
    assert "own" not in DATASETS


# Sources


def test_a_class_describes_itself_by_its_configuration(register) -> None:
    @register
    class Ramp(Source):
        def __init__(self, *, width: int = 4) -> None:
            self.width = width

        def spec(self) -> DatasetSpec:
            return DatasetSpec("ramp", "Ramps", (1, 1, self.width), 2, 10, 4, 0.5, 0.25, 255)

        def read(self) -> tuple[Raw, Raw]:
            images = np.arange(14 * self.width, dtype=np.uint8).reshape(14, 1, self.width)
            return Raw(images[:10], np.arange(10) % 2), Raw(images[10:], np.arange(4) % 2)

    assert spec_of({"name": "own", "width": 6}).shape == (1, 1, 6)
    data = load({"name": "own"}, 0, 0.2)
    assert data.spec.name == resolve({"name": "own"}) == "own" and data.spec.title == "Ramps"
    torch.testing.assert_close(
        data.test.images[0, 0, 0], (torch.arange(40.0, 44) / 255 - 0.5) / 0.25
    )


# Checkpoints


def kept(made, tmp_path, about) -> Dataset:
    data = read_dataset(made.spec)
    fit(made.model, made.training, data, folder=tmp_path, metadata=about)
    return data


def test_a_checkpoint_loads_where_its_data_set_is_not_known(calls: list[int], tmp_path) -> None:
    made = setup(with_values(compose(QUICK), data={"name": "stripes", "side": 12}))
    data = kept(made, tmp_path, made.spec.checkpoint_metadata)
    del DATASETS._constructors["stripes"]
    try:
        model, about = load_checkpoint(tmp_path / "best.pt")
        assert recorded_spec(about) == data.spec
        for name, value in model.state_dict().items():
            assert torch.equal(value, made.model.state_dict()[name]), name
        content = checkpoint.load(tmp_path / "best.pt")
        del content["about"]["data_facts"]
        checkpoint.save(tmp_path / "without.pt", content)
        with pytest.raises(CheckpointError, match="stripes"):
            load_checkpoint(tmp_path / "without.pt")
    finally:
        DATASETS.add("stripes")(lambda: None)


@pytest.mark.integration
def test_a_checkpoint_of_version_0_1_0_has_the_facts_of_its_configuration(tmp_path) -> None:
    made = setup(compose(QUICK))
    kept(made, tmp_path, made.spec.public_config)
    assert "data_facts" not in checkpoint.load(tmp_path / "best.pt")["about"]
    _, about = load_checkpoint(tmp_path / "best.pt")
    assert recorded_spec(about) == spec_of({"name": "digits"}) == made.spec.data


def test_facts_of_another_version_are_one_line(tmp_path) -> None:
    made = setup(compose(QUICK))
    about = {
        **made.spec.checkpoint_metadata,
        "data_facts": {**made.spec.checkpoint_metadata["data_facts"], "smell": 1},
    }
    checkpoint.save(tmp_path / "best.pt", {"model": made.model.state_dict(), "about": about})
    with pytest.raises(CheckpointError, match="smell"):
        load_checkpoint(tmp_path / "best.pt")


def test_facts_stay_out_of_the_configuration() -> None:
    made = setup(compose(QUICK))
    assert set(made.spec.checkpoint_metadata) - set(made.spec.public_config) == {"data_facts"}
    assert made.spec.digest == digest(dict(made.spec.config)) == digest(made.spec.public_config)


# Tensors


def test_tensors_become_what_a_function_would(calls: list[int]) -> None:
    made = from_tensors(train=bars(120, 8, 0), test=bars(40, 8, 1), validation_fraction=0.2, seed=4)
    loaded = load({"name": "stripes"}, 4, 0.2)
    for part in ("train", "validation", "test"):
        one, other = getattr(made, part), getattr(loaded, part)
        assert torch.equal(one.images[:], other.images[:]) and torch.equal(one.labels, other.labels)
    assert (made.spec.mean, made.spec.std, made.spec.name) == (
        loaded.spec.mean,
        loaded.spec.std,
        "tensors",
    )


def test_validation_that_is_given_is_the_validation_split() -> None:
    made = from_tensors(train=bars(120, 8, 0), test=bars(40, 8, 1), validation=bars(30, 8, 2))
    assert [len(part.labels) for part in (made.train, made.validation, made.test)] == [120, 30, 40]
    raw = ((made.validation.images[:] * made.spec.std + made.spec.mean) * 255).round()
    assert torch.equal(raw[:, 0], bars(30, 8, 2)[0].float())
    with pytest.raises(DataError, match="images of one kind"):
        from_tensors(train=bars(120, 8, 0), test=bars(40, 8, 1), validation=bars(30, 9, 2))
    with pytest.raises(ConfigError, match="validation_fraction"):
        from_tensors(train=bars(120, 8, 0), test=bars(40, 8, 1), validation_fraction=0.0)


def test_pixels_are_left_alone_where_they_are_not_to_be_normalised() -> None:
    images, targets = torch.rand(20, 3, 4, 5), torch.arange(20) % 4
    made = from_tensors(
        train=(images, targets), test=(images, targets), normalise=False, name="own"
    )
    assert torch.equal(made.test.images[:], images) and made.test.labels.dtype == torch.int64
    assert (made.spec.mean, made.spec.std, made.spec.max_value, made.spec.classes) == (0, 1, 1, 4)
    whole = (images * 255).to(torch.uint8)
    scaled = from_tensors(train=(whole, targets), test=(whole, targets), normalise=False)
    assert torch.equal(scaled.test.images[:], whole.float() / 255)
    normal = from_tensors(train=(images, targets), test=(images, targets)).test.images
    assert not torch.equal(normal, images)
    assert normal.mean().item() == pytest.approx(0, abs=1e-6)


def test_names_of_classes_count_them() -> None:
    pair = bars(20, 8, 0)
    made = from_tensors(train=pair, test=pair, class_names=["-", "|", "+"])
    assert made.spec.classes == 3 and made.spec.class_names == ("-", "|", "+")
    with pytest.raises(DataError, match="labels below 1"):
        from_tensors(train=pair, test=pair, class_names=["-"])
    with pytest.raises(DataError, match="names; got numbers"):
        from_tensors(
            train=(pair[0], pair[1].float()),
            test=(pair[0], pair[1].float()),
            class_names=["-", "|"],
        )


def test_a_network_trains_on_tensors() -> None:
    made = setup(compose(QUICK))  # 8×8 images, as here
    history = fit(
        made.model, made.training, from_tensors(train=bars(300, 8, 0), test=bars(40, 8, 1))
    ).history
    assert history[-1]["val/accuracy"] > 0.9


# torchvision


def test_pillow_arrays_and_tensors_are_read_alike() -> None:
    plain = FakeData(12, (3, 5, 4), 3, random_offset=0)
    tensors = FakeData(12, (3, 5, 4), 3, transform=ToTensor())
    arrays = FakeData(12, (3, 5, 4), 3, transform=np.asarray)
    one, other, third = (
        from_torchvision(one, one, validation_fraction=0.25) for one in (plain, tensors, arrays)
    )
    assert one.spec.shape == (3, 5, 4) and one.spec.name == "FakeData"
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(one, part).images[:], getattr(third, part).images[:])
        torch.testing.assert_close(
            getattr(one, part).images[:], getattr(other, part).images[:], rtol=0, atol=1e-5
        )
        assert torch.equal(getattr(one, part).labels, getattr(other, part).labels)
    raw = (one.test.images[:] * one.spec.std + one.spec.mean).mul(255).round().to(torch.uint8)
    assert np.array_equal(raw[7].permute(1, 2, 0).numpy(), np.asarray(plain[7][0]))


def test_a_torch_data_set_with_names_and_a_validation_set() -> None:
    whole = TensorDataset(*bars(30, 8, 0))
    whole.classes = ["-", "|"]
    made = from_torchvision(
        whole, whole, validation_set=TensorDataset(*bars(10, 8, 1)), name="bars", normalise=False
    )
    assert (
        made.spec.name == "bars"
        and made.spec.class_names == ("-", "|")
        and len(made.validation.labels) == 10
    )
    assert torch.equal(made.train.images[:, 0], bars(30, 8, 0)[0] / 255)


@pytest.mark.parametrize(
    "made, words",
    [
        (iter([]), ["length"]),
        ([], ["at least 1"]),
        ([3], ["example 0", "(image, label)", "int"]),
        (
            [(np.zeros((4, 4), np.uint8), 0), (np.zeros((5, 4), np.uint8), 1)],
            ["example 1", "[1, 5, 4]", "one size"],
        ),
        ([(np.zeros(4, np.uint8), 0)], ["example 0", "2 or 3 axes", "[4]"]),
        ([(Image.new("RGBA", (4, 4)), 0)], ["example 0", "RGBA"]),
    ],
)
def test_a_data_set_that_is_none_is_one_line(made: object, words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        from_torchvision(made, made)
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)
