"""Forward passes of one network on one batch, run as often as an estimator asks.

An estimator gets a `ForwardClosure` and calls it with a site handler; each call returns a
`ForwardPass`: the loss of each replica and sample, the binary layers that were met, and their bits.
Replicas branch by a sample tree. In a chain, where everything above a binary layer depends on what
lies below through its bits alone, they branch at the layer, and what lies below is computed once.
With a path around a binary layer (a residual connection, a gate beside what it gates, shared
weights) the batch is repeated from the input instead, and the replicas that share an ancestor share
its bits. Binary weights that are drawn are so once for a closure: all its passes and replicas have
the same.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.errors import NoEstimatorError
from bnn.nn.handlers import Replication, handling
from bnn.nn.layers import BinaryLayers, Names, binary_layers
from bnn.nn.replicas import SampleTree, ancestors, flatten, replicas_at, select, split
from bnn.nn.sites import Latent, Latents, Noise, RandomUnits, Site
from bnn.nn.weight_draws import WeightDraws, drawing_weights

SampleRule = Callable[[Site], Tensor]
"""An estimator's rule: from a site with named axes, [replicas, samples, *units], to its bits."""
Loss = Callable[..., Tensor]
"""Loss of each row of the output: `(output, targets) -> [n]`, or
`(output, targets, latents) -> [n]`."""


@dataclass(frozen=True)
class ForwardPass:
    """Result of one forward pass.

    Args:
        loss: [replicas at the top, samples], never reduced.
        sites: the binary layers from the input, [replicas at that layer, samples, *units].
        bits: their bits, likewise.
        output: the network's output, [replicas at the top · samples, …].
        latents: sites and bits at the replicas of the top, as the loss received them.
        tree: the sample tree.
    """

    loss: Tensor
    sites: tuple[Site, ...]
    bits: tuple[Tensor, ...]
    output: Tensor
    latents: Latents
    tree: SampleTree = ()


