"""Passes: one run of a network on one batch, as an estimator sees it.

An estimator is a program that asks for passes. `Run` is closed over the network, the batch and the loss; calling it with
a `Draw` gives a `Pass`: the loss of each replica and sample, the binary sites that were met, and the bits they fired.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.neurons import Draw, Noise, Noisy, Site


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


Tree = Sequence[Sequence[int]]
"""How replicas branch: for each binary layer from the input, the replica below that each of its replicas goes on from."""


def forks(*counts: int) -> Tree:
    """The tree in which every replica forks into `counts[i]` at the i-th binary layer; a later fork is outermost."""
    tree, below = [], 1
    for count in counts:
        tree.append(list(range(below)) * count)
        below *= count
    return tree


def ancestors(tree: Tree, layer: int) -> list[int]:
    """For each replica at the top of `tree`, the replica at binary layer `layer` that it comes from."""
    if layer >= len(tree):
        return list(range(len(tree[-1]) if tree else 1))
    lineage = list(range(len(tree[layer])))
    for parents in tree[layer + 1 :]:
        lineage = [lineage[parent] for parent in parents]
    return lineage


def replicated(draw: Draw, tree: Tree) -> Draw:
    """`draw` for one pass in which the samples branch into replicas by `tree`; at layers beyond it every replica goes on
    alone. What lies below a branching is computed once."""
    met = 0

    def ask(site: Site | Noisy) -> Tensor:
        nonlocal met
        parents = tree[met] if met < len(tree) else ()
        below = len(tree[met - 1]) if 0 < met <= len(tree) else 1
        met += 1
        if parents and list(parents) != list(range(below)):
            replicas = site.a.chunk(below)  # joined again by `cat`: `repeat` would lose the memory layout
            site = dataclasses.replace(site, a=torch.cat([replicas[parent] for parent in parents]))
        return draw(site)

    return ask


def _given(noise: Noise, draw: Draw) -> Draw:
    """`draw` for the binary layers; the others that are random get their noise."""
    return lambda layer: dataclasses.replace(layer, noise=noise).fire() if isinstance(layer, Noisy) else draw(layer)


AROUND = (
    "This estimator forks the batch into replicas at a binary layer: a network with a path around that layer "
    "(a residual connection, parallel branches) needs an estimator of one pass."
)


@dataclass(frozen=True)
class Pass:
    """What one pass left: `loss` is [replicas, samples], never reduced; sites and bits are [replicas · samples, *units],
    with the replicas that there were at that layer; scores are what the network answered, [replicas · samples, ...]."""

    loss: Tensor
    sites: tuple[Site, ...]
    bits: tuple[Tensor, ...]
    scores: Tensor
    tree: Tree = ()

    def loss_of(self, layer: int, first: bool = False) -> Tensor:
        """[replicas at binary layer `layer`, samples], detached: for each, the mean loss of what was drawn above it; first:
        the loss of its first descendant alone, where the others are no true samples of what lies above."""
        loss, lineage = self.loss.detach(), ancestors(self.tree, layer)
        replicas = range(max(lineage) + 1)
        if lineage == list(replicas):
            return loss
        if first:
            return loss[[lineage.index(replica) for replica in replicas]]
        shares = [[(ancestor == replica) / lineage.count(replica) for ancestor in lineage] for replica in replicas]
        return loss.new_tensor(shares) @ loss


class Run:
    """A network on a batch, to be run as often as an estimator asks.

    model: `forward(inputs, draw) -> scores`. loss: `(scores, targets) -> [samples]`, one value per sample. noise: where
    the sites take their uniform numbers from. record: whether the first pass of the Run updates running statistics; no
    further one does.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        noise: Noise = torch.rand_like,
        record: bool = True,
    ) -> None:
        self.model, self.inputs, self.targets, self.loss, self.noise = model, inputs, targets, loss, noise
        self._base = record
        self._scores: Tensor | None = None

    def __call__(self, draw: Draw, tree: Tree = ()) -> Pass:
        """One pass in which every binary layer draws by `draw`, and the samples branch into replicas by `tree`, each with
        draws of its own from there on. A network without binary layers has one replica.
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
                scores = self.model(self.inputs, _given(self.noise, replicated(ask, tree)))
            except RuntimeError as error:
                if sites and max(map(len, tree), default=1) > 1 and not isinstance(error, torch.OutOfMemoryError):
                    error.add_note(AROUND)
                raise
        self._base = False
        if self._scores is None:
            self._scores = scores.detach()
        count = len(scores) // samples
        targets = self.targets.repeat(count, *[1] * (self.targets.dim() - 1)) if count > 1 else self.targets
        loss = self.loss(scores.float() if scores.dtype.itemsize < 4 else scores, targets)
        if loss.shape != (count * samples,):
            raise ValueError(f"loss: expected one value per sample, shape ({count * samples},), got {tuple(loss.shape)}")
        return Pass(loss.view(count, samples), tuple(sites), tuple(bits), scores, tree if count > 1 else ())

    def correct(self) -> Tensor:
        """How many samples the first replica of the base pass classified right; 0 before any pass."""
        if self._scores is None:
            return torch.zeros((), dtype=torch.int64)
        return (self._scores[: len(self.inputs)].argmax(1) == self.targets).sum()


def linear_readout(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the scores are an affine function of the highest binary layer's bits; nothing is trained or recorded."""
    sites = sites_of(model, inputs)
    generator = torch.Generator(inputs.device).manual_seed(0)
    bits, others = (torch.empty_like(sites[-1].a).uniform_(generator=generator).round() for _ in range(2))

    def scores(given: Tensor) -> Tensor:
        met = itertools.count(1)

        def draw(layer: Site | Noisy) -> Tensor:
            return given if isinstance(layer, Site) and next(met) == len(sites) else layer.threshold()

        return model(inputs, draw)

    training = model.training
    model.eval()
    with torch.no_grad():
        first, second, between = scores(bits), scores(others), scores((bits + others) / 2)
    model.train(training)
    return torch.allclose(between, (first + second) / 2, rtol=1e-4, atol=1e-4)


def sites_of(model: nn.Module, inputs: Tensor) -> tuple[Site, ...]:
    """The binary layers of `model`, as one forward pass on `inputs` meets them; nothing is trained or recorded."""
    sites: list[Site] = []

    def look(layer: Site | Noisy) -> Tensor:
        if isinstance(layer, Site):
            sites.append(dataclasses.replace(layer, index=len(sites)))
        return layer.threshold()

    training = model.training
    model.eval()
    with torch.no_grad():
        model(inputs, look)
    model.train(training)
    return tuple(sites)
