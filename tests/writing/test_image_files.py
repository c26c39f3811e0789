"""Image files are read value for value, and whatever is no label map is told from the header on."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segpipe.errors import ConfigError
from segpipe.writing import image_files
from segpipe.writing.image_files import UnusableFile, read_header, read_pixels

SHAPE = (6, 9)


def labels(high: int, dtype: str = "uint8") -> NDArray[Any]:
    """Noise from 0 to high - 1, the two ends among it."""
    maps = np.random.default_rng(0).integers(0, high, SHAPE).astype(dtype)
    maps[0, :2] = 0, high - 1
    return maps


def png(path: Path, bits: int, colour_type: int, rows: list[bytes], size: tuple[int, int] = SHAPE) -> None:
    """A PNG file by the letter of its specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def packed(maps: NDArray[Any], bits: int) -> list[bytes]:
    """Rows of a grey image of so many bits."""
    lines = []
    for row in maps:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        lines.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return lines


def palette(path: Path, maps: NDArray[Any]) -> None:
    """Values beside a palette in which most of them have one colour."""
    image = Image.fromarray(maps, "L").convert("P")
    image.putdata(maps.ravel().tolist())
    image.putpalette([7, 7, 7] * 200 + [9, 9, 9] * 56)
    image.save(path)


WRITERS: dict[str, tuple[Callable[[Path, NDArray[Any]], object], NDArray[Any]]] = {
    "grey.png": (lambda path, maps: Image.fromarray(maps).save(path), labels(256)),
    "palette.PNG": (palette, labels(256)),
    "16.png": (lambda path, maps: Image.fromarray(maps).save(path), labels(60000, "uint16")),
    "1.png": (lambda path, maps: png(path, 1, 0, packed(maps, 1)), labels(2)),
    "2.png": (lambda path, maps: png(path, 2, 0, packed(maps, 2)), labels(4)),
    "4.png": (lambda path, maps: png(path, 4, 0, packed(maps, 4)), labels(16)),
    "rgb.png": (lambda path, maps: Image.fromarray(maps).save(path), np.stack([labels(256)] * 3, -1)),
    "plain.tif": (lambda path, maps: tifffile.imwrite(path, maps), labels(256)),
    "lzw.tiff": (lambda path, maps: tifffile.imwrite(path, maps, compression="lzw"), labels(9, "uint16")),
    "deflate.tif": (lambda path, maps: tifffile.imwrite(path, maps, compression="zlib"), labels(9, "int32")),
    "big.tif": (lambda path, maps: tifffile.imwrite(path, maps, byteorder=">"), labels(999, "uint16")),
    "long.npy": (lambda path, maps: np.save(path, maps), labels(1231, "int64")),
    "swapped.npy": (lambda path, maps: np.save(path, maps.astype(">u2")), labels(1231, "uint16")),
    "fortran.npy": (lambda path, maps: np.save(path, np.asfortranarray(maps)), labels(9)),
    "bool.npy": (lambda path, maps: np.save(path, maps.astype(bool)), labels(2)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_values_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    """No palette is applied, nothing is scaled, swapped or cut."""
    write, maps = WRITERS[name]
    path = tmp_path / name
    write(path, maps)
    pixels, header = read_pixels(path), read_header(path)
    np.testing.assert_array_equal(pixels, maps)
    assert pixels.dtype == maps.dtype
    assert pixels.dtype.isnative
    assert (header.height, header.width, header.channels) == (*SHAPE, 3 if maps.ndim == 3 else 1)


def huge_npy(path: Path) -> None:
    """A header that claims a petabyte."""
    np.save(path, labels(2))
    path.write_bytes(path.read_bytes().replace(b"(6, 9), }             ", b"(99999999, 99999999), }"[:22]))


def transparent(path: Path) -> None:
    """Colours of which one is half there."""
    colours = np.full((*SHAPE, 4), 255, np.uint8)
    colours[2, 3, 3] = 128
    Image.fromarray(colours).save(path)


def truncated(path: Path) -> None:
    """A PNG that was copied in part."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def pages(path: Path) -> None:
    """Two images in one file."""
    tifffile.imwrite(path, np.zeros((2, *SHAPE), np.uint8), photometric="minisblack")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "photo.png": (lambda path: Image.fromarray(labels(9)).save(path, format="JPEG"), "a JPEG image"),
    "photo.jpg": (lambda path: Image.fromarray(labels(9)).save(path), "a JPEG image"),
    "lossy.tif": (
        lambda path: tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="jpeg"),
        "the compression JPEG",
    ),
    "pages.tif": (pages, "2 pages"),
    "float.npy": (lambda path: np.save(path, labels(9).astype(np.float32)), "values of float32"),
    "float.tif": (lambda path: tifffile.imwrite(path, labels(9).astype(np.float32)), "values of float32"),
    "logits.npy": (lambda path: np.save(path, np.zeros((5, 6, 9))), r"float64 of shape \(5, 6, 9\)"),
    "code.npy": (
        lambda path: np.save(path, np.array([[{}]], object), allow_pickle=True),
        "cannot be read .*Python objects",
    ),
    "text.npy": (lambda path: path.write_text("no array"), "cannot be read"),
    "empty.png": (lambda path: path.write_bytes(b""), "no PNG image"),
    "alpha.png": (lambda path: Image.fromarray(labels(9)).convert("LA").save(path), "2 channels"),
    "deep.png": (lambda path: png(path, 16, 2, [bytes(9 * 6)] * 6), "colours of 16 bits"),
    "bomb.png": (lambda path: png(path, 8, 0, [b""], (40_000, 40_000)), "40000 x 40000 px"),
    "transparent.png": (transparent, "partly transparent"),
    "truncated.png": (truncated, "cannot be read .*truncated"),
    "image.bmp": (lambda path: Image.fromarray(labels(9)).save(path), "a file of the kind '.bmp'"),
    "huge.npy": (huge_npy, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_map_is_refused_in_words(tmp_path: Path, name: str) -> None:
    """From the header on, before memory is taken for it."""
    write, words = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UnusableFile, match=words):
        read_pixels(tmp_path / name)


def test_decoded_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the format."""
    monkeypatch.setattr(image_files, "MAX_IMAGE_BYTES", 50)
    tifffile.imwrite(tmp_path / "a.tif", labels(9))
    with pytest.raises(UnusableFile, match="6 x 9 px of uint8") as refused:
        read_header(tmp_path / "a.tif")
    assert refused.value.expected.startswith("at most")


@pytest.mark.parametrize(("name", "library"), [("a.png", "PIL"), ("a.tif", "tifffile")])
def test_a_reader_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    """The extra is needed by nobody else."""
    tifffile.imwrite(tmp_path / "a.tif", labels(9))
    Image.fromarray(labels(9)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"not installed; try: pip install 'segpipe\[images\]'"):
        read_header(tmp_path / name)
