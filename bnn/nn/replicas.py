"""Replicas: several draws of a layer in one pass, joined along the batch axis, and the tree by which they branch.

The batch axis of a network is flat, `[replicas · samples, *units]`, replica by replica. Named axes,
`[replicas, samples, *units]`, are views of it, which keeps the memory format (`channels_last`); `split` and `join` are the
only places where the two meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SampleTree = Sequence[Sequence[int]]
"""How replicas branch: for each binary layer from the input, the parent of each of its replicas among those of the layer
below. The layer below the first has one replica, the batch itself."""


def branching(*counts: int) -> SampleTree:
    """The tree in which every replica branches into `counts[i]` at the i-th binary layer; later branches are outermost."""
    tree, below = [], 1
    for count in counts:
        tree.append(list(range(below)) * count)
        below *= count
    return tree


def replicas_at(tree: SampleTree, layer: int) -> int:
    """Number of replicas at binary layer `layer`; layers beyond the tree have as many as its last, layer -1 has one."""
    if not tree or layer < 0:
        return 1
    return len(tree[min(layer, len(tree) - 1)])


def ancestors(tree: SampleTree, layer: int, of: int | None = None) -> list[int]:
    """The lineage of the replicas at layer `of` (None: at the top): for each, its ancestor at layer `layer` ≤ `of`."""
    lineage = list(range(replicas_at(tree, layer)))
    for parents in tree[layer + 1 : None if of is None else of + 1]:
        lineage = [lineage[parent] for parent in parents]
    return lineage


def mean_of_descendants(loss: Tensor, lineage: Sequence[int], *, first: bool = False) -> Tensor:
    """Mean loss of the descendants of each replica of a layer, or that of its first descendant.

    Args:
        loss: [replicas at the top, samples].
        lineage: the ancestor at the layer of each replica at the top.

    Returns:
        [replicas at the layer, samples].
    """
    replicas = range(max(lineage) + 1)
    if list(lineage) == list(replicas):
        return loss
    if first:
        return loss[[list(lineage).index(replica) for replica in replicas]]
    shares = [
        [(of == replica) / list(lineage).count(replica) for of in lineage] for replica in replicas
    ]
    # a sum and no matrix product, which autocast would take in bfloat16
    return (loss.new_tensor(shares)[:, :, None] * loss).sum(1)


def split(flat: Tensor, replicas: int) -> Tensor:
    """[replicas · samples, *units] as the view [replicas, samples, *units]."""
    return flat.unsqueeze(0) if replicas == 1 else flat.unflatten(0, (replicas, -1))


def flatten(named: Tensor) -> Tensor:
    """[replicas, samples, *units] as the view [replicas · samples, *units]."""
    return named.squeeze(0) if len(named) == 1 else named.flatten(0, 1)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Named tensors [k, samples, *units] one after the other along the replica axis.

    They meet on the flat batch axis: `torch.cat` along a fifth axis would lose the memory format.
    """
    if len(parts) == 1:
        return parts[0]
    return split(torch.cat([flatten(part) for part in parts]), sum(map(len, parts)))


def select(named: Tensor, replicas: Sequence[int]) -> Tensor:
    """The given replicas of a named tensor, in that order; `named` itself where they are all of its own."""
    if list(replicas) == list(range(len(named))):
        return named
    return join([named[replica : replica + 1] for replica in replicas])
