"""Where files lie, and whether other machines share them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import run_here

from bnn.paths import network_file_system, shared_file_warning

MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/ada/scratch tmpfs rw 0 0
//share /mnt/the\\040share cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/mlflow.db", None),
        ("/home/ada/mlflow.db", "nfs4"),
        ("/home/ada/scratch/mlflow.db", None),
        ("/homely/mlflow.db", None),
        ("/mnt/the share/optuna.journal", "cifs"),
    ],
)
def test_a_file_on_a_network_file_system_is_told(
    path: str, kind: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert network_file_system(Path(path), mounts) == kind
    said = shared_file_warning(Path(path), mounts)
    assert (
        said is None
        if kind is None
        else (kind in said and path in said and "docker-compose" in said)
    )


def test_where_it_cannot_be_told_nothing_is_said(tmp_path: Path) -> None:
    assert shared_file_warning(Path("/home/ada/mlflow.db"), tmp_path / "none") is None


@pytest.mark.slow
@pytest.mark.integration
def test_a_sweep_says_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bnn.runs.dry_run.shared_file_warning", lambda path: f"warning: shared {path}"
    )
    result = run_here(
        tmp_path,
        "-m",
        "data=digits",
        "data.limit=64",
        "model=mlp",
        "trainer.epochs=1",
        "seed=0,1",
        "device=cpu",
    )
    assert result.stdout.count("warning: shared") == 1
