"""Binary layers of a network: their names, their units, and how they depend on each other.

They are found by forward passes in evaluation mode. Nothing is trained, recorded or drawn from the
global random streams.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn.nn.handlers import apply, evaluating, threshold
from bnn.nn.replicas import flatten, select, split
from bnn.nn.sites import RandomUnits, Site
from bnn.nn.weight_draws import LRT


class Names:
    """Names of the binary layers of a network.

    A name is the module's own, and `name-n` from its second call in a pass on, which MLflow takes
    in keys of metrics and images. It does not depend on the order in which a network calls its
    layers.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        # a network has the same names inside the wrapper and alone
        network: Any = (
            model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        )
        modules = list(network.named_modules())
        # torch.compile wraps a module under this name
        self._names = {id(module): name.replace("_orig_mod.", "") for name, module in modules}
        self.binary = any(getattr(module, "binary", False) is True for _, module in modules)
        """Whether the network has binary neurons at all."""

    def counting(self) -> Callable[[nn.Module | None], str]:
        """Naming function for the calls of one pass."""
        calls: Counter[str] = Counter()

        def name(module: nn.Module | None) -> str:
            found = self._names.get(id(module), type(module).__name__)
            calls[found] += 1
            return found if calls[found] == 1 else f"{found}-{calls[found]}"

        return name


@dataclass(frozen=True)
class BinaryLayers:
    """Binary layers of a network, from the input.

    Args:
        names: `act1`, or `act1-2` for a neuron's second call in a pass.
        units: number of units of each.
        chain: whether everything above each layer depends on what lies below it through its bits
            alone.
        sites: the layers on the inputs that they were found with, [n, *units]; thresholded bits
            below.
    """

    names: tuple[str, ...]
    units: tuple[int, ...]
    chain: bool
    sites: tuple[Site, ...]


def sites_of(model: nn.Module, inputs: Tensor) -> tuple[Site, ...]:
    """Sites of the binary layers as one thresholded forward pass meets them.

    Args:
        model: the network.
        inputs: [n, …].

    Returns:
        One site for each call of a binary layer, [n, *units], from the input.
    """
    sites: list[Site] = []

    def look(layer: Site | RandomUnits) -> Tensor:
        if isinstance(layer, Site):
            sites.append(dataclasses.replace(layer, index=len(sites)))
        return threshold(layer)

    with evaluating(model), torch.no_grad():
        apply(model, inputs, look)
    return tuple(sites)


def binary_layers(model: nn.Module, inputs: Tensor) -> BinaryLayers:
    """Binary layers of a network on inputs of a kind.

    Args:
        model: the network.
        inputs: [n, …] with n ≥ 1; the first two are used.
    """
    # one row would broadcast against replicas
    inputs = inputs[:2] if len(inputs) > 1 else torch.cat([inputs, inputs])
    sites, name = sites_of(model, inputs), Names(model).counting()
    found = tuple(name(site.module) for site in sites)
    units = tuple(
        site.preactivation.numel() if site.shared else site.preactivation[0].numel()
        for site in sites
    )
    chain = is_chain(model, inputs, sites)
    return BinaryLayers(
        found, units, chain, tuple(dataclasses.replace(site, module=None) for site in sites)
    )


def is_chain(model: nn.Module, inputs: Tensor, sites: Sequence[Site]) -> bool:
    """Whether each binary layer is the only path from the layers below it to those above.

    Two tests. By value: for each layer a pair of rows with other inputs and other bits below it,
    and the same bits from it upwards; above it both must meet the same. By shape: replicas branch
    at every layer, and the pass must go through, since a path around a layer brings a batch of
    another length (this sees a path whose weight is zero for now). Random units that are no bits
    take part in the second test alone.

    Args:
        model: the network.
        inputs: [n, …] with n ≥ 2.
        sites: its binary layers on these inputs.
    """
    if any(site.shared for site in sites):
        return False
    return _branches_pass(model, inputs) and (
        not sites or _depends_on_bits_alone(model, inputs, sites)
    )


