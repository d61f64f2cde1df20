"""Autoencoder with a binary code, as a task of one's own: reconstruction in nats.

The targets are the pixels in [0, 1]; the loss is their Bernoulli cross-entropy, summed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnn
from bnn.data import DatasetSpec
from bnn.nn.sites import Latents
from bnn.tasks import Metric, Task


@Task.registry.add("reconstruction")
class Reconstruction(Task):
    """Reconstruction of the pixels; the loss is in nats an image."""

    metrics = {"loss": Metric("minimize", "nats", digits=2)}  # noqa: RUF012
    fractional_bits = True  # the loss is defined at any output, so at bits between 0 and 1 too

    def output_size(self, data: DatasetSpec) -> int:
        return data.shape[0] * data.shape[1] * data.shape[2]

    def init(self, data: DatasetSpec) -> None:
        self.mean, self.std = data.mean, data.std

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        return (images * self.std + self.mean).clamp(0, 1).flatten(1)  # images come normalised

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, targets, reduction="none").sum(-1)

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        outputs, targets = outputs.double(), targets.double()  # outputs [draws, n, pixels]
        error = F.binary_cross_entropy_with_logits
        return {
            "loss": error(outputs, targets.expand_as(outputs), reduction="none").sum(-1).mean(0)
        }


def main(epochs: int = 30, code: int = 16) -> float:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, code), bnn.Stochastic(), nn.Linear(code, 64))
    task = Reconstruction()
    adam = {"name": "adam", "lr": 0.01}
    bnn.fit(
        net, data, task=task, estimator="disarm", epochs=epochs, optimizer=adam, progress="none"
    )
    loss = bnn.evaluate(net, data.test, task=task)["mc_mean"]["loss"]
    print(f"{code} bits: {task.metrics['loss'].format(loss)} nats an image")
    return loss


if __name__ == "__main__":
    main()
