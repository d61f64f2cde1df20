"""One seed, several streams: what is drawn for one purpose tells nothing about what is drawn for another."""

from __future__ import annotations

import hashlib


def stream(seed: int, purpose: str) -> int:
    """A 63-bit seed for `purpose` (weights, split, batches, bits, evaluation, estimator), by SHA-256 of both."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