def _branches_pass(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a pass goes through in which each random layer has one replica more than the last."""
    replicas = 1

    def branch(layer: Site | RandomUnits) -> Tensor:
        nonlocal replicas
        if len(layer.preactivation) != replicas * len(inputs):
            raise ValueError("another batch than that of the layer below")
        activations = split(layer.threshold(), replicas)
        replicas += 1
        return flatten(select(activations, [*range(replicas - 1), 0]))

    with evaluating(model), torch.no_grad():
        try:
            return len(apply(model, inputs, branch)) == replicas * len(inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError):  # shapes that do not fit
            return False


def _depends_on_bits_alone(model: nn.Module, inputs: Tensor, sites: Sequence[Site]) -> bool:
    """Whether pairs of rows that agree from a layer upwards meet the same above it."""
    others = inputs.flip(0)
    if torch.equal(others, inputs) and inputs.is_floating_point():
        others = inputs + 1
    rows, generator = len(inputs), torch.Generator().manual_seed(0)
    above: list[Tensor] = []

    def force(layer: Site | RandomUnits) -> Tensor:
        if isinstance(layer, RandomUnits):
            return layer.threshold()
        index = len(above)
        above.append(layer.preactivation)
        units = layer.preactivation.shape[1:]
        bits = torch.rand(units, generator=generator).round().to(layer.preactivation)
        # pair l has other bits in its second half below layer l
        pairs = [
            torch.stack([bits, 1 - bits if index < pair else bits]) for pair in range(len(sites))
        ]
        return torch.cat(pairs).repeat_interleave(rows, 0)

    with evaluating(model), torch.no_grad():
        above.append(apply(model, torch.cat([inputs, others] * len(sites)), force))
    for pair in range(len(sites)):
        first, second = (
            slice((2 * pair + half) * rows, (2 * pair + half + 1) * rows) for half in (0, 1)
        )
        for met in above[pair + 1 :]:
            if not torch.allclose(met[first], met[second], rtol=1e-4, atol=1e-5):
                return False
    return True


def has_linear_readout(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the output is an affine function of the highest binary layer's bits.

    These bits must be no shared ones, and nothing may be drawn above them, in training either, as
    weights under the local reparameterisation draw their pre-activations. Affine on lines through
    random bits, far beyond 0 and 1 too, where a rectifier or a saturation shows. A read-out whose
    weights are all zero looks affine.

    Args:
        model: a network with binary layers.
        inputs: [n, …].
    """
    sites = sites_of(model, inputs)
    if sites[-1].shared:
        return False
    generator = torch.Generator(inputs.device).manual_seed(0)
    like, drawn_above = sites[-1].preactivation, False
    bits, others = (torch.empty_like(like).uniform_(generator=generator).round() for _ in range(2))

    met = 0

    def look(module: nn.Module, *_: Any) -> None:
        nonlocal drawn_above
        drawn_above = drawn_above or met == len(sites)

    def output(given: Tensor) -> Tensor:
        nonlocal met
        met = 0

        def force(layer: Site | RandomUnits) -> Tensor:
            nonlocal met, drawn_above
            met += isinstance(layer, Site)
            drawn_above = drawn_above or (met == len(sites) and isinstance(layer, RandomUnits))
            return given if isinstance(layer, Site) and met == len(sites) else threshold(layer)

        return apply(model, inputs, force)

    gaussian = [one for one in model.modules() if _is_reparameterised(one)]
    hooks = [one.register_forward_pre_hook(look) for one in gaussian]
    try:
        with evaluating(model), torch.no_grad():
            first, step = output(bits), output(others) - output(bits)
            for length in (0.5, 30.0, -30.0):
                reached, expected = output(bits + length * (others - bits)), first + length * step
                atol = 1e-3 * max(1.0, abs(length))
                if not torch.allclose(reached, expected, rtol=1e-3, atol=atol):
                    return False
    finally:
        for hook in hooks:
            hook.remove()
    return not drawn_above


def _is_reparameterised(module: nn.Module) -> bool:
    """Whether a layer draws its pre-activations in training, by its rule of binary weights."""
    return getattr(getattr(module, "rule", None), "reading", None) == LRT
