"""What a step costs under each estimator, beside the passes that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from omegaconf import DictConfig

from bnn.benchmark.loops import epoch_of
from bnn.benchmark.timing import Clock, interleaved, speed_ratios, spread, steps_of
from bnn.config.compose import with_values
from bnn.errors import ConfigError
from bnn.tables import markdown

PER_PASS = 1.3
"""Target: at most so many times straight-through's step for each pass."""


def estimators(config: DictConfig, rounds: int, clock: Clock) -> str:
    """Time of a step under each estimator, over that under straight-through, beside the passes it asks for."""
    from bnn.build import read_dataset
    from bnn.config.compose import compose
    from bnn.config.titles import estimator_title
    from bnn.specify import estimator_choices, setup, specify

    both = with_values(
        config, placement=compose(["placement=both"]).placement, trainer__epochs=rounds + 1
    )
    data = read_dataset(specify(both))
    blocks: dict[str, Callable[[], object]] = {}
    passes: dict[str, int] = {}
    refused = []
    for choice in estimator_choices():
        cell = with_values(both, estimator=compose(choice).estimator)
        try:
            checked = setup(cell)
        except ConfigError as error:
            refused.append(f"{' '.join(choice)}: {error}")
            continue
        title = estimator_title(dict(checked.spec.config))
        blocks[title] = epoch_of(cell, data)
        passes[title] = checked.training.estimator.evaluations(checked.spec.units)
    seconds = interleaved(blocks, rounds, clock)
    reference = next(title for title in blocks if title.startswith("st"))
    rows = [
        [title, str(passes[title]), *spread([1000 * s / steps_of(data, both) for s in taken], 2),
         *spread(ratios, 2), f"{median(ratios) / passes[title]:.2f}", f"{PER_PASS:.2f}"]
        for title, taken in seconds.items()
        for ratios in [speed_ratios(seconds, reference, title)]
    ]  # fmt: skip
    head = [
        "estimator",
        "passes",
        "ms a step",
        "min–max",
        f"over {reference}",
        "min–max",
        "the same a pass",
        "at most",
    ]
    return "\n\n".join([markdown(head, rows), *refused])
