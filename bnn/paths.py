"""Paths of the folders `conf` and `sweeps`, in a source tree or a wheel; network file systems."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path, PurePosixPath

NETWORK = (
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
)
"""Types of network file systems, on which file locks are slow or broken."""


def folder(name: str) -> Path:
    """Absolute path of a top-level folder that is shipped with the package.

    It lies beside the package in a source tree, and inside the package in a wheel.

    Args:
        name: `conf` or `sweeps`.

    Raises:
        FileNotFoundError: when the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation of bnn lacks its folder {name!r}: reinstall it")


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Type of the network file system that holds a path; None where it is local or unknown.

    Args:
        path: file or folder.
        mounts: table of mounts, in the format of /proc/mounts.
    """
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    place = PurePosixPath(path.absolute())
    holding = [
        (point, kind)
        for _, point, kind, *_ in lines
        if place.is_relative_to(point.replace("\\040", " "))
    ]
    # of several mounts at one point the last hides the others; max returns the first of equals
    _, kind = max(reversed(holding), key=lambda found: len(found[0]), default=("", ""))
    return kind if kind in NETWORK else None


def shared_file_warning(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Warning about a database file on a network file system; None for a local one."""
    if (kind := network_file_system(path, mounts)) is None:
        return None
    return (
        f"warning: {path} lies on a network file system ({kind}), where several writers can damage "
        "it: use a server (docker-compose.yml), or a folder of this machine and python -m bnn.sync "
        "afterwards"
    )


def remove_unused(directory: Path) -> None:
    """Remove the directory of a refused command, with the date's above it if it is empty then.

    One in which a run began has more than Hydra's record of the configuration, and stays.

    Args:
        directory: directory that Hydra made.
    """
    if not directory.is_dir():
        return
    if {entry.name for entry in directory.iterdir()} <= {".hydra", "multirun.yaml"}:
        if directory.resolve() == Path.cwd():
            return
        shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):  # another command is in there
            for parent in (directory.parent, directory.parent.parent):
                parent.rmdir()
