"""Image files as examples: of the very size and kind, or drawings that are brought to it."""

from __future__ import annotations

import contextlib
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bnn.data.archives import FashionMnist, Mnist
from bnn.data.digits import Digits
from bnn.data.folder import Folder
from bnn.data.image_files import read_drawing, read_image
from bnn.errors import DataError

MNIST, DIGITS, FASHION = Mnist.facts, Digits.facts, FashionMnist.facts


def saved(folder: Path, array: np.ndarray, mode: str | None = None) -> Path:
    path = folder / "image.png"
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def test_pixels_come_through_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    read = read_image(saved(tmp_path, pixels), MNIST)
    assert read.shape == (1, 28, 28) and np.array_equal(read[0], pixels.astype(np.float32) / 255)


@pytest.mark.parametrize(
    "spec, size, mode, words",
    [
        (MNIST, (30, 28), None, ["28×28", "30×28", "--drawing"]),
        (DIGITS, (28, 28), None, ["8×8", "28×28"]),
        (MNIST, (28, 28), "RGB", ["mode L", "RGB", "--drawing"]),
        (MNIST, (28, 28), "RGBA", ["mode L", "RGBA"]),
        (FASHION, (28, 28), "RGB", ["mode L", "RGB; convert it"]),
        (FASHION, (30, 28), None, ["28×28", "30×28; resize it"]),
    ],
)
def test_another_size_or_mode_is_one_line(tmp_path: Path, spec, size, mode, words) -> None:
    path = saved(tmp_path, np.zeros(size[::-1], np.uint8), mode)
    with pytest.raises(DataError) as refused:
        read_image(path, spec)
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


@pytest.mark.parametrize("read", [read_image, read_drawing])
def test_what_is_no_image_is_one_line(tmp_path: Path, read) -> None:
    (tmp_path / "text.png").write_text("words")
    for path, words in (
        (tmp_path / "text.png", "Pillow reads"),
        (tmp_path / "none.png", "No such file"),
    ):
        with pytest.raises(DataError, match=words):
            read(path, MNIST)


def drawing(
    ink: str = "black", ground: str = "white", size: tuple[int, int] = (400, 300)
) -> Image.Image:
    """A tall, lopsided 7 away from the middle."""
    image = Image.new("RGB", size, ground)
    ImageDraw.Draw(image).line([(220, 60), (300, 60), (250, 220)], fill=ink, width=14)
    return image


def like_mnist(read: np.ndarray) -> bool:
    """Bright on dark, 20 pixels long, its centre of mass in the middle."""
    rows, columns = np.nonzero(read[0] > 0.15)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    middle = [
        float((read[0].sum(1 - axis) * (np.arange(28) + 0.5)).sum() / read.sum()) for axis in (0, 1)
    ]
    return (
        read[0, 0].max() == 0
        and 19 <= extent <= 21
        and max(abs(place - 14) for place in middle) <= 0.75
    )


@pytest.mark.parametrize(
    "ink, ground",
    [("black", "white"), ("white", "black"), ("#203080", "#f0e8d0"), ("red", "white")],
)
def test_a_drawing_is_brought_to_the_form_of_mnist(tmp_path: Path, ink: str, ground: str) -> None:
    drawing(ink, ground).save(tmp_path / "seven.png")
    read = read_drawing(tmp_path / "seven.png", MNIST)
    assert (
        read.shape == (1, 28, 28) and read.min() >= 0 and 0.9 < read.max() <= 1 and like_mnist(read)
    )
    plain = np.asarray(drawing(ink, ground).convert("L").resize((28, 28)), np.float32)[None] / 255
    assert not like_mnist(plain), "which resizing alone would not do"


def test_a_drawing_of_a_drawing_is_itself(tmp_path: Path) -> None:
    drawing().save(tmp_path / "seven.png")
    once = read_drawing(tmp_path / "seven.png", MNIST)
    large = np.kron(255 * (1 - once[0]), np.ones((9, 9)))
    again = read_drawing(
        saved(tmp_path, np.pad(large, ((40, 10), (5, 90)), constant_values=255).astype(np.uint8)),
        MNIST,
    )
    assert np.corrcoef(once.ravel(), again.ravel())[0, 1] > 0.97


