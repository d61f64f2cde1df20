"""Fixtures of all tests: MNIST, a ready MLflow store, kept compositions; one thread a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import config, install_import_hook

# shapes of public tensor arguments are checked in the tests: before their modules are imported
CHECKED = [
    "bnn.functional",
    "bnn.nn.noise",
    "bnn.nn.neurons",
    "bnn.tasks.classification",
    "bnn.estimators.base",
]
install_import_hook(CHECKED, "beartype.beartype")

import bnn  # noqa: E402  (makes hydra_plugins importable)

assert bnn

# a shell starts background jobs with SIGINT ignored, which the commands of the tests would inherit
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session", autouse=True)
def ready_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stores that this process and its commands make are copies of one ready store."""
    from support.command_line import ReadyStore

    from bnn.tracking import store

    ReadyStore.path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "_make_database", ReadyStore.copy)
        yield


@pytest.fixture(scope="session", autouse=True)
def kept_compositions() -> Iterator[None]:
    """Configurations of overrides that were composed before are copies."""
    from support.compositions import KeptCompositions

    from bnn.config import compose

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compose, "hydra_compose", KeptCompositions.copy)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the shapes of tensor arguments in unit tests alone, which call the same functions."""
    marks = {mark.name for mark in item.iter_markers()}
    config.update("jaxtyping_disable", bool(marks & {"numerical", "integration"}))


@pytest.fixture
def mnist_root() -> Path:
    """A data root that holds MNIST's four archives; skips where BNN_TEST_DATA does not name one."""
    root = os.environ.get("BNN_TEST_DATA")
    if not root:
        pytest.skip("BNN_TEST_DATA names no folder with MNIST/raw: tests on real MNIST are skipped")
    return Path(root)
