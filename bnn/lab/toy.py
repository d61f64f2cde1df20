"""python -m bnn.lab.toy [--steps N] [--figure FILE]

Variance of gradient estimates on the toy problem of REBAR and RELAX. Minimise E[(b - t)²] over θ, b ~ Bernoulli(σ(θ)), from
θ = 0, for t = 0.45 (Tucker et al. 2017) and t = 0.499 (Grathwohl et al. 2018). The best unit never fires, and the loss is
then t²; near t = 0.5 the true gradient, p (1 - p) (1 - 2t), is a thousandth of what plain REINFORCE scatters by. Each
estimator descends by its own estimates, and their variance is measured on the way.
"""

# The papers' setting, as the published code of RELAX has it (github.com/duvenaud/relax: toy.py, pytorch_toy.py and
# rebar_toy.py): one sample a step; Adam at 0.01 for θ, and at 0.01 for what the estimator learns, by the square of each
# estimate; τ from 0.5, learned by its logarithm; REBAR's η from 1, learned; RELAX's c is a network alone, of 10 tanh units
# on 2σ(z / τ) - 1; z̃ takes the uniform number of z. A script that draws its figure plots the natural logarithm of the
# variance of 1000 draws, smoothed. The curves in the papers (arXiv 1711.00123, figure 1; arXiv 1703.07370, figure 1) are
# pictures, and no number was read off them here; PAPER below says what stands for them.

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from bnn.estimators import Estimator

TARGETS = (0.45, 0.499)
SAMPLES = (1, 16)
"""Samples a step: 1 as in the papers, and a small batch."""
RATE = 0.01
"""Adam's learning rate for θ, as in the papers."""
LEARNED_RATE = 0.01
"""Adam's learning rate for what an estimator learns, as in the papers."""
DRAWS = 1000
"""Estimates behind a variance."""
CHECKPOINTS = 8
"""Steps, about equally spaced by their logarithm, at which the variance is measured."""
NO_NOISE = 1e-14
"""Variance below which an estimate has no noise but that of its arithmetic."""

PAPER: dict[tuple[float, str], tuple[float, float]] = {
    (0.45, "reinforce none"): (-1.8, -2.2),
    (0.45, "rebar"): (-1.7, -2.2),
    (0.45, "relax"): (-3.5, -5.3),
    (0.499, "reinforce none"): (-1.8, -1.8),
    (0.499, "rebar"): (-1.8, -1.8),
    (0.499, "relax"): (-4.2, -5.7),
}
"""By t and estimator: log10 variance after 100 and after 2000 steps of one sample in the papers' setting. These are no
points read off their figures, but medians of 12 seeds of a reimplementation of that setting, outside this repository."""


def optimum(t: float) -> float:
    """The least expected loss, t²: the unit never fires."""
    return t**2


def expected_loss(p: float, t: float) -> float:
    return p * (1 - t) ** 2 + (1 - p) * t**2


def exact_gradient(p: float, t: float) -> float:
    """d E[(b - t)²] / dθ at p = σ(θ)."""
    return p * (1 - p) * (1 - 2 * t)


def reinforce_variance(p: float, t: float) -> float:
    """The variance of (b - t)² (b - p), plain REINFORCE of one sample: p (1 - p) [(1 - p) (1 - t)² + p t²]²."""
    return p * (1 - p) * ((1 - p) * (1 - t) ** 2 + p * t**2) ** 2


