"""Plug-ins: what a module of a user's own registers can be chosen, under every launcher.

Whatever loads a plug-in runs in a process of its own, forked from this one where that will do.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support.command_line import QUICK, UNSEEN, bnn_train, run_here, runs
from support.launchers import LAUNCHERS, NEEDS
from support.matrix import one_in

import bnn
from bnn.config.canonical import GROUPS, TOP, canonical, digest
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import Baseline, Estimator
from bnn.models import MODELS
from bnn.models.sparsity import Sparsity
from bnn.nn.neurons import Neuron
from bnn.nn.noise import NoiseLaw
from bnn.paths import folder as shipped
from bnn.registry import REGISTRIES, Registry
from bnn.tasks import Task
from bnn.training.optimizers import OPTIMIZERS
from bnn.training.schedules import SCHEDULES

pytestmark = pytest.mark.integration

ESTIMATOR = """
from bnn.estimators import Estimator
from bnn.estimators.straight_through import StraightThrough

@Estimator.registry.add("mine")
class Mine(StraightThrough):
    def __init__(self, *, pseudo_derivative: str = "density", gain: float = 1.0) -> None:
        super().__init__(pseudo_derivative=pseudo_derivative)
        self.gain = gain
"""
NETWORK = """
from bnn.models import MLP, MODELS

@MODELS.add("my_net")
class MyNet(MLP):
    pass
"""
DATA = """
import bnn.data

