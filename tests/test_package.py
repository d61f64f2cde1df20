"""Wheel and source tree behave the same: YAML files, Hydra plug-in, console script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bnn

ROOT = Path(bnn.__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.skipif(
        not (ROOT / "pyproject.toml").exists(), reason="the source tree is not at hand"
    ),
    pytest.mark.integration,
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from a copy so that the tree stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    wanted = ("bnn", "conf", "sweeps", "pyproject.toml", "README.md", "LICENSE")
    for name in wanted:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (folder / "tree").mkdir(exist_ok=True)
            shutil.copy(source, folder / "tree" / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        ".",
        "./tree",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(wheel: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    result = subprocess.run(
        [sys.executable, *words], cwd=wheel.parent, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_yaml_and_every_plugin_module_is_in_the_wheel(wheel: Path) -> None:
    for top, pattern in (("conf", "**/*.yaml"), ("sweeps", "hydra_plugins/**/*.py")):
        there = {path.relative_to(ROOT / top) for path in (ROOT / top).glob(pattern)}
        assert there and there == {
            path.relative_to(wheel / "bnn" / top) for path in (wheel / "bnn" / top).glob(pattern)
        }


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    there = {path.relative_to(ROOT / "bnn") for path in (ROOT / "bnn").glob("**/*.py")}
    packed = {path.relative_to(wheel / "bnn") for path in (wheel / "bnn").glob("**/*.py")}
    assert there <= packed


def test_the_wheel_composes_every_experiment(wheel: Path) -> None:
    code = (
        "import bnn, pathlib, sys\n"
        "assert str(pathlib.Path(bnn.__file__)).startswith(sys.argv[1]), bnn.__file__\n"
        "from bnn.config.canonical import canonical; from bnn.config.compose import compose\n"
        "from bnn.paths import folder\n"
        "names = sorted(p.stem for p in (folder('conf') / 'experiment').glob('*.yaml'))\n"
        "print([(n, canonical(compose([f'experiment={n}']))['task']) for n in names])"
    )
    composed = run(wheel, "-c", code, str(wheel))
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert path.stem in composed


@pytest.mark.slow
def test_the_wheel_finds_its_sweeper(wheel: Path) -> None:
    assert "2 runs, about" in run(
        wheel, "-m", "bnn.train", "-m", "data=digits", "placement=first,last", "dry_run=true"
    )


@pytest.mark.slow
def test_the_wheel_finds_its_study_sweeper(wheel: Path) -> None:
    words = ["-m", "study=anneal", "data=digits", "dry_run=true"]
    assert "30 trials of 2 seeds" in run(wheel, "-m", "bnn.train", *words)


def test_hydra_discovers_the_sweepers() -> None:
    code = (
        "import bnn\nfrom hydra.core.plugins import Plugins\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "print(sorted(c.__name__ for c in Plugins.instance().discover(Sweeper)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "GridSweeper" in found and "StudySweeper" in found


def test_the_console_script_is_declared(wheel: Path) -> None:
    (declared,) = wheel.glob("binary_neurons-*.dist-info/entry_points.txt")
    assert "bnn = bnn.__main__:main" in declared.read_text()
