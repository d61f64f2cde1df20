"""The benchmark: its arithmetic on given timings, the fairness of what it compares, and that it runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnn.benchmark.__main__ import DEFAULTS, main
from bnn.benchmark.jobs import two_jobs
from bnn.benchmark.loops import image_loader, ordinary_network, ratio_table
from bnn.benchmark.shares import Laps
from bnn.benchmark.timing import interleaved, limited, of_fastest, speed_ratios
from bnn.build import TrainingSetup, read_dataset
from bnn.config.compose import compose
from bnn.data import Split
from bnn.errors import ConfigError
from bnn.specify import estimator_choices, setup

SECONDS = {
    "bare": [1.0, 2.0, 9.0],
    "ours": [2.0, 2.0, 10.0],
    "ours bf16": [1.0, 1.0, 8.0],
    "conventional": [3.0, 4.0, 40.0],
}


def test_ratios_are_taken_within_a_round_and_their_median_is_shown() -> None:
    assert speed_ratios(SECONDS, "ours", "conventional") == [1.5, 2.0, 4.0]
    assert of_fastest(SECONDS, "ours", "bare") == 0.5
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in ratio_table(SECONDS).splitlines()[2:]
    ]
    assert rows == [
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


def test_laps_separate_what_grows_with_the_epochs() -> None:
    laps = Laps(lambda: None)
    laps.taken["figures", "epoch"] += [(1, 2.0), (1, 1.0), (2, 0.25), (2, 0.25)]
    laps.taken["figures", "once"].append((0, 4.0))
    laps.epoch = 2
    assert laps.an_epoch("figures") == 0.5
    # three epochs take 2 + 1 + 0.5 + 0.5 and the 4 outside of them; the first cost 2.5 more than the last
    assert laps.once("figures") == 6.5
    assert laps.a_step("figures") == 0.0


def plan_of(*overrides: str) -> TrainingSetup:
    return setup(compose(["device=cpu", "data=digits", *DEFAULTS, *overrides]))


def batch() -> Split:
    generator = torch.Generator().manual_seed(3)
    return Split(
        torch.randn(32, 1, 8, 8, generator=generator), torch.randint(10, (32,), generator=generator)
    )


def both_networks(
    checked: TrainingSetup, split: Split, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """(loss, gradients in order of the layers) of the ordinary network and of ours, at the same weights; the bits of ours
    are drawn from the same uniform numbers when both are drawn under the same global seed."""
    ordinary = ordinary_network(
        checked.spec.config, checked.spec.data.shape, checked.spec.data.classes
    ).double()
    ours = checked.model.double()
    with torch.no_grad():
        for parameter, other in zip(ours.parameters(), ordinary.parameters(), strict=True):
            # away from their initial values, at which a norm that lacked its own would go unseen
            parameter.add_(0.1 * torch.randn_like(parameter))
            other.copy_(parameter)
    images = split.images.double()
    torch.manual_seed(0)
    theirs = F.cross_entropy(ordinary(images), split.labels)
    torch.manual_seed(seed)
    loss = checked.training.estimator(ours, images, split.labels)
    return (
        [theirs.detach(), *torch.autograd.grad(theirs, list(ordinary.parameters()))],
        [loss.detach(), *torch.autograd.grad(loss, list(ours.parameters()))],
    )


@pytest.mark.parametrize("law", ["logistic", "uniform"])
@pytest.mark.parametrize("neuron", ["stochastic", "deterministic"])
@pytest.mark.parametrize("placement", ["first", "last", "both"])
def test_the_conventional_network_has_our_loss_and_gradient_on_the_same_bits(
    placement: str, neuron: str, law: str
) -> None:
    checked = plan_of(f"placement={placement}", f"neuron={neuron}", f"neuron.law={law}")
    for theirs, ours in zip(*both_networks(checked, batch(), seed=0), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)


def test_other_bits_give_another_loss() -> None:
    theirs, ours = both_networks(plan_of(), batch(), seed=1)
    assert abs(theirs[0] - ours[0]) > 1e-4


def test_the_conventional_loader_gives_the_images_that_we_hold() -> None:
    checked = plan_of()
    split = read_dataset(checked.spec).train
    loader = image_loader(
        split, checked.spec.data.mean, checked.spec.data.std, len(split.labels), workers=0
    )
    ((images, labels),) = loader
    assert images.dtype == torch.float32
    assert labels.bincount().tolist() == split.labels.bincount().tolist()
    # pixels of digits are sixteenths, which PIL images hold to within half of 1/255
    atol = 0.51 / 255 / checked.spec.data.std
    torch.testing.assert_close(
        images.flatten().sort()[0], split.images.flatten().sort()[0], rtol=0, atol=atol
    )


@pytest.mark.parametrize(
    "override", ["model=mlp", "estimator=frozen", "optimizer=adam", "model.norm=group"]
)
def test_the_conventional_network_refuses_what_it_does_not_cover(override: str) -> None:
    checked = plan_of(override)
    with pytest.raises(ConfigError, match="conventional loop is written for"):
        ordinary_network(checked.spec.config, checked.spec.data.shape, checked.spec.data.classes)


def test_every_estimator_is_timed() -> None:
    from bnn.estimators import Baseline, Estimator

    choices = [" ".join(choice) for choice in estimator_choices()]
    for name in Estimator.registry:
        assert any(choice.startswith(f"estimator={name}") for choice in choices) == (name != "none")
    for name in Baseline.registry:
        assert f"estimator=reinforce estimator/baseline={name}" in choices


SECTIONS = (
    *(
        "threads",
        "torch ",
        "Timings are noisy",
        "CPU seconds",
        "## Loops",
        "| conventional ",
        "| bare ",
        "| ours ",
        "| ours bf16 ",
    ),
    *(
        "ours / bare",
        "ours / conventional",
        "ours bf16 / conventional",
        "## Shares of a run",
        "| backward ",
        "| export ",
    ),
    *("MLflow's calls", "## Estimators", "| frozen ", "reinforce leave_one_out"),
)


def test_it_runs_and_prints_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "data=digits",
            "--steps",
            "2",
            "--rounds",
            "1",
            "--device",
            "cpu",
            "--cpu-time",
            "tracking.heatmaps=false",
        ]
    )
    printed = capsys.readouterr().out
    assert printed.startswith("# ")
    for words in SECTIONS:
        assert words in printed, words


@pytest.mark.slow
def test_two_jobs_run_at_a_time_and_one_after_the_other() -> None:
    table = two_jobs(limited(compose(["data=digits", "device=cpu"]), steps=1), rounds=1)
    for words in (
        "together, 1 thread each",
        "one after the other, 2 threads each",
        "together / one after the other",
        "1.10",
    ):
        assert words in table


def test_an_error_ends_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: optimizer.lr: expected a positive number"):
        main(["data=digits", "optimizer.lr=-1"])
