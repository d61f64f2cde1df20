"""Time of a training step under each rule of the weights, beside that with real weights."""

from __future__ import annotations

from omegaconf import DictConfig

from bnn.benchmark.loops import epoch_of
from bnn.benchmark.timing import Clock, interleaved, speed_ratios, spread, steps_of
from bnn.build import read_dataset
from bnn.config.compose import compose, with_values
from bnn.errors import ConfigError
from bnn.nn.weights import WeightRule
from bnn.specify import specify
from bnn.tables import markdown

REFERENCE = "real"
HEAD = ("weights", "ms a step", "min–max", f"over {REFERENCE}", "min–max")


def weight_steps(config: DictConfig, rounds: int, clock: Clock) -> str:
    """Table of the time of a step under each rule, over that with real weights.

    Rules that do not serve the network are named below it, with the reason.

    Both activations are binary, under straight-through.

    Args:
        config: composed configuration.
        rounds: rounds that are counted.
        clock: clock that is read.
    """
    placement = compose(["placement=both"]).placement
    both = with_values(config, placement=placement, trainer__epochs=rounds + 1)
    data = read_dataset(specify(both))
    rules = [REFERENCE, *(name for name in WeightRule.registry if name != REFERENCE)]
    blocks, refused = {}, []
    for rule in rules:
        try:
            weights = compose([f"weights={rule}"]).weights
            blocks[rule] = epoch_of(with_values(both, weights=weights), data)
        except ConfigError as error:
            refused.append(str(error))
    seconds = interleaved(blocks, rounds, clock)
    rows = []
    for rule, taken in seconds.items():
        times = spread([1000 * s / steps_of(data, both) for s in taken], 2)
        rows.append([rule, *times, *spread(speed_ratios(seconds, REFERENCE, rule), 2)])
    return "\n\n".join([markdown(HEAD, rows), *dict.fromkeys(refused)])
