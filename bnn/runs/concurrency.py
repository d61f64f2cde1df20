"""Number of jobs that a launcher runs at once, by the cores and the memory of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnn.errors import ConfigError

START_SECONDS = 30.0
"""Seconds of training of a whole sweep below which starting workers would take longer."""
JOB_BYTES = 1.5 * 2**30
"""Memory of one job, see docs/launchers.md."""
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def jobs_at_once(
    launcher: Mapping[str, Any], jobs: int, seconds: float | None, threads: int | None
) -> int:
    """Jobs of a sweep that a launcher of Hydra runs at once.

    Args:
        launcher: configuration of the launcher, `hydra.launcher`.
        jobs: number of jobs.
        seconds: expected seconds of training of all jobs; None: unknown.
        threads: threads of a job; None: all cores.

    Raises:
        ConfigError: for a number that makes no sense, naming the key.
    """
    automatic = str(launcher.get("_target_", "")).endswith("AutoLauncher")
    # joblib's launchers have n_jobs, submitit's array_parallelism; Ray's does not tell
    asked = launcher.get("n_jobs", launcher.get("array_parallelism", None if automatic else 1))
    if asked is None:
        short = seconds is not None and seconds < START_SECONDS
        return 1 if short or threads is None else max(1, min(jobs, room_for_jobs(threads)))
    if automatic and not (isinstance(asked, int) and asked >= 1):
        raise ConfigError(f"hydra.launcher.n_jobs: expected at least 1, or null; got {asked}")
    if "array_parallelism" in launcher:
        return max(1, min(jobs, int(asked)))
    return int(asked) if int(asked) > 0 else cores()


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def room_for_jobs(threads: int) -> int:
    """Jobs that cores and memory have room for, possibly 0.

    Args:
        threads: threads of a job.
    """
    free = available_bytes()
    by_cores = cores() // threads
    return by_cores if free is None else min(by_cores, int(free // JOB_BYTES))


def available_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> float | None:
    """Memory that is free on this machine and within its container; None where nothing tells.

    Args:
        meminfo: Linux's table of the machine's memory.
        cgroup: folder of the control group, version 2, whose limit holds in a container.
    """
    found = []
    if meminfo.is_file():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in rows:
            found.append(1024.0 * int(rows["MemAvailable"].split()[0]))
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        found.append(float(text) - float(used.read_text()) + _page_cache(cgroup))
    return min(found, default=None)


def _page_cache(cgroup: Path) -> float:
    """Bytes of a control group's memory that the kernel gives back when they are asked for."""
    file = cgroup / "memory.stat"
    lines = file.read_text().splitlines() if file.is_file() else []
    return sum(float(line.split()[1]) for line in lines if line.startswith("inactive_file "))
