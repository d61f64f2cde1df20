"""Passes: one run of a network on one batch, as an estimator sees it.

An estimator is a program that asks for passes. `Run` is closed over the network, the batch and the loss; calling it with
a `Draw` gives a `Pass`: the loss of each replica and sample, the binary sites that were met, and the bits they fired.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.neurons import Draw, Noise, Site


@dataclass(frozen=True)
class Replication:
    """What a norm layer must know of the pass it is in: replicas are normalised apart, only the base pass is recorded."""

    samples: int
    """Samples in one replica: a batch of n · samples holds n replicas."""
    base: bool
    """Whether the first replica updates running statistics."""


_replication: ContextVar[Replication | None] = ContextVar("replication", default=None)


def replication() -> Replication | None:
    """The replication of the pass under way, or None outside of one."""
    return _replication.get()


@contextlib.contextmanager
def _normalised_apart(samples: int, base: bool) -> Iterator[None]:
    token = _replication.set(Replication(samples, base))
    try:
        yield
    finally:
        _replication.reset(token)


def replicated(draw: Draw, forks: Sequence[int]) -> Draw:
    """`draw` for one pass in which the samples fork at each binary layer into the number that `forks` has for it, counted
    from the input; layers beyond have 1. What lies below a fork is computed once."""
    met = 0

    def ask(site: Site) -> Tensor:
        nonlocal met
        fork = forks[met] if met < len(forks) else 1
        met += 1
        if fork > 1:
            site = dataclasses.replace(site, a=torch.cat([site.a] * fork))  # `repeat` would lose the memory layout
        return draw(site)

    return ask


AROUND = (
    "This estimator forks the batch into replicas at a binary layer: a network with a path around that layer "
    "(a residual connection, parallel branches) needs an estimator of one pass."
)


@dataclass(frozen=True)
class Pass:
    """What one pass left: `loss` is [replicas, samples], never reduced; sites and bits are [replicas · samples, *units],
    with the replicas that there were at that layer. A later fork's are outermost: [last fork, …, first fork, samples]."""

    loss: Tensor
    sites: tuple[Site, ...]
    bits: tuple[Tensor, ...]


class Run:
    """A network on a batch, to be run as often as an estimator asks.

    model: `forward(inputs, draw) -> scores`. loss: `(scores, targets) -> [samples]`, one value per sample. noise: where
    the sites take their uniform numbers from. Only the first pass of a Run updates running statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        noise: Noise = torch.rand_like,
    ) -> None:
        self.model, self.inputs, self.targets, self.loss, self.noise = model, inputs, targets, loss, noise
        self._base = True
        self._scores: Tensor | None = None

    def __call__(self, draw: Draw, forks: Sequence[int] = ()) -> Pass:
        """One pass in which every binary layer draws by `draw`; at the i-th the samples fork into `forks[i]` replicas, each
        with draws of its own from there on. A network without binary layers has one replica.
        """
        samples = len(self.inputs)
        sites: list[Site] = []
        bits: list[Tensor] = []

        def ask(site: Site) -> Tensor:
            sites.append(dataclasses.replace(site, noise=self.noise, index=len(sites)))
            bits.append(draw(sites[-1]))
            return bits[-1]

        with _normalised_apart(samples, self._base):
            try:
                scores = self.model(self.inputs, replicated(ask, forks))
            except RuntimeError as error:
                if max(forks, default=1) > 1:
                    error.add_note(AROUND)
                raise
        if self._base:
            self._base, self._scores = False, scores.detach()
        count = len(scores) // samples
        targets = self.targets.repeat(count, *[1] * (self.targets.dim() - 1)) if count > 1 else self.targets
        loss = self.loss(scores.float() if scores.dtype.itemsize < 4 else scores, targets)
        if loss.shape != (count * samples,):
            raise ValueError(f"loss: expected one value per sample, shape ({count * samples},), got {tuple(loss.shape)}")
        return Pass(loss.view(count, samples), tuple(sites), tuple(bits))

    def correct(self) -> Tensor:
        """How many samples the first replica of the base pass classified right; 0 before any pass."""
        if self._scores is None:
            return torch.zeros((), dtype=torch.int64)
        return (self._scores[: len(self.inputs)].argmax(1) == self.targets).sum()


def sites_of(model: nn.Module, inputs: Tensor) -> tuple[Site, ...]:
    """The binary layers of `model`, as one forward pass on `inputs` meets them; nothing is trained or recorded."""
    sites: list[Site] = []

    def look(site: Site) -> Tensor:
        sites.append(dataclasses.replace(site, index=len(sites)))
        return site.threshold()

    training = model.training
    model.eval()
    with torch.no_grad():
        model(inputs, look)
    model.train(training)
    return tuple(sites)
