"""Time of a training step: of the whole loop, of the parts of a run, and of each estimator.

Nothing that is trained is kept. Machines are noisy: the blocks that are compared take turns (A B C
A B C ...), ratios are taken within a round, and medians stand beside the extremes. Targets are
printed, and not enforced.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bnn.errors import BnnError, ConfigError, OneLineParser, without_password

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnn.benchmark.timing import Clock

DEFAULTS = ("placement=first", "estimator=st")
"""Overrides that stand before those of the command line."""
CPU_TIME = "CPU seconds, not the clock's."
ESTIMATOR_STEPS = 4
"""Factor by which an estimator's block is shorter than a loop's: there are many of them."""


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parsed command line; one that makes no sense ends the command."""
    parser = OneLineParser(
        prog="python -m bnn.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help=f"overrides of bnn.train, after {' '.join(DEFAULTS)}",
    )
    for name, default, about in (
        ("steps", 40, "steps of each loop in a round"),
        ("rounds", 7, "rounds that are counted"),
    ):
        about = f"{about} (%(default)s)"
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=about)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (%(default)s)"
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="CPU seconds on one thread for loops, estimators, weights and gates: steadier where "
        "others share the cores",
    )
    parser.add_argument(
        "--jobs",
        action="store_true",
        help="also two jobs at a time against one after the other; on a GPU up to 16 at a time",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="instead: the memory of a process that trains one run, and what holds it",
    )
    parser.add_argument(
        "--gates",
        action="store_true",
        help="instead: milliseconds of model=gated_mlp or gated_cnn in evaluation, masked, by the "
        "open blocks alone, and dense",
    )
    chosen = parser.parse_intermixed_args(words)
    if chosen.gates and chosen.memory:
        parser.error("--gates and --memory are pages of their own; write one of them")
    page = "--gates" if chosen.gates else "--memory" if chosen.memory else ""
    ignored = {"--gates": ("steps", "jobs"), "--memory": ("steps", "rounds", "jobs", "cpu_time")}
    for key in ignored.get(page, ()):
        if getattr(chosen, key) != parser.get_default(key):
            parser.error(f"--{key.replace('_', '-')}: {page} does not take it")
    for key in ("steps", "rounds"):
        if getattr(chosen, key) < 1:
            parser.error(f"--{key}: expected at least 1, got {getattr(chosen, key)}")
    return chosen


def heading(config: DictConfig, chosen: argparse.Namespace) -> str:
    """First lines of the page: hardware, versions, command, and how the time is taken."""
    import torch

    from bnn.config import provenance
    from bnn.specify import pick_device

    hardware = provenance.hardware(pick_device(config.device))
    page = (
        f"# {hardware}, {torch.get_num_threads()} threads, {provenance.versions()}\n\n"
        f"`{provenance.command()}`, commit {provenance.commit()}, data {config.data.name}, batch "
        f"{config.trainer.batch_size}. Medians over {chosen.rounds} rounds, in which what is "
        f"compared takes turns with {chosen.steps} steps each ({chosen.steps // ESTIMATOR_STEPS} "
        "for estimators and weight rules); extremes beside them. Timings are noisy where others "
        f"share the machine: load average {os.getloadavg()[0]:.1f} at the start."
    )
    return page + (f"\n\nLoops, estimators and weights: {CPU_TIME}" if chosen.cpu_time else "")


def gates_heading(config: DictConfig, chosen: argparse.Namespace) -> str:
    """First lines of the page of gated networks."""
    import torch

    from bnn.config import provenance

    return (
        f"# {provenance.hardware('cpu')}, {torch.get_num_threads()} threads, "
        f"{provenance.versions()}\n\n`{provenance.command()}`, commit {provenance.commit()}. "
        f"Shape of {config.data.name}. Medians over {chosen.rounds} rounds, in which what is "
        "compared takes turns; ratios are of the same round, extremes beside them. Load average "
        f"{os.getloadavg()[0]:.1f} at the start."
        + (f" Milliseconds: {CPU_TIME}" if chosen.cpu_time else "")
    )


def benchmark_config(overrides: Sequence[str], steps: int) -> DictConfig:
    """Composed configuration on a data set that is there, of at most so many steps an epoch."""
    from bnn.benchmark.timing import limited
    from bnn.config.compose import compose
    from bnn.data import use_data

    config = compose([*DEFAULTS, *overrides])
    if warning := use_data(config):
        print(warning, flush=True)
    return limited(config, steps)


def use_threads(config: DictConfig, cpu_time: bool) -> None:
    """Set torch to the threads of a run; to one where CPU time is read, without waiting in it.

    Raises:
        ConfigError: for CPU time of a device other than the CPU.
    """
    import torch

    from bnn.specify import pick_device

    if cpu_time and (device := pick_device(config.device)) != "cpu":
        raise ConfigError(f"--cpu-time: expected device=cpu, got {device}")
    threads = 1 if cpu_time else config.trainer.threads
    if threads is not None:
        torch.set_num_threads(threads)


def sections(config: DictConfig, chosen: argparse.Namespace) -> dict[str, Callable[[], str]]:
    """Functions that measure a section of the page, by its title."""
    from bnn.benchmark.concurrent_jobs import side_by_side, two_jobs
    from bnn.benchmark.estimator_steps import estimator_steps
    from bnn.benchmark.loops import loops
    from bnn.benchmark.shares import shares
    from bnn.benchmark.timing import limited
    from bnn.benchmark.weight_steps import weight_steps
    from bnn.specify import pick_device

    rounds = chosen.rounds
    clock: Clock = time.process_time if chosen.cpu_time else time.perf_counter
    short = limited(config, max(1, chosen.steps // ESTIMATOR_STEPS))
    found: dict[str, Callable[[], str]] = {
        "Loops": lambda: loops(config, rounds, clock),
        "Shares of a run": lambda: shares(config),
        "Estimators, both activations binary": lambda: estimator_steps(short, rounds, clock),
        "Binary weights, both activations binary": lambda: weight_steps(short, rounds, clock),
    }
    if chosen.jobs and pick_device(config.device) == "cpu":
        found["Two jobs"] = lambda: two_jobs(config, rounds)
    elif chosen.jobs:
        found["Runs side by side"] = lambda: side_by_side(config, rounds)
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.benchmark`; a BnnError ends it with one line and exit code 1."""
    chosen = arguments(words)
    try:
        overrides = [f"device={chosen.device}", *chosen.overrides]
        if chosen.memory:
            from bnn.benchmark.memory import memory

            print(memory([*DEFAULTS, *overrides]))
            return
        config = benchmark_config(overrides, chosen.steps)
        use_threads(config, chosen.cpu_time)
        if chosen.gates:
            from bnn.benchmark.gated_networks import check_gated, gated_networks

            check_gated(chosen.overrides)

            clock: Clock = time.process_time if chosen.cpu_time else time.perf_counter
            print(gates_heading(config, chosen), flush=True)
            print(f"\n{gated_networks(chosen.overrides, chosen.rounds, clock)}")
            return
        print(heading(config, chosen), flush=True)
        for title, section in sections(config, chosen).items():
            print(f"\n## {title}\n\n{section()}", flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {without_password(str(error))}") from error


if __name__ == "__main__":
    main()