@bnn.data.DATASETS.add("my_digits")
def my_digits(*, seed: int = 0):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images / 16, bunch.target
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
"""
NET = {"hidden": 16, "norm": "batch"}
SIZES = [f"model.{key}={value}" for key, value in NET.items()]
SMALL = [*QUICK, "data.limit=192", "trainer.progress=none", *SIZES]
WORDS = ["plugins=[my_package]", "model=my_net", *SMALL]
Swept = tuple[Path, subprocess.CompletedProcess]


def written(folder: Path, content: str = ESTIMATOR + NETWORK, name: str = "my_package.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def forked(folder: Path, work: Callable[[], Any]) -> Any:
    """The answer of `work` in a fork of this process, in `folder`."""
    reads, writes = os.pipe()
    if not (child := os.fork()):
        os.close(reads)
        torch.set_num_threads(1)
        with os.fdopen(writes, "wb") as pipe:
            try:
                with contextlib.chdir(folder):
                    pickle.dump((True, work()), pipe)
            except BaseException:
                pickle.dump((False, traceback.format_exc()), pipe)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        fine, answer = pickle.load(pipe)
    os.waitpid(child, 0)
    assert fine, answer
    return answer


def train(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return forked(folder, lambda: run_here(folder, *words))


def composed(folder: Path, *words: str) -> dict[str, Any]:
    return forked(folder, lambda: canonical(compose(words)))


def refused(folder: Path, *words: str) -> str:
    """The one line with which a command is refused."""
    result = train(folder, *words)
    assert result.returncode not in (0, None)
    (line,) = result.stderr.splitlines()
    assert "Traceback" not in result.stdout and not list(folder.rglob("mlflow.db"))
    return line


# ---- a run from end to end


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("swept")
    written(folder)
    return folder, train(folder, "-m", *WORDS, "estimator=mine,st")


def test_a_sweep_over_a_plugins_choices(swept: Swept) -> None:
    folder, result = swept
    assert result.returncode == 0, result.stderr
    assert "| mine density 1.0" in result.stdout and "| st density" in result.stdout
    found = runs(folder, "run")
    assert [run.data.tags["estimator"] for run in found] == ["mine", "st"]
    for run in found:
        assert run.data.tags["bnn.plugins"].startswith("my_package (source ")
        assert run.data.params["model.name"] == "my_net"
        assert run.data.params["plugins"] == "['my_package']"


def test_its_runs_are_in_the_report(swept: Swept) -> None:
    from bnn.report.__main__ import main

    folder, _ = swept
    store = f"sqlite:///{folder}/mlflow.db"
    assert forked(folder, lambda: main(["bnn/digits", "--uri", store])) == 0
    (page,) = folder.rglob("*.html")
    assert "mine density" in page.read_text()


CHOICES = "model: cnn, cnn_generator, gated_cnn, gated_mlp, mlp, mlp_generator, my_net, sbn, vae\n"


def test_help_lists_its_choices(tmp_path: Path) -> None:
    written(tmp_path)
    shown = train(tmp_path, "plugins=my_package", "--help").stdout
    assert ", mine," in shown and CHOICES in shown
    assert ", mine," not in train(tmp_path, "--help").stdout


@pytest.mark.slow
def test_a_study_over_its_choices(tmp_path: Path) -> None:
    written(tmp_path)
    searched = ["hydra/sweeper=bnn_optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.seeds=1"]
    result = train(tmp_path, "-m", *WORDS, *searched, "estimator=mine,st", "trainer.epochs=2")
    assert result.returncode == 0, result.stderr
    trials = runs(tmp_path, "trial")
    assert len(trials) == 2 and all("bnn.plugins" in run.data.tags for run in trials)
    (line,) = [line for line in result.stdout.splitlines() if "python -m bnn.train" in line]
    again = composed(tmp_path, *shlex.split(line)[3:])
    assert again["plugins"] == ["my_package"] and again["model"] == {"name": "my_net", **NET}


def test_a_data_set_of_ones_own(tmp_path: Path) -> None:
    written(tmp_path, DATA)
    quick = [word for word in SMALL if word != "data=digits"]
    result = train(tmp_path, "plugins=[my_package]", "data=my_digits", "model=mlp", *quick)
    assert result.returncode == 0, result.stderr
    (run,) = runs(tmp_path, "run", "bnn/my_digits")
    assert run.data.tags["dataset"] == "my_digits" and run.data.params["data.limit"] == "192"


DOCS = Path(bnn.__file__).resolve().parent.parent / "docs/plugins.md"


@pytest.mark.slow
@pytest.mark.skipif(not DOCS.exists(), reason="the source tree is not at hand")
def test_the_example_of_the_documentation_prints_what_it_says(tmp_path: Path) -> None:
    text = DOCS.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    blocks = re.search(r"```\n(python .*?)\n```\n\n```\n(.*?)```", text, re.DOTALL)
    assert blocks is not None
    command, printed = blocks[1].replace("\\\n", ""), blocks[2]
    written(tmp_path, code)
    result = train(tmp_path, *shlex.split(command)[3:], "device=cpu", *UNSEEN)
    assert result.returncode == 0, result.stderr

    def shown(lines: str) -> list[str]:
        """Without figures and ids, and as many spaces and dashes as they take."""
        kept = [line for line in lines.splitlines() if not line.startswith("open ")]
        return [re.sub(r"\b[0-9a-f]{8}\b|[\d.]+|[ :-]+", " ", line) for line in kept]

    assert shown(result.stdout) == shown(printed)
    (tmp_path / "elsewhere").mkdir()
    (said,) = re.findall(r"```\n(error: .*)\n```", text)
    assert refused(tmp_path / "elsewhere", "plugins=my_packag", "estimator=mine") == said


# ---- launchers

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bnn import train; train.main()"
"""Module that runs the command with a folder on sys.path of which nothing else tells."""


def launched(folder: Path, launcher: str, start: str = START) -> subprocess.CompletedProcess:
    if launcher in NEEDS and importlib.util.find_spec(NEEDS[launcher]) is None:
        pytest.skip(f"{NEEDS[launcher]} is not installed")
    elsewhere, here = folder / "elsewhere", folder / "here"
    here.mkdir()
    written(elsewhere)
    written(here, start, "start.py")
    words = ["-m", *WORDS, "estimator=mine,st", *LAUNCHERS[launcher]]
    return bnn_train(here, str(elsewhere), *words, module="start", OMP_NUM_THREADS="")


@pytest.mark.parametrize(
    "launcher",
    ["joblib", "submitit", "ray"],
)
@pytest.mark.slow
def test_jobs_find_it_in_other_processes(launcher: str, tmp_path: Path) -> None:
    result = launched(tmp_path, launcher)
    assert result.returncode == 0, result.stdout + result.stderr
    found = runs(tmp_path / "here", "run")
    assert sorted(run.data.tags["estimator"] for run in found) == ["mine", "st"]
    (parent,) = runs(tmp_path / "here", "sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {parent.info.run_id}
    assert len({run.data.tags["bnn.plugins"] for run in found}) == 1


@pytest.mark.slow  # as the same sweep with the folder, under the same launcher
def test_they_would_not_without_being_told_where(tmp_path: Path) -> None:
    untold = START.replace("train.main()", "plugins; plugins.loaded_folders = list; train.main()")
    untold = untold.replace("import train", "import train, plugins")
    result = launched(tmp_path, "submitit", untold)
    assert result.returncode == 1 and "2 of 2 runs failed" in result.stderr
    assert "plugins: my_package cannot be imported (ModuleNotFoundError" in result.stdout


# ---- what is refused

RAISING = "import math\n\n\nmath.sqrt(-1)\n"
NOT_PYTHON = "x = 1\ny = = 2\n"
TAKEN = """
from bnn.estimators import Estimator

