"""The training loop against a bare one and a conventional one, on the same images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from bnn.benchmark.timing import (
    Clock,
    Seconds,
    finisher,
    interleaved,
    of_fastest,
    speed_ratios,
    spread,
    steps_of,
)
from bnn.config.compose import with_values
from bnn.errors import ConfigError
from bnn.tables import markdown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnn.build import TrainingSetup
    from bnn.data import Dataset, Split


TARGETS = (
    ("ours", "bare", 0.90),
    ("ours", "conventional", 1.6),
    ("ours bf16", "conventional", 2.1),
)
"""(loop, reference, images per second of the loop over those of the reference)."""
WORKERS_FROM_CORES = 4


def epoch_of(config: DictConfig, data: Dataset) -> Callable[[], object]:
    """One epoch of the loop that `fit` runs, its state kept from call to call."""
    from bnn.specify import setup
    from bnn.training.callback import Callback
    from bnn.training.step import TrainState

    checked = setup(config)
    state = TrainState(checked.model, checked.training, data)
    return lambda: state.epoch(Callback())


def bare(plan: TrainingSetup, data: Dataset) -> Callable[[], object]:
    """Forward, backward and optimizer on batches gathered beforehand: the floor of the same update."""
    import torch

    from bnn.training.step import TrainState, batches

    state, estimator = TrainState(plan.model, plan.training, data), plan.training.estimator
    gathered = list(
        batches(data.train, plan.training.settings.batch_size, torch.Generator().manual_seed(0))
    )
    finish = finisher(plan.device)

    def block() -> None:
        plan.model.train()
        for images, labels in gathered:
            state.optimizer.zero_grad()
            estimator(plan.model, images, labels).backward()
            state.optimizer.step()
        finish()

    return block


def ordinary_network(
    config: Mapping[str, Any], shape: tuple[int, int, int], classes: int
) -> nn.Module:
    """The reference network and its straight-through estimator as a script would write them: images -> scores.

    Errors: ConfigError for a configuration that it does not cover.
    """
    import torch
    from torch import nn

    from bnn.build import Placement, binary_layers
    from bnn.nn.noise import NoiseLaw

    covered = {
        "model.name": "cnn",
        "model.norm": "batch",
        "optimizer.name": "sgd",
        "estimator.name": "st",
        "estimator.proxy": "density",
        "anneal.name": "none",
        "anneal.slope": 1.0,
    }
    for key, value in covered.items():
        group, name = key.split(".")
        if config[group].get(name) != value:
            raise ConfigError(
                f"{key}: the conventional loop is written for {value}, got {config[group].get(name)!r}"
            )
    law = NoiseLaw.registry.build(config["neuron"]["law"])
    binary = binary_layers(Placement(**config["placement"]), depth=2)
    stochastic = config["neuron"]["name"] == "stochastic"

    class Activation(nn.Module):
        def __init__(self, binary: bool) -> None:
            super().__init__()
            self.binary = binary

        def forward(self, x: Tensor) -> Tensor:
            p = law.cdf(x)
            if not self.binary:
                return p
            # torch.bernoulli, as the sources write it; on a CPU, comparing uniform numbers takes a quarter of its time
            bits = torch.bernoulli(p) if stochastic else (x > 0).float()
            return bits.detach() + p - p.detach()

    channels, height, width = shape
    torch.manual_seed(config["seed"])
    first = [
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.MaxPool2d(2),
        Activation(0 in binary),
    ]
    second = [
        nn.Conv2d(16, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        Activation(1 in binary),
    ]
    return nn.Sequential(
        *first, *second, nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), classes)
    )


def image_loader(split: Split, mean: float, std: float, batch_size: int, workers: int) -> Any:
    """A DataLoader over PIL images with a transform for each, as torchvision's data sets are used."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import Compose, Normalize, ToTensor

    pixels = split.images.cpu().mul(std).add(mean).mul(255).round().byte().numpy()
    targets = split.labels.cpu()
    transform = Compose([ToTensor(), Normalize((mean,), (std,))])

    class Images(Dataset):
        def __len__(self) -> int:
            return len(targets)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return transform(Image.fromarray(pixels[index, 0])), int(targets[index])

    return DataLoader(
        Images(), batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def conventional(plan: TrainingSetup, data: Dataset, workers: int) -> Callable[[], object]:
    """A script's epoch: DataLoader, default memory format, autograd through b + p - p.detach(), SGD as torch sets it up."""
    import torch
    from torch.nn import functional as F

    settings, spec = dict(plan.spec.config["optimizer"]), data.spec
    assert spec.classes is not None  # a plan is of classes
    model = ordinary_network(plan.spec.config, spec.shape, spec.classes).to(plan.device)
    loader = image_loader(
        data.train, spec.mean, spec.std, plan.training.settings.batch_size, workers
    )
    options = {key: settings[key] for key in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(model.parameters(), **options)

    def block() -> float:
        model.train()
        total, correct = 0.0, 0
        for images, labels in loader:
            images, labels = images.to(plan.device), labels.to(plan.device)
            optimizer.zero_grad()
            scores = model(images)
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            correct += (scores.argmax(1) == labels).sum().item()
        return total / len(data.train.labels)

    return block


def loops(config: DictConfig, rounds: int, clock: Clock) -> str:
    """The table of loops on the same images, and the ratios of their speeds beside the targets."""
    from bnn.build import read_dataset
    from bnn.specify import setup, specify

    config = with_values(config, trainer__precision="float32", trainer__epochs=rounds + 1)
    data = read_dataset(specify(config))
    cores = len(os.sched_getaffinity(0))
    blocks: dict[str, Callable[[], object]] = {}
    note = ""
    try:
        blocks["conventional"] = conventional(setup(config), data, 0)
        # a worker's seconds are not in this process's CPU time
        if cores >= WORKERS_FROM_CORES and clock is time.perf_counter:
            blocks[f"conventional, {cores // 2} workers"] = conventional(
                setup(config), data, cores // 2
            )
    except ConfigError as error:
        note = f"\n\nNo conventional loop: {error}"
    blocks["bare"] = bare(setup(config), data)
    blocks["ours"] = epoch_of(config, data)
    blocks["ours bf16"] = epoch_of(with_values(config, trainer__precision="bf16"), data)
    seconds = interleaved(blocks, rounds, clock)
    images, steps = len(data.train.labels), steps_of(data, config)
    rows = [
        [
            name,
            *spread([images / s for s in taken], 0),
            *spread([1000 * s / steps for s in taken], 2),
        ]
        for name, taken in seconds.items()
    ]
    speeds = markdown(["loop", "images/s", "min–max", "ms a step", "min–max"], rows)
    return f"{speeds}{note}\n\n{ratio_table(seconds)}"


def ratio_table(seconds: Seconds) -> str:
    """Ratios of speeds, taken round by round, beside their targets; those on loops that did not run are left out."""
    pairs = [
        (loop, reference, f"{target:.2f}")
        for loop, reference, target in TARGETS
        if {loop, reference} <= set(seconds)
    ]
    pairs += [("ours", name, "–") for name in seconds if name.startswith("conventional,")]
    rows = [
        [
            f"{a} / {b}",
            *spread(speed_ratios(seconds, a, b), 2),
            f"{of_fastest(seconds, a, b):.2f}",
            target,
        ]
        for a, b, target in pairs
    ]
    return markdown(["speed", "median", "min–max", "fastest rounds", "target"], rows)