def test_transparent_paper_is_white(tmp_path: Path) -> None:
    image = drawing().convert("RGBA")
    image.putdata([(r, g, b, 0 if r > 128 else 255) for r, g, b, _ in image.getdata()])
    image.save(tmp_path / "clear.png")
    drawing().save(tmp_path / "white.png")
    clear, white = (read_drawing(tmp_path / name, MNIST) for name in ("clear.png", "white.png"))
    assert np.corrcoef(clear.ravel(), white.ravel())[0, 1] > 0.99


def test_sixteen_bits_and_a_camera_held_upright_are_read_alike(tmp_path: Path) -> None:
    drawing().save(tmp_path / "seven.png")
    plain = read_drawing(tmp_path / "seven.png", MNIST)
    Image.fromarray(np.asarray(drawing().convert("L")).astype(np.uint16) * 200).save(
        tmp_path / "wide.png"
    )
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter to the right
    drawing().rotate(90, expand=True).save(tmp_path / "lying.jpg", exif=turned, quality=95)
    for name in ("wide.png", "lying.jpg"):
        assert (
            np.corrcoef(plain.ravel(), read_drawing(tmp_path / name, MNIST).ravel())[0, 1] > 0.98
        ), name
    drawing().rotate(90, expand=True).save(tmp_path / "control.jpg", quality=95)
    assert (
        np.corrcoef(plain.ravel(), read_drawing(tmp_path / "control.jpg", MNIST).ravel())[0, 1]
        < 0.9
    )


def test_blank_paper_and_signs_that_are_none_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, np.full((50, 50), 200, np.uint8))
    with pytest.raises(DataError, match="blank"):
        read_drawing(path, MNIST)
    with pytest.raises(DataError, match="no drawings"):
        read_drawing(path, FashionMnist.facts)


def test_a_picture_of_numbers_that_are_not_finite_is_one_line(tmp_path: Path) -> None:
    path, values = tmp_path / "image.tiff", np.zeros((40, 40), np.float32)
    values[10:30, 18:22] = 1
    Image.fromarray(values).save(path)
    assert read_drawing(path, MNIST).max() > 0.9, "the control"
    values[0, 0], values[1, 1] = np.nan, np.inf
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match="2 of 1600 are NaN or infinite"):
        read_drawing(path, MNIST)


def png_of_size(path: Path, width: int, height: int) -> Path:
    """PNG file that declares a size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)), (b"IDAT", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


READS = {
    "image": lambda path: read_image(path, MNIST),
    "drawing": lambda path: read_drawing(path, MNIST),
    "folder": lambda path: Folder(root=str(path.parent.parent), test_fraction=0.5).spec(),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("side", [6_000, 13_000, 20_000, 2**31 - 1])
def test_pictures_that_are_too_large_are_refused_by_their_head(
    tmp_path: Path, side: int, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow itself warns of 13,000² pixels, and refuses 20,000²."""
    (tmp_path / "class").mkdir()
    path = png_of_size(tmp_path / "class" / "large.png", side, side)
    png_of_size(tmp_path / "class" / "another_large.png", side, side)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("the pixels were decoded"))
    with warnings.catch_warnings(), pytest.raises(DataError) as refused:
        warnings.simplefilter("error")
        READS[read](path)
    message = str(refused.value)
    assert "\n" not in message and "large.png" in message
    assert side > 13_000 or f"got {side:,}×{side:,}; scale it down" in message


@pytest.mark.parametrize("ending", ["png", "tiff", "bmp", "jpg", "webp", "ppm"])
def test_an_altered_picture_is_one_line_or_a_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    drawing(size=(40, 30)).save(path)
    whole, positions = path.read_bytes(), random.Random(0)
    for _ in range(60):
        altered = bytearray(whole)
        altered[positions.randrange(min(len(whole), 400))] ^= 0xFF
        path.write_bytes(altered[: positions.choice([len(whole), len(whole) // 2])])
        with warnings.catch_warnings(), contextlib.suppress(DataError):
            warnings.simplefilter("error")
            read_drawing(path, MNIST)
