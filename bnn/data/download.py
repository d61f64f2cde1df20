"""Download of files from mirrors, checked against their checksums and moved into place whole.

torchvision's own download has no timeout and writes in place. This one gives up in under 20
seconds, by the two limits below: 5 s until a mirror responds, then 6 s of silence on each of at
most two. A download that moves, however slowly, is never given up.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bnn.errors import DataError

ANSWER_SECONDS = 5.0
SILENCE_SECONDS = 6.0

log = logging.getLogger(__name__)


class Unreachable(DataError):
    """No mirror responds, or those that did fell silent."""


def md5sum(content: bytes) -> str:
    """MD5 sum of some bytes, in hexadecimal digits."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def download(checksums: Mapping[str, str], mirrors: Sequence[str], folder: Path) -> None:
    """Download files, each from the first mirror that serves it correctly.

    Processes that download at the same time do not meet: each writes into a folder of its own and
    moves whole files.

    Args:
        checksums: MD5 sums by the names of the files.
        mirrors: addresses that end in a slash, in order of preference.
        folder: directory for the files, made where it is missing.

    Raises:
        Unreachable: if no mirror responds.
        DataError: for a file with another checksum, or where `folder` cannot be written.
    """
    answering = reachable(mirrors, next(iter(checksums)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            for name, md5 in checksums.items():
                log.info("downloading %s to %s", name, folder)
                whole = Path(partial, name)
                whole.write_bytes(fetch(name, md5, answering))
                os.replace(whole, folder / name)
    except OSError as error:
        raise DataError(
            f"{folder}: not writable ({error.strerror}); set data.root to a folder that is"
        ) from error


def reachable(mirrors: Sequence[str], name: str) -> list[str]:
    """Mirrors that respond within ANSWER_SECONDS, in their order.

    Args:
        mirrors: addresses that end in a slash.
        name: file that they are asked for.

    Raises:
        Unreachable: if there is none, with a reason for each.
    """
    reasons = {mirror: f"no answer in {ANSWER_SECONDS:g} s" for mirror in mirrors}

    def ask(mirror: str) -> None:
        try:
            urlopen(Request(mirror + name, method="HEAD"), timeout=ANSWER_SECONDS).close()
        except HTTPError:
            pass  # an answer: some servers refuse HEAD
        except (OSError, HTTPException) as error:
            reasons[mirror] = str(error)
            return
        reasons.pop(mirror)

    # a socket's timeout bounds neither the name's lookup nor the number of addresses tried, so the
    # threads are not waited for; as daemons they do not hold up the interpreter's exit either
    threads = [Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    deadline = time.monotonic() + ANSWER_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = dict(reasons)
    if len(silent) == len(mirrors):
        raise Unreachable(
            "no mirror answers: " + ", ".join(f"{mirror} ({why})" for mirror, why in silent.items())
        )
    return [mirror for mirror in mirrors if mirror not in silent]


def fetch(name: str, md5: str, mirrors: Sequence[str]) -> bytes:
    """Content of a file, from the first mirror whose copy has the right checksum.

    Args:
        name: name of the file.
        md5: its MD5 sum.
        mirrors: addresses that end in a slash.

    Raises:
        DataError: if a mirror served something else and none served the file.
        Unreachable: if none served anything.
    """
    failures, served = [], False
    for url in (mirror + name for mirror in mirrors):
        try:
            content = get(url)
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error}")
            continue
        if (found := md5sum(content)) == md5:
            return content
        served = True
        failures.append(f"{url}: expected md5 {md5}, found {found} ({len(content)} bytes)")
    reason = "; ".join(failures)
    if served:
        raise DataError(
            f"the download is truncated or altered, and was discarded: {reason}. Run again, or "
            "data=digits"
        )
    raise Unreachable(reason)


def get(url: str) -> bytes:
    """Content of an address; of a connection that closes early the part before it.

    The checksum will tell the part from the whole.
    """
    with urlopen(url, timeout=SILENCE_SECONDS) as response:
        try:
            return bytes(response.read())
        except IncompleteRead as error:
            return error.partial
