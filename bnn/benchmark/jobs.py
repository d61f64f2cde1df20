"""Two jobs at a time against one after the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from omegaconf import DictConfig

from bnn.benchmark.loops import epoch_of
from bnn.benchmark.timing import interleaved, of_fastest, speed_ratios, spread
from bnn.config.compose import with_values
from bnn.errors import BnnError
from bnn.tables import markdown

JOBS_TARGET = 1.1


def job(pipe: Connection, config: DictConfig) -> None:
    """A process that runs an epoch whenever it is asked to, and says when it is done."""
    import torch

    from bnn.build import read_dataset
    from bnn.specify import specify

    block = epoch_of(config, read_dataset(specify(config)))
    pipe.send(torch.get_num_threads())
    while pipe.recv():
        block()
        pipe.send(None)


@contextlib.contextmanager
def started(config: DictConfig, threads: int) -> Iterator[Connection]:
    """A `job` with so many threads; it is ready when it has answered their number."""
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


def ask(jobs: Sequence[Connection]) -> int:
    """Have all of `jobs` run an epoch at the same time; answers how many did."""
    for pipe in jobs:
        pipe.send(True)
    return len([pipe.recv() for pipe in jobs])


def ready(pipe: Connection, threads: int) -> Connection:
    """`pipe`, once its job is ready. Errors: BnnError where something overrules its number of threads."""
    if (got := pipe.recv()) != threads:
        raise BnnError(f"OMP_NUM_THREADS={threads} gave {got} threads: unset MKL_NUM_THREADS")
    return pipe


def two_jobs(config: DictConfig, rounds: int) -> str:
    """Two jobs of one thread at a time, against two of two threads one after the other."""
    config = with_values(config, trainer__epochs=rounds + 1)
    with contextlib.ExitStack() as stack:
        pipes = [
            (stack.enter_context(started(config, threads)), threads) for threads in (1, 1, 2, 2)
        ]
        jobs = [ready(pipe, threads) for pipe, threads in pipes]
        single, double = jobs[:2], jobs[2:]
        together, apart = "together, 1 thread each", "one after the other, 2 threads each"
        blocks = {together: lambda: ask(single), apart: lambda: (ask(double[:1]), ask(double[1:]))}
        seconds = interleaved(blocks, rounds)
    times = markdown(
        ["two jobs", "s", "min–max"], [[name, *spread(taken, 2)] for name, taken in seconds.items()]
    )
    ratio = [
        *spread(speed_ratios(seconds, together, apart), 2),
        f"{of_fastest(seconds, together, apart):.2f}",
    ]
    head = ["speed", "median", "min–max", "fastest rounds", "target"]
    return f"{times}\n\n{markdown(head, [['together / one after the other', *ratio, f'{JOBS_TARGET:.2f}']])}"
