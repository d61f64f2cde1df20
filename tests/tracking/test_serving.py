"""The model of a run, served by `mlflow models serve`, answers what the run's network answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from support.command_line import QUICK, environment, run_here, runs

from bnn.predict import predicted
from bnn.restore import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.server]


def answer(port: int, pixels: torch.Tensor) -> list[list[float]] | None:
    """The served class probabilities; None while nothing answers."""
    content = json.dumps({"inputs": pixels.tolist()}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", content, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["predictions"]
    except urllib.error.URLError:
        return None


def test_a_served_model_answers_as_the_network_does(tmp_path: Path) -> None:
    words = [
        "neuron=deterministic",
        "optimizer=adam",
        "tracking.model=true",
        "trainer.progress=none",
    ]
    assert run_here(tmp_path, *QUICK, *words).returncode == 0
    (run,) = runs(tmp_path, "run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m",
         f"models:/{run.outputs.model_outputs[0].model_id}",
         "--env-manager", "local", "--port", str(port)],
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db", PATH=os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"]])),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        pixels, deadline = torch.rand(3, 1, 8, 8), time.monotonic() + 120
        while (served := answer(port, pixels)) is None:
            assert time.monotonic() < deadline and server.poll() is None, "the model is not served"
            time.sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (file,) = tmp_path.glob("outputs/**/best.pt")
    network, _ = load_checkpoint(file)
    expected = torch.cat(
        [predicted(network, (one[None] - 0.3053) / 0.3761, 1, 0)[0][None] for one in pixels]
    )
    torch.testing.assert_close(
        torch.tensor(served, dtype=torch.float64), expected, rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(expected, predicted(network, pixels[:1], 1, 0)[0], atol=1e-3), (
        "pixels are normalised inside"
    )
