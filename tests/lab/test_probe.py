"""Gradient measurements during a training: their keys, and that the training stays the same."""

from __future__ import annotations

from bnn.config.compose import compose
from bnn.config.specification import LabSettings
from bnn.data import load
from bnn.lab.gradient_sampler import BELOW
from bnn.lab.probe import GradientProbe
from bnn.specify import setup
from bnn.training.loop import fit

OVERRIDES = [
    *("data=digits", "data.limit=200", "model=mlp", "model.hidden=4", "model.norm=none"),
    *("estimator=nvil", "trainer.epochs=2", "trainer.progress=none"),
]


def history(every: int) -> tuple[dict[str, float], ...]:
    """Metrics by epoch of a training with a probe every so many epochs; 0: without one."""
    checked = setup(compose(OVERRIDES))
    data = load(checked.spec.config["data"], 0, 0.1)
    settings = LabSettings(every=every, draws=4, reference=4, batch=8)
    callbacks = [GradientProbe(checked.training, settings)] if every else []
    return fit(checked.model, checked.training, data, callbacks=callbacks).history


def test_a_probe_adds_metrics_in_its_epochs_and_does_not_change_the_training() -> None:
    plain, probed = history(0), history(2)
    added = {key for key in probed[1] if key.startswith("lab/")}
    for layer in (BELOW, "linear1"):
        assert {f"lab/{layer}/{key}" for key in ("bias2", "variance", "cosine")} <= added
    assert not any(key.startswith("lab/") for key in probed[0]), "every second epoch"
    assert [{k: v for k, v in one.items() if k not in added} for one in probed] == list(plain)
