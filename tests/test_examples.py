"""Examples run and learn, and the code of docs/library.md and docs/extending.md runs."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import bnn
import bnn.library
from bnn.errors import ConfigError, NoEstimatorError
from bnn.estimators import ReinMax
from bnn.estimators.score_function import Reinforce
from bnn.registry import REGISTRIES

ROOT = Path(bnn.__file__).resolve().parent.parent
FILES = sorted((ROOT / "examples").glob("*.py"))
pytestmark = [
    pytest.mark.skipif(not FILES, reason="the source tree is not at hand"),
    pytest.mark.integration,
]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove after a test what examples and pages register and write."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))
    monkeypatch.chdir(tmp_path)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 100
    assert f"(../examples/{path.name})" in page("library")


# The thresholds are out of reach for frozen lower layers, whose accuracy stands beside them.


def test_both_estimators_of_the_sequential_network_learn() -> None:
    accuracy = example("sequential").main()
    assert accuracy["ReinMax"] > 0.85 and accuracy["REINFORCE"] > 0.75, "frozen: 0.14"


def test_the_plain_loop_learns() -> None:
    accuracy = example("plain_loop").main()
    assert accuracy["drawn"] > 0.8 and accuracy["thresholded"] > 0.88, "frozen: 0.44 and 0.74"


def test_the_functions_learn() -> None:
    assert example("functional").main() > 0.85, "frozen: 0.15"


@pytest.mark.slow
def test_the_lightning_module_learns() -> None:
    pytest.importorskip("lightning")
    assert example("lightning_module").main() > 0.8, "frozen: 0.40"


def test_without_lightning_the_example_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(SystemExit, match=r'needs Lightning: pip install -e "\.\[lightning\]"'):
        example("lightning_module")


def test_the_residual_network_learns_and_needs_its_norms_converted() -> None:
    residual = example("residual")
    assert residual.main() > 0.87, "frozen: 0.69"
    images, labels = torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigError, match="convert_batch_norms"):
        bnn.estimators.Reinforce()(residual.network(), images, labels)


def test_the_own_estimator_keeps_its_claims_and_learns() -> None:
    assert example("own_estimator").main() > 0.85, "frozen: 0.69"


def test_the_own_data_set_is_learned_from_tensors_and_by_name() -> None:
    accuracy = example("own_data").main()
    assert set(accuracy) == {"tensors", "name"} and min(accuracy.values()) > 0.95, "frozen: 0.50"


def test_the_own_callback_adds_a_metric_that_falls_as_the_network_settles() -> None:
    changed = example("own_callback").main()
    assert changed[0] > 0.1 > 0.02 > changed[-1] >= 0


def run(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_own_data_set_task_and_estimator_are_choices_of_the_command_line(
    tmp_path: Path,
) -> None:
    plugins = "plugins=[own_data,own_task,own_estimator]"
    choices = ["data=bars", "task=reconstruction", "estimator=batch_reinforce", "model=mlp"]
    words = ["-m", "bnn.train", plugins, *choices, "dry_run=true", f"hydra.run.dir={tmp_path}"]
    ran = run(*words, folder=ROOT / "examples")
    assert ran.returncode == 0, ran.stderr
    assert "batch_reinforce" in ran.stdout and "bars" in ran.stdout


def test_the_own_task_learns() -> None:
    assert example("own_task").main() < 23.5, "frozen: 26.1 nats"


@pytest.mark.slow
def test_an_example_runs_as_a_script(tmp_path: Path) -> None:
    ran = run(ROOT / "examples" / "own_data.py", folder=tmp_path)
    assert ran.returncode == 0 and ran.stdout.count("test accuracy") == 2, ran.stderr


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```\n", page(name), re.DOTALL | re.MULTILINE)
    return [code for one, code in found if one == language]


def executed(name: str) -> dict:
    """Names defined by a page's code, which is executed from top to bottom.

    Indented blocks, which quote methods, are left out.
    """
    scope: dict = {"__name__": "page"}
    torch.manual_seed(0)
    for code in blocks(name, "python"):
        if not code.startswith("    "):
            exec(code, scope)
    return scope


def test_the_code_of_the_library_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = {}
    monkeypatch.setattr(
        bnn.library,
        "_fit_tracked",
        lambda *given: logged.update(given=given) or bnn.library.FitResult(1, (), 0, None),
    )
    scope = executed("library")
    assert scope["result"].history[-1]["val/accuracy"] > 0.7
    assert set(scope["scores"]) == {"sampled", "mc_mean", "threshold"}
    assert not torch.equal(scope["drawn"], scope["thresholded"])
    assert scope["a"].grad is not None and set(scope["b"].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(
        scope["exported"].module()(scope["x"]),
        bnn.nn.apply(scope["net"], scope["x"], bnn.nn.threshold),
    )
    assert bnn.MLflow("mine", name="second try") in logged["given"]


def test_the_error_of_the_library_page_is_that_of_a_neuron() -> None:
    (expected,) = blocks("library", "")
    with pytest.raises(NoEstimatorError) as caught:
        nn.Sequential(nn.Linear(3, 2), bnn.Stochastic())(torch.zeros(2, 3))
    assert " ".join(expected.split()) == f"NoEstimatorError: {caught.value}"


class Around(nn.Module):
    """Network with a path around its binary layer, and a module above its bits."""

    def __init__(self, above: nn.Module) -> None:
        super().__init__()
        self.below, self.neuron, self.above = nn.Linear(3, 3), bnn.Stochastic(), above

    def forward(self, x):
        return x + self.above(self.neuron(self.below(x)))


X, Y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


@pytest.mark.parametrize("estimator", [bnn.estimators.Reinforce, bnn.estimators.DisARM])
def test_estimators_of_several_passes_refuse_what_the_library_page_says(estimator: type) -> None:
    estimator()(Around(nn.Identity()), X, Y)
    with pytest.raises(ValueError, match="dropout"):
        estimator()(Around(nn.Dropout(0.1)), X, Y)
    with pytest.raises(ConfigError, match="convert_batch_norms"):
        estimator()(Around(nn.BatchNorm1d(3)), X, Y)
    with pytest.raises(ConfigError, match="path around"):
        bnn.estimators.Enumeration()(Around(nn.Identity()), X, Y)
    for above in (nn.Identity(), nn.Dropout(0.1), nn.BatchNorm1d(3)):
        assert math.isfinite(float(ReinMax()(Around(above), X, Y).detach()))


def test_the_code_of_the_extending_page_runs_and_keeps_its_claims() -> None:
    scope = executed("extending")
    scope["test_mine_keeps_its_claims"]()
    bnn.testing.check_unbiased(scope["estimator"], "two layers")
    law, a = scope["Cauchy"](), torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(law.cdf(a).sum(), a)
    torch.testing.assert_close(slope, law.density(a))
    torch.testing.assert_close(law.quantile(law.cdf(a)), a)
    assert float(law.density(torch.zeros(()))) == 0.5
    latent = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    scope["HardTanh"](init=0.1).pseudo_mean(latent).sum().backward()
    assert latent.grad is not None and latent.grad.tolist() == [0, 1, 1, 0]


def test_the_methods_that_the_extending_page_reads_are_those_of_the_code() -> None:
    quoted = [code for code in blocks("extending", "python") if code.startswith("    ")]
    assert quoted == [
        inspect.getsource(Reinforce.surrogate_loss),
        inspect.getsource(ReinMax.sample),
    ]


def test_a_group_of_ones_own_leaves_the_settings_of_the_others() -> None:
    data = bnn.data.load({"name": "digits", "limit": 64}, seed=0, validation_fraction=0.1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), bnn.Stochastic(), nn.Linear(4, 10))
    net[3].parameter_group = "codes"
    optimizer = {"name": "adam", "groups": {"codes": {"lr": 0.001}}}
    bnn.fit(net, data, estimator="nvil", optimizer=optimizer, epochs=1, progress="none")


@pytest.mark.parametrize("name", ["st", "reinforce", "disarm", "muprop", "relax"])
def test_distributed_data_parallel_leaves_the_gradient_as_it_is(name: str, tmp_path: Path) -> None:
    """Of a group of one process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        found = []
        for wrap in (lambda one: one, nn.parallel.DistributedDataParallel):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Linear(3, 4),
                bnn.Stochastic(),
                nn.Linear(4, 2),
                bnn.Stochastic(),
                nn.Linear(2, 3),
            )
            estimator = bnn.estimators.Estimator.registry.build(name).init(net, X)
            wrapped = wrap(net)
            for _ in range(2):
                estimator(wrapped, X, Y).backward()
            found.append([parameter.grad for parameter in net.parameters()])
        for alone, parallel in zip(*found, strict=True):
            torch.testing.assert_close(parallel, alone)
    finally:
        torch.distributed.destroy_process_group()
