"""Image files as examples of a data set: images of its size and kind, or drawings of any."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bnn.data.spec import DatasetSpec
from bnn.errors import DataError

FAINT = 0.15
"""Contrast below which nothing counts as drawn."""
MAX_PIXELS = 25_000_000
"""Pixels of the largest image that is read; a drawing of that size takes 0.6 GB of memory."""


def opened(path: Path) -> Image.Image:
    """Image in a file, turned upright as its EXIF data says; all of it is read.

    Its size is read first, from the head of the file.

    Args:
        path: the file.

    Raises:
        DataError: for a file that is missing, truncated or no image, or one of more than
            `MAX_PIXELS`.
    """
    try:
        # Pillow warns of sizes that are refused here, and of metadata that it passes over
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                if width * height <= MAX_PIXELS:
                    return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: expected an image file that Pillow reads, such as a PNG"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # Pillow's readers raise whatever they run into
        raise DataError(f"{path} cannot be read ({str(error) or type(error).__name__})") from error
    raise DataError(
        f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width:,}×{height:,}; scale it down"
    )


def read_image(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Pixels of an image file of the very size of a data set's images.

    Args:
        path: file in 8-bit grey or, where the data set has three channels, in 8-bit colours.
        spec: facts of the data set.

    Returns:
        float32 [channels, height, width] in [0, 1].

    Raises:
        DataError: for a file that is no image, or one of another size or mode.
    """
    image, (channels, height, width) = opened(path), spec.shape
    if image.size != (width, height):
        found = "×".join(map(str, image.size))
        raise DataError(
            f"{path}: {spec.title} has images of {width}×{height} pixels, got {found}; "
            + ("--drawing takes any size" if spec.digit_size is not None else "resize it")
        )
    if channels == 3:
        if image.mode != "RGB":
            raise DataError(
                f"{path}: expected 8-bit colours (mode RGB), got mode {image.mode}; convert it"
            )
        return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
    if image.mode not in ("L", "1"):
        how = "--drawing converts it" if spec.digit_size is not None else "convert it"
        raise DataError(f"{path}: expected 8-bit grey (mode L), got mode {image.mode}; {how}")
    return np.asarray(image.convert("L"), dtype=np.float32)[None] / 255


def read_drawing(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Drawing in a file of any size and colours, brought to the form of MNIST's images.

    Bright on dark, cut out, its longer side scaled to `spec.digit_size` pixels, its centre of mass
    in the middle of the frame as far as it stays whole (LeCun, Bottou, Bengio & Haffner 1998). The
    ground is the median at the border.

    Args:
        path: the file.
        spec: facts of the data set.

    Returns:
        float32 [1, height, width] in [0, 1].

    Raises:
        DataError: for a file that is no image, shows nothing or has pixels that are NaN or
            infinite, or a data set whose examples are no drawings.
    """
    if spec.digit_size is None:
        raise DataError(
            f"--drawing: the images of {spec.title} are no drawings of signs; leave it out"
        )
    drawn = _grey(opened(path))
    if bad := int((~np.isfinite(drawn)).sum()):
        raise DataError(
            f"{path}: expected finite pixels, but {bad} of {drawn.size} are NaN or infinite"
        )
    border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    ink = np.abs(drawn - np.median(border))
    if ink.max() < FAINT:
        raise DataError(
            f"{path}: expected a drawing that stands out from its ground, got a blank picture"
        )
    ink /= ink.max()
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = spec.digit_size / max(cut.shape)
    height, width = (max(1, round(scale * side)) for side in cut.shape)
    whole = Image.fromarray((255 * cut).astype(np.uint8))
    small = whole.resize((width, height), Image.Resampling.LANCZOS)
    return _centred(np.asarray(small, dtype=np.float32) / 255, spec.shape[1:])[None]


def _grey(image: Image.Image) -> np.ndarray:
    """Grey values [height, width] in [0, 1].

    Transparent pixels are white; numbers wider than 8 bits are scaled to fill the range.
    """
    if image.mode[0] in "IF":
        wide = np.asarray(image, dtype=np.float32)
        if not np.isfinite(wide).all():
            return wide
        scaled: np.ndarray = (wide - wide.min()) / max(float(np.ptp(wide)), 1e-12)
        return scaled
    flat = image.convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat)
    return np.asarray(opaque.convert("L"), np.float32) / 255


def _centred(sign: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Sign in a dark frame, its centre of mass in the middle as far as it stays whole."""
    placed = np.zeros(frame, dtype=np.float32)
    corner = []
    for axis, (side, room) in enumerate(zip(sign.shape, frame, strict=True)):
        mass = sign.sum(1 - axis)
        centre = float((mass * (np.arange(side) + 0.5)).sum() / mass.sum())
        corner.append(min(max(round(room / 2 - centre), 0), room - side))
    placed[corner[0] : corner[0] + sign.shape[0], corner[1] : corner[1] + sign.shape[1]] = sign
    return placed
