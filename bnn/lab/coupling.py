"""python -m bnn.lab.coupling [--directions N] [--pairs N] [--draws N] [KEY=VALUE]

Batch norm above a binary layer lets one sample's bits move its neighbours' losses, and an estimator that credits each sample
with its own loss drops those terms. How much is that? Twice: exactly on a net with the reference's structure (linear - norm
- bits, twice, on three samples), where the joint configurations of all bits of the batch are summed; and on the network of
the configuration, by the slope of the expected loss along a few directions, from differences of losses that share their
noise.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnn.estimators import Estimator
    from bnn.lab.bench import Bench
    from bnn.lab.intervals import Figure

SAMPLES, HIDDEN, INPUTS = 3, 2, 3
NORMS = ("batch", "running", "none")
PLACEMENTS: dict[str, tuple[int, ...]] = {"first": (0,), "both": (0, 1)}
EXACT: tuple[dict[str, Any], ...] = (
    {"name": "reinforce", "baseline": "none"},
    {"name": "st", "proxy": "density"},
)
STEP = 0.02
"""Of the central difference along a direction of unit length."""
MEASURED = (["estimator=st"], ["estimator=arms"], ["estimator=reinforce"])


def small(norm: str, binary: Sequence[int], seed: int = 0) -> nn.Module:
    """The multi-layer perceptron of bnn.models with 2 hidden units, in float64."""
    import torch

    from bnn.models import MLP
    from bnn.nn.neurons import Real, Stochastic
    from bnn.nn.noise import Logistic

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        law = Logistic()
        activations = [
            Stochastic(law=law) if layer in binary else Real(law=law) for layer in range(MLP.depth)
        ]
        return MLP((1, 1, INPUTS), 2, activations, hidden=HIDDEN, norm=norm).double()


def exact_mean(bench: Bench, estimator: Estimator) -> dict[str, Tensor]:
    """E of the estimate by layer, over every joint configuration of the batch's bits, each forced through the noise of one
    pass. For estimators of one pass that are functions of the bits."""
    import torch

    count = sum(bench.units) * len(bench.inputs)
    total: dict[str, Tensor] = {}
    for bits in itertools.product((False, True), repeat=count):
        force = Forced(torch.tensor(bits))
        bench.noise = force
        for layer, vector in bench.by_layer(bench.gradients(estimator)).items():
            total[layer] = total.get(layer, torch.zeros_like(vector)) + force.mass * vector
    return total


class Forced:
    """Noise that fires the given bits in the order in which they are asked for; `mass` is their probability."""

    def __init__(self, bits: Tensor) -> None:
        self.bits, self.mass = bits, 1.0

    def __call__(self, p: Tensor) -> Tensor:
        taken, self.bits = self.bits[: p.numel()].view_as(p), self.bits[p.numel() :]
        self.mass *= float(p.where(taken, 1 - p).prod())
        return (p / 2).where(taken, (1 + p) / 2)


def exact_gradient(bench: Bench) -> dict[str, Tensor]:
    """The gradient of the batch's expected loss, by enumerating the joint bits of all its samples."""
    import torch

    from bnn.estimators.enumeration import configurations

    n = len(bench.inputs)
    widths = [units * n for units in bench.units]
    table = configurations(sum(widths), bench.inputs)
    blocks = table.split(widths, dim=1)
    latest = bench.forward()(
        lambda site: blocks[site.index].reshape(site.preactivation.shape), [[0] * len(table)]
    )
    mass = latest.loss.new_ones(len(table))
    for site, bits in zip(latest.sites, latest.bits, strict=True):
        mass = mass * torch.where(bits > 0, site.probs, 1 - site.probs).flatten(1).prod(1)
    return bench.by_layer(bench.differentiate((mass * latest.loss.mean(1)).sum()))


def exact_rows() -> list[list[str]]:
    """Relative bias of each estimator below the highest binary layer, by norm and placement."""
    import torch

    from bnn.config.titles import estimator_title
    from bnn.estimators import Estimator
    from bnn.lab.bench import BELOW, Bench

    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 1, 1])
    rows = []
    for norm, (placement, binary) in itertools.product(NORMS, PLACEMENTS.items()):
        bench = Bench(small(norm, binary), inputs, targets)
        true = exact_gradient(bench)[BELOW]
        cells = []
        for config in EXACT:
            estimator = Estimator.registry.build(config)
            bench.init(estimator)
            mean = exact_mean(bench, estimator)[BELOW]
            cells.append(f"{100 * float((mean - true).norm() / true.norm()):.1f}")
        rows.append([norm, placement, *cells])
    head = [
        "norm",
        "placement",
        *(f"{estimator_title({'estimator': dict(config)})}, bias (%)" for config in EXACT),
    ]
    return [head, *rows]


