"""Runner of a packed network: NumPy alone, no torch and no other module of this package.

    python runner.py network.npz images.npy        # a class of each image, a line each

A binary weight is stored as one bit (1 for +1, 0 for -1), eight a byte. Of an input of bits b the
product with such weights w is a count, w·b = 2 · popcount(w ∧ b) - popcount(b); a padded zero is
the bit 0. The format: docs/export.md.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CHUNK = 500  # images that are evaluated at once
_TABLE = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def popcount(packed: Array) -> Array:
    """Number of bits that are 1 in the bytes of the last axis."""
    counts = np.bitwise_count(packed) if hasattr(np, "bitwise_count") else _TABLE[packed]
    return np.asarray(counts.sum(-1, dtype=np.int32))


def product(x: Array, weight: Array, inputs: int) -> Array:
    """Products x·w of rows of inputs with rows of weights.

    Args:
        x: [rows, inputs]; bits (bool) or real.
        weight: real, [outputs, inputs], or packed bits of weights ±1, [outputs, bytes].
        inputs: number of inputs.

    Returns:
        [rows, outputs].
    """
    if weight.dtype != np.uint8:
        return np.asarray(x.astype(np.float32) @ weight.T)
    if x.dtype != bool:
        return np.asarray(x @ (2 * np.unpackbits(weight, axis=1, count=inputs) - np.float32(1)).T)
    packed = np.packbits(x, axis=1)
    ones = popcount(packed)
    counts = [2 * popcount(packed & row) - ones for row in weight]
    return np.stack(counts, axis=1).astype(np.float32)


def windows(x: Array, size: int, stride: int) -> Array:
    """Square windows [n, c, h', w', size, size] of maps [n, c, h, w]."""
    found: Array = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return found[:, :, ::stride, ::stride]


def convolution(x: Array, weight: Array, layer: dict[str, Any]) -> Array:
    """Convolution of maps [n, c, h, w] with square kernels, [n, outputs, h', w']."""
    pad, size = layer["padding"], layer["kernel"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = windows(padded, size, layer["stride"]).transpose(0, 2, 3, 1, 4, 5)
    n, height, width = seen.shape[:3]
    inputs = x.shape[1] * size * size
    found = product(seen.reshape(-1, inputs), weight, inputs)
    return found.reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def distribution(a: Array, law: str) -> Array:
    """Distribution function F(a) of a noise law, scaled to 2 F'(0) = 1 as in bnn/nn/noise.py."""
    if law == "logistic":
        return np.asarray(0.5 * (1 + np.tanh(a)))
    if law == "uniform":
        return np.asarray((np.clip(a, -1, 1) + 1) / 2)
    if law == "triangular":
        c = np.clip(a, -2, 2)
        return np.asarray(0.5 + c / 2 - c * np.abs(c) / 8)
    return np.asarray(0.5 * (1 + np.vectorize(math.erf)(a * math.sqrt(math.pi) / 2)))


class PackedNetwork:
    """Network of a packed file."""

    def __init__(self, file: str) -> None:
        with np.load(file, allow_pickle=False) as stored:
            self.arrays = {key: stored[key] for key in stored.files}
        self.about: dict[str, Any] = json.loads(str(self.arrays.pop("about")))

    def outputs(self, images: Array, bits: list[Array] | None = None) -> Array:
        """Outputs [n, outputs] of images.

        Args:
            images: pixels as the data set stores them, [n, c, h, w].
            bits: list to which the bits of each binary layer are added.

        Raises:
            ValueError: for images of another shape or range.
        """
        shape, most = self.about["shape"], self.about["max_value"]
        if list(images.shape[1:]) != shape:
            raise ValueError(f"expected images of shape {['n', *shape]}, got {list(images.shape)}")
        low, high = images.min(initial=most), images.max(initial=0)
        if not 0 <= low <= high <= most or (images.dtype.kind == "f" and 0 < high <= 1 < most):
            raise ValueError(f"expected pixels from 0 to {most}, got {low:g} to {high:g}")
        x = images.astype(np.float32) / np.float32(most)
        x = (x - np.float32(self.about["mean"])) / np.float32(self.about["std"])
        for layer in self.about["layers"]:
            x = self.layer(layer, x)
            if layer["kind"] == "threshold" and bits is not None:
                bits.append(x)
        return x

    def layer(self, layer: dict[str, Any], x: Array) -> Array:
        """Output of one layer, an entry of the file, for an input [n, …]."""
        kind = layer["kind"]
        parts = {key: self.arrays[name] for key, name in layer.get("arrays", {}).items()}
        channel = (-1, *[1] * (x.ndim - 2))
        by_channel = {key: a.reshape(channel) for key, a in parts.items() if a.ndim == 1}
        if kind == "linear":
            return product(x, parts["weight"], layer["inputs"])
        if kind == "convolution":
            return convolution(x, parts["weight"], layer)
        if kind == "affine":
            return np.asarray(x * by_channel["scale"] + by_channel["shift"])
        if kind == "threshold":  # sign 1: x > t, -1: x < t
            return np.asarray((x - by_channel["threshold"]) * by_channel["sign"] > 0)
        if kind == "max_pool":
            return np.asarray(windows(x, layer["kernel"], layer["stride"]).max((4, 5)))
        if kind == "flatten":
            return x.reshape(len(x), -1)
        if kind == "rectifier":
            return np.asarray(np.maximum(x, 0))
        return distribution(np.float32(layer["slope"]) * x, layer["law"]).astype(np.float32)

    def classes(self, images: Array) -> Array:
        """Most probable class of each image, [n]."""
        if not len(images):
            raise ValueError("expected at least one image, got none")
        parts = [images[at : at + CHUNK] for at in range(0, len(images), CHUNK)]
        return np.concatenate([self.outputs(part).argmax(1) for part in parts])


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3:
            raise ValueError("expected two arguments, network.npz images.npy")
        print(*PackedNetwork(sys.argv[1]).classes(np.load(sys.argv[2])), sep="\n")
    except Exception as error:  # of numpy, for files that are none of its own, there are many
        sys.exit(f"error: expected network.npz images.npy ({type(error).__name__}: {error})")
