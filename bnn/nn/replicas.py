"""Replicas: several draws of a layer in one pass, joined along the batch axis, and their tree.

The batch axis of a network is flat, `[replicas · samples, *units]`, replica by replica. Named axes,
`[replicas, samples, *units]`, are views of it, which keeps the memory format (`channels_last`);
`split` and `join` are the only places where the two meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SampleTree = Sequence[Sequence[int]]
"""Branching of replicas: for each binary layer from the input, the parent of each of its replicas
among those of the layer below. Below the first layer there is one replica, the batch itself."""


def branching(*counts: int) -> SampleTree:
    """Sample tree in which every replica branches into equally many at each layer.

    Args:
        counts: branches of each replica, for each binary layer from the input.

    Returns:
        The tree; the branches of later layers are outermost.
    """
    tree, below = [], 1
    for count in counts:
        tree.append(list(range(below)) * count)
        below *= count
    return tree


def replicas_at(tree: SampleTree, layer: int) -> int:
    """Number of replicas at a binary layer.

    Args:
        tree: sample tree.
        layer: position of the layer; beyond the tree there are as many replicas as at its last
            layer, and at layer -1 there is one.
    """
    if not tree or layer < 0:
        return 1
    return len(tree[min(layer, len(tree) - 1)])


def ancestors(tree: SampleTree, layer: int, of: int | None = None) -> list[int]:
    """Ancestor at one layer of each replica at another.

    Args:
        tree: sample tree.
        layer: layer of the ancestors.
        of: layer of the replicas, at least `layer`; None: the top.
    """
    lineage = list(range(replicas_at(tree, layer)))
    for parents in tree[layer + 1 : None if of is None else of + 1]:
        lineage = [lineage[parent] for parent in parents]
    return lineage


def mean_of_descendants(loss: Tensor, lineage: Sequence[int], *, first: bool = False) -> Tensor:
    """Mean loss of the descendants of each replica of a layer.

    Args:
        loss: [replicas at the top, samples].
        lineage: ancestor at the layer of each replica at the top.
        first: take the loss of the first descendant instead of the mean.

    Returns:
        [replicas at the layer, samples].
    """
    lineage, count = list(lineage), max(lineage) + 1
    if lineage == list(range(count)):
        return loss
    # no tensor is made of numbers of Python's, for which a GPU would be waited
    groups = [[at for at, of in enumerate(lineage) if of == replica] for replica in range(count)]
    if first:
        return torch.stack([loss[group[0]] for group in groups])
    if lineage == list(range(count)) * (len(lineage) // count):
        by_descendant: Tensor = loss.unflatten(0, (-1, count))
        return by_descendant.mean(0)
    return torch.stack([torch.stack([loss[at] for at in group]).mean(0) for group in groups])


def split(flat: Tensor, replicas: int) -> Tensor:
    """View [replicas, samples, *units] of a tensor [replicas · samples, *units]."""
    return flat.unsqueeze(0) if replicas == 1 else flat.unflatten(0, (replicas, -1))


def flatten(named: Tensor) -> Tensor:
    """View [replicas · samples, *units] of a tensor [replicas, samples, *units]."""
    return named.squeeze(0) if len(named) == 1 else named.flatten(0, 1)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenation of named tensors along the replica axis.

    The parts meet on the flat batch axis: `torch.cat` along a fifth axis would lose the memory
    format.

    Args:
        parts: [replicas of the part, samples, *units] each.

    Returns:
        [replicas of all parts, samples, *units].
    """
    if len(parts) == 1:
        return parts[0]
    return split(torch.cat([flatten(part) for part in parts]), sum(map(len, parts)))


def select(named: Tensor, replicas: Sequence[int]) -> Tensor:
    """Selected replicas of a named tensor, in the given order.

    Args:
        named: [replicas, samples, *units].
        replicas: positions on the replica axis.

    Returns:
        [selected replicas, samples, *units]; `named` itself where all are selected in order.
    """
    if list(replicas) == list(range(len(named))):
        return named
    return join([named[replica : replica + 1] for replica in replicas])


def mean_of_others(values: Tensor) -> Tensor:
    """Mean over the other draws j ≠ k, of the shape of the values.

    Args:
        values: [K, …].
    """
    return (values.sum(0, keepdim=True) - values) / (len(values) - 1)


def log_mean_exp(values: Tensor) -> Tensor:
    """Logarithm of the mean of exponentials over the first axis.

    Args:
        values: [draws, …].

    Returns:
        The values' shape without its first axis.
    """
    return torch.logsumexp(values, 0) - math.log(len(values))
