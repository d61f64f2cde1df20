"""Durable files of records, one a line: appended and replaced so that no kill loses a line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def append_line(path: Path, line: bytes) -> None:
    """Append a line and synchronize it to disk.

    A line that was cut off before stays a line of its own. Where the new one cannot be written, the
    file is as it was.

    Args:
        path: file, made if it is missing.
        line: content without a line break.

    Raises:
        OSError: such as for a full disk.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(file).st_size
        cut_off = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        try:
            _write(file, (b"\n" if cut_off else b"") + line + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if not size:
        _synchronize_folder(path.parent)


def replace_content(path: Path, content: bytes) -> None:
    """Replace the content of a file at once: written to a second file, which takes its place.

    Args:
        path: file, made if it is missing.
        content: new content.

    Raises:
        OSError: such as for a full disk; the file is as it was.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _write(file, content)
        finally:
            os.close(file)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _synchronize_folder(path.parent)


def read_lines(path: Path) -> list[bytes]:
    """Lines of a file, without empty ones; none where the file is missing."""
    try:
        return [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return []


def _write(file: int, content: bytes) -> None:
    """Write all of the content, and synchronize it to disk."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)


def _synchronize_folder(folder: Path) -> None:
    """Synchronize the names of a folder's files to disk, where its file system can."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
