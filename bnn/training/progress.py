"""Progress of a training: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from bnn import schema
from bnn.tables import clock
from bnn.training.callback import Callback, FitContext


class ProgressBar(Callback):
    """Progress of one training on stderr, or one line an epoch on stdout.

    Args:
        mode: `auto` (a bar on a terminal, else lines), `bar`, `lines` or `none`.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode if mode != "auto" else ("bar" if sys.stderr.isatty() else "lines")
        self._bar: tqdm | None = None

    def on_fit_start(self, context: FitContext) -> None:
        self._context, self._started = context, time.perf_counter()
        if self.mode == "bar":
            self._bar = tqdm(
                total=context.epochs * context.steps_per_epoch,
                initial=context.finished_epochs * context.steps_per_epoch,
                desc=context.title,
                leave=False,
                unit="step",
                mininterval=0.5,
            )
            self._show_epoch(context.finished_epochs + 1)

    def on_step_end(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        context, task = self._context, self._context.task
        metric = task.metrics[task.headline]
        value = f"val {metric.format(metrics[schema.VALIDATION + task.headline])} {metric.unit}"
        if self._bar is not None:
            self._show_epoch(epoch + 1, f", {value}")
        elif self.mode == "lines":
            seconds = (time.perf_counter() - self._started) / (epoch - context.finished_epochs)
            loss = metrics[schema.TRAIN + "loss"]
            left = clock(seconds * (context.epochs - epoch))
            print(
                f"  {context.title}  epoch {epoch}/{context.epochs}  "
                f"train loss {loss:.4f}  {value}  ETA {left}",
                flush=True,
            )

    def on_fit_end(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show_epoch(self, epoch: int, value: str = "") -> None:
        assert self._bar is not None
        epochs = self._context.epochs
        self._bar.set_postfix_str(f"epoch {min(epoch, epochs)}/{epochs}{value}")
