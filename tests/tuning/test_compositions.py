"""Compositions of a sweep: each set of overrides is composed once, each group is listed once."""

from __future__ import annotations

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from bnn.paths import folder
from bnn.runs.jobs import JobComposer


def test_each_set_of_overrides_is_composed_once_and_each_group_listed_once() -> None:
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", ["data=digits"], run_mode=RunMode.MULTIRUN)
        asked: list[tuple[str, ...]] = []

        class Counted:
            def load_sweep_config(self, config, words):
                asked.append(tuple(words))
                return loader.load_sweep_config(config, words)

            def get_group_options(self, group):
                asked.append((group,))
                return loader.get_group_options(group)

        composer = JobComposer(Counted(), config)
        first, again, other = map(composer.compose, (["model=mlp"], ["model=mlp"], ["model=cnn"]))
        assert first is again and (first.model.name, other.model.name) == ("mlp", "cnn")
        assert composer.is_group("model") and composer.is_group("+model")
        assert composer.group_options("model") >= {"cnn", "mlp"}
        assert not composer.is_group("optimizer.lr")
    assert asked == [("model=mlp",), ("model=cnn",), ("model",), ("optimizer.lr",)]
