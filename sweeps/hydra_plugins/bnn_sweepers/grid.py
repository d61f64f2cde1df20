"""A grid sweeper: checks every cell before the first starts, runs equal cells once, keeps one parent run in MLflow, ends
with a table, and fails if a job failed."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from bnn.errors import BnnError, ConfigError

from .base import Cell, ProjectSweeper, without_data

BLANK = "–"


class GridSweeper(ProjectSweeper):
    """Every combination of the choices on the command line and in `hydra.sweeper.params`."""

    def _sweep(self, arguments: list[str]) -> list[JobReturn]:
        from bnn.job import refuse_fresh

        cells = self._distinct_cells(arguments)
        refuse_fresh(cells[0].plan)
        if cells[0].plan.general.dry_run:
            from bnn.forecast import dry_run

            print(dry_run([cell.plan for cell in cells]))
            return []
        cells, warning = self._settle_data(cells)
        results = self._tracked(cells, " ".join(arguments), [warning] if warning else [])
        failed = sum(result.status != JobStatus.COMPLETED for result in results)
        if failed:
            print(f"error: {failed} of {len(cells)} runs failed, see the table", file=sys.stderr)
            sys.exit(1)
        return results

    def _distinct_cells(self, arguments: list[str]) -> list[Cell]:
        """The cells in order, each checked, equal ones once."""
        cells: dict[str, Cell] = {}
        for words in self.split_arguments(self._overrides(arguments), None)[0]:
            cell = self.cell(list(words))
            cells.setdefault(cell.plan.digest, cell)
        names = sorted({cell.plan.data.name for cell in cells.values()})
        if len(names) > 1:
            raise ConfigError(
                f"data: a sweep has one data set, so that its table compares; got {', '.join(names)}"
            )
        return list(cells.values())

    def _settle_data(self, cells: list[Cell]) -> tuple[list[Cell], str | None]:
        """Decide the data set once for all cells, before the first job; answers the warning of a fallback with them."""
        from bnn.data import use_data

        config = cells[0].config
        warning = use_data(config)
        if warning is None:
            return cells, None
        choice = f"data={config.data.name}"
        return [self.cell([*without_data(cell.overrides), choice]) for cell in cells], warning

    def _tracked(self, cells: list[Cell], title: str, warnings: list[str]) -> list[JobReturn]:
        """Launch the cells under a parent run, which is closed with the right status whatever happens to them. With
        `resume=true` those that have finished before are left out, and the parent is the one of the same cells."""
        from bnn import facts
        from bnn.forecast import notices
        from bnn.tracking.earlier import finished, of_another_source
        from bnn.tracking.home import alive
        from bnn.tracking.outbox import spared
        from bnn.tracking.store import open_store
        from bnn.tracking.sweep import close_parent, open_parent
        from bnn.tracking.view import save_view

        first, keys = cells[0].plan, [cell.plan.result for cell in cells]
        resume, folder = first.general.resume, self._folder()
        store = open_store(first.tracking.uri, f"{first.tracking.experiment}/{first.data.name}")
        outcomes: dict[str, Any] = finished(store) if resume else {}
        left = [number for number, key in enumerate(keys) if key not in outcomes]
        elsewhere = [outcomes[key]["run_id"] for key in keys if key in outcomes]
        with alive(folder):
            parent = open_parent(
                store,
                f"sweep: {title}",
                len(cells),
                folder,
                facts.result("".join(sorted(keys))),
                resume,
            )
            missing = {cells[number].plan.digest: keys[number] for number in left}
            other = of_another_source(store, missing) if resume and missing else None
            for line in [
                *warnings,
                *notices([cell.plan for cell in cells]),
                *filter(None, [other]),
            ]:
                print(line)
            skipped = f", {len(cells) - len(left)} of them finished before" if resume else ""
            print(
                f"{len(cells)} runs on {first.data.title}, experiment {store.experiment}{skipped}",
                flush=True,
            )
            results: list[JobReturn] = []
            status, started = "KILLED", time.perf_counter()
            try:
                self._launch([cells[number] for number in left], store.uri, parent, results)
                status = (
                    "FINISHED"
                    if all(result.status == JobStatus.COMPLETED for result in results)
                    else "FAILED"
                )
            except Exception:
                status = "FAILED"
                raise
            finally:
                # a launcher that was interrupted answers nothing, but what had finished by then stands in the store
                with spared("what finished before the end"):
                    outcomes |= finished(store, parent=parent)
                outcomes |= {
                    keys[number]: result._return_value
                    for number, result in zip(left, results, strict=False)
                }
                table, rows = result_table(cells, [outcomes.get(key) for key in keys])
                print(
                    f"\n{table}\n{len(left)} runs in {time.perf_counter() - started:.0f} s, sweep run {parent}"
                )
                print(
                    f"look at it: {store.look_at(parent, sweep=True)}",
                    *warnings,
                    sep="\n",
                    flush=True,
                )
                about = f"{len(cells)} runs on {first.data.title}. Test figures are of the epoch of best validation loss."
                with spared("the table of the sweep"):
                    close_parent(store, parent, f"{about}\n\n{table}", status, rows)
                with spared("the view of the sweep"):
                    task = first.recipe.task
                    ascending = task.metrics[task.headline].direction == "minimize"
                    save_view(
                        store,
                        parent,
                        f"sweep: {title}",
                        f"test/{task.headline}",
                        ascending,
                        elsewhere,
                    )
        return results

    def _launch(self, cells: list[Cell], uri: str, parent: str, results: list[JobReturn]) -> None:
        assert self.launcher is not None
        from bnn.facts import COMMAND, command
        from bnn.job import CELLS, PARENT

        handed = self.handed(uri, {PARENT: parent, CELLS: str(len(cells)), COMMAND: command()})
        jobs = [[*cell.overrides, *handed] for cell in cells]
        for chunk in self.split_overrides_to_chunks(jobs, self.max_batch_size) if jobs else ():
            results.extend(self.launcher.launch(chunk, initial_job_idx=len(results)))


def reason(value: object) -> str:
    """Why a job has no result, in one line."""
    if value is None:
        return "not run"
    words = str(value).partition("\n")[0]
    return words if isinstance(value, BnnError) else f"{type(value).__name__}: {words}"


def metric_cells(task: Any, test: Mapping[str, float]) -> dict[str, str]:
    """Columns of a task's test metrics: the headline of the own rule and of the mean of M draws, and the others."""

    def cell(name: str, key: str) -> str:
        return task.metrics[name].format(test[key]) if key in test else BLANK

    cells = {}
    for name, metric in task.metrics.items():
        cells[name if metric.unit == "nats" else f"{name} ({metric.unit})"] = cell(name, name)
        if name == task.headline:
            cells[f"mean of M ({metric.unit})"] = cell(name, f"{name}_mean")
    return cells


def result_table(
    cells: Sequence[Cell], outcomes: Sequence[Any]
) -> tuple[str, list[dict[str, str]]]:
    """The sweep's table as Markdown, and its rows. A job that failed shows its reason, one that never ran says so."""
    from bnn.config import differing_keys, estimator_title, flat
    from bnn.tables import markdown

    rows: list[dict[str, str]] = []
    keys = differing_keys([cell.plan.config for cell in cells])
    for cell, value in zip(cells, outcomes, strict=True):
        config = dict(cell.plan.config)
        figures = metric_cells(
            cell.plan.recipe.task, value["test"] if isinstance(value, dict) else {}
        )
        figures["seconds"] = f"{value['seconds']:.0f}" if isinstance(value, dict) else BLANK
        outcome = value["run_id"] if isinstance(value, dict) else reason(value)
        about = {
            "run": cell.plan.title,
            "estimator": estimator_title(config),
            "law": config["neuron"]["law"],
        }
        about |= {key: str(flat(config).get(key, BLANK)) for key in keys}
        rows.append({**about, **figures, "run id": outcome})
    return markdown(list(rows[0]), [list(row.values()) for row in rows]), rows