def takes_latents(loss: Loss) -> bool:
    """Whether a loss needs a third argument, or its third parameter is called `latents`."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some built-in functions have no signature
        return False
    needed = [one for one in parameters.values() if one.kind in kinds and one.default is one.empty]
    return len(needed) > 2 or list(parameters)[2:3] == ["latents"]


class ForwardClosure:
    """Forward closure of a network on a batch.

    Args:
        model: `forward(inputs) -> output`, the batch along the first axis of both.
        inputs: [samples, …].
        targets: [samples, …].
        loss: loss of each row of the output, see `Loss`.
        noise: source of the sites' uniform numbers.
        record: whether the first pass updates the running statistics of norms; no further one does.
        layers: the binary layers, as `binary_layers` found them; None: found when replicas are
            first asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: Loss,
        noise: Noise = torch.rand_like,
        record: bool = True,
        layers: BinaryLayers | None = None,
    ) -> None:
        self.model, self.inputs, self.targets, self.noise = model, inputs, targets, noise
        self._loss, self._takes_latents = loss, takes_latents(loss)
        self._record, self._layers = record, layers
        self._names = Names(model)
        self._weights = WeightDraws(noise)
        self.output: Tensor | None = None
        """Output of the first replica of the first pass, detached, [samples, …]."""
        self.sites: tuple[Site, ...] = ()
        """Binary layers of the first pass, [replicas at that layer, samples, *units]."""

    def loss_of(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        """Loss of each row of the output; half precision is widened first.

        Args:
            output: [n, …].
            targets: [n, …].
            latents: binary layers, [n, *units], for a loss that takes them.

        Returns:
            [n].
        """
        if output.is_floating_point() and output.dtype.itemsize < 4:
            output = output.float()
        if self._takes_latents:
            return self._loss(output, targets, latents)
        return self._loss(output, targets)

    def __call__(self, rule: SampleRule, tree: SampleTree = ()) -> ForwardPass:
        """One pass in which every binary layer is sampled by a rule, and replicas branch by a tree.

        Args:
            rule: bits of each site.
            tree: sample tree; empty: one replica.

        Raises:
            NoEstimatorError: if no binary layer of a network that has some is met.
            ValueError: for a network that does not keep the batch along the first axis, or a
                reduced loss.
        """
        samples, top = len(self.inputs), replicas_at(tree, len(tree) - 1)
        if top > 1 and self._layers is None:
            self._layers = binary_layers(self.model, self.inputs)
        repeated = top > 1 and self._layers is not None and not self._layers.chain
        if repeated:
            self._refuse_dropout()
        met = _Sampling(rule, tree, samples, repeated, self.noise, self._names, self._layers)
        inputs = torch.cat([self.inputs] * top) if repeated else self.inputs  # keeps channels_last
        replication = Replication(lambda: met.replicas, self._record)
        with handling(met, replication), drawing_weights(self._weights):
            output: Tensor = self.model(inputs)
        self._record = False
        if not met.sites and self._names.binary:
            raise NoEstimatorError(
                "the forward pass met no binary layer, and the network has some: call the network "
                "itself, not a compiled, traced or parallel copy of it"
            )
        if self.output is None:
            self.output, self.sites = output[:samples].detach(), tuple(met.sites)
        return self._result(output, met, tree if met.sites or repeated else (), samples)

    def _result(
        self, output: Tensor, met: _Sampling, tree: SampleTree, samples: int
    ) -> ForwardPass:
        count, targets = replicas_at(tree, len(tree) - 1), self.targets
        if len(output) != count * samples:
            raise ValueError(
                "expected the batch along the first axis of the output, "
                f"{count} · {samples} rows; got shape {tuple(output.shape)}"
            )
        if count > 1:
            targets = targets.repeat(count, *[1] * (targets.dim() - 1))
        latents = Latents(len(met.sites), lambda i: at_top(met.sites[i], met.bits[i], samples))
        loss = self.loss_of(output, targets, latents)
        if loss.shape != (count * samples,):
            raise ValueError(
                f"loss: expected one value per sample, shape ({count * samples},), got "
                f"{tuple(loss.shape)}"
            )
        return ForwardPass(
            loss.view(count, samples), tuple(met.sites), tuple(met.bits), output, latents, tree
        )

    def _refuse_dropout(self) -> None:
        """Check that no random module would differ between replicas that share their bits."""
        for name, module in self.model.named_modules():
            of_torch = isinstance(module, nn.modules.dropout._DropoutNd)
            share = getattr(module, "p" if of_torch else "dropout", 0)
            drops = isinstance(module, nn.RReLU) or (isinstance(share, int | float) and share > 0)
            if module.training and drops:
                raise ValueError(
                    f"{name}: dropout in a network with a path around a binary layer would differ "
                    "between replicas that share their bits; leave it out, or use an estimator of "
                    "one pass"
                )


def at_top(site: Site, bits: Tensor, samples: int) -> Latent:
    """Binary layer at the replicas of the top, with a flat batch axis.

    Args:
        site: [replicas at the layer, samples, *units].
        bits: likewise.
        samples: size of the batch, to which shared bits are expanded.

    Returns:
        Site and bits, [replicas at the top · samples, *units].
    """

    def rows(named: Tensor) -> Tensor:
        named = select(named, site.lineage)
        return flatten(named.expand(-1, samples, *named.shape[2:]) if site.shared else named)

    return Latent(
        dataclasses.replace(
            site, preactivation=rows(site.preactivation), lineage=(0,), branched=None
        ),
        rows(bits),
    )


class _Sampling:
    """Site handler of one pass.

    It splits a neuron's tensors into named axes, applies the estimator's rule, and joins its bits.
    """

    def __init__(
        self,
        rule: SampleRule,
        tree: SampleTree,
        samples: int,
        repeated: bool,
        noise: Noise,
        names: Names,
        expected: BinaryLayers | None,
    ) -> None:
        self.rule, self.tree, self.samples, self.repeated = rule, tree, samples, repeated
        self.noise, self.name, self.expected = noise, names.counting(), expected
        self.sites: list[Site] = []
        self.bits: list[Tensor] = []

    @property
    def replicas(self) -> int:
        """Replicas in the flat batch at this point of the pass."""
        return replicas_at(self.tree, len(self.tree) - 1 if self.repeated else len(self.sites) - 1)

    def __call__(self, layer: Site | RandomUnits) -> Tensor:
        return self._units(layer) if isinstance(layer, RandomUnits) else self._bits(layer)

    def _units(self, layer: RandomUnits) -> Tensor:
        """Activations of random units that are no bits.

        In a repeated batch, replicas that share their ancestors share the noise.
        """

        def noise(like: Tensor) -> Tensor:
            if not self.repeated:
                return self.noise(like)
            drawn = self.noise(self._first(split(like, self.replicas), len(self.sites) - 1))
            return flatten(select(drawn, ancestors(self.tree, len(self.sites) - 1)))

        return dataclasses.replace(layer, noise=noise).fire()

    def _bits(self, layer: Site) -> Tensor:
        """Bits of a binary layer by the estimator's rule, [n, *units]."""
        rows = self.replicas * self.samples
        if not layer.shared and self.replicas > 1 and len(layer.preactivation) != rows:
            raise ValueError(
                "expected the batch along the first axis of a binary layer, "
                f"{self.replicas} · {self.samples} rows; got shape "
                f"{tuple(layer.preactivation.shape)}"
            )
        index = self._index(self.name(layer.module), layer)
        lineage = ancestors(self.tree, index)
        preactivation, branched = self._named(layer, index)
        site = dataclasses.replace(
            layer,
            preactivation=preactivation,
            branched=branched,
            noise=self.noise,
            index=index,
            lineage=lineage,
        )
        bits = self.rule(site)
        self.sites.append(site)
        self.bits.append(bits)
        sent = select(bits, lineage) if self.repeated else bits
        return sent.squeeze(1) if layer.shared else flatten(sent)

    def _index(self, name: str, layer: Site) -> int:
        """Position of a layer in the network that was described, or else in this pass."""
        index, expected = len(self.sites), self.expected
        if expected is None:
            return index
        units = layer.preactivation.numel() if layer.shared else layer.preactivation[0].numel()
        # another batch than this is for `Site.credit` to refuse
        whole = layer.shared or len(layer.preactivation) == self.replicas * self.samples
        in_order = expected.names[index : index + 1] == (name,) and (
            not whole or expected.units[index] == units
        )
        if name not in expected.names or (len(self.tree) > 0 and not in_order):
            raise ValueError(
                f"expected the binary layers {', '.join(expected.names)}, met {name} of {units} "
                "units; call estimator.init(net, inputs) for another network: an estimator of "
                "several passes needs the same layers in every pass"
            )
        return expected.names.index(name)

    def _named(self, layer: Site, index: int) -> tuple[Tensor, Tensor | None]:
        """Pre-activations [replicas at this layer, samples, *units], and those that branched.

        The latter are None where no replica below branched, or not all into equally many.
        """
        here = replicas_at(self.tree, index)
        if layer.shared:
            named = layer.preactivation[None, None]
            return named.expand(here, *named.shape[1:]), named if here > 1 else None
        named = split(layer.preactivation, self.replicas)
        if self.repeated:
            named = self._first(named, index - 1)
        parents = self.tree[index] if index < len(self.tree) else range(len(named))
        repeats = len(parents) // len(named)
        equally = repeats > 1 and list(parents) == list(range(len(named))) * repeats
        branched = named if equally else None
        if equally and len(named) == 1:  # a view takes no memory
            return named.expand(repeats, *named.shape[1:]), branched
        return select(named, parents), branched

    def _first(self, named: Tensor, layer: int) -> Tensor:
        """First descendant of each replica at `layer`, of a repeated batch.

        The further descendants have the same bits up to that layer.
        """
        lineage = ancestors(self.tree, layer) if layer >= 0 else [0] * len(named)
        return select(named, [lineage.index(replica) for replica in range(max(lineage) + 1)])
