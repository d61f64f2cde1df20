"""Classification: one label for each image."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.sites import Latents
from bnn.tasks.base import Metric, Task


def cross_entropy(
    output: Float[Tensor, "n classes"], targets: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Negative log-likelihood of each sample, in nats.

    Args:
        output: logits, [n, classes].
        targets: class indices, int64 [n].

    Returns:
        [n].
    """
    return F.cross_entropy(output, targets, reduction="none")


@Task.registry.add("classification")
class Classification(Task):
    """Classification by cross-entropy; class probabilities are averaged over draws."""

    metrics = {  # noqa: RUF012
        "accuracy": Metric("maximize", "%", scale=100, digits=2),
        "loss": Metric("minimize", "nats"),
    }
    importance_weights = True
    fractional_bits = True

    def output_size(self, data: DatasetSpec) -> int:
        if data.classes is None:
            raise ConfigError(
                f"task=classification with data={data.name}: expected class labels, got "
                "real-valued targets"
            )
        return data.classes

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        return labels

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        return cross_entropy(output, targets)

    def statistics(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"accuracy": output.argmax(1) == targets}

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        p = F.softmax(outputs.double(), dim=-1).mean(0)
        # the smallest float32: a probability of 0 costs 103 nats
        nll = -p.gather(1, targets[:, None]).clamp(min=1e-45).log()[:, 0]
        return {"accuracy": p.argmax(1) == targets, "loss": nll}

    def predict(self, output: Tensor) -> Tensor:
        return torch.softmax(output, dim=1)
