"""A grid sweeper: checks every cell before the first starts, runs equal cells once, keeps one parent run in MLflow, ends
with a table, and fails if a job failed."""

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from bnn.errors import BnnError, ConfigError


@dataclass(frozen=True)
class Cell:
    """One job of a sweep: its overrides, what they compose to, and the plan that was checked."""

    overrides: list[str]
    config: DictConfig
    plan: Any


class GridSweeper(BasicSweeper):
    """Every combination of the choices on the command line and in `hydra.sweeper.params`."""

    def sweep(self, arguments: list[str]) -> Any:
        try:
            return self._sweep(arguments)
        except BnnError as error:
            raise SystemExit(f"error: {error}") from error

    def _sweep(self, arguments: list[str]) -> list[JobReturn]:
        cells = self._cells(arguments)
        if cells[0].plan.general.dry_run:
            from bnn.forecast import dry_run

            print(dry_run([cell.plan for cell in cells]))
            return []
        cells, warning = self._settle_data(cells)
        from bnn.tracking.store import open_store
        from bnn.tracking.sweep import close_parent, open_parent

        first = cells[0].plan
        store = open_store(first.tracking.uri, f"{first.tracking.experiment}/{first.data.name}")
        parent = open_parent(store, f"sweep of {len(cells)} on {first.data.title}", len(cells))
        if warning:
            print(warning, flush=True)
        print(f"{len(cells)} runs on {first.data.title}, experiment {store.experiment}", flush=True)
        results: list[JobReturn] = []
        status = "KILLED"
        started = time.perf_counter()
        try:
            results = self._launch(cells, parent)
            failed = [result for result in results if result.status != JobStatus.COMPLETED]
            status = "FAILED" if failed else "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            table, rows = result_table(cells, results)
            close_parent(store, parent, table, status, rows)
            print(f"\n{table}\n{len(cells)} runs in {time.perf_counter() - started:.0f} s, sweep run {parent}")
            print(
                f"look at it: {store.command()}, then {store.sweep_link(parent)}",
                *([warning] if warning else []),
                sep="\n",
            )
        if failed:
            print(f"error: {len(failed)} of {len(cells)} runs failed, see the table", file=sys.stderr)
            sys.exit(1)
        return results

    def _cells(self, arguments: list[str]) -> list[Cell]:
        """The cells in order, each checked, equal ones once."""
        assert self.hydra_context is not None and self.config is not None
        from bnn.build import plan

        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        cells: dict[str, Cell] = {}
        for words in self.split_arguments(overrides, None)[0]:
            config = loader.load_sweep_config(self.config, list(words))
            try:
                checked = plan(config)
            except ConfigError as error:
                raise ConfigError(f"{error} (in the cell {' '.join(words)})") from error
            cells.setdefault(checked.digest, Cell(list(words), config, checked))
        names = sorted({cell.plan.data.name for cell in cells.values()})
        if len(names) > 1:
            raise ConfigError(f"data: a sweep has one data set, so that its table compares; got {', '.join(names)}")
        return list(cells.values())

    def _settle_data(self, cells: list[Cell]) -> tuple[list[Cell], str | None]:
        """Decide the data set once for all cells, before the first job."""
        from bnn.job import use_data

        assert self.config is not None
        config = cells[0].config
        warning = use_data(config)
        if warning is None:
            return cells, None
        words = [w for w in (*cells[0].overrides, *self.config.hydra.overrides.task) if w.startswith("data.limit=")][:1]
        replaced = [
            w
            for cell in cells
            for w in [[*(o for o in cell.overrides if not _is_data(o)), f"data={config.data.name}", *words]]
        ]
        return self._cells_of(replaced), warning

    def _cells_of(self, replaced: list[list[str]]) -> list[Cell]:
        assert self.hydra_context is not None and self.config is not None
        from bnn.build import plan

        loader = self.hydra_context.config_loader
        configs = [loader.load_sweep_config(self.config, list(words)) for words in replaced]
        return [Cell(words, config, plan(config)) for words, config in zip(replaced, configs, strict=True)]

    def _launch(self, cells: list[Cell], parent: str) -> list[JobReturn]:
        assert self.launcher is not None and self.config is not None
        from bnn.job import CELLS, PARENT
        from bnn.tracking.facts import COMMAND, command

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        values = {PARENT: parent, CELLS: str(len(cells)), COMMAND: command()}
        handed = [f"++hydra.job.env_set.{key}={_quoted(value)}" for key, value in values.items()]
        batch = [[*cell.overrides, *handed] for cell in cells]
        results: list[JobReturn] = []
        for chunk in self.split_overrides_to_chunks(batch, self.max_batch_size):
            with contextlib.suppress(StopIteration):
                results.extend(self.launcher.launch(chunk, initial_job_idx=len(results)))
        return results


def _quoted(value: str) -> str:
    """`value` as a quoted string of Hydra's override grammar, without interpolation."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"


def _is_data(override: str) -> bool:
    return override.lstrip("+~").startswith(("data=", "data."))


def result_table(cells: Sequence[Cell], results: Sequence[JobReturn]) -> tuple[str, list[dict[str, object]]]:
    """The sweep's table as Markdown, and its rows. A job that failed shows its reason, one that never ran says so."""
    from bnn.config import estimator_title
    from bnn.tables import markdown

    rows: list[dict[str, object]] = []
    for number, cell in enumerate(cells):
        row: dict[str, object] = {
            "run": cell.plan.title,
            "estimator": estimator_title(dict(cell.plan.config)),
            "law": cell.plan.config["neuron"]["law"],
        }
        value = results[number]._return_value if number < len(results) else None
        if isinstance(value, dict):
            row |= {
                "accuracy (%)": f"{100 * value['accuracy']:.2f}",
                "mean of M (%)": "–" if value["accuracy_mean"] is None else f"{100 * value['accuracy_mean']:.2f}",
                "loss": f"{value['loss']:.4f}",
                "seconds": f"{value['seconds']:.0f}",
                "run id": value["run_id"],
            }
        else:
            reason = "not run" if value is None else f"failed: {value}".splitlines()[0]
            row |= {"accuracy (%)": "–", "mean of M (%)": "–", "loss": "–", "seconds": "–", "run id": reason}
        rows.append(row)
    return markdown(list(rows[0]), [[str(v) for v in row.values()] for row in rows]), rows
