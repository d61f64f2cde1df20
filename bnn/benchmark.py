"""python -m bnn.benchmark [--steps N] [--rounds N] [--jobs] [GROUP=CHOICE] [KEY=VALUE]: what a training step costs, and
where its time goes. Takes the overrides of bnn.train; nothing that it trains is kept.

Machines are noisy: what is compared takes turns (A B C A B C ...), ratios are taken within a round, and medians are
shown beside the extremes. Targets are printed, not enforced. Heavy imports wait until they are needed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bnn.errors import BnnError, ConfigError
from bnn.tables import markdown

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bnn.build import Plan
    from bnn.data import Dataset, Split
    from bnn.tracking.run import MlflowRun
    from bnn.training.units import Snapshot

DEFAULTS = ("placement=first", "estimator=st")
TARGETS = (("ours", "bare", 0.90), ("ours", "conventional", 1.6), ("ours bf16", "conventional", 2.1))
"""(loop, reference, images per second of the loop over those of the reference)."""
TRACKING_TARGET = 0.02
"""Share of MLflow's calls in the training time of RUN_EPOCHS epochs."""
JOBS_TARGET = 1.1
RUN_EPOCHS = 10
WORKERS_FROM_CORES = 4
ESTIMATOR_STEPS = 4
"""An estimator's block is shorter than a loop's by this factor: there are many of them."""

Seconds = Mapping[str, Sequence[float]]
"""Of each block, its seconds in each round."""