@Estimator.registry.add("st")
class Other(Estimator):
    pass
"""
AGAIN = DATA.replace("my_digits", "mnist")
BROKEN = {
    "absent": (None, "ModuleNotFoundError: No module named 'my_package'", "PYTHONPATH"),
    "lacking": ("import nowhere", "No module named 'nowhere'", "my_package.py, line 1"),
    "raising": (RAISING, "ValueError: math domain error", "my_package.py, line 4"),
    "no python": (NOT_PYTHON, "SyntaxError", "my_package.py, line 2"),
    "leaving": ("raise SystemExit(2)", "SystemExit: 2", "my_package.py, line 1"),
    "taken": (TAKEN, "estimator.name: 'st' is bnn.estimators.straight_through.", "line 4"),
    "taken data": (AGAIN, "data.name: 'mnist' is bnn.data.archives.", "my_package.py, line 4"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("mode", one_in(2, ["alone", "-m"]))
def test_one_that_cannot_be_imported_is_one_line(kind: str, mode: str, tmp_path: Path) -> None:
    content, *says = BROKEN[kind]
    if content is not None:
        written(tmp_path, content)
    words = ["plugins=[my_package]", "estimator=mine", *QUICK]
    line = refused(tmp_path, *(["-m"] if mode == "-m" else []), *words)
    assert line.startswith("error: plugins: my_package cannot be imported (")
    for said in [*says, "; "]:
        assert said in line, line


MISNAMED = {
    "plugins=3": "names of modules",
    "plugins=[1]": "names of modules",
    "plugins={a:b}": "names of modules",
    "plugins=my_package.py": "my_package;",
    "plugins=[my-package]": "as `import` names it",
    "plugins=a,b": "write plugins=[first,second]",
    "plugins=empty": "a folder with an __init__.py",
}


@pytest.mark.parametrize("word", MISNAMED)
@pytest.mark.parametrize("mode", one_in(2, ["alone", "-m"]))
def test_what_names_no_module_is_one_line(mode: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ["-m"] if mode == "-m" else []
    assert MISNAMED[word] in refused(tmp_path, *words, word, *QUICK)


def test_a_sweep_over_what_names_no_module_is_one_line(tmp_path: Path) -> None:
    assert MISNAMED["plugins=3"] in refused(tmp_path, "-m", "plugins=3", *QUICK)


def test_a_parameter_without_default_must_be_given(tmp_path: Path) -> None:
    written(tmp_path, ESTIMATOR.replace("gain: float = 1.0", "gain: float"))
    words = ["plugins=[my_package]", "estimator=mine", *QUICK]
    assert composed(tmp_path, *words)["estimator"] == {
        "name": "mine",
        "pseudo_derivative": "density",
        "gain": "???",
    }
    assert "estimator.gain: expected a value" in refused(tmp_path, *words)
    assert "estimator.gain: " in refused(tmp_path, "-m", *words, "estimator.gain=1,large")
    result = train(tmp_path, *words, *SMALL, "model=mlp", "estimator.gain=2")
    assert result.returncode == 0, result.stderr


def test_a_network_without_a_depth_is_one_line(tmp_path: Path) -> None:
    content = """
