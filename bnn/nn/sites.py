"""Sample sites: the binary variables of one layer, as one forward pass meets them.

A neuron describes its layer as a `Site` and asks the site handler in force for bits
(`bnn.nn.handlers.sample`). The neuron's tensors have a flat batch axis,
`[replicas · samples, *units]`. An estimator sees the same layer with named axes,
`[replicas, samples, *units]`, where `replicas` is the number of draws at that layer; a site that
the whole batch shares (weights) is `[replicas, 1, *units]`. `bnn.nn.replicas` holds the split and
the join.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.nn.noise import NoiseLaw
from bnn.nn.replicas import join, mean_of_descendants

Noise = Callable[[Tensor], Tensor]
"""Source of noise, `like -> u`: independent uniform numbers in [0, 1) of the shape, dtype and
device of `like`."""


def generator_noise(generator: torch.Generator) -> Noise:
    """Source of noise from one generator, in the memory layout of the tensor it is compared with.

    Args:
        generator: on the device of the tensors.
    """
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


def host_noise(generator: torch.Generator) -> Noise:
    """Source of noise from a generator on the CPU, for tensors on any device.

    Args:
        generator: on the CPU.
    """
    return lambda like: torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like)


@dataclass(frozen=True, eq=False)
class Site:
    """Binary variables b of one layer, with q(b = 1) = F(preactivation) for a noise law F.

    Args:
        preactivation: a, after the slope; [replicas, samples, *units] in an estimator,
            [n, *units] in a neuron.
        law: noise law F.
        rule: the neuron's own fire rule, `Site.sample` or `Site.threshold`.
        noise: source of the uniform numbers.
        shared: whether one draw serves the whole batch, as for weights.
        module: the neuron.
        index: position among the binary layers of the network, from the input.
        lineage: for each replica at the top of the pass, its ancestor among the replicas of this
            layer.
        branched: pre-activations of the replicas below that branched into equally many draws of
            this layer, [replicas below, samples, *units]; `preactivation` repeats them. None: no
            draws have theirs in common.
    """

    preactivation: Tensor
    law: NoiseLaw
    rule: Callable[[Site], Tensor]
    noise: Noise = torch.rand_like
    shared: bool = False
    module: nn.Module | None = None
    index: int = 0
    lineage: Sequence[int] = (0,)
    branched: Tensor | None = None

    @cached_property
    def probs(self) -> Tensor:
        """Firing probabilities p = F(a), of the shape of the site; differentiable in a."""
        return self._computed_once(self.law.cdf)

    @cached_property
    def logits(self) -> Tensor:
        """Log-odds ℓ = log p - log(1 - p), of the shape of the site; differentiable in a.

        Infinite where the law lacks full support.
        """
        return self._computed_once(self.law.logits)

    def _computed_once(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Function of the pre-activation, computed once for draws that have it in common."""
        if self.branched is None:
            return function(self.preactivation)
        found = function(self.branched)
        repeats = len(self.preactivation) // len(found)
        # a view, where the draws of a sample have one pre-activation
        return found.expand_as(self.preactivation) if len(found) == 1 else join([found] * repeats)

    @property
    def samples(self) -> int:
        """Length of the sample axis: the batch size, or 1 for a shared site."""
        return self.preactivation.shape[1]

    def replicas(self, start: int, stop: int | None = None) -> Site:
        """Site of the replicas `start` to `stop` alone."""
        kept = self.preactivation[start:stop]
        return dataclasses.replace(
            self, preactivation=kept, lineage=range(len(kept)), branched=None
        )

    def sample(self) -> Tensor:
        """Sampled bits b = 1[u < p], u ~ U[0, 1), so that E[b] = p. No gradient.

        Returns:
            Of the shape and dtype of the pre-activation.
        """
        if self.branched is None:
            probs = self.probs.detach()
        else:  # one probability for draws that have noise of their own, and no copies of it
            with torch.no_grad():
                probs = self.law.cdf(self.branched)
            probs = probs.expand(len(self.preactivation) // len(probs), *probs.shape)
        noise = self.noise(probs)
        bits = torch.lt(noise, probs, out=torch.empty_like(noise))
        return bits if self.branched is None else bits.flatten(0, 1)

    def threshold(self) -> Tensor:
        """Thresholded bits b = 1[p > 1/2] = 1[a > 0]; a tie gives 0. No gradient.

        Returns:
            Of the shape and dtype of the pre-activation.
        """
        a = self.preactivation.detach()
        return torch.gt(a, 0, out=torch.empty_like(a))

    def fire(self) -> Tensor:
        """Bits by the neuron's own rule, of the shape of the pre-activation. No gradient."""
        return self.rule(self)

    def log_prob(self, bits: Tensor) -> Tensor:
        """Log-likelihood log q(b) = log σ((2b - 1) ℓ) of each unit.

        Args:
            bits: of the shape of the site.

        Returns:
            Of the shape of the site, differentiable in a.
        """
        return F.logsigmoid((2 * bits - 1) * self.logits)

    def score(self, bits: Tensor) -> Tensor:
        """Score term (b - p) ℓ of each unit, b - p detached; its gradient is that of `log_prob`.

        d log q / dℓ = b - p. The value is not log q; where the gradient alone is wanted this saves
        a logarithm for each unit.

        Args:
            bits: of the shape of the site.

        Returns:
            Of the shape of the site, differentiable in a.
        """
        return (bits - self.probs).detach() * self.logits

    def credited_score(self, bits: Tensor, credit: Tensor) -> Tensor:
        """Sum over draws, samples and units of credit · `score`, in fewer operations.

        The credit is detached. Of draws with one pre-activation Σ_k c_k (b_k - p) comes first.

        Args:
            bits: of the shape of the site.
            credit: broadcast against [replicas, samples, *units], with all replicas.

        Returns:
            Scalar, differentiable in a.
        """
        if self.branched is None:
            return ((credit * (bits - self.probs)).detach() * self.logits).sum()
        below = len(self.branched)
        credits, drawn = (one.unflatten(0, (-1, below)) for one in (credit, bits))
        with torch.no_grad():
            weight: Tensor = -credits.sum(0) * self.law.cdf(self.branched)
            for of_draw, fired in zip(credits, drawn, strict=True):
                weight.addcmul_(of_draw, fired)
        return (weight * self.law.logits(self.branched)).sum()

    def aligned(self, values: Tensor) -> Tensor:
        """View of values by replica and sample that broadcasts against the units of this layer.

        Args:
            values: [replicas, samples].

        Returns:
            [replicas, samples, 1, …].
        """
        return values.reshape(*values.shape, *[1] * (self.preactivation.dim() - 2))

    def descendants(self, loss: Tensor, *, first: bool = False) -> Tensor:
        """Loss that each replica of this layer led to, detached: the mean over its descendants.

        Args:
            loss: [replicas at the top, samples].
            first: take the loss of the first descendant alone, where the others are no samples of
                the network.

        Returns:
            [replicas, samples]; for a shared site [replicas, 1], the mean over the batch.
        """
        found = mean_of_descendants(loss.detach(), self.lineage, first=first)
        return found.mean(1, keepdim=True) if self.shared else found

    def credit(self, loss: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
        """Weight of each draw's score, (f - B) / (replicas · samples).

        f is the mean loss of the draw's descendants. `(site.credit(loss) * site.score(bits)).sum()`
        is then the score-function estimate of the gradient of the mean loss.

        Args:
            loss: f, [replicas at the top, samples].
            baseline: B, broadcast against [replicas, samples, *units].

        Returns:
            [replicas, samples, 1, …] or, where the baseline differs by unit,
            [replicas, samples, *units].

        Raises:
            ValueError: for a layer that does not keep the batch along its first axis.
        """
        if not self.shared and self.samples != loss.shape[1]:
            raise ValueError(
                "expected the batch along the first axis of a binary layer, "
                f"{loss.shape[1]} samples; got shape {tuple(self.preactivation.shape)} with the "
                "replicas first"
            )
        credited = self.aligned(self.descendants(loss))
        return (credited - baseline) / (credited.shape[0] * credited.shape[1])


@dataclass(frozen=True, eq=False)
class RandomUnits:
    """Random units that are no bits: differentiable functions of a and noise.

    No estimator is asked for them; a site handler supplies their noise alone.

    Args:
        preactivation: a, after the slope, [n, *units].
        output: activations from a and noise, [n, *units].
        noise_free: activations from a without noise, [n, *units].
        noise: source of the uniform numbers.
    """

    preactivation: Tensor
    output: Callable[[Tensor, Noise], Tensor]
    noise_free: Callable[[Tensor], Tensor]
    noise: Noise = torch.rand_like

    def fire(self) -> Tensor:
        """Activations by the units' own rule, [n, *units]."""
        return self.output(self.preactivation, self.noise)

    def threshold(self) -> Tensor:
        """Activations without noise, [n, *units]: the counterpart of `Site.threshold`."""
        return self.noise_free(self.preactivation)


class Latent(NamedTuple):
    """Binary layer as a loss receives it.

    Args:
        site: the layer, [n, *units], n as in the output of the network.
        bits: its bits, [n, *units].
    """

    site: Site
    bits: Tensor


class Latents:
    """Sequence of the binary layers of one pass, computed when a loss asks for them.

    Each is a `Latent` whose tensors are [replicas at the top · samples, *units], row by row those
    of the output.

    Args:
        count: number of binary layers.
        latent: function from a position, counted from the input, to the layer.
    """

    def __init__(self, count: int, latent: Callable[[int], Latent]) -> None:
        self._count, self._latent = count, latent
        self.used = False
        """Whether the loss has asked for any."""

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Latent:
        if not -self._count <= index < self._count:
            raise IndexError(
                f"expected a layer in [{-self._count}, {self._count - 1}], got {index}"
            )
        self.used = True
        return self._latent(index % self._count)

    def __iter__(self) -> Iterator[Latent]:
        return (self[index] for index in range(self._count))
