"""Initial weights of a network from a checkpoint, in place of random ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import CheckpointError, ConfigError
from bnn.nn.neurons import Neuron
from bnn.training import checkpoint

KEY = "model.init_from"
RUN_ID = re.compile(r"[0-9a-f]{6,32}")


def source_content(source: Any) -> str | None:
    """Digest of the checkpoint file that `model.init_from` names.

    Args:
        source: value of the key.

    Returns:
        12 hexadecimal digits of the file; None where the value is no file but the id of a run, or
        null.

    Raises:
        ConfigError: for a value that is neither.
    """
    if source is None:
        return None
    if not isinstance(source, str):
        raise ConfigError(
            f"{KEY}: expected the id of a run, its first digits (at least 6), or a path; got the "
            f"number {source}: give more digits of the id"
        )
    if Path(source).is_file():
        return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12]
    if not RUN_ID.fullmatch(source):
        raise ConfigError(
            f"{KEY}={source}: no such file; expected a checkpoint (best.pt), or the id of a "
            "finished run"
        )
    return None


def read_weights(file: Path, source: str) -> dict[str, Tensor]:
    """State of the network of a checkpoint.

    Args:
        file: best.pt, or last.pt, of which the weights after the last epoch are taken.
        source: value of `model.init_from`, for messages.

    Raises:
        ConfigError: for a file that is no checkpoint, or weights that are NaN or infinite.
    """
    try:
        content = checkpoint.load(file)
    except CheckpointError as error:
        raise ConfigError(f"{KEY}={source}: {error}") from error
    state = content if "model" in content else content.get("updates", {})
    weights = state.get("model")
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{KEY}={source}: expected a best.pt or last.pt, which has a network")
    if bad := non_finite(weights):
        raise ConfigError(f"{KEY}={source}: {bad}")
    return dict(weights)


def non_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Message about the first weights that are NaN or infinite; None where there are none.

    Args:
        weights: state of a network.
    """
    for name, values in weights.items():
        if bad := int((~torch.isfinite(values)).sum()):
            return (
                f"{name} has {bad} values that are NaN or infinite; choose a checkpoint of a "
                "training that did not diverge"
            )
    return None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Replace the parameters and the buffers of a network; the slopes of its neurons stay.

    Args:
        model: the network.
        weights: state of another network, as `read_weights` returns it.
        source: value of `model.init_from`, for messages.

    Raises:
        ConfigError: naming the first parameter that differs in shape or is on one side alone.
    """
    slopes = {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, Neuron)
        for name, _ in module.named_buffers(recurse=False)
    }
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in slopes}
    given = {name: tensor for name, tensor in weights.items() if name not in slopes}
    for name in [*own, *given]:
        here, there = (_shape(part.get(name)) for part in (own, given))
        if here != there:
            raise ConfigError(
                f"{KEY}={source}: the first parameter that differs is {name}, {here} in this "
                f"network and {there} in the checkpoint; choose its model and data set"
            )
    model.load_state_dict({**model.state_dict(), **given})


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(list(tensor.shape))
