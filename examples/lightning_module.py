"""Lightning module of a binary network, trained by NVIL.

The estimator is a submodule: Lightning moves it, saves it, and lists what it learns.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bnn

try:
    import lightning as L
except ModuleNotFoundError:
    raise SystemExit('this example needs Lightning: pip install -e ".[lightning]"') from None


class Classifier(L.LightningModule):
    """Network with a binary layer, and the estimator that trains it."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        layers = nn.Flatten(), nn.Linear(64, 32), bnn.Stochastic(), nn.Linear(32, 10)
        self.net = nn.Sequential(*layers)
        self.estimator = bnn.estimators.NVIL().init(self.net, example)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        return self.estimator(self.net, x, y)

    def test_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        x, y = batch  # in evaluation mode a neuron fires by its own rule
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def main(epochs: int = 20) -> float:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    L.seed_everything(0)
    train, test = (TensorDataset(s.images, s.labels) for s in (data.train, data.test))
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Classifier(data.train.images[:2])
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True))
    (scores,) = trainer.test(model, DataLoader(test, batch_size=len(test)), verbose=False)
    print(f"NVIL in Lightning: test accuracy {100 * scores['accuracy']:.1f} %")
    return scores["accuracy"]


if __name__ == "__main__":
    main()
