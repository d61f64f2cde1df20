"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib


def stream(seed: int, purpose: str) -> int:
    """Seed of the stream for one purpose, by SHA-256 of both.

    Args:
        seed: seed of the run.
        purpose: such as `weights`, `split`, `batches`, `bits`, `evaluation`, `estimator`, `task`
            or `targets`.

    Returns:
        63-bit integer.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
