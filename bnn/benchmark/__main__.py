"""python -m bnn.benchmark [--steps N] [--rounds N] [--cpu-time] [--jobs] [GROUP=CHOICE] [KEY=VALUE]

What a training step costs, and where its time goes. Takes the overrides of bnn.train; nothing that it trains is kept.
Machines are noisy: what is compared takes turns (A B C A B C ...), ratios are taken within a round, and medians are
shown beside the extremes. Targets are printed, not enforced. Heavy imports wait until they are needed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from omegaconf import DictConfig

from bnn.benchmark.estimators import estimators
from bnn.benchmark.jobs import two_jobs
from bnn.benchmark.loops import loops
from bnn.benchmark.shares import shares
from bnn.benchmark.timing import limited
from bnn.errors import BnnError, ConfigError

DEFAULTS = ("placement=first", "estimator=st")
ESTIMATOR_STEPS = 4
"""An estimator's block is shorter than a loop's by this factor: there are many of them."""


def heading(config: DictConfig, rounds: int, steps: int, cpu_time: bool) -> str:
    """What the figures stand on."""
    import torch

    from bnn.config import provenance
    from bnn.specify import pick_device

    load = os.getloadavg()[0]
    return (
        f"# {provenance.hardware(pick_device(config.device))}, {torch.get_num_threads()} threads, {provenance.versions()}\n\n"
        f"`{provenance.command()}`, commit {provenance.commit()}, data {config.data.name}, batch {config.trainer.batch_size}. Medians "
        f"over {rounds} rounds, in which what is compared takes turns with {steps} steps each; extremes beside them. "
        f"Timings are noisy where others share the machine: load average {load:.1f} at the start."
        + ("\n\nLoops and estimators: CPU seconds, not the clock's." if cpu_time else "")
    )


def settled(overrides: Sequence[str], steps: int) -> DictConfig:
    """The configuration of the benchmark, on data that is there, limited to so many steps an epoch."""
    from bnn.config.compose import compose
    from bnn.data import use_data

    config = compose([*DEFAULTS, *overrides])
    if warning := use_data(config):
        print(warning, flush=True)
    return limited(config, steps)


def one_thread(config: DictConfig) -> None:
    """Go on with one thread, whose CPU time does not count waiting for another.

    Errors: ConfigError where the work is not the CPU's.
    """
    import torch

    from bnn.specify import pick_device

    if (device := pick_device(config.device)) != "cpu":
        raise ConfigError(f"--cpu-time: expected device=cpu, got {device}")
    torch.set_num_threads(1)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bnn.benchmark", description="What a training step costs."
    )
    parser.add_argument(
        "overrides", nargs="*", help=f"as of bnn.train; first of all {' '.join(DEFAULTS)}"
    )
    parser.add_argument(
        "--steps", type=int, default=40, help="steps of each loop in a round (%(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds that are counted (%(default)s)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="CPU seconds on one thread for loops and estimators: steadier where others share the cores",
    )
    parser.add_argument(
        "--jobs", action="store_true", help="also two jobs at a time against one after the other"
    )
    chosen = parser.parse_intermixed_args(words)
    for key in ("steps", "rounds"):
        if getattr(chosen, key) < 1:
            parser.error(f"--{key}: expected at least 1, got {getattr(chosen, key)}")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    steps, rounds = chosen.steps, chosen.rounds
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    try:
        config = settled([f"device={chosen.device}", *chosen.overrides], steps)
        if chosen.cpu_time:
            one_thread(config)
        print(heading(config, rounds, steps, chosen.cpu_time), flush=True)
        short = limited(config, max(1, steps // ESTIMATOR_STEPS))
        sections = {
            "Loops": lambda: loops(config, rounds, clock),
            "Shares of a run": lambda: shares(config),
            "Estimators, both activations binary": lambda: estimators(short, rounds, clock),
        }
        if chosen.jobs:
            sections["Two jobs"] = lambda: two_jobs(config, rounds)
        for title, section in sections.items():
            print(f"\n## {title}\n\n{section()}", flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
