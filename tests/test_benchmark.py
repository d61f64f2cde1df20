"""Benchmark: arithmetic on given timings, fairness of the loops that are compared, and its page."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from support.matrix import one_in
from torch import Tensor
from torch.nn import functional as F

from bnn.benchmark.__main__ import DEFAULTS, main
from bnn.benchmark.concurrent_jobs import SIDE_BY_SIDE, side_by_side, two_jobs
from bnn.benchmark.conventional import image_loader, ordinary_network
from bnn.benchmark.laps import Laps
from bnn.benchmark.loops import ratio_table
from bnn.benchmark.timing import fastest_ratio, interleaved, limited, speed_ratios
from bnn.benchmark.weight_steps import weight_steps
from bnn.build import TrainingSetup, read_dataset
from bnn.config.compose import compose
from bnn.data import Split
from bnn.errors import ConfigError
from bnn.estimators import Baseline, Estimator
from bnn.specify import estimator_choices, setup

SECONDS = {
    "bare": [1.0, 2.0, 9.0],
    "ours": [2.0, 2.0, 10.0],
    "ours bf16": [1.0, 1.0, 8.0],
    "conventional": [3.0, 4.0, 40.0],
}


def test_ratios_are_taken_within_a_round_and_their_median_is_shown() -> None:
    assert speed_ratios(SECONDS, "ours", "conventional") == [1.5, 2.0, 4.0]
    assert fastest_ratio(SECONDS, "ours", "bare") == 0.5
    lines = ratio_table(SECONDS).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["ours / bare", "0.90", "0.50–1.00", "0.50", "0.90"],
        ["ours / conventional", "2.00", "1.50–4.00", "1.50", "1.60"],
        ["ours bf16 / conventional", "4.00", "3.00–5.00", "3.00", "2.10"],
    ]


def test_a_loop_that_did_not_run_has_no_ratio() -> None:
    without = {name: taken for name, taken in SECONDS.items() if name != "conventional"}
    assert "conventional" not in ratio_table(without)


def test_blocks_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2)
    assert order == list("abcabcabc")
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_laps_separate_the_time_that_grows_with_the_epochs() -> None:
    laps = Laps(lambda: None)
    laps.taken["figures", "epoch"] += [(1, 2.0), (1, 1.0), (2, 0.25), (2, 0.25)]
    laps.taken["figures", "once"].append((0, 4.0))
    laps.epoch = 2
    assert laps.an_epoch("figures") == 0.5
    # 4 outside of the epochs, and 3 in the first, which exceed the 0.5 of the last by 2.5
    assert laps.once("figures") == 6.5
    assert laps.a_step("figures") == 0.0


def setup_of(*overrides: str) -> TrainingSetup:
    return setup(compose(["device=cpu", "data=digits", *DEFAULTS, *overrides]))


def conventional_network(checked: TrainingSetup) -> torch.nn.Module:
    spec = checked.spec
    return ordinary_network(spec.config, spec.data.shape, spec.data.classes)


def random_batch() -> Split:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(32, 1, 8, 8, generator=generator)
    return Split(images, torch.randint(10, (32,), generator=generator))


def loss_and_gradients(
    checked: TrainingSetup, split: Split, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Loss and gradients of the conventional network and of ours, at the same weights.

    Args:
        checked: objects of the run.
        split: batch.
        seed: global seed under which our bits are drawn; 0 is that of the conventional ones, which
            are then drawn from the same uniform numbers.

    Returns:
        For each network the loss, and the gradients in the order of the layers.
    """
    conventional, ours = conventional_network(checked).double(), checked.model.double()
    with torch.no_grad():
        for parameter, other in zip(ours.parameters(), conventional.parameters(), strict=True):
            # away from their initial values, at which a norm without its own would go unseen
            parameter.add_(0.1 * torch.randn_like(parameter))
            other.copy_(parameter)
    images = split.images[:].double()
    torch.manual_seed(0)
    theirs = F.cross_entropy(conventional(images), split.labels)
    torch.manual_seed(seed)
    loss = checked.training.estimator(ours, images, split.labels)
    return (
        [theirs.detach(), *torch.autograd.grad(theirs, list(conventional.parameters()))],
        [loss.detach(), *torch.autograd.grad(loss, list(ours.parameters()))],
    )


@pytest.mark.parametrize(
    "placement, neuron, law",
    one_in(
        5,
        itertools.product(
            ["first", "last", "both"], ["stochastic", "deterministic"], ["logistic", "uniform"]
        ),
    ),
)
def test_the_conventional_network_has_our_loss_and_gradient_on_the_same_bits(
    placement: str, neuron: str, law: str
) -> None:
    checked = setup_of(f"placement={placement}", f"neuron={neuron}", f"neuron.law={law}")
    pairs = zip(*loss_and_gradients(checked, random_batch(), seed=0), strict=True)
    for theirs, ours in pairs:
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)