def slope_along(bench: Bench, direction: dict[str, Tensor], pairs: int) -> Figure:
    """d E[loss] / dε along `direction`, by central differences of losses that share their noise."""
    import torch

    from bnn.lab.intervals import of_mean
    from bnn.nn.sites import Site

    found = []
    with torch.no_grad():
        for pair in range(pairs):
            losses = []
            for sign in (1, -1):
                for name, p in bench.parameters.items():
                    p.add_(direction[name], alpha=sign * STEP)
                bench.reseed(pair)
                losses.append(float(bench.forward()(Site.sample).loss.mean()))
                for name, p in bench.parameters.items():
                    p.add_(direction[name], alpha=-sign * STEP)
            found.append((losses[0] - losses[1]) / (2 * STEP))
    return of_mean(torch.tensor(found, dtype=torch.float64))


def directions(bench: Bench, count: int) -> dict[str, dict[str, Tensor]]:
    """Unit directions of the parameters below the highest binary layer: the mean straight-through gradient, and random ones
    in which every parameter counts by the size of that gradient."""
    import torch

    from bnn.estimators import Estimator

    st = Estimator.registry.build({"name": "st", "proxy": "density"})
    bench.init(st)
    mean = bench.mean(st, 20)
    generator = torch.Generator().manual_seed(0)
    found = {"straight-through": mean}
    for k in range(count - 1):
        found[f"random {k + 1}"] = {
            name: torch.randn(g.shape, generator=generator).to(g) * g.norm() / math.sqrt(g.numel())
            for name, g in mean.items()
        }
    for direction in found.values():
        for name in set(direction) - set(bench.below):
            direction[name] = torch.zeros_like(direction[name])
        size = math.sqrt(sum(float(g.square().sum()) for g in direction.values()))
        for g in direction.values():
            g /= size
    return found


def projected(
    bench: Bench, estimator: Estimator, along: dict[str, dict[str, Tensor]], draws: int
) -> dict[str, Figure]:
    """Mean projection of the estimates on each direction."""
    import torch

    from bnn.lab.intervals import of_mean

    ready = bench.warmed(estimator, 0)
    drawn = []
    for _ in range(draws):
        gradients = bench.gradients(ready)
        drawn.append(
            [sum(float((gradients[n] * g).sum()) for n, g in d.items()) for d in along.values()]
        )
    values = torch.tensor(drawn, dtype=torch.float64)
    return {name: of_mean(column) for name, column in zip(along, values.T, strict=True)}


def page(chosen: argparse.Namespace) -> str:
    from bnn.config.compose import with_values, compose
    from bnn.config.titles import estimator_title
    from bnn.data import use_data
    from bnn.lab.page import heading
    from bnn.lab.setting import prepared
    from bnn.specify import setup
    from bnn.tables import markdown

    head, *small_rows = exact_rows()
    rows = []
    titles: list[str] = []
    cells = [
        (
            norm,
            placement,
            compose([*chosen.overrides, f"model.norm={norm}", f"placement={placement}"]),
        )
        for norm, placement in itertools.product(chosen.norms.split(","), PLACEMENTS)
    ]
    plans = [setup(config) for _, _, config in cells]  # refuses before anything is trained
    for norm, placement, config in cells:
        if warning := use_data(config):
            print(warning, flush=True)
        _, bench = prepared(config, chosen.epochs, None, chosen.batch)
        along = directions(bench, chosen.directions)
        projections = {}
        for words in MEASURED:
            one = setup(with_values(config, estimator=compose(words).estimator))
            projections[estimator_title(dict(one.spec.config))] = projected(
                bench, one.training.estimator, along, chosen.draws
            )
        titles = list(projections)
        for name, direction in along.items():
            true = slope_along(bench, direction, chosen.pairs)
            rows.append(
                [
                    norm,
                    placement,
                    name,
                    str(true),
                    *(str(projections[title][name]) for title in titles),
                ]
            )
    about = (
        f"The network of `{' '.join(chosen.overrides) or 'the defaults'}`, {chosen.epochs} epochs of training first; "
        f"{chosen.batch} validation images. Slope of the expected loss along unit directions, from {chosen.pairs} central "
        f"differences of step {STEP} with common noise; each estimator's mean projection, from {chosen.draws} estimates; "
        "each with its 95 % interval."
    )
    return (
        f"{heading(plans[0].spec.general.device, 'Bias of the credit of single samples under norms that couple them.')}\n\n"
        f"{SAMPLES} samples, linear - norm - {HIDDEN} units, twice; all configurations of the batch's bits are summed. "
        "Bias of the mean estimate below the highest binary layer, over the norm of the true gradient:\n\n"
        f"{markdown(head, small_rows)}\n\n{about}\n\n"
        f"{markdown(['norm', 'placement', 'direction', 'true slope', *titles], rows)}"
    )


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, counts, guarded

    parser = command(__doc__, "as of bnn.train")
    parser.add_argument(
        "--norms", default="batch,running,group", help="of the network (%(default)s)"
    )
    counts(
        parser,
        (
            ("directions", 2, 4, "along which it is compared"),
            ("pairs", 2, 2000, "of losses for a slope"),
            ("draws", 2, 500, "estimates of each"),
            ("batch", 2, 64, "images"),
            ("epochs", 0, 1, "train so long before measuring"),
        ),
    )
    chosen = parser.parse_intermixed_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