from torch import nn
from bnn.models import MODELS

@MODELS.add("mine")
class Mine(nn.Module):
    def __init__(self, shape, outputs, activations) -> None:
        super().__init__()
"""
    written(tmp_path, content)
    line = refused(tmp_path, "plugins=[my_package]", "model=mine", *QUICK)
    assert "model.name=mine: expected a class attribute 'depth' of Mine in my_package" in line


UNSUITED = {
    "model=mine": """
from torch import nn
from bnn.models import MODELS

@MODELS.add("mine")
class Mine(nn.Module):
    depth = 1
    def __init__(self, hidden=3) -> None:
        super().__init__()
""",
    "estimator=mine": """
from bnn.estimators import Estimator, StraightThrough

@Estimator.registry.add("mine")
class Mine(StraightThrough):
    def __init__(self, gain) -> None:
        super().__init__()
""",
}


@pytest.mark.parametrize("word", UNSUITED)
def test_a_constructor_of_other_parameters_is_one_line(word: str, tmp_path: Path) -> None:
    written(tmp_path, UNSUITED[word])
    line = refused(tmp_path, "plugins=[my_package]", word, *QUICK)
    assert "my_package.Mine(" in line and "expects other parameters" in line


def test_a_network_that_ignores_its_activations_is_refused(tmp_path: Path) -> None:
    content = """
from torch import nn
from bnn.models import MODELS

@MODELS.add("mine")
class Mine(nn.Module):
    depth = 1
    def __init__(self, shape, outputs, activations) -> None:
        super().__init__()
        self.layer = nn.Linear(64, outputs)
    def forward(self, x):
        return self.layer(x.flatten(1))
"""
    written(tmp_path, content)
    line = refused(tmp_path, "plugins=[my_package]", "model=mine", *QUICK)
    assert "model=mine with placement=" in line and "no binary layer ran" in line


# ---- configurations


def test_a_group_within_a_choice_is_a_group(tmp_path: Path) -> None:
    """An estimator that takes a baseline, from its signature alone."""
    content = """
from bnn.estimators import Baseline, Estimator
from bnn.estimators.score_function import Reinforce

@Estimator.registry.add("mine")
class Mine(Reinforce):
    def __init__(self, *, baseline: Baseline | str = "none", gain: float = 1.0) -> None:
        super().__init__(baseline=baseline)
"""
    written(tmp_path, content)
    words = ["plugins=[my_package]", "estimator=mine"]
    node = composed(tmp_path, *words)["estimator"]
    assert node == {"name": "mine", "gain": 1.0, "baseline": {"name": "none"}}
    other = composed(tmp_path, *words, "estimator/baseline=leave_one_out")["estimator"]
    assert other["baseline"] == {"name": "leave_one_out", "samples": 4}

    def choices() -> list[list[str]]:
        from bnn.specify import estimator_choices, setup

        setup(compose([*words, "data=digits"]))
        return estimator_choices()

    there = forked(tmp_path, choices)
    assert ["estimator=mine", "estimator/baseline=moving_average"] in there


KINDS = """
from bnn.estimators import Baseline
from bnn.nn.neurons import Neuron
from bnn.nn.noise import NoiseLaw
from bnn.training.schedules import SCHEDULES
from bnn.tasks import Task
from bnn.training.optimizers import OPTIMIZERS

@Baseline.registry.add("mine")
class MyBaseline(Baseline.registry["none"]):
    pass

@Neuron.registry.add("mine")
class MyNeuron(Neuron.registry["stochastic"]):
    pass

@NoiseLaw.registry.add("mine")
class MyLaw(NoiseLaw.registry["logistic"]):
    pass

@SCHEDULES.add("mine")
def my_schedule(*, slope: float = 2.0):
    return lambda epoch, epochs: slope

@OPTIMIZERS.add("mine")
def my_optimizer(*, lr: float = 0.1):
    rest = dict(momentum=0.0, weight_decay=0.0, lr_schedule="constant", warmup=0.0)
    return OPTIMIZERS["sgd"](lr=lr, **rest)
