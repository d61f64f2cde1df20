"""Variance of each estimator's gradient in the course of its own training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.lab.questions.gradient_variance import main
from bnn.lab.training_variance import total_variance, training_variances

TINY = ["task=vae", "data=digits", "data.limit=300", "model.latents=4", "model.hidden=[]",
        "trainer.epochs=2", "device=cpu"]  # fmt: skip


def test_the_variance_is_the_mean_squared_distance_from_the_mean() -> None:
    estimates = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]])
    assert total_variance(estimates) == pytest.approx(4 + 12)


@pytest.mark.integration
def test_exact_gradients_have_none_and_more_draws_have_less() -> None:
    chosen = [
        "estimator=enumeration",
        "estimator=reinforce estimator/baseline=none",
        "estimator=reinforce estimator/baseline=leave_one_out estimator.baseline.samples=2",
        "estimator=reinforce estimator/baseline=leave_one_out estimator.baseline.samples=8",
    ]
    found, refused = training_variances(compose(TINY), chosen, draws=20, batch=20)
    assert refused == [] and len(found) == 4
    exact, none, two, eight = found.values()
    assert all(len(one.variances) == len(one.losses) == 2 for one in found.values())
    # rounding alone
    assert max(exact.variances) < 1e-10
    for epoch in range(2):
        assert none.variances[epoch] > 5 * two.variances[epoch] > 10 * eight.variances[epoch] > 0
    assert (none.evaluations, two.evaluations, eight.evaluations) == (1, 2, 8)


@pytest.mark.integration
def test_the_page_names_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "variance.png"
    words = ["--estimator", "estimator=st", "--estimator", "estimator=reinmax", "--draws", "5"]
    main([*TINY, *words, "--figure", str(figure)])
    printed = capsys.readouterr().out
    assert "| reinmax 1.0 " in printed and "| st density " in printed
    assert "task vae dynamic analytic" in printed and "adam at 0.001 for all" in printed
    assert figure.is_file()
    with pytest.raises(SystemExit, match="error: --estimator: expected words that begin with"):
        main([*TINY, "--estimator", "neuron=deterministic"])


def test_an_estimator_that_cannot_serve_is_refused_where_it_was_asked_for() -> None:
    with pytest.raises(ConfigError, match="estimator=nvil"):
        training_variances(compose(TINY), ["estimator=nvil"], draws=2, batch=2)
