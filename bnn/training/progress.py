"""Progress of a run on the terminal: a bar, or one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

from bnn.tasks import Task


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Progress of one run over `epochs` of `steps`, of which `done` epochs lie behind it.

    mode: auto (bar on a terminal, else lines), bar, lines or none.
    """

    def __init__(self, mode: str, title: str, epochs: int, steps: int, done: int = 0) -> None:
        self.mode = mode if mode != "auto" else ("bar" if sys.stderr.isatty() else "lines")
        self.title, self.epochs, self.steps, self.done = title, epochs, steps, done
        self._started = time.perf_counter()
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        if self.mode == "bar":
            total, behind = self.epochs * self.steps, self.done * self.steps
            self._bar = tqdm(
                total=total,
                initial=behind,
                desc=self.title,
                leave=False,
                unit="step",
                mininterval=0.5,
            )
            self._bar.set_postfix_str(f"epoch {min(self.done + 1, self.epochs)}/{self.epochs}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def epoch(self, epoch: int, metrics: Mapping[str, float], task: Task) -> None:
        """An epoch is over: show its validation metric and the time that is left."""
        shown = task.metrics[task.headline]
        value = f"val {shown.format(metrics[f'val/{task.headline}'])} {shown.unit}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"epoch {min(epoch + 1, self.epochs)}/{self.epochs}, {value}")
        elif self.mode == "lines":
            left = (
                (time.perf_counter() - self._started) / (epoch - self.done) * (self.epochs - epoch)
            )
            loss = f"train loss {metrics['train/loss']:.4f}"
            print(
                f"  {self.title}  epoch {epoch}/{self.epochs}  {loss}  {value}  ETA {clock(left)}",
                flush=True,
            )