"""


def test_every_kind_of_choice_can_be_brought(tmp_path: Path) -> None:
    written(tmp_path, KINDS)
    choices = ["estimator=reinforce", "estimator/baseline=mine", "neuron=mine", "neuron.law=mine"]
    words = ["plugins=[my_package]", *choices, "anneal=mine", "optimizer=mine", "data=digits"]

    def made() -> tuple[dict[str, Any], float, list[str]]:
        from bnn.specify import setup

        checked = setup(compose(words))
        neurons = [module for module in checked.model.modules() if hasattr(module, "law")]
        kinds = [type(neurons[0]).__name__, type(neurons[0].law).__name__]
        return dict(checked.spec.config), checked.training.schedule(0, 1), kinds

    config, slope, kinds = forked(tmp_path, made)
    assert config["estimator"]["baseline"] == {"name": "mine"}
    assert slope == 2.0 and config["optimizer"] == {"name": "mine", "lr": 0.1}
    assert kinds == ["MyNeuron", "MyLaw"]


def test_a_conf_folder_joins_the_search_path(tmp_path: Path) -> None:
    written(tmp_path, ESTIMATOR, "my_package/__init__.py")
    choice = "name: mine\npseudo_derivative: identity\ngain: 3.0\n"
    written(tmp_path, choice, "my_package/conf/estimator/mine.yaml")
    recipe = "# @package _global_\ndefaults:\n  - override /estimator: mine\nseed: 7\n"
    written(tmp_path, recipe, "my_package/conf/experiment/my_recipe.yaml")
    made = composed(tmp_path, "plugins=[my_package]", "experiment=my_recipe")
    assert made["seed"] == 7
    assert made["estimator"] == {"name": "mine", "pseudo_derivative": "identity", "gain": 3.0}
    with pytest.raises(ConfigError, match="experiment=my_recipe"):
        compose(["experiment=my_recipe"])


def test_a_yaml_that_would_not_be_read_is_refused(tmp_path: Path) -> None:
    written(tmp_path, ESTIMATOR, "my_package/__init__.py")
    written(
        tmp_path, "name: st\npseudo_derivative: identity\n", "my_package/conf/estimator/st.yaml"
    )
    line = refused(tmp_path, "plugins=[my_package]", *QUICK)
    assert "bnn has a conf/estimator/st.yaml already; rename" in line


def test_an_entry_point_needs_no_naming(tmp_path: Path) -> None:
    site = tmp_path / "site"
    written(site, ESTIMATOR + DATA)
    about = site / "my_dist-0.3.dist-info"
    written(about, "Metadata-Version: 2.1\nName: my-dist\nVersion: 0.3\n", "METADATA")
    written(about, "[bnn.plugins]\nmine = my_package\n", "entry_points.txt")

    def tag() -> tuple[dict[str, Any], list[str]]:
        from bnn import plugins
        from bnn.report.html.snapshots import fixed_test_images
        from bnn.specify import setup

        sys.path.append(str(site))
        plugins._installed.cache_clear()
        assert len(fixed_test_images("my_digits", {})) == 10, "the report's pictures"
        config = compose(["estimator=mine", "data=digits"])
        return canonical(config), [str(plugin) for plugin in setup(config).spec.plugins]

    made, loaded = forked(tmp_path, tag)
    assert made["estimator"]["gain"] == 1.0 and "plugins" not in made
    (shown,) = loaded
    assert shown.startswith("my_package 0.3 (source ")
    written(about, "[bnn.plugins]\nmine = my_package:Mine\n", "entry_points.txt")
    with pytest.raises(AssertionError, match="of my-dist names an object; expected a module"):
        forked(tmp_path, tag)


def test_the_digest_of_a_configuration_without_plugins_is_what_it_was() -> None:
    plain = canonical(compose(["seed=0"]))
    assert list(plain) == [*GROUPS, *TOP]
    assert canonical(compose(["plugins=[]"])) == canonical(compose(["plugins=null"])) == plain
    with_plugins = plain | {"plugins": ["my_package"]}
    assert digest(with_plugins) != digest(plain)


def test_their_order_does_not_matter(tmp_path: Path) -> None:
    written(tmp_path, ESTIMATOR, "first.py")
    written(tmp_path, NETWORK, "second.py")
    one = composed(tmp_path, "plugins=[first,second]")
    other = composed(tmp_path, "plugins=[second,first,second]")
    assert one == other and one["plugins"] == ["first", "second"]


# ---- resuming


def resumed(folder: Path, source: Path) -> str:
    words = ["-m", *WORDS, "estimator=mine,st", "resume=true"]
    result = train(folder, *words, f"hydra.sweep.dir={source.stem}")
    assert result.returncode == 0, result.stderr
    return next(line for line in result.stdout.splitlines() if "finished before" in line)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my_package.py", "my_package/inner.py"])
def test_resume_trains_again_what_an_edit_may_have_changed(name: str, tmp_path: Path) -> None:
    source = written(tmp_path, ESTIMATOR + NETWORK, name)
    if source.parent != tmp_path:
        written(tmp_path, "from my_package import inner\n", "my_package/__init__.py")
    assert "0 of them finished before" in resumed(tmp_path, source)
    assert "2 of them finished before" in resumed(tmp_path, source)
    source.write_text(source.read_text() + "\n# another thought\n")
    assert "0 of them finished before" in resumed(tmp_path, source)
    assert len({run.data.tags["bnn.result_key"] for run in runs(tmp_path, "run")}) == 4
    assert len({run.data.tags["bnn.digest"] for run in runs(tmp_path, "run")}) == 2


# ---- checkpoints, prediction, the lab


def test_a_checkpoint_loads_its_plugins(swept: Swept, tmp_path: Path) -> None:
    from bnn.fitted import checkpoint_config
    from bnn.predict import main as predict
    from bnn.restore import load_checkpoint

    folder, _ = swept
    checkpoint = next(folder.rglob("best.pt"))
    loaded = forked(folder, lambda: type(load_checkpoint(checkpoint)[0]).__module__)
    assert loaded == "my_package"

    def choices() -> list[list[str]]:
        from bnn.specify import estimator_choices

        checkpoint_config(checkpoint)
        return estimator_choices()

    assert ["estimator=mine"] in forked(folder, choices)

    def said() -> tuple[int, str]:
        import io

        with contextlib.redirect_stderr(io.StringIO()) as error:
            return predict([str(checkpoint), "image.png"]), error.getvalue()

    code, line = forked(tmp_path, said)
    assert code == 1 and len(line.splitlines()) == 1
    assert "plugins: my_package cannot be imported (ModuleNotFoundError" in line


@pytest.mark.slow
def test_the_lab_measures_it(tmp_path: Path) -> None:
    written(tmp_path)
    toy = ["data=digits", "model=my_net", "model.hidden=3", "model.norm=none", "placement=last"]
    counts = ["--draws", "2", "--warm", "0", "--reference", "2", "--batch", "4", "--epochs", "0"]

    def page() -> str:
        import io

        from bnn.lab.__main__ import main

        with contextlib.redirect_stdout(io.StringIO()) as out:
            main([*toy, "plugins=[my_package]", "device=cpu", *counts])
        return out.getvalue()

    assert "| mine density 1.0" in forked(tmp_path, page)


def test_the_benchmark_times_it(tmp_path: Path) -> None:
    from bnn.benchmark.__main__ import benchmark_config
    from bnn.specify import estimator_choices, setup

    written(tmp_path)

    def choices() -> tuple[str, list[list[str]]]:
        overrides = ["plugins=[my_package]", "model=my_net", *SIZES, "data=digits"]
        config = benchmark_config(overrides, 1)
        return type(setup(config).model).__module__, estimator_choices()

    module, there = forked(tmp_path, choices)
    assert module == "my_package" and ["estimator=mine"] in there


# ---- registries


def test_a_name_is_given_once() -> None:
    registry: Registry[Any] = Registry("thing")
    REGISTRIES.remove(registry)
    made = {"__module__": "a", "__qualname__": "One"}
    registry.add("one")(type("One", (), made))
    again = type("One", (), made)
    assert registry.add("one")(again) is registry["one"] is again, "the module was imported again"
    with pytest.raises(ConfigError, match=r"thing: 'one' is a\.One already; give b\.One another"):
        registry.add("one")(type("One", (), made | {"__module__": "b"}))
    assert registry["one"] is again


def with_defaults(
    *,
    needed: int,
    law: NoiseLaw | str = "logistic",
    control: Baseline | None = None,
    rate: float = 0.5,
) -> tuple[Any, ...]:
    return needed, law, control, rate


def test_what_has_a_default_may_be_left_out() -> None:
    registry: Registry[tuple[Any, ...]] = Registry("thing.name")
    REGISTRIES.remove(registry)
    registry.add("one")(with_defaults)
    kinds = {"needed": int, "law": NoiseLaw, "control": Baseline, "rate": float}
    assert registry.parameters("one") == kinds
    assert registry.build({"name": "one", "needed": 3}) == (3, "logistic", None, 0.5)
    given = {"law": "uniform", "control": {"name": "none"}, "rate": 1}
    _, law, control, rate = registry.build({"name": "one", "needed": 3, **given})
    assert isinstance(law, NoiseLaw) and isinstance(control, Baseline) and rate == 1.0
    assert registry.build({"name": "one", "needed": 3, "control": None})[2] is None
    with pytest.raises(ConfigError, match=r"thing\.needed: expected a value"):
        registry.build({"name": "one"})
    with pytest.raises(ConfigError, match=r"thing\.raet: .*expected one of needed, law, control"):
        registry.build({"name": "one", "needed": 3, "raet": 1.0})


def test_annotations_that_cannot_be_read_are_one_line() -> None:
    def hidden(*, one: Nowhere = 1) -> None: ...  # type: ignore[name-defined]

    registry: Registry[None] = Registry("thing.name")
    REGISTRIES.remove(registry)
    registry.add("one")(hidden)
    with pytest.raises(ConfigError, match="name 'Nowhere' is not defined"):
        registry.build({"name": "one"})


YAMLS: dict[str, Registry[Any]] = {
    "estimator": Estimator.registry,
    "estimator/baseline": Baseline.registry,
    "neuron": Neuron.registry,
    "model": MODELS,
    "model/sparsity": Sparsity.registry,
    "anneal": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "task": Task.registry,
}


CHOOSING = {"estimator/baseline": ["estimator=reinforce"], "model/sparsity": ["model=gated_mlp"]}
"""Choices under which a group within another exists."""


def disagreements(group: str, name: str, registry: Registry[Any]) -> list[str]:
    """Keys of a built-in choice whose yaml says something else than the constructor's signature."""
    choosing = {
        "estimator/baseline": ["estimator=reinforce"],
        "model/sparsity": ["model=gated_mlp"],
    }
    words = choosing.get(group, [])
    node: Any = compose([*words, f"{group}={name}"])
    for part in group.split("/"):
        node = node[part]

    def shown(value: Any) -> Any:
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        return plain["name"] if isinstance(plain, dict) and "name" in plain else plain

    defaults = registry.defaults(name)
    without = [key for key in registry.parameters(name) if key not in defaults]
    return [
        *without,
        *(key for key, one in defaults.items() if key not in node or shown(node[key]) != one),
    ]


@pytest.mark.parametrize("group", YAMLS)
def test_a_yaml_and_a_signature_have_the_same_defaults(group: str) -> None:
    registry = YAMLS[group]
    assert registry.group == group and len(registry)
    assert {path.stem for path in (shipped("conf") / group).glob("*.yaml")} == set(registry)
    for name in registry:
        assert disagreements(group, name, registry) == [], f"conf/{group}/{name}.yaml"


def test_a_default_that_differs_from_its_yaml_is_found() -> None:
    other: Registry[None] = Registry("estimator.name")
    REGISTRIES.remove(other)

    def reinforce(*, baseline: Baseline | str = "none") -> None: ...

    def st(*, pseudo_derivative: str = "identity") -> None: ...

    def reinmax(*, tau: float = 1.0) -> None: ...

    for constructor in (reinforce, st, reinmax):
        other.add(constructor.__name__)(constructor)
    assert disagreements("estimator", "reinforce", other) == ["baseline"]
    assert disagreements("estimator", "st", other) == ["pseudo_derivative"]
    assert disagreements("estimator", "reinmax", other) == []
