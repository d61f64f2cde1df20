"""Interface of the gradient estimators, and the claims that the contract tests measure."""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.compatibility import check_layers, check_network
from bnn.nn.forward import ForwardClosure, Loss
from bnn.nn.layers import BinaryLayers, binary_layers
from bnn.nn.sites import Noise, Site
from bnn.registry import Registry
from bnn.tasks.classification import cross_entropy

Own = TypeVar("Own", bound="Estimator")


def gradient_only(term: Tensor) -> Tensor:
    """Tensor with the gradient of `term` and the value 0.

    Args:
        term: any shape.

    Returns:
        Of the shape of `term`.
    """
    return term - term.detach()


class Estimator(nn.Module, ABC):
    """Gradient estimator: forward passes and a surrogate loss (Schulman et al. 2015).

    The value of the surrogate loss is the mean loss of the network's own samples, so that all
    estimators log comparable curves; its gradient is the estimate. Terms that carry the gradient
    alone enter by `gradient_only`. An estimator is a module, so that its averages and learned
    parameters are saved with it.

        estimator = ReinMax()
        loss = estimator(net, inputs, targets)
        loss.backward()
    """

    registry: ClassVar[Registry[Estimator]] = Registry("estimator.name")
    unbiased: bool
    """Whether E[gradient] is the gradient of the expected loss, which contract tests measure
    against enumeration. `init` sets it to False for a network with random units that are neither
    bits nor reparameterised (a differentiable function of their pre-activation and of independent
    noise)."""
    needs_full_support: ClassVar[bool]
    """Whether finite log-odds are needed, hence a noise law with full support."""
    assumes_independent_samples: ClassVar[bool]
    """Whether a draw's credit is the loss of its own sample, which batch statistics above a binary
    layer contradict."""
    samples_in_training: ClassVar[bool] = True
    """Whether training draws bits by the noise law whatever the neuron's rule: a deterministic
    neuron is then sampled in training, and thresholded in evaluation."""
    up_to_scale: ClassVar[bool] = False
    """Of an unbiased estimator: whether the estimate for the layers below is the gradient times a
    positive factor that does not depend on the bits."""
    needs_linear_readout: ClassVar[bool] = False
    """Whether the output has to be an affine function of the highest binary layer's bits."""
    needs_chain: ClassVar[bool] = False
    """Whether a path around a binary layer is refused."""
    deterministic: ClassVar[bool] = False
    """Whether the estimate has no noise; its value is then the expected loss, not that of one
    draw."""
    fractional_bits: ClassVar[bool] = False
    """Whether f is evaluated at values between 0 and 1, at which the task's loss has to be
    defined."""

    bound: ClassVar[bool] = False
    """Whether the objective is the multi-sample bound -log 1/K Σ_k exp(-f_k) in place of the
    expected loss; exp(-f) then has to be a likelihood or an importance weight."""

    differentiates_units: ClassVar[bool] = False
    """Whether the derivative of a relaxed loss is taken through random units that are no bits."""
    same_operations: bool = True
    """Whether every step launches the same operations, as a CUDA graph repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: BinaryLayers | None = None
        """Binary layers of the network that `init` saw."""

    @property
    def unbiasedness(self) -> str:
        """Claim in a word: `yes`, `no`, `exact`, `of a bound` or `up to a scale`."""
        if self.deterministic:
            return "exact"
        if self.bound:
            return "of a bound"
        return "no" if not self.unbiased else "up to a scale" if self.up_to_scale else "yes"

    def init(self: Own, model: nn.Module, inputs: Tensor) -> Own:
        """Initialise state and learned parameters for the binary layers of a network, anew.

        Args:
            model: the network.
            inputs: a batch like those of training, [n, …].

        Returns:
            The estimator itself.

        Raises:
            ConfigError: for a network that the estimator cannot serve.
        """
        # the checks compare values, in full precision
        with torch.autocast(inputs.device.type, enabled=False):
            layers = binary_layers(model, inputs)
            check_layers(self, layers)
            self.build(layers.sites, inputs)
            if layers.sites:
                check_network(self, model, inputs[:2], layers)
        self.layers = layers
        reparameterised = all(
            getattr(module, "reparameterised", True) for module in model.modules()
        )
        self.unbiased = type(self).unbiased and reparameterised
        self.to(inputs.device)
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        if self.layers is None and any(key.startswith(prefix) for key in state_dict):
            raise ConfigError(
                f"{type(self).__name__}: its state is of the binary layers of a network; call "
                "estimator.init(net, inputs) before load_state_dict"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        """Make the buffers and parameters of the estimator; none unless overridden.

        Args:
            sites: the binary layers from the input, [n, *units].
            inputs: [n, …].

        Raises:
            ConfigError: for layers that the estimator cannot serve.
        """

    def forward(
        self,
        model: nn.Module,
        inputs: Shaped[Tensor, "samples ..."],
        targets: Shaped[Tensor, "samples ..."],
        loss: Loss = cross_entropy,
        *,
        noise: Noise = torch.rand_like,
    ) -> Float[Tensor, ""]:
        """Surrogate loss of a network on a batch; `.backward()` gives the estimate.

        Args:
            model: `forward(inputs) -> output`, the batch along the first axis of both.
            inputs: [samples, …].
            targets: [samples, …].
            loss: `(output, targets) -> [n]`, one value for each row of the output; a third
                parameter receives the `Latents` of the pass.
            noise: source of the uniform numbers.

        Returns:
            Scalar: the mean loss in value, the estimate in gradient.

        Raises:
            ConfigError: for a network that the estimator cannot serve.
        """
        if self.layers is None:
            self.init(model, inputs)
            if any(True for _ in self.parameters()):
                warnings.warn(
                    f"{type(self).__name__} has made learned parameters, which an optimizer made "
                    "before this call lacks: write estimator.init(net, inputs) first, and give its "
                    "parameters to the optimizer",
                    stacklevel=2,
                )
        return self.surrogate_loss(
            ForwardClosure(model, inputs, targets, loss, noise, layers=self.layers)
        )

    @contextlib.contextmanager
    def in_force(self, noise: Noise = torch.rand_like) -> Iterator[None]:
        """Context for a forward pass and a loss of the user's own; for estimators of one pass.

        Args:
            noise: source of the uniform numbers.

        Raises:
            ConfigError: for an estimator that has to see the losses.
        """
        raise ConfigError(
            f"{type(self).__name__} needs the loss of each sample: write loss = "
            "estimator(net, inputs, targets)"
        )
        yield

    def metrics(self) -> dict[str, float]:
        """Learned quantities by name, logged after each epoch; none unless overridden."""
        return {}

    @abstractmethod
    def evaluations(self, units: Sequence[int]) -> int:
        """Number of forward-backward evaluations of the loss f per sample and step.

        Args:
            units: number of units of every binary layer.
        """

    @abstractmethod
    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        """Surrogate loss of one batch.

        Args:
            forward: forward closure of the network on the batch.

        Returns:
            Scalar: the mean loss in value, the estimate in gradient.
        """
