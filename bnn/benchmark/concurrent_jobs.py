"""Speed of jobs that run at once: two on a CPU beside one after the other, and many on a GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from omegaconf import DictConfig

from bnn.benchmark.loops import epoch_of
from bnn.benchmark.timing import fastest_ratio, interleaved, speed_ratios, spread
from bnn.build import read_dataset
from bnn.config.compose import with_values
from bnn.errors import BnnError
from bnn.runs.concurrency import cores
from bnn.specify import specify
from bnn.tables import markdown

TARGET = 1.1
"""Speed of two jobs at once, over that of one after the other."""
SIDE_BY_SIDE = (1, 2, 4, 8, 16)
"""Numbers of jobs that share a GPU."""
TOGETHER, APART = "together, 1 thread each", "one after the other, 2 threads each"


def job(pipe: Connection, config: DictConfig) -> None:
    """Process that trains an epoch for each True it receives, and ends at False.

    It sends its number of threads once it is ready, and None after each epoch.
    """
    block = epoch_of(config, read_dataset(specify(config)))
    pipe.send(torch.get_num_threads())
    while pipe.recv():
        block()
        pipe.send(None)


@contextlib.contextmanager
def started(config: DictConfig, threads: int) -> Iterator[Connection]:
    """Context of a process that runs `job`, with so many threads; yields its pipe."""
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
    try:
        yield ours
    finally:
        ours.send(False)
        process.join()


def ready(pipe: Connection, threads: int) -> Connection:
    """Pipe of a job, once that is ready.

    Raises:
        BnnError: for another number of threads than it was started with.
    """
    if (got := pipe.recv()) != threads:
        raise BnnError(f"OMP_NUM_THREADS={threads} gave {got} threads: unset MKL_NUM_THREADS")
    return pipe


def run_epochs(jobs: Sequence[Connection]) -> int:
    """Have all jobs train an epoch at the same time; return how many did."""
    for pipe in jobs:
        pipe.send(True)
    return len([pipe.recv() for pipe in jobs])


def two_jobs(config: DictConfig, rounds: int) -> str:
    """Tables of two jobs of one thread at once, against two of two threads one after the other.

    Args:
        config: composed configuration.
        rounds: rounds that are counted.
    """
    config = with_values(config, trainer__epochs=rounds + 1)
    with contextlib.ExitStack() as stack:
        pipes = [
            (stack.enter_context(started(config, threads)), threads) for threads in (1, 1, 2, 2)
        ]
        jobs = [ready(pipe, threads) for pipe, threads in pipes]
        single, double = jobs[:2], jobs[2:]
        blocks = {
            TOGETHER: lambda: run_epochs(single),
            APART: lambda: (run_epochs(double[:1]), run_epochs(double[1:])),
        }
        seconds = interleaved(blocks, rounds)
    rows = [[name, *spread(taken, 2)] for name, taken in seconds.items()]
    ratios = spread(speed_ratios(seconds, TOGETHER, APART), 2)
    fastest = f"{fastest_ratio(seconds, TOGETHER, APART):.2f}"
    head = ["speed", "median", "min–max", "fastest rounds", "target"]
    row = ["together / one after the other", *ratios, fastest, f"{TARGET:.2f}"]
    return f"{markdown(['two jobs', 's', 'min–max'], rows)}\n\n{markdown(head, [row])}"


def side_by_side(config: DictConfig, rounds: int) -> str:
    """Table of the images per second of several jobs that share a GPU.

    Args:
        config: composed configuration.
        rounds: rounds that are counted.
    """
    config = with_values(config, trainer__epochs=len(SIDE_BY_SIDE) * (rounds + 1))
    images = len(read_dataset(specify(config)).train.labels)
    counts = [count for count in SIDE_BY_SIDE if count <= cores()]
    with contextlib.ExitStack() as stack:
        pipes = [stack.enter_context(started(config, 1)) for _ in range(counts[-1])]
        jobs = [ready(pipe, 1) for pipe in pipes]
        blocks = {str(count): partial(run_epochs, jobs[:count]) for count in counts}
        seconds = interleaved(blocks, rounds)
    rows = [
        [name, *spread([int(name) * images / s for s in taken], 0)]
        for name, taken in seconds.items()
    ]
    return markdown(["runs side by side", "images/s of all", "min–max"], rows)
