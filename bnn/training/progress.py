"""Progress of a training: epochs and a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from tqdm import tqdm

from bnn import schema
from bnn.tables import clock
from bnn.training.callback import Callback, FitContext

BAR = "  {desc}  |{bar:14}| {remaining} left{postfix}"
"""Format of the bar, which fits 80 columns."""


def display_mode(mode: str, shares_terminal: bool = False) -> str:
    """Way in which a training shows its progress.

    Args:
        mode: `auto` (a bar on a terminal, else lines), `bar`, `lines` or `none`.
        shares_terminal: whether other trainings write to the same terminal; they all write lines.

    Returns:
        `bar`, `lines` or `none`.
    """
    if mode != "auto":
        return mode
    return "bar" if sys.stderr.isatty() and not shares_terminal else "lines"


class ProgressBar(Callback):
    """Progress of one training: a line an epoch on stdout, and between them a bar on stderr.

    Args:
        mode: `bar` (title, lines and bar), `lines` (each line with the title) or `none`.
        time_left: seconds that are left of the sweep, by the share of this training that is done;
            None: the training stands alone.
    """

    def __init__(self, mode: str, time_left: Callable[[float], float | None] | None = None) -> None:
        self.mode, self.time_left = mode, time_left
        self._bar: tqdm | None = None

    def on_fit_start(self, context: FitContext) -> None:
        self._context, self._started = context, time.perf_counter()
        if self.mode != "bar":
            return
        tqdm.write(context.title)
        self._bar = tqdm(
            total=context.epochs * context.steps_per_epoch,
            initial=context.finished_epochs * context.steps_per_epoch,
            desc=f"epoch {context.finished_epochs + 1}/{context.epochs}",
            bar_format=BAR,
            leave=False,
            dynamic_ncols=True,
            mininterval=0.5,
        )

    def on_step_end(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        context, task = self._context, self._context.task
        metric = task.metrics[task.headline]
        value = f"val {metric.format(metrics[schema.VALIDATION + task.headline])} {metric.unit}"
        value = value.rstrip()  # of a metric without a unit
        loss = metrics[schema.TRAIN + "loss"]
        line = f"epoch {epoch}/{context.epochs}  {value}  train loss {loss:.4f}"
        if self._bar is not None:
            tqdm.write(f"  {line}")
            self._describe_bar(epoch + 1, f"  {value}")
        elif self.mode == "lines":
            seconds = (time.perf_counter() - self._started) / (epoch - context.finished_epochs)
            left = clock(seconds * (context.epochs - epoch))
            print(f"  {context.title}  {line}  {left} left", flush=True)

    def on_fit_end(self) -> None:
        if self._bar is not None:
            self._bar.close()

    @contextlib.contextmanager
    def activity(self, text: str) -> Iterator[None]:
        """Context manager that says what the run does after its training.

        Args:
            text: the activity, such as `evaluating …`.
        """
        if self.mode == "lines":
            print(f"  {self._context.title}  {text}", flush=True)
        hidden = self.mode != "bar"
        with tqdm(
            bar_format="  {desc}", desc=text, leave=False, dynamic_ncols=True, disable=hidden
        ):
            yield

    def _describe_bar(self, epoch: int, value: str = "") -> None:
        assert self._bar is not None
        epochs = self._context.epochs
        left = self.time_left((epoch - 1) / epochs) if self.time_left else None
        self._bar.set_postfix_str("" if left is None else f"sweep {clock(left)}", refresh=False)
        self._bar.set_description_str(f"epoch {min(epoch, epochs)}/{epochs}{value}")
