"""A sweeper for studies: Optuna proposes trials, jobs train them and report to the study themselves, and any number of these
sweepers, on one machine or several, work on one study."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from bnn.config import flat, in_0_1_0
from bnn.errors import ConfigError

from .base import Cell, ProjectSweeper, key_of, without_data
from .compositions import Compositions
from .space import SearchSpace, search_space
from .worker import Worker

UNNAMED = ("hydra", "study", "tracking", "dry_run", "fresh", "resume", "device", "data.root", "data.offline_fallback",
           "trainer.progress")  # fmt: skip
"""Overrides that do not distinguish studies, and are left out of a study's name."""
NOT_SEARCHED = ("data", "data.name")
COST = ("data", "model", "neuron", "estimator", "placement", "trainer")
"""Groups that decide how long a step takes."""


class StudySweeper(ProjectSweeper):
    """Trials of an Optuna study over `params` and the choices on the command line, until `n_trials` are done."""

    def __init__(self, params: Mapping[str, str | None] | None = None, **settings: Any) -> None:
        # {optimizer: {lr: ...}} and {optimizer.lr: ...} are the same; null takes a key of the study's file away
        given = flat(OmegaConf.to_container(OmegaConf.create(dict(params or {}))))  # type: ignore[arg-type]
        super().__init__(
            max_batch_size=None,
            params={key: value for key, value in given.items() if value is not None},
        )
        from bnn.tuning.settings import StudySettings

        plain: dict[str, Any] = {
            k: OmegaConf.to_container(v) if isinstance(v, DictConfig | ListConfig) else v
            for k, v in settings.items()
        }
        keys = [
            field.name for field in dataclasses.fields(StudySettings) if field.name != "objectives"
        ]
        self._refusal: ConfigError | None = None
        try:
            if unknown := sorted(set(plain) - set(keys)):
                raise ConfigError(
                    f"hydra.sweeper.{unknown[0]}: no such setting; there are {', '.join(keys)}, params"
                )
            self.settings = StudySettings(**plain)
        except ConfigError as error:  # Hydra would bury it in its own while it makes a sweeper
            self._refusal = error

    # ---- what is searched

    def _sweep(self, arguments: list[str]) -> None:
        if self._refusal is not None:
            raise self._refusal
        assert self.hydra_context is not None and self.config is not None
        self._compositions = Compositions(self.hydra_context.config_loader, self.config, self.cell)
        from bnn.tuning.optuna_parts import pruner, sampler
        from bnn.tuning.settings import objectives

        sampler(self.settings.sampler), pruner(self.settings.pruner)
        space = self._space(arguments)
        space, cells = self._compositions.check(space, arguments)
        offered = {
            name: metric.direction for name, metric in cells[0].plan.recipe.task.metrics.items()
        }
        self.settings = dataclasses.replace(self.settings, objectives=objectives(offered))
        if cells[0].plan.general.dry_run:
            print(self._forecast(space, cells))
            return
        from bnn.data import use_data

        warning = use_data(cells[0].config)
        if warning is not None:
            fixed = [*without_data(list(space.fixed)), f"data={cells[0].config.data.name}"]
            space = SearchSpace(space.searched, fixed)
            space, cells = self._compositions.check(space, arguments)
        self._work(space, cells, [warning] if warning else [])

    def _space(self, arguments: list[str]) -> SearchSpace:
        space = search_space(self._overrides(arguments))
        if not space.searched:
            raise ConfigError("study: nothing is searched; give a key choices, a range or an interval: "
                              "'optimizer.lr=tag(log,interval(0.01,0.3))'")  # fmt: skip
        for key in space.searched:
            bare = key.lstrip("+~")
            if bare == "seed":
                raise ConfigError(
                    "seed: a seed is not tuned; write hydra.sweeper.seeds=N to evaluate every trial on N seeds"
                )
            if bare in NOT_SEARCHED or self._unnamed(key):
                raise ConfigError(f"{bare}: a study holds this fixed, so that its trials compare")
        groups = sorted(
            filter(self._compositions.is_group, space.searched), key=lambda key: key.count("/")
        )  # an outer one first
        order = [*groups, *(key for key in space.searched if key not in groups)]
        return SearchSpace({key: space.searched[key] for key in order}, space.fixed)

    def _forecast(self, space: SearchSpace, cells: Sequence[Cell]) -> str:
        from bnn.forecast import seconds_of
        from bnn.tables import markdown

        costs = {str([cell.plan.config[group] for group in COST]): cell.plan for cell in cells}
        minutes = [seconds_of(plan) * self.settings.seeds / 60 for plan in costs.values()]
        rows = [[key, text] for key, text in space.as_text().items()]
        total = self.settings.n_trials * sum(minutes) / len(minutes)
        return (
            f"{markdown(['key', 'searched'], rows)}\n{self.settings.n_trials} trials of {self.settings.seeds} seeds, "
            f"about {min(minutes):.1f} to {max(minutes):.1f} minutes each and {total:.0f} in all, one after the other and "
            "without pruning"
        )

    # ---- the study

    def _name(self, space: SearchSpace, cell: Cell) -> str:
        """What finds the study again: its file, the data set, and what was typed and moves the result."""
        from bnn.tuning.storage import check_name

        if self.settings.study_name is not None:
            return check_name(self.settings.study_name)
        label = cell.config.hydra.runtime.choices.get("study") or "study"
        given = [w for w in space.fixed if not self._unnamed(w)]
        own = set(self._parse_config())
        words = sorted(w for w in given if w not in own and w.partition("=")[0] != "data")
        return check_name(" ".join([f"{label}/{cell.plan.data.name}", *words]))

    @staticmethod
    def _unnamed(override: str) -> bool:
        key = key_of(override)
        return any(
            key == prefix or key.startswith((f"{prefix}.", f"{prefix}/")) for prefix in UNNAMED
        )

    def _identity(self, space: SearchSpace, cell: Cell) -> dict[str, Any]:
        """What the study is a study of: trials of different identities do not compare."""
        from bnn.config import NOT_RESULT

        searched = [key.lstrip("+").replace("/", ".") for key in space.searched]
        apart = (*searched, *NOT_RESULT, "device")
        config = {
            key: str(value)
            for key, value in flat(dict(cell.plan.config)).items()
            if not in_0_1_0(key, value)
            and not any(key == part or key.startswith(f"{part}.") for part in apart)
        }
        if cell.plan.data.content is not None:  # of examples that the configuration does not tell
            config["data.content"] = cell.plan.data.content
        objective = {
            "metric": ", ".join(self.settings.metrics),
            "direction": ", ".join(self.settings.directions),
        }
        how = {
            "seeds": self.settings.seeds,
            "pruner": dict(self.settings.pruner),
            "sampler": self.settings.sampler["name"],
            "fixed": sorted(self._compositions.within_searched(space)),
        }
        return {"space": space.as_text(), **objective, **how, "config": config}

    def _work(self, space: SearchSpace, cells: Sequence[Cell], warnings: list[str]) -> None:
        """Take part in the study until it has all its trials; then say what came of it."""
        from bnn.forecast import notices
        from bnn.paths import shared_file_warning
        from bnn.tracking.store import open_store, tracking_uri
        from bnn.tuning.ledger import Ledger
        from bnn.tuning.optuna_parts import sampler
        from bnn.tuning.storage import (
            dashboard,
            forget_study,
            open_storage,
            open_study,
            storage_address,
        )

        plan = cells[0].plan
        address = storage_address(self.settings.storage, tracking_uri(plan.tracking.uri))
        storage = open_storage(address)
        store = open_store(plan.tracking.uri, f"{plan.tracking.experiment}/{plan.data.name}")
        name = self._name(space, cells[0])
        if plan.general.fresh:
            forget_study(storage, name, self.settings.stale_after)
        # without binary layers a configuration does not tell what the others have
        binary = [cell for cell in cells if cell.plan.config["placement"]["layers"]]
        identity = self._identity(space, (binary or list(cells))[0])
        study, made = open_study(
            storage,
            name,
            self.settings.directions,
            identity,
            sampler=sampler(self.settings.sampler),
        )
        beside = (
            shared_file_warning(Path(address.removeprefix("sqlite:///")))
            if address.startswith(("/", "sqlite"))
            else None
        )
        for text in [*warnings, *notices([cell.plan for cell in cells]), *filter(None, [beside])]:
            print(text)
        there = Ledger(study, self.settings.n_trials, self.settings.stale_after).done()
        print(
            f"study {name!r}: {there} of {self.settings.n_trials} trials done, on {plan.data.title}"
        )
        print(f"watch it: {dashboard(address)}", flush=True)
        self._folder()
        self.seed, self.device = plan.general.seed, plan.general.device
        stride = max(cell.plan.recipe.settings.epochs for cell in cells)
        Worker(self, self._compositions, space, study, made, store, address, stride).work()

    def launch(self, jobs: list[list[str]], first: int) -> Sequence[Any]:
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=first)

    def at_once(self) -> int:
        """Trials that go to the launcher together: it answers when the slowest of them is done."""
        assert self.config is not None
        if self.settings.n_jobs is not None:
            return self.settings.n_jobs
        n_jobs = self.config.hydra.launcher.get("n_jobs", 1)
        return n_jobs if n_jobs > 0 else os.cpu_count() or 1
