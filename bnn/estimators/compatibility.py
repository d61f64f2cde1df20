"""Checks of whether an estimator can serve a network, by its claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.layers import BinaryLayers, has_linear_readout
from bnn.nn.noise import NoiseLaw
from bnn.nn.norms import couples_above_binary, refuse_torch_batch_norms

if TYPE_CHECKING:
    from bnn.estimators.base import Estimator


def check_layers(estimator: Estimator, layers: BinaryLayers) -> None:
    """Check of the binary layers alone, before the estimator builds its state for them.

    Args:
        estimator: the estimator.
        layers: binary layers of the network.

    Raises:
        ConfigError: for a law without full support, or a path around a binary layer, where the
            estimator takes neither.
    """
    for site in layers.sites:
        check_law(estimator, site.law)
    name = type(estimator).__name__
    if estimator.needs_chain and not layers.chain:
        raise ConfigError(
            f"estimator: {name} sums layer by layer, and this network has a path around a binary "
            "layer; write estimator=reinforce"
        )


def check_law(estimator: Estimator, law: NoiseLaw) -> None:
    """Check of the noise law of a layer.

    Args:
        estimator: the estimator.
        law: noise law.

    Raises:
        ConfigError: for a law without full support, where the estimator takes log-odds.
    """
    if estimator.needs_full_support and not law.full_support:
        raise ConfigError(
            f"{type(estimator).__name__} with the {type(law).__name__.lower()} law: expected a law "
            "under which log q(b) is finite; write law=logistic or law=gaussian"
        )


def check_network(
    estimator: Estimator, model: nn.Module, inputs: Tensor, layers: BinaryLayers
) -> None:
    """Check of a network with binary layers, by passes in evaluation mode.

    Args:
        estimator: the estimator, with its state for these layers.
        model: the network.
        inputs: [n, …].
        layers: its binary layers.

    Raises:
        ConfigError: for random units without a reparameterisation, a read-out that is not linear,
            batch statistics above a binary layer, or a batch norm of torch's own, where the
            estimator does not take them.
    """
    name = type(estimator).__name__
    if estimator.differentiates_units:
        _refuse_unreparameterised(estimator, model)
    if estimator.needs_linear_readout and (
        couples_above_binary(model, inputs, highest=True) or not has_linear_readout(model, inputs)
    ):
        raise ConfigError(
            f"estimator: {name} expects the highest binary layer to feed a linear read-out; write "
            "estimator=arms, or where layers stand above it placement=last or placement=both"
        )
    if estimator.deterministic and couples_above_binary(model, inputs):
        raise ConfigError(
            f"estimator: {name} sums over the configurations of single samples, and batch norm "
            "above a binary layer couples them; write model.norm=running or model.norm=none"
        )
    if estimator.evaluations(layers.units) > 1:
        refuse_torch_batch_norms(model)


def _refuse_unreparameterised(estimator: Estimator, model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not getattr(module, "reparameterised", True):
            raise ConfigError(
                f"{name}: {type(module).__name__} draws by its own probability, and "
                f"{type(estimator).__name__} has no derivative of a relaxed loss through it; write "
                "estimator=reinforce"
            )
