"""The lab's questions: answers that are known, and pages that say them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.lab import checkpoints, coupling, slopes, target
from bnn.lab.__main__ import main
from bnn.lab.bench import BELOW, Bench


def built(name: str, **keys: object) -> Estimator:
    return Estimator.registry.build({"name": name, **keys})


@pytest.mark.parametrize("power, best, resting, probability", [(1.5, 0.30187, 0.3522, 0.475), (2, 0.2025, 0.2475, 0.45),
                                                                 (3, 0.09113, 0.1213, 0.401)])  # fmt: skip
def test_the_closed_forms_are_those_of_the_literature(
    power: float, best: float, resting: float, probability: float
) -> None:
    assert target.optimum(power) == pytest.approx(best, abs=1e-5)
    assert target.resting_probability(power) == pytest.approx(probability, abs=1e-3)
    assert target.expected_loss(target.resting_probability(power), power) == pytest.approx(
        resting, abs=1e-4
    )


@pytest.mark.parametrize("power", target.POWERS)
def test_straight_through_rests_where_its_gradient_vanishes(power: float) -> None:
    loss, p = target.descend(built("st", proxy="density"), power, 300, target.UNITS)
    assert p == pytest.approx(target.resting_probability(power), abs=0.005)
    assert loss > 1.1 * target.optimum(power)


@pytest.mark.parametrize("estimator", [built("local_expectation"), built("arms", samples=4), built("reinmax", tau=1.0)],
                         ids=["local_expectation", "arms", "reinmax"])  # fmt: skip
def test_the_others_go_on_to_the_optimum(estimator: Estimator) -> None:
    """Which lies at saturation, where gradients vanish: within 2 % of the loss."""
    loss, _ = target.descend(estimator, 2.0, 300, 16)
    assert target.optimum(2.0) < loss < 1.02 * target.optimum(2.0)


@pytest.mark.parametrize("placement", coupling.PLACEMENTS)
def test_per_sample_credit_is_biased_under_batch_norm_and_unbiased_without(placement: str) -> None:
    inputs = torch.randn(
        2, coupling.INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    for norm in coupling.NORMS:
        bench = Bench(
            coupling.small(norm, coupling.PLACEMENTS[placement]), inputs, torch.tensor([0, 1])
        )
        true = coupling.exact_gradient(bench)[BELOW]
        estimator = built("reinforce", baseline="none")
        bench.init(estimator)
        away = float((coupling.exact_mean(bench, estimator)[BELOW] - true).norm() / true.norm())
        assert away > 0.05 if norm == "batch" else away < 1e-12, norm


def test_the_joint_gradient_agrees_with_finite_differences() -> None:
    inputs = torch.randn(
        2, coupling.INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    bench = Bench(coupling.small("batch", (0,)), inputs, torch.tensor([0, 1]))
    direction = {name: torch.randn_like(p) for name, p in bench.parameters.items()}
    exact = bench.by_layer(direction)
    along = sum(
        float(coupling.exact_gradient(bench)[layer] @ exact[layer])
        for layer in exact
        if layer != BELOW
    )

    def loss(sign: float) -> float:
        moved = Bench(coupling.small("batch", (0,)), inputs, torch.tensor([0, 1]))
        with torch.no_grad():
            for name, p in moved.parameters.items():
                p += sign * 1e-6 * direction[name]
        masses = []
        for bits in itertools.product((False, True), repeat=4):
            force = coupling.Forced(torch.tensor(bits))
            moved.noise = force
            value = float(moved.forward()(lambda site: site.sample()).loss.detach().mean())
            masses.append(force.mass * value)
        return sum(masses)

    assert along == pytest.approx((loss(1) - loss(-1)) / 2e-6, rel=1e-6)


def test_slopes_along_a_direction_agree_with_an_exact_gradient() -> None:
    bench = Bench(
        coupling.small("none", (0, 1)), torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 2
    )
    oracle = bench.warmed(built("enumeration"), 0)
    along = coupling.directions(bench, 3)
    for direction in along.values():
        assert sum(float(g.square().sum()) for g in direction.values()) == pytest.approx(1)
        assert set(bench.below) == {name for name, g in direction.items() if g.any()}
        exact = sum(
            float((g * direction[name]).sum()) for name, g in bench.gradients(oracle).items()
        )
        found = coupling.slope_along(bench, direction, 4000)
        assert abs(found.value - exact) < 1.15 * (found.high - found.low), "4.5 standard errors"


def test_slopes_want_an_exact_gradient() -> None:
    with pytest.raises(ConfigError, match="can be enumerated"):
        slopes.at_slopes(["model.hidden=14", "trainer.epochs=1", "data.limit=200"], draws=20)


def test_checkpoints_measure_every_estimator_on_every_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", (0, 20))
    found = checkpoints.along_training(draws=20)
    losses = [loss for loss, _ in found.values()]
    assert losses[1] < losses[0]
    for _, measured in found.values():
        assert len(measured) == len(checkpoints.ESTIMATORS)
        assert all(
            {"layers.0", "layers.1", "layers.2", BELOW} <= set(one.layers)
            for one in measured.values()
        )


def test_a_steeper_slope_biases_a_stochastic_unit_more_and_a_deterministic_one_has_no_noise() -> (
    None
):
    _, found = slopes.at_slopes(["model.hidden=4", "trainer.epochs=10"], draws=100)
    stochastic, deterministic = found["stochastic"], found["deterministic"]
    assert stochastic[0].bias.value < stochastic[-1].bias.value
    assert stochastic[0].variance.value < stochastic[-1].variance.value
    assert all(one.variance.value < 1e-20 for one in deterministic)


PAGE = ["data=digits", "data.limit=200", "model=mlp", "model.hidden=4", "model.norm=none", "--draws", "12", "--warm", "2",
        "--epochs", "1", "--batch", "8"]  # fmt: skip


def test_the_page_names_what_it_stands_on_and_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main([*PAGE, "--figure", str(tmp_path / "lab.png")])
    page = capsys.readouterr().out
    for words in (
        "exact enumeration",
        "| st density",
        "| arms 4",
        "| enumeration",
        "8 validation images",
        "linear2",
        "variance × passes |",
        "Unbiased estimators by variance × ms: enumeration",
        "Variance × passes, layer by",
    ):
        assert words in page
    assert (tmp_path / "lab.png").stat().st_size > 10_000
    assert "Not measured" not in page


def test_the_page_measures_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from bnn.config.compose import compose
    from bnn.data import load
    from bnn.specify import setup
    from bnn.training.loop import fit

    checked = setup(compose([*PAGE[:5], "trainer.epochs=1", "trainer.progress=none"]))
    fit(
        checked.model,
        checked.training,
        load(checked.spec.config["data"], 0, 0.1),
        folder=tmp_path,
        metadata=dict(checked.spec.config),
    )
    main(
        [
            "--checkpoint",
            str(tmp_path / "best.pt"),
            "--estimator",
            "estimator=st",
            "--draws",
            "12",
            "--batch",
            "8",
        ]
    )
    assert "checkpoint best.pt" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--estimator", "estimator=enumeration", "data=digits"], "estimator=enumeration"),
        (["--estimator", "estimator=cubic", "data=digits"], "estimator=cubic"),
        (["neuron.law=uniform", "data=digits"], "neuron.law=uniform"),
        (["placement=none", "data=digits"], "without binary layers"),
        (["--estimator", "estimator=st trainer.precision=bf16"], "begin with estimator"),
        (["--checkpoint", "best.pt", "model.norm=group"], "leave out the overrides"),
        (["--checkpoint", __file__], "is no checkpoint of a run"),
        (["--checkpoint", "nowhere.pt"], "no such file"),
        ([*PAGE, "--figure", "lab.gif"], "ends in .png"),
        (["--draws", "1"], "--draws: expected a whole number of at least 2"),
    ],
)
def test_bad_input_is_one_line_and_no_success(
    words: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    message = str(left.value.code) if isinstance(left.value.code, str) else capsys.readouterr().err
    assert left.value.code != 0 and said in message and "Traceback" not in message
