"""Several estimators of the gradient of one network on one batch, each against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    from bnn.build import TrainingSetup
    from bnn.lab.measure import Measured, Truth


@dataclass(frozen=True)
class Comparison:
    """What was measured by estimator, against what, of which network; and lines about those that cannot serve it."""

    plan: TrainingSetup
    measured: dict[str, Measured]
    against: Truth
    refused: list[str]


def compare(
    config: DictConfig,
    estimators: Sequence[str] = (),
    *,
    draws: int,
    warm: int,
    reference: int,
    batch: int = 64,
    epochs: int = 1,
    checkpoint: Path | None = None,
) -> Comparison:
    """Measure `estimators` (overrides that choose one, each in one string; none: all that can serve) on the network of
    `config`, after `epochs` of training or as `checkpoint` has it, on the first `batch` validation images.

    checkpoint: one of a run of this very `config` (bnn.lab.setting.of_checkpoint), in place of the training.
    draws: estimates of each, after `warm` steps for what it averages or learns; reference: estimates that stand for the
    truth where it cannot be enumerated. Errors: ConfigError for an estimator that was asked for and cannot serve, or a law
    under which the reference has no score.
    """
    from bnn.config.compose import with_values
    from bnn.lab.measure import measure, truth
    from bnn.lab.setting import able, prepared
    from bnn.specify import estimator_choices, setup

    choices = [words.split() for words in estimators] or estimator_choices()
    served, refused = able(config, choices, asked=bool(estimators))
    setup(with_values(config, lab__every=1))
    checked, bench = prepared(config, epochs, checkpoint, batch)
    against = truth(bench, reference)
    found = {
        name: measure(bench, bench.warmed(one, warm), against, draws)
        for name, one in served.items()
    }
    return Comparison(checked, found, against, refused)