def test_other_bits_give_another_loss() -> None:
    theirs, ours = loss_and_gradients(setup_of(), random_batch(), seed=1)
    assert abs(theirs[0] - ours[0]) > 1e-4


def test_the_conventional_loader_gives_the_images_of_the_data_set() -> None:
    checked = setup_of()
    data, split = checked.spec.data, read_dataset(checked.spec).train
    loader = image_loader(split, data.mean, data.std, len(split.labels), workers=0)
    ((images, labels),) = loader
    assert images.dtype == torch.float32
    assert labels.bincount().tolist() == split.labels.bincount().tolist()
    # pixels of digits are sixteenths, which 8-bit images hold to within half of 1/255
    atol = 0.51 / 255 / data.std
    theirs, ours = (one.flatten().sort()[0] for one in (images, split.images[:]))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=atol)


@pytest.mark.parametrize("override", ["model=mlp", "estimator=frozen", "model.norm=group"])
def test_the_conventional_network_refuses_other_configurations(override: str) -> None:
    with pytest.raises(ConfigError, match="conventional loop is written for"):
        conventional_network(setup_of(override))


def test_the_conventional_loop_refuses_images_of_several_channels() -> None:
    checked = setup_of()
    with pytest.raises(ConfigError, match="images of one channel, got 3"):
        ordinary_network(checked.spec.config, (3, 16, 16), 10)


@pytest.mark.integration
def test_rules_that_do_not_serve_a_network_are_named_below_the_table() -> None:
    config = compose(["data=digits", "model=gated_mlp", "device=cpu", "data.limit=64", *DEFAULTS])
    table = weight_steps(config, 1, time.perf_counter)
    assert "| real " in table and "weights.layers=hidden: the network has 2" in table


@pytest.mark.parametrize(
    "words, option",
    [(["--gates", "--steps", "9"], "--steps"), (["--memory", "--rounds", "3"], "--rounds"),
     (["--memory", "--cpu-time"], "--cpu-time")],
)  # fmt: skip
def test_an_option_that_a_page_does_not_take_is_refused(
    words: list[str], option: str, capsys
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert f"{option}: {words[0]} does not take it" in capsys.readouterr().err


def test_every_estimator_is_timed() -> None:
    choices = [" ".join(choice) for choice in estimator_choices()]
    for name in Estimator.registry:
        chosen = any(choice.startswith(f"estimator={name}") for choice in choices)
        # a bound of several draws is another objective
        assert chosen == (name != "none" and not Estimator.registry[name].bound), name
    for name in Baseline.registry:
        assert f"estimator=reinforce estimator/baseline={name}" in choices


SHOWN = [
    *("threads", "torch ", "Timings are noisy", "CPU seconds", "## Loops", "| conventional "),
    *("| bare ", "| ours ", "| ours bf16 ", "ours / bare", "ours / conventional"),
    *("ours bf16 / conventional", "## Shares of a run", "| backward ", "| export "),
    *("MLflow's calls", "## Estimators", "| frozen ", "reinforce leave_one_out"),
]


@pytest.mark.slow
@pytest.mark.integration
def test_the_page_has_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--steps", "2", "--rounds", "1", "--device", "cpu", "--cpu-time"]
    main(["data=digits", "tracking.heatmaps=false", *few])
    printed = capsys.readouterr().out
    assert printed.startswith("# ")
    for words in SHOWN:
        assert words in printed, words


@pytest.mark.slow
def test_two_jobs_run_at_a_time_and_one_after_the_other() -> None:
    table = two_jobs(limited(compose(["data=digits", "device=cpu"]), steps=1), rounds=1)
    assert "together, 1 thread each" in table
    assert "one after the other, 2 threads each" in table
    assert "together / one after the other" in table and "1.10" in table


@pytest.mark.slow
def test_runs_side_by_side_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn.benchmark.concurrent_jobs.cores", lambda: 2)
    config = limited(compose(["data=digits", "model=mlp", "device=cpu"]), steps=2)
    lines = side_by_side(config, rounds=1).splitlines()[2:]
    assert [int(line.split("|")[1]) for line in lines] == [n for n in SIDE_BY_SIDE if n <= 2]
    assert all(int(line.split("|")[2]) > 0 for line in lines)


def test_an_error_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: optimizer.lr: expected a positive number"):
        main(["data=digits", "optimizer.lr=-1"])