def interleaved(blocks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each block in each of `rounds` rounds of all blocks, after one round that is not counted. A block
    returns when its device is done."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for counted in [False] + [True] * rounds:
        for name, block in blocks.items():
            start = time.perf_counter()
            block()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed_ratios(seconds: Seconds, loop: str, reference: str) -> list[float]:
    """Speed of `loop` over that of `reference` on the same work, round by round."""
    return [r / s for s, r in zip(seconds[loop], seconds[reference], strict=True)]


def of_fastest(seconds: Seconds, loop: str, reference: str) -> float:
    """The same of the fastest round of each, which the machine's other work has touched least."""
    return min(seconds[reference]) / min(seconds[loop])


def spread(values: Sequence[float], digits: int) -> list[str]:
    """Median and extremes, as two cells."""
    return [f"{median(values):.{digits}f}", f"{min(values):.{digits}f}–{max(values):.{digits}f}"]


def changed(config: DictConfig, **values: Any) -> DictConfig:
    """A copy of `config` with other values; `trainer__epochs` stands for `trainer.epochs`."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return config


def read(plan: Plan) -> Dataset:
    from bnn.data import load

    recipe = plan.recipe
    return load(plan.config["data"], recipe.seed, recipe.settings.validation_fraction).to(plan.device)


def finisher(device: torch.device) -> Callable[[], None]:
    """A function that waits until `device` has done what it was given."""
    import torch

    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


# the loops


def epoch_of(config: DictConfig, data: Dataset) -> Callable[[], object]:
    """One epoch of the loop that `fit` runs, its state kept from call to call."""
    from bnn.build import plan
    from bnn.training.loop import Updates
    from bnn.training.progress import Progress

    checked = plan(config)
    updates = Updates(checked.model, checked.recipe, data)
    return lambda: updates.epoch(Progress("none", "", 1, updates.steps))


def bare(plan: Plan, data: Dataset) -> Callable[[], object]:
    """Forward, backward and optimizer on batches gathered beforehand: the floor of the same update."""
    import torch

    from bnn.passes import Run
    from bnn.training.loop import Updates, batches, cross_entropy

    updates = Updates(plan.model, plan.recipe, data)
    gathered = list(batches(data.train, plan.recipe.settings.batch_size, torch.Generator().manual_seed(0)))
    finish = finisher(plan.device)

    def block() -> None:
        plan.model.train()
        for images, labels in gathered:
            updates.optimizer.zero_grad()
            plan.recipe.estimator.surrogate(Run(plan.model, images, labels, cross_entropy)).backward()
            updates.optimizer.step()
        finish()

    return block


def ordinary_network(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The reference network and its straight-through estimator as a script would write them: images -> scores.

    Errors: ConfigError for a configuration that it does not cover.
    """
    import torch
    from torch import nn

    from bnn.build import Placement, binary_layers
    from bnn.noise import NoiseLaw

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
            raise ConfigError(f"{key}: the conventional loop is written for {value}, got {config[group].get(name)!r}")
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
            # not torch.bernoulli, which is slower on a CPU: the comparison is to be a lower bound
            bits = (torch.rand_like(p) < p if stochastic else x > 0).float()
            return bits.detach() + p - p.detach()

    channels, height, width = shape
    torch.manual_seed(config["seed"])
    first = [nn.Conv2d(channels, 16, 5, padding=2), nn.BatchNorm2d(16), nn.MaxPool2d(2), Activation(0 in binary)]
    second = [nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.MaxPool2d(2), Activation(1 in binary)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), classes))


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

    return DataLoader(Images(), batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def conventional(plan: Plan, data: Dataset, workers: int) -> Callable[[], object]:
    """A script's epoch: DataLoader, default memory format, autograd through b + p - p.detach(), SGD as torch sets it up."""
    import torch
    from torch.nn import functional as F

    settings, spec = dict(plan.config["optimizer"]), data.spec
    model = ordinary_network(plan.config, spec.shape, spec.classes).to(plan.device)
    loader = image_loader(data.train, spec.mean, spec.std, plan.recipe.settings.batch_size, workers)
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


def loops(config: DictConfig, rounds: int) -> str:
    """The table of loops on the same images, and the ratios of their speeds beside the targets."""
    from bnn.build import plan

    config = changed(config, trainer__precision="float32", trainer__epochs=rounds + 1)
    data = read(plan(config))
    cores = len(os.sched_getaffinity(0))
    blocks: dict[str, Callable[[], object]] = {}
    note = ""
    try:
        blocks["conventional"] = conventional(plan(config), data, 0)
        if cores >= WORKERS_FROM_CORES:
            blocks[f"conventional, {cores // 2} workers"] = conventional(plan(config), data, cores // 2)
    except ConfigError as error:
        note = f"\n\nNo conventional loop: {error}"
    blocks["bare"] = bare(plan(config), data)
    blocks["ours"] = epoch_of(config, data)
    blocks["ours bf16"] = epoch_of(changed(config, trainer__precision="bf16"), data)
    seconds = interleaved(blocks, rounds)
    images, steps = len(data.train.labels), _steps(data, config)
    rows = [
        [name, *spread([images / s for s in taken], 0), *spread([1000 * s / steps for s in taken], 2)]
        for name, taken in seconds.items()
    ]
    speeds = markdown(["loop", "images/s", "min–max", "ms a step", "min–max"], rows)
    return f"{speeds}{note}\n\n{ratio_table(seconds)}"


def ratio_table(seconds: Seconds) -> str:
    """Ratios of speeds, taken round by round, beside their targets; those on loops that did not run are left out."""
    pairs = [(loop, reference, f"{target:.2f}") for loop, reference, target in TARGETS if {loop, reference} <= set(seconds)]
    pairs += [("ours", name, "–") for name in seconds if name.startswith("conventional,")]
    rows = [
        [f"{a} / {b}", *spread(speed_ratios(seconds, a, b), 2), f"{of_fastest(seconds, a, b):.2f}", target]
        for a, b, target in pairs
    ]
    return markdown(["speed", "median", "min–max", "fastest rounds", "target"], rows)


def _steps(data: Dataset, config: DictConfig) -> int:
    from bnn.training.loop import steps_per_epoch

    return steps_per_epoch(len(data.train.labels), config.trainer.batch_size)


# where a run's time goes


@dataclass
class Laps:
    """A clock that charges all time since it was last read to a part of the run: per step, per epoch, or once."""

    finish: Callable[[], None]
    taken: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    epoch: int = 0
    since: float = field(default_factory=time.perf_counter)

    def lap(self, part: str, per: str) -> None:
        self.finish()
        now = time.perf_counter()
        self.taken[part, per].append((self.epoch, now - self.since))
        self.since = now

    @contextlib.contextmanager
    def charged(self, tracker: MlflowRun, per: str) -> Iterator[None]:
        """Charge what is done inside by the tracker's own account of its seconds."""
        before = dict(tracker.seconds)
        yield
        for part, seconds in tracker.seconds.items():
            self.taken[part, per].append((self.epoch, seconds - before[part]))
        self.since = time.perf_counter()

    def a_step(self, part: str) -> float:
        """Median seconds a step."""
        return median([seconds for _, seconds in self.taken.get((part, "step"), [])] or [0.0])

    def an_epoch(self, part: str) -> float:
        """Seconds in the last epoch."""
        return sum(seconds for epoch, seconds in self.taken.get((part, "epoch"), []) if epoch == self.epoch)

    def once(self, part: str) -> float:
        """Seconds that more epochs do not add to: outside of epochs, and what the first took longer than the last."""
        epochs = sum(seconds for _, seconds in self.taken.get((part, "epoch"), [])) - self.epoch * self.an_epoch(part)
        return max(0.0, epochs) + sum(seconds for _, seconds in self.taken.get((part, "once"), []))


@dataclass
class Watched:
    """A Tracker that hands on to an MLflow run and charges its time."""

    run: MlflowRun
    laps: Laps
    pictures: bool = True

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.laps.epoch = epoch
        self.laps.lap("evaluation", "epoch")
        with self.laps.charged(self.run, "epoch"):
            self.run.epoch(epoch, metrics)

    def picture(self, epoch: int, view: Snapshot) -> None:
        self.laps.lap("snapshots", "epoch")
        with self.laps.charged(self.run, "epoch"):
            self.run.picture(epoch, view)


def watch(plan: Plan, laps: Laps) -> Plan:
    """`plan`, whose estimator, optimizer and schedule read the clock as the loop calls them."""
    recipe, estimator = plan.recipe, plan.recipe.estimator
    surrogate, start = estimator.surrogate, recipe.optimization.optimizer

    def timed_surrogate(run: Any) -> Tensor:
        laps.lap("between", "step")
        scalar = surrogate(run)
        laps.lap("forward", "step")
        return scalar

    def timed_optimizer(parameters: Any) -> torch.optim.Optimizer:
        optimizer = start(parameters)
        optimizer.register_step_pre_hook(lambda *_: laps.lap("backward", "step"))
        optimizer.register_step_post_hook(lambda *_: laps.lap("optimizer", "step"))
        return optimizer

    def timed_schedule(epoch: int, epochs: int) -> float:
        laps.lap(*(("checkpoint", "epoch") if epoch else ("start", "once")))
        return recipe.schedule(epoch, epochs)

    estimator.surrogate = timed_surrogate  # type: ignore[method-assign]
    optimization = replace(recipe.optimization, optimizer=timed_optimizer)
    return replace(plan, recipe=replace(recipe, optimization=optimization, schedule=timed_schedule))


def tracked_run(config: DictConfig, folder: Path) -> tuple[Laps, Plan]:
    """A short run as bnn.train makes it, with its own tracking store in `folder`, and the clock that watched it."""
    import torch

    from bnn.build import plan
    from bnn.tracking.run import MlflowRun
    from bnn.tracking.store import open_store
    from bnn.training.evaluation import evaluate_all
    from bnn.training.loop import batches, fit

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    plain = plan(changed(config, trainer__epochs=2, trainer__progress="none", tracking__uri=uri))
    laps = Laps(finisher(plain.device))
    checked = watch(plain, laps)
    data, seed = read(checked), checked.recipe.seed
    laps.lap("reading", "once")
    store = open_store(uri, "benchmark")
    laps.lap("new store", "once")
    with MlflowRun(store, checked, folder) as run:
        run.dataset(data)
        fitted = fit(checked.model, checked.recipe, data, tracker=Watched(run, laps), folder=folder, about=checked.config)
        laps.lap("checkpoint", "epoch")
        samples = checked.recipe.settings.evaluation_samples
        scores = {
            f"{part}/{how}".rstrip("/"): score
            for part, split in (("val_best", data.validation), ("test", data.test))
            for how, score in evaluate_all(checked.model, split, samples, seed).items()
        }
        laps.lap("evaluation", "once")
        run.finish(fitted, scores)
        for part, seconds in run.seconds.items():
            in_epochs = sum(spent for _, spent in laps.taken.get((part, "epoch"), []))
            laps.taken[part, "once"].append((0, seconds - in_epochs))
        laps.since = time.perf_counter()
    laps.lap("mlflow", "once")
    order = torch.Generator().manual_seed(seed)
    for _ in batches(data.train, checked.recipe.settings.batch_size, order):
        laps.lap("data", "step")
    return laps, checked


PARTS = ("data", "rest of the loop", "forward", "backward", "optimizer", "evaluation", "snapshots", "checkpoint", "mlflow",
         "figures", "export")  # fmt: skip


def shares(config: DictConfig) -> str:
    """The parts of a run of RUN_EPOCHS epochs on the whole training split, reckoned from a short tracked one."""
    from bnn.training.loop import steps_per_epoch

    with TemporaryDirectory() as folder:
        laps, checked = tracked_run(config, Path(folder))
    settings = checked.recipe.settings
    steps = steps_per_epoch(round(checked.data.train_size * (1 - settings.validation_fraction)), settings.batch_size)
    a_step = {part: laps.a_step(part) for part in PARTS}
    a_step["rest of the loop"] = max(0.0, laps.a_step("between") - a_step["data"])
    total = {p: RUN_EPOCHS * (steps * a_step[p] + laps.an_epoch(p)) + laps.once(p) for p in PARTS}
    whole = sum(total.values())
    rows = [
        [p, f"{1000 * a_step[p]:.3f}", f"{laps.an_epoch(p):.3f}", f"{laps.once(p):.2f}", f"{total[p]:.2f}",
         f"{100 * total[p] / whole:.2f}"]
        for p in PARTS
    ]  # fmt: skip
    head = ["part", "ms a step", "s an epoch", "s once", f"s in {RUN_EPOCHS} epochs", "%"]
    training = RUN_EPOCHS * steps * sum(a_step.values())
    calls, all_tracking = total["mlflow"], sum(total[part] for part in ("mlflow", "figures", "export"))
    return (
        f"{markdown(head, rows)}\n\n"
        f"MLflow's calls: {calls:.2f} s beside {training:.0f} s of training in {RUN_EPOCHS} epochs of {steps} steps, "
        f"{100 * calls / training:.2f} % (target: at most {100 * TRACKING_TARGET:.0f} %); "
        f"with figures and the exported model "
        f"{100 * all_tracking / training:.2f} %. Once for all runs: a new store, {laps.once('new store'):.1f} s."
    )


# estimators


def estimator_choices() -> list[list[str]]:
    """Overrides that choose each registered estimator but plain backpropagation, with each baseline where it takes one."""
    from bnn.estimators import Estimator

    choices: list[list[str]] = []
    for name in Estimator.registry:
        parts = {p: t.registry for p, t in Estimator.registry.parameters(name).items() if hasattr(t, "registry")}
        for words in itertools.product(*([f"estimator/{part}={choice}" for choice in parts[part]] for part in parts)):
            choices.append([f"estimator={name}", *words])
    return [choice for choice in choices if choice != ["estimator=none"]]


def estimators(config: DictConfig, rounds: int) -> str:
    """Time of a step under each estimator, over that under straight-through, beside the passes it asks for."""
    from bnn.build import plan
    from bnn.config import compose, estimator_title

    both = changed(config, placement=compose(["placement=both"]).placement, trainer__epochs=rounds + 1)
    data = read(plan(both))
    blocks: dict[str, Callable[[], object]] = {}
    passes: dict[str, int] = {}
    refused = []
    for choice in estimator_choices():
        cell = changed(both, estimator=compose(choice).estimator)
        try:
            checked = plan(cell)
        except ConfigError as error:
            refused.append(f"{' '.join(choice)}: {error}")
            continue
        title = estimator_title(dict(checked.config))
        blocks[title] = epoch_of(cell, data)
        passes[title] = checked.recipe.estimator.passes(sites=2)
    seconds = interleaved(blocks, rounds)
    reference = next(title for title in blocks if title.startswith("st"))
    rows = [
        [title, str(passes[title]), *spread([1000 * s / _steps(data, both) for s in taken], 2),
         *spread(speed_ratios(seconds, reference, title), 2)]
        for title, taken in seconds.items()
    ]  # fmt: skip
    head = ["estimator", "passes", "ms a step", "min–max", f"over {reference}", "min–max"]
    return "\n\n".join([markdown(head, rows), *refused])


# two jobs


def job(pipe: Connection, config: DictConfig) -> None:
    """A process that runs an epoch whenever it is asked to, and says when it is done."""
    import torch

    from bnn.build import plan

    block = epoch_of(config, read(plan(config)))
    pipe.send(torch.get_num_threads())
    while pipe.recv():
        block()
        pipe.send(None)


@contextlib.contextmanager
def started(config: DictConfig, threads: int) -> Iterator[Connection]:
    """A `job` with so many threads, ready to be asked."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    process = context.Process(target=job, args=(theirs, config), daemon=True)
    process.start()
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before
    theirs.close()
    if (got := ours.recv()) != threads:
        raise BnnError(f"OMP_NUM_THREADS={threads} gave {got} threads: unset MKL_NUM_THREADS")
    try:
        yield ours
    finally:
        ours.send(False)
        process.join()


def ask(jobs: Sequence[Connection]) -> int:
    """Have all of `jobs` run an epoch at the same time; answers how many did."""
    for pipe in jobs:
        pipe.send(True)
    return len([pipe.recv() for pipe in jobs])


def two_jobs(config: DictConfig, rounds: int) -> str:
    """Two jobs of one thread at a time, against two of two threads one after the other."""
    config = changed(config, trainer__epochs=rounds + 1)
    with contextlib.ExitStack() as stack:
        single = [stack.enter_context(started(config, 1)) for _ in range(2)]
        double = [stack.enter_context(started(config, 2)) for _ in range(2)]
        together, apart = "together, 1 thread each", "one after the other, 2 threads each"
        blocks = {together: lambda: ask(single), apart: lambda: (ask(double[:1]), ask(double[1:]))}
        seconds = interleaved(blocks, rounds)
    times = markdown(["two jobs", "s", "min–max"], [[name, *spread(taken, 2)] for name, taken in seconds.items()])
    ratio = [*spread(speed_ratios(seconds, together, apart), 2), f"{of_fastest(seconds, together, apart):.2f}"]
    head = ["speed", "median", "min–max", "fastest rounds", "target"]
    return f"{times}\n\n{markdown(head, [['together / one after the other', *ratio, f'{JOBS_TARGET:.2f}']])}"


# the program


def heading(config: DictConfig, rounds: int, steps: int) -> str:
    """What the figures stand on."""
    import torch

    from bnn.build import pick_device
    from bnn.tracking import facts

    load = os.getloadavg()[0]
    return (
        f"# {facts.hardware(pick_device(config.device))}, {torch.get_num_threads()} threads, {facts.versions()}\n\n"
        f"`{facts.command()}`, commit {facts.commit()}, data {config.data.name}, batch {config.trainer.batch_size}. Medians "
        f"over {rounds} rounds, in which what is compared takes turns with {steps} steps each; extremes beside them. "
        f"Timings are noisy where others share the machine: load average {load:.1f} at the start."
    )


def settled(overrides: Sequence[str], steps: int) -> DictConfig:
    """The configuration of the benchmark, on data that is there, limited to so many steps an epoch."""
    from bnn.config import compose
    from bnn.job import use_data

    config = compose([*DEFAULTS, *overrides])
    if warning := use_data(config):
        print(warning, flush=True)
    return limited(config, steps)


def limited(config: DictConfig, steps: int) -> DictConfig:
    """`config` with at most so many steps in an epoch."""
    images = steps * config.trainer.batch_size
    return changed(config, data__limit=images if config.data.limit is None else min(images, config.data.limit))


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bnn.benchmark", description="What a training step costs.")
    parser.add_argument("overrides", nargs="*", help=f"as of bnn.train; first of all {' '.join(DEFAULTS)}")
    parser.add_argument("--steps", type=int, default=50, help="steps of each loop in a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that are counted (%(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--jobs", action="store_true", help="also two jobs at a time against one after the other")
    chosen = parser.parse_intermixed_args(words)
    for key in ("steps", "rounds"):
        if getattr(chosen, key) < 1:
            parser.error(f"--{key}: expected at least 1, got {getattr(chosen, key)}")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    steps, rounds = chosen.steps, chosen.rounds
    try:
        config = settled([f"device={chosen.device}", *chosen.overrides], steps)
        print(heading(config, rounds, steps), flush=True)
        short = limited(config, max(1, steps // ESTIMATOR_STEPS))
        sections = {
            "Loops": lambda: loops(config, rounds),
            "Shares of a run": lambda: shares(config),
            "Estimators, both activations binary": lambda: estimators(short, rounds),
        }
        if chosen.jobs:
            sections["Two jobs"] = lambda: two_jobs(config, rounds)
        for title, section in sections.items():
            print(f"\n## {title}\n\n{section()}", flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
