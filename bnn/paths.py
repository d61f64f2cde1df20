"""Where the top-level folders `conf` and `sweeps` lie: beside the package in a source tree, inside it in a wheel."""

from __future__ import annotations

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
"""Kinds of file systems that other machines share, on which locks are slow or broken."""


def folder(name: str) -> Path:
    """Absolute path of a top-level folder that is shipped with the package.

    Errors: FileNotFoundError when the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation of bnn lacks its folder {name!r}: reinstall it")


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The kind of network file system on which `path` lies; None where it is local, or where that cannot be told."""
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
    kind = max(holding, key=lambda found: len(found[0]), default=("", ""))[
        1
    ]  # of mounts at one point the last is seen
    return kind if kind in NETWORK else None


def shared_file_warning(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """What to say of a database file that other machines may write too."""
    if (kind := network_file_system(path, mounts)) is None:
        return None
    return (
        f"warning: {path} lies on a network file system ({kind}), where several writers can damage it: use a server "
        "(docker-compose.yml), or a folder of this machine and python -m bnn.sync afterwards"
    )
