"""Time of a training step under each estimator, beside the evaluations of the loss it needs."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from omegaconf import DictConfig

from bnn.benchmark.loops import epoch_of
from bnn.benchmark.timing import Clock, interleaved, speed_ratios, spread, steps_of
from bnn.build import read_dataset
from bnn.config.compose import compose, with_values
from bnn.config.titles import estimator_title
from bnn.errors import ConfigError
from bnn.specify import estimator_choices, setup, specify
from bnn.tables import markdown

PER_PASS = 1.3
"""Target: at most so many times the time of straight-through, for each evaluation of the loss."""
HEAD = ("estimator", "passes", "ms a step", "min–max", "over {}", "min–max", "the same a pass")


def estimator_steps(config: DictConfig, rounds: int, clock: Clock) -> str:
    """Table of the time of a step under each estimator, over that under straight-through.

    Both activations are binary. A line below names each estimator that cannot serve the network.

    Args:
        config: composed configuration.
        rounds: rounds that are counted.
        clock: clock that is read.
    """
    placement = compose(["placement=both"]).placement
    both = with_values(config, placement=placement, trainer__epochs=rounds + 1)
    data = read_dataset(specify(both))
    blocks: dict[str, Callable[[], object]] = {}
    passes: dict[str, int] = {}
    refused = []
    for choice in estimator_choices():
        job = with_values(both, estimator=compose(choice).estimator)
        try:
            checked = setup(job)
        except ConfigError as error:
            refused.append(str(error))
            continue
        title = estimator_title(dict(checked.spec.config))
        blocks[title] = epoch_of(job, data)
        passes[title] = checked.training.estimator.evaluations(checked.spec.units)
    seconds = interleaved(blocks, rounds, clock)
    reference = next(title for title in blocks if title.startswith("st"))
    rows = []
    for title, taken in seconds.items():
        ratios = speed_ratios(seconds, reference, title)
        times = spread([1000 * s / steps_of(data, both) for s in taken], 2)
        per_pass = f"{median(ratios) / passes[title]:.2f}"
        rows.append([title, str(passes[title]), *times, *spread(ratios, 2), per_pass])
    head = [column.format(reference) for column in HEAD]
    table = markdown([*head, "at most"], [[*row, f"{PER_PASS:.2f}"] for row in rows])
    return "\n\n".join([table, *refused])
