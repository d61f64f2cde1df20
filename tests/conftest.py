"""What the tests share: where MNIST is, and one thread a worker, since the workers share the cores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import bnn  # noqa: F401  (makes hydra_plugins importable)

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def mnist_root() -> Path:
    """A data root that holds MNIST's four archives; skips where BNN_TEST_DATA does not name one."""
    root = os.environ.get("BNN_TEST_DATA")
    if not root:
        pytest.skip("BNN_TEST_DATA names no folder with MNIST/raw: tests on real MNIST are skipped")
    return Path(root)