def loss_at(t: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(bits [n, 1], anything) -> (b - t)², [n]."""
    return lambda bits, _: (bits - t).square().mean(1)


def checkpoints(steps: int) -> list[int]:
    """Steps at which the variance is measured, from 1 to `steps`."""
    return sorted({round(steps ** (k / (CHECKPOINTS - 1))) for k in range(CHECKPOINTS)})


@dataclass
class Descent:
    """What one estimator does to one unit."""

    variances: list[tuple[float, float, float]] = field(default_factory=list)
    """(step, variance of an estimate by a batch, its standard error)."""
    loss: float = math.nan
    """Expected loss, averaged over the last tenth of the steps."""


def one_unit(p: float = 0.5) -> Any:
    """A unit that fires with probability σ(θ); `theta` is one number, or one for each of several batches."""
    import torch
    from torch import nn

    from bnn.nn.neurons import Stochastic
    from bnn.nn.noise import Logistic

    class Unit(nn.Module):
        """What the network answers are the bits; of the input only the number of rows is used."""

        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.full((1,), math.log(p / (1 - p))))
            self.neuron = Stochastic(law=Logistic())

        def forward(self, x: Tensor) -> Tensor:
            rows = self.theta.repeat_interleave(len(x) // len(self.theta))
            return self.neuron(rows[:, None] / 2)  # the logistic law is σ(2a)

    return Unit()


def estimates(estimator: Estimator, unit: Any, t: float, samples: int, draws: int, noise: Any) -> Tensor:
    """Independent estimates of d E / dθ by an initialised estimator, each of a batch, [draws].

    All are drawn in one pass, in which each batch has its own θ; this is what an estimator whose samples are independent,
    given its state, would have answered one by one. Estimator and unit stay as they are.
    """
    import torch
    from torch import nn

    estimator, unit = copy.deepcopy((estimator, unit))
    unit.theta = nn.Parameter(unit.theta.detach().expand(draws).clone())
    rows = torch.zeros(draws * samples, 1)
    surrogate = estimator(unit, rows, rows, loss_at(t), noise=noise)
    if not surrogate.requires_grad:  # `frozen` has nothing to train here
        return torch.zeros(draws)
    (found,) = torch.autograd.grad(surrogate, unit.theta)
    return (found * draws).detach()


def variance(values: Tensor) -> tuple[float, float]:
    """The variance of `values` and its standard error."""
    squares = (values.double() - values.double().mean()).square()
    return float(values.double().var()), float(squares.std()) / math.sqrt(len(values))


def descend(estimator: Estimator, t: float, samples: int, steps: int, seed: int = 0) -> Descent:
    """Descent of one unit from p = ½ by the estimates of `estimator`, which learns on the way.

    Args:
        estimator: the estimator, initialised here.
        t: target.
        samples: samples a step.
        steps: of Adam.
        seed: of what the estimator learns, and of the noise.

    Raises:
        ConfigError: for an estimator that cannot serve one unit.
    """
    import torch

    from bnn.tasks.readings import generator_noise
    from bnn.training.step import init_estimator

    unit, rows = one_unit(), torch.zeros(samples, 1)
    init_estimator(estimator, unit, rows, seed)
    noise, apart = (generator_noise(torch.Generator().manual_seed(one)) for one in (seed, seed + 1))
    groups: list[dict[str, Any]] = [{"params": [unit.theta]}]
    if learned := list(estimator.parameters()):
        groups.append({"params": learned, "lr": LEARNED_RATE})
    optimizer = torch.optim.Adam(groups, RATE)
    found, losses, measured = Descent(), [], set(checkpoints(steps))
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        surrogate = estimator(unit, rows, rows, loss_at(t), noise=noise)
        if surrogate.requires_grad:
            surrogate.backward()
        optimizer.step()
        if step in measured:
            found.variances.append((step, *variance(estimates(estimator, unit, t, samples, DRAWS, apart))))
        if step > steps - max(1, steps // 10):
            losses.append(expected_loss(float(torch.sigmoid(unit.theta.detach())), t))
    found.loss = sum(losses) / len(losses)
    return found


def _row(title: str, name: str, passes: int, unbiased: bool, found: Descent, t: float, samples: int) -> list[str]:
    logs = [f"{math.log10(value):.2f}" if value > NO_NOISE else "–" for _, value, _ in found.variances]
    paper = PAPER.get((t, name)) if samples == 1 else None
    cells = [title, "yes" if unbiased else "no", str(passes), *logs, f"{found.loss:.5f}"]
    return cells + (["{:.1f} → {:.1f}".format(*paper) if paper else ""] if samples == 1 else [])


def page(chosen: argparse.Namespace) -> str:
    from omegaconf import OmegaConf

    from bnn.build import estimator_choices
    from bnn.config import compose, estimator_title
    from bnn.errors import ConfigError
    from bnn.estimators import Estimator
    from bnn.lab.figures import lines
    from bnn.lab.page import heading, save
    from bnn.tables import markdown

    rows: dict[tuple[float, int], list[list[str]]] = {(t, n): [] for t in TARGETS for n in SAMPLES}
    curves: dict[float, dict[str, list[tuple[float, float, float]]]] = {t: {} for t in TARGETS}
    left_out = []
    for words in estimator_choices():
        config = compose(words).estimator
        title = estimator_title({"estimator": OmegaConf.to_container(config)})
        name = " ".join([config.name, *([config.baseline.name] if "baseline" in config else [])])
        try:
            for (t, samples), table in rows.items():
                estimator = Estimator.registry.build(config)
                found = descend(estimator, t, samples, chosen.steps)
                passes = estimator.evaluations([1])
                table.append(_row(title, name, passes, estimator.unbiased, found, t, samples))
                noisy = [point for point in found.variances if point[1] > NO_NOISE]
                if samples == 1 and noisy:
                    curves[t][title] = noisy
        except ConfigError as error:  # an estimator of several layers
            left_out.append(f"Not measured: {error}.")
    head = ["", "unbiased", "passes", *(f"step {step}" for step in checkpoints(chosen.steps)), "loss"]
    tables = [
        f"## t = {t}, {samples} {'sample' if samples == 1 else 'samples'} a step (least loss {optimum(t):.5f}, at the start "
        f"{expected_loss(0.5, t):.5f})\n\n{markdown(head + ['paper'] * (samples == 1), table)}"
        for (t, samples), table in rows.items()
    ]
    about = (
        f"One unit from p = ½, {chosen.steps} steps of Adam at {RATE} for θ and {LEARNED_RATE} for what an estimator "
        f"learns, one seed. Columns: log10 of the variance of one step's estimate ({DRAWS} draws with the estimator's state "
        "held; – for none), and the expected loss over the last tenth of the steps. The variance falls with p (1 - p) too, "
        "so that an estimator that gets further has less of it. Column paper: after 100 and after 2000 steps in the papers' "
        "setting, by a reimplementation of the published code of RELAX (medians of 12 seeds), not read off their figures."
    )

    def picture() -> Any:
        titles = [f"t = {t}, 1 sample a step" for t in TARGETS]
        return lines(list(curves.values()), titles, "step", ["variance of the gradient", ""], log=True)

    return "\n\n".join([heading("cpu", about), *tables, *left_out]) + save(picture, chosen.figure)


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, guarded, whole, with_figure

    parser = command(__doc__)
    parser.add_argument("--steps", type=whole(1), default=2000, help="of descent (%(default)s)")
    with_figure(parser)
    chosen = parser.parse_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
