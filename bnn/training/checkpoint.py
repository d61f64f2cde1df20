"""Checkpoints: tensors and plain values, written atomically and read with `weights_only=True`.

A file carries the SHA-256 of its content under the key `checksum`, which is compared whenever it is
read; `torch.load` compares none. Files of versions 0.1.0 and 0.2.0 have no such key; like all files
of `torch.save` they carry the CRC-32 of each of their records.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from bnn.errors import CheckpointError
from bnn.interruption import uninterrupted
from bnn.version import __version__

BEST, LAST = "best.pt", "last.pt"
"""File names of the best network so far with its configuration, and of the whole state that a
training goes on from."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or a quota, that is full."""
CHECKSUM = "checksum"
"""Key of the checksum of all other keys."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill, a full disk or a power cut in the middle leaves the previous one.

    SIGINT and SIGTERM wait for the end: within torch's writer an interruption would look like a
    disk that is full.

    Args:
        path: the file; its directory is made where it is missing.
        content: tensors and plain values by key.

    Raises:
        CheckpointError: where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    content = {"version": __version__, **content}
    try:
        with uninterrupted():
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save({**content, CHECKSUM: checksum(content)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    # torch raises RuntimeError for a write that fell short
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        causes = [error, error.__cause__, error.__context__]
        system = next((one for one in causes if isinstance(one, OSError)), None)
        why = (system and system.strerror) or str(error).partition("\n")[0]
        refused = system is not None and system.errno not in FULL
        advice = "expected a folder that can be written" if refused else "make room"
        if os.path.exists(path):  # Path.exists raises where a folder may not be searched
            advice += "; the one of the epoch before is kept, from which resume=true goes on"
        raise CheckpointError(f"{path} cannot be written ({why}): {advice}") from error


def load(file: Path | str | BinaryIO, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Content of a checkpoint, without its checksum. No pickled code is run.

    Args:
        file: path, or open file.
        device: device of the tensors.

    Raises:
        CheckpointError: for a file that is missing, damaged, or no checkpoint.
    """
    file = Path(file) if isinstance(file, str) else file
    try:
        damaged = _damaged_record(file)
        with warnings.catch_warnings():  # of odd pickles, which the checksum decides on
            warnings.simplefilter("ignore")
            content = None if damaged else torch.load(file, map_location=device, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch.load has no exception of its own for what it cannot read
        raise CheckpointError(
            f"{file} is no checkpoint that can be read: expected tensors and plain values in the "
            f"format of torch.save ({type(error).__name__})"
        ) from error
    if damaged:
        raise CheckpointError(f"{file} is damaged: its record {damaged} differs from its checksum")
    if not isinstance(content, dict):
        found = type(content).__name__
        raise CheckpointError(f"{file} is no checkpoint: expected values by key, got a {found}")
    written = content.pop(CHECKSUM, None)
    if written is not None and written != checksum(content):
        raise CheckpointError(f"{file} is damaged: its content differs from its checksum")
    return content


def load_last(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Content of a last.pt, from which a training goes on.

    Args:
        file: the file.
        device: device of the tensors.

    Raises:
        CheckpointError: for a file that is missing, damaged, or none; it says how to go on without.
    """
    try:
        content = load(file, device)
        if missing := {"history", "best", "updates"} - content.keys():
            raise CheckpointError(f"{file} is no {LAST}: it lacks {', '.join(sorted(missing))}")
    except CheckpointError as error:
        best = file.with_name(BEST)
        instead = f", or model.init_from={best} to begin with its weights" if best.is_file() else ""
        raise CheckpointError(
            f"{error}; to go on without it: resume=false to train anew{instead}"
        ) from error
    return content


def checksum(content: Any) -> str:
    """SHA-256 of tensors and plain values, as 64 hexadecimal digits.

    Args:
        content: mappings, sequences, tensors and plain values, within each other. The device of a
            tensor and its layout in memory do not count.
    """
    digest = hashlib.sha256()
    _update(digest, content)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {list(value.shape)} ".encode())
        values = value.detach().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key, one in value.items():
            _update(digest, key)
            _update(digest, one)
    elif isinstance(value, list | tuple):
        digest.update(f"{'tuple' if isinstance(value, tuple) else 'list'} {len(value)} ".encode())
        for one in value:
            _update(digest, one)
    else:
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text}".encode())


def _damaged_record(file: Path | BinaryIO) -> str | None:
    """Name of the first record of a file of `torch.save` that differs from its CRC-32, if any."""
    try:
        with zipfile.ZipFile(file) as records:
            return records.testzip()
    finally:
        if not isinstance(file, Path):
            file.seek(0)
