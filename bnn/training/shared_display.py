"""One display for jobs that run side by side: a bar for each, and their lines above the bars.

Each job writes its progress and its lines to files, and the process that launched them draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from bnn import schema
from bnn.job_environment import JobEnvironment
from bnn.training.callback import Callback, FitContext
from bnn.training.progress import ProgressBar, display_mode

EVERY_SECONDS = 0.5
"""Time from one look at the files to the next, and from one of a job's notes to the next."""
BAR = "  {desc}  |{bar:14}| {remaining} left{postfix}"
"""Format of a bar, whose last words, the job's name, give way on a narrow terminal."""
STATUS, LINES = ".json", ".txt"
"""Suffixes of a job's files: its latest progress, and what it printed."""


class JobProgress(Callback):
    """Progress of one job, written for the display of its sweep.

    Args:
        path: file for the progress, without suffix.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._noted, self._steps = path, 0.0, 0
        self._title, self._text, self._total = "", "", 1

    def on_fit_start(self, context: FitContext) -> None:
        self._context, self._title = context, context.title
        self._total = max(1, context.epochs * context.steps_per_epoch)
        self._steps = context.finished_epochs * context.steps_per_epoch
        self._note(f"epoch {context.finished_epochs + 1}/{context.epochs}")

    def on_step_end(self) -> None:
        self._steps += 1
        if time.monotonic() - self._noted >= EVERY_SECONDS:
            self._note(self._text)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        task, epochs = self._context.task, self._context.epochs
        metric = task.metrics[task.headline]
        value = f"val {metric.format(metrics[schema.VALIDATION + task.headline])} {metric.unit}"
        self._note(f"epoch {min(epoch + 1, epochs)}/{epochs}  {value.rstrip()}")

    @contextlib.contextmanager
    def activity(self, text: str) -> Iterator[None]:
        """Context manager that says what the job does while it does not train.

        Args:
            text: the activity, such as `evaluating …`.
        """
        self._note(text)
        yield

    def _note(self, text: str) -> None:
        self._text, self._noted = text, time.monotonic()
        status = {"title": self._title, "text": text, "share": self._steps / self._total}
        part = self._path.with_suffix(".part")
        with contextlib.suppress(OSError):  # the sweep has ended and removed its folder
            part.write_text(json.dumps(status))
            part.replace(self._path.with_suffix(STATUS))


Progress = ProgressBar | JobProgress
"""Callback that shows the progress of a run."""


@contextlib.contextmanager
def written_for_display(folder: str, number: int) -> Iterator[JobProgress]:
    """Context manager of a job that prints to the display of its sweep instead of the terminal.

    Args:
        folder: folder of the display.
        number: number of the job in its sweep, from 0.

    Yields:
        Callback that writes the job's progress.
    """
    path = Path(folder) / str(number)
    with path.with_suffix(LINES).open("a", encoding="utf-8", buffering=1) as lines:
        try:
            with contextlib.redirect_stdout(lines):
                yield JobProgress(path)
        finally:
            path.with_suffix(STATUS).unlink(missing_ok=True)


class SharedDisplay:
    """Display of jobs side by side on the terminal of the process that launched them.

    Args:
        folder: folder to which the jobs write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bars: dict[str, tqdm] = {}
        self._shown: dict[Path, int] = {}

    def refresh(self) -> None:
        """Print the jobs' new lines, and draw a bar for each job that runs."""
        for path in sorted(self._folder.glob(f"*{LINES}"), key=lambda path: int(path.stem)):
            self._print_new(path)
        running = {path.stem: path for path in self._folder.glob(f"*{STATUS}")}
        for number in self._bars.keys() - running.keys():
            self._bars.pop(number).close()
        for number in sorted(running, key=int):
            with contextlib.suppress(OSError, ValueError):  # it has ended since
                self._draw(number, **json.loads(running[number].read_text()))

    def close(self) -> None:
        """Print the jobs' last lines, and take their bars away."""
        self.refresh()
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _print_new(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._shown.get(path, 0))
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._shown[path] = self._shown.get(path, 0) + len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            tqdm.write(line, file=sys.stdout)
        if whole:
            sys.stdout.flush()

    def _draw(self, number: str, title: str, text: str, share: float) -> None:
        if number in self._bars and share < self._bars[number].n:  # another seed of the trial
            self._bars.pop(number).close()
        if number not in self._bars:
            self._bars[number] = tqdm(
                total=1.0, initial=share, bar_format=BAR, leave=False, dynamic_ncols=True
            )
        bar = self._bars[number]
        bar.n = share
        bar.set_description_str(text, refresh=False)
        bar.set_postfix_str(title, refresh=False)
        bar.refresh()


@contextlib.contextmanager
def shared_display(mode: str, at_once: int) -> Iterator[str]:
    """Context manager that shows jobs side by side on a terminal.

    Args:
        mode: `trainer.progress`; `auto` and `bar` have the display.
        at_once: jobs that run at once.

    Yields:
        Folder to which the jobs write, see `written_for_display`; empty where they print
        themselves, since one runs at a time or the output is no terminal.
    """
    if at_once < 2 or mode not in ("auto", "bar") or not sys.stderr.isatty():
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="bnn-display-", ignore_cleanup_errors=True) as folder:
        display, ended = SharedDisplay(Path(folder)), threading.Event()

        def draw() -> None:
            while not ended.wait(EVERY_SECONDS):
                display.refresh()

        thread = threading.Thread(target=draw, name="display", daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            ended.set()
            thread.join()
            display.close()


@contextlib.contextmanager
def progress_of(
    mode: str,
    job: JobEnvironment | None,
    number: int,
    time_left: Callable[[float], float | None] | None = None,
) -> Iterator[Progress]:
    """Context manager of a run that shows its progress where its sweep shows those of all jobs.

    Args:
        mode: `trainer.progress`: `auto`, `bar`, `lines` or `none`.
        job: values of its sweep; None: the run stands alone.
        number: number of the job in its sweep, from 0.
        time_left: as of `ProgressBar`.

    Yields:
        Callback for the training.
    """
    beside = job is not None and job.shares_terminal
    if job is not None and beside and os.path.isdir(job.display):
        with written_for_display(job.display, number) as progress:
            yield progress
    else:
        yield ProgressBar(display_mode(mode, beside), time_left)
