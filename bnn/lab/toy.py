"""python -m bnn.lab.toy [--steps N] [--seeds N] [--figure FILE]

Variance of gradient estimates on the toy problem of REBAR and RELAX. Minimise E[(b - t)²] over θ, b ~ Bernoulli(σ(θ)), from
θ = 0, for t = 0.45 (Tucker et al. 2017) and t = 0.499 (Grathwohl et al. 2018). The best unit never fires, and the loss is
then t²; near t = 0.5 the true gradient, p (1 - p) (1 - 2t), is a thousandth of what plain REINFORCE scatters by. Each
estimator descends by its own estimates, and their variance is measured on the way.

The rows "as published" are a plain implementation of the setting in the published code of RELAX (github.com/duvenaud/relax:
toy.py, pytorch_toy.py, rebar_toy.py), beside which ours have to stand. The curves in the papers (arXiv 1711.00123, figure 1;
arXiv 1703.07370, figure 1) are pictures, of which no number was read here.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from bnn.estimators import Estimator
    from bnn.lab.intervals import Figure

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

PUBLISHED = ("reinforce", "rebar", "relax")
"""Estimators that are run in the papers' setting too."""
HIDDEN = 10
"""Units of RELAX's network there."""


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


def estimates(
    estimator: Estimator, unit: Any, t: float, samples: int, draws: int, noise: Any
) -> Tensor:
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

    from bnn.nn.sites import generator_noise
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
            found.variances.append(
                (step, *variance(estimates(estimator, unit, t, samples, DRAWS, apart)))
            )
        if step > steps - max(1, steps // 10):
            losses.append(expected_loss(float(torch.sigmoid(unit.theta.detach())), t))
    found.loss = sum(losses) / len(losses)
    return found


class Published:
    """Estimators in the papers' setting, one for each seed: one sample a step, and all learned by Adam at RATE.

    REBAR's c is η times the relaxed loss, η from 1; RELAX's a network alone, of HIDDEN tanh units on 2σ(z / τ) - 1. z̃ takes
    the uniform number of z. η, τ (from ½, by its logarithm) and the network descend on the square of each estimate.

    Args:
        name: one of PUBLISHED.
        t: target.
        seeds: number of estimators.
    """

    def __init__(self, name: str, t: float, seeds: int) -> None:
        import torch

        self.name, self.t, self.seeds = name, t, seeds
        self.generator = torch.Generator().manual_seed(0)
        self.theta = self._parameter(1)
        self.log_tau, self.eta = (
            self._parameter(1, value=math.log(0.5)),
            self._parameter(1, value=1.0),
        )
        self.first, self.shift = self._parameter(HIDDEN, scale=1.0), self._parameter(HIDDEN)
        self.last, self.offset = self._parameter(HIDDEN, scale=HIDDEN**-0.5), self._parameter(1)
        network = [self.first, self.shift, self.last, self.offset]
        self.learned = {
            "reinforce": [],
            "rebar": [self.log_tau, self.eta],
            "relax": [self.log_tau, *network],
        }[name]

    def _parameter(self, *shape: int, scale: float = 0.0, value: float = 0.0) -> Tensor:
        import torch

        drawn = torch.randn(self.seeds, *shape, generator=self.generator, dtype=torch.float64)
        return (value + scale * drawn).requires_grad_()

    def control(self, z: Tensor) -> Tensor:
        """c at z, [seeds, draws]."""
        import torch

        y = torch.sigmoid(z / self.log_tau.exp())
        if self.name == "rebar":
            return self.eta * (y - self.t).square()
        hidden = torch.tanh((2 * y - 1)[..., None] * self.first[:, None] + self.shift[:, None])
        return (hidden * self.last[:, None]).sum(2) + self.offset

    def estimate(self, draws: int) -> Tensor:
        """Estimates of d E / dθ, [seeds, draws]."""
        import torch

        theta = self.theta.detach().expand(-1, draws).clone().requires_grad_()
        p = torch.sigmoid(theta)
        u = torch.rand(self.seeds, draws, generator=self.generator, dtype=torch.float64)
        b = (u < p).double()
        score, f = b - p.detach(), (b - self.t).square()
        if self.name == "reinforce":
            return f * score
        share = torch.where(
            b > 0, u / p, (u - p) / (1 - p)
        ).detach()  # of the interval that b leaves to u
        again = torch.where(b > 0, share * p, p + share * (1 - p))
        c, c_again = (self.control(theta - torch.logit(one)) for one in (u, again))
        (slope,) = torch.autograd.grad(c.sum(), theta, create_graph=True)
        (slope_again,) = torch.autograd.grad(c_again.sum(), theta, create_graph=True)
        return (f - c_again) * score + slope - slope_again

    def descend(self, steps: int) -> list[Descent]:
        """Descents of so many steps, one for each seed."""
        import torch

        optimizer = torch.optim.Adam([self.theta, *self.learned], RATE)
        found, losses, measured = (
            [Descent() for _ in range(self.seeds)],
            [],
            set(checkpoints(steps)),
        )
        for step in range(1, steps + 1):
            latest = self.estimate(1)
            gradients = (
                torch.autograd.grad(latest.square().sum(), self.learned) if self.learned else ()
            )
            for one, gradient in zip(
                (self.theta, *self.learned), (latest.detach(), *gradients), strict=True
            ):
                one.grad = gradient
            optimizer.step()
            if step in measured:
                for descent, values in zip(found, self.estimate(DRAWS).detach(), strict=True):
                    descent.variances.append((step, *variance(values)))
            if step > steps - max(1, steps // 10):
                losses.append(
                    [
                        expected_loss(float(p), self.t)
                        for p in torch.sigmoid(self.theta.detach()).flatten()
                    ]
                )
        for descent, of_one in zip(found, zip(*losses, strict=True), strict=True):
            descent.loss = sum(of_one) / len(of_one)
        return found


def over_seeds(descents: Sequence[Descent]) -> tuple[list[tuple[int, Figure]], float]:
    """Median variance at each step, between the least and the largest of any seed, and the median loss."""
    from bnn.lab.intervals import Figure

    found = []
    for points in zip(*(one.variances for one in descents), strict=True):
        values = [value for _, value, _ in points]
        found.append((points[0][0], Figure(statistics.median(values), min(values), max(values))))
    return found, statistics.median(one.loss for one in descents)


def _row(
    title: str, passes: str, unbiased: str, variances: Sequence[tuple[int, Figure]], loss: float
) -> list[str]:
    logs = [f"{math.log10(one.value):.2f}" if one.value > NO_NOISE else "–" for _, one in variances]
    return [title, unbiased, passes, *logs, f"{loss:.5f}"]


def page(chosen: argparse.Namespace) -> str:
    from omegaconf import OmegaConf

    from bnn.config.compose import compose
    from bnn.config.titles import estimator_title
    from bnn.errors import ConfigError
    from bnn.estimators import Estimator
    from bnn.lab.figures import lines
    from bnn.lab.page import heading, save
    from bnn.specify import estimator_choices
    from bnn.tables import markdown

    rows: dict[tuple[float, int], list[list[str]]] = {(t, n): [] for t in TARGETS for n in SAMPLES}
    curves: dict[float, dict[str, list[tuple[float, Figure]]]] = {t: {} for t in TARGETS}
    left_out = []

    def draw(t: float, title: str, variances: Sequence[tuple[int, Figure]]) -> None:
        if noisy := [(float(step), one) for step, one in variances if one.low > NO_NOISE]:
            curves[t][title] = noisy

    for words in estimator_choices():
        config = compose(words).estimator
        title = estimator_title({"estimator": OmegaConf.to_container(config)})
        try:
            for (t, samples), table in rows.items():
                built = [Estimator.registry.build(config) for _ in range(chosen.seeds)]
                found = over_seeds(
                    [descend(one, t, samples, chosen.steps, seed) for seed, one in enumerate(built)]
                )
                passes = str(built[0].evaluations([1]))
                table.append(_row(title, passes, "yes" if built[0].unbiased else "no", *found))
                if samples == 1:
                    draw(t, title, found[0])
        except ConfigError as error:  # an estimator of several layers
            left_out.append(f"Not measured: {error}.")
    for name, t in itertools.product(PUBLISHED, TARGETS):
        found = over_seeds(Published(name, t, chosen.seeds).descend(chosen.steps))
        rows[t, 1].append(_row(f"{name} as published", "", "yes", *found))
        draw(t, f"{name} as published", found[0])
    head = [
        "",
        "unbiased",
        "passes",
        *(f"step {step}" for step in checkpoints(chosen.steps)),
        "loss",
    ]
    tables = [
        f"## t = {t}, {samples} {'sample' if samples == 1 else 'samples'} a step (least loss {optimum(t):.5f}, at the start "
        f"{expected_loss(0.5, t):.5f})\n\n{markdown(head, table)}"
        for (t, samples), table in rows.items()
    ]
    about = (
        f"One unit from p = ½, {chosen.steps} steps of Adam at {RATE} for θ and {LEARNED_RATE} for what an estimator "
        f"learns; medians of {chosen.seeds} seeds, and bars from the least to the largest. Columns: log10 of the variance "
        f"of one step's estimate ({DRAWS} draws with the estimator's state held; – for none), and the expected loss over "
        "the last tenth of the steps. The variance falls with p (1 - p) too, so that an estimator that gets further has "
        "less of it. As published: a plain implementation of the setting in the published code of RELAX."
    )

    def picture() -> Any:
        titles = [f"t = {t}, 1 sample a step" for t in TARGETS]
        return lines(
            list(curves.values()), titles, "step", ["variance of the gradient", ""], log=True
        )

    return "\n\n".join([heading("cpu", about), *tables, *left_out]) + save(picture, chosen.figure)


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, guarded, whole, with_figure

    parser = command(__doc__)
    parser.add_argument("--steps", type=whole(1), default=2000, help="of descent (%(default)s)")
    parser.add_argument(
        "--seeds", type=whole(1), default=3, help="whose medians are shown (%(default)s)"
    )
    with_figure(parser)
    chosen = parser.parse_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
