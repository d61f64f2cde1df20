"""Milliseconds of gated networks in evaluation: masked, by their open blocks alone, and dense.

The gates are those of an untrained gater, which draws them with the share that is asked for; the
gater's time counts. `dense` is a network without gates of as many multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from bnn.benchmark.timing import Clock, interleaved, spread
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.models import GatedNetwork
from bnn.models.open_blocks import OpenBlocks
from bnn.specify import setup
from bnn.tables import markdown

SHARES = (0.1, 0.25, 0.5)
"""Shares of open gates."""
BATCHES = {1: 200, 64: 20, 500: 4}
"""Sizes of a batch -> calls in a round."""
WIDTH = {"gated_mlp": "block_size", "gated_cnn": "channels"}
"""Key of the number of hidden units of a dense network."""


def gated_networks(overrides: Sequence[str], rounds: int, clock: Clock) -> str:
    """Table of milliseconds a call, for each size of a batch and share of open gates.

    Args:
        overrides: overrides of bnn.train, `model=gated_mlp` or `gated_cnn` among them.
        rounds: rounds that are counted.
        clock: clock that is read.
    """
    rows = []
    for share in SHARES:
        config = compose([*overrides, f"model.open={share}"])
        gated, dense = networks(config, overrides)
        for size, calls in BATCHES.items():
            x = torch.randn(size, *setup(config).spec.data.shape)
            blocks, opened = timed_blocks(gated, dense, x, calls)
            seconds = interleaved(blocks, rounds, clock)
            ms = {name: [1000 * one / calls for one in of] for name, of in seconds.items()}
            ratios = [m / o for m, o in zip(ms["masked"], ms["open blocks"], strict=True)]
            against = [d / o for d, o in zip(ms["dense"], ms["open blocks"], strict=True)]
            medians = [spread(ms[name], 3)[0] for name in ("masked", "open blocks", "dense")]
            rows.append(
                [
                    f"{100 * opened:.0f}",
                    str(size),
                    *medians,
                    " · ".join(spread(ratios, 2)),
                    " · ".join(spread(against, 2)),
                ]
            )
    head = ["open (%)", "batch", "masked (ms)", "open blocks (ms)", "dense (ms)"]
    return markdown([*head, "masked / open blocks", "dense / open blocks"], rows)


def check_gated(overrides: Sequence[str]) -> None:
    """Check that overrides choose a gated network whose open blocks can be computed alone.

    Raises:
        ConfigError: for another network, another norm, or a share of open gates.
    """
    model = compose(overrides).model
    if model.name not in WIDTH:
        raise ConfigError(f"--gates: expected model={' or '.join(WIDTH)}, got model={model.name}")
    if model.norm == "group":
        raise ConfigError(
            "--gates with model.norm=group: expected a norm that is folded into the weights; "
            "write model.norm=batch, running or none"
        )
    for key, left_out in (("open", "the shares are its own"), ("gates", "all kinds are timed")):
        if any(word.startswith(f"model.{key}=") for word in overrides):
            raise ConfigError(f"--gates: {left_out}; leave model.{key} out")


def networks(config: DictConfig, overrides: Sequence[str]) -> tuple[GatedNetwork, GatedNetwork]:
    """Gated network of a configuration, and the dense one of as many multiply-adds.

    Args:
        config: composed configuration.
        overrides: those that it was composed from.
    """
    gated = setup(config).model.eval()
    assert isinstance(gated, GatedNetwork)
    wide = [*overrides, "model.gates=open", "model/sparsity=none", "placement=none"]
    one_unit = {"gated_mlp": ["model.blocks=1", "model.block_size=1"]}.get(config.model.name, [])
    key = WIDTH[config.model.name]
    narrow = setup(compose([*wide, *one_unit, f"model.{key}=1"])).model
    assert isinstance(narrow, GatedNetwork)
    every, of_block = gated.multiply_adds
    wanted = every + config.model.open * gated.blocks * of_block
    fixed, of_unit = narrow.multiply_adds
    units = max(1, round((wanted - fixed) / of_unit))
    dense = setup(compose([*wide, *one_unit, f"model.{key}={units}"])).model.eval()
    assert isinstance(dense, GatedNetwork)
    return gated, dense


def timed_blocks(
    gated: GatedNetwork, dense: nn.Module, x: Tensor, calls: int
) -> tuple[dict[str, Callable[[], object]], float]:
    """Functions that evaluate images several times, and the share of the gates that is open.

    Args:
        gated: gated network, in evaluation mode.
        dense: dense network, in evaluation mode.
        x: images, [n, c, h, w].
        calls: calls in a block.
    """
    inference = OpenBlocks.of(gated)
    runs: dict[str, Callable[[Tensor], object]] = {
        "masked": gated,
        "open blocks": inference,
        "dense": dense,
    }

    def block(run: Callable[[Tensor], object]) -> Callable[[], None]:
        def repeat() -> None:
            with torch.no_grad():
                for _ in range(calls):
                    run(x)

        return repeat

    with torch.no_grad():
        opened = float(gated.gates(x.new_zeros(1000, *x.shape[1:]).normal_()).mean())
    return {name: block(run) for name, run in runs.items()}, opened
