"""Label maps out of image files, value for value: PNG by Pillow, TIFF by tifffile, NPY by NumPy."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, SegpipeError

MAX_IMAGE_BYTES = 1 << 30
"""The largest decoded image; larger scenes are better brought to Zarr by a raster library, piece by piece."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of PNG."""

TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "zstd"}
"""Compressions of TIFF that give back every value as it was, and that are read."""

JPEG_ADVICE = "JPEG changes the values of pixels: label maps come from the program that made them, as PNG"


class UnusableFile(Exception):
    """A file that is no label map, in words."""

    def __init__(self, *, found: str, expected: str = "", advice: str = "") -> None:
        self.found, self.expected, self.advice = found, expected, advice
        super().__init__(found)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: px, dtype of the values, how many a pixel has (1; 3 or 4 of colours)."""

    height: int
    width: int
    dtype: str
    channels: int = 1

    @property
    def nbytes(self) -> int:
        """Of the decoded image."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize


def read_header(path: Path) -> Header:
    """Size, dtype and channels of a file, without its pixels.

    Raises:
        UnusableFile: it is no such file, lossy, too large, or no label map.
    """
    header = _reader(path)[0](path)
    if header.nbytes > MAX_IMAGE_BYTES:
        found = f"{header.height} x {header.width} px of {header.dtype}, {header.nbytes >> 20} MiB decoded"
        raise UnusableFile(found=found, expected=f"at most {MAX_IMAGE_BYTES >> 20} MiB")
    if np.dtype(header.dtype).kind not in "iub":
        advice = "label maps are integers: take the argmax of logits or probabilities"
        raise UnusableFile(found=f"values of {header.dtype}", expected="an integer dtype", advice=advice)
    if header.height < 1 or header.width < 1:
        raise UnusableFile(found=f"{header.height} x {header.width} px", expected="at least one pixel")
    return header


def read_pixels(path: Path) -> NDArray[Any]:
    """The values of a file as they are stored: (y, x), or (y, x, channel) for colours.

    A palette is not applied, nothing is scaled; bools and one-bit images become uint8.

    Raises:
        UnusableFile: see `read_header`; or it is damaged.
    """
    header = read_header(path)
    with _in_words():
        pixels = _reader(path)[1](path, header)
    if header.channels > 1 and pixels.shape[2] == 4:
        if (pixels[..., 3] != 255).any():
            raise UnusableFile(
                found="colours that are partly transparent", expected="colours without transparency"
            )
        pixels = pixels[..., :3]
    return pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels


def _reader(path: Path) -> tuple[Callable[[Path], Header], Callable[[Path, Header], NDArray[Any]]]:
    with _in_words(), path.open("rb") as file:
        start = file.read(2)
    if start == b"\xff\xd8":
        raise UnusableFile(found="a JPEG image", expected="a format without losses", advice=JPEG_ADVICE)
    readers = READERS.get(path.suffix.lower())
    if readers is None:
        raise UnusableFile(
            found=f"a file of the kind {path.suffix!r}", expected=f"one of {', '.join(READERS)}"
        )
    return readers


def _png_header(path: Path) -> Header:
    with _in_words(), path.open("rb") as file:
        start = file.read(26)
    if len(start) < 26 or not start.startswith(PNG_SIGNATURE):
        raise UnusableFile(found="no PNG image", expected="one, by its name")
    width, height, depth, colours = struct.unpack(">IIBB", start[16:26])
    channels = {GRAY: 1, PALETTE: 1, RGB: 3, RGBA: 4}.get(colours)
    if channels is None:
        raise UnusableFile(
            found="a label and a transparency for each pixel (2 channels)", expected="one channel"
        )
    if depth == 16 and channels > 1:
        raise UnusableFile(found="colours of 16 bits", expected="colours of 8 bits")
    limit = _pillow().MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        found = f"{height} x {width} px"
        raise UnusableFile(
            found=found,
            expected=f"at most {limit} px in a PNG image",
            advice="bring larger scenes as TIFF or NPY",
        )
    return Header(height, width, "uint16" if depth == 16 else "uint8", channels)


def _png_pixels(path: Path, header: Header) -> NDArray[Any]:
    with path.open("rb") as file:
        file.seek(24)
        depth, colours = file.read(2)
    with _pillow().open(path, formats=("PNG",)) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise UnusableFile(found="an animation", expected="one image")
        image.load()
        pixels = np.asarray(image)
    # Pillow stretches grey values of 2 and 4 bits to 0..255.
    stretched = {2: 85, 4: 17}.get(depth) if colours == GRAY else None
    pixels = pixels // np.uint8(stretched) if stretched else pixels
    _check_shape(pixels, header)
    return pixels


def _tiff_header(path: Path) -> Header:
    with _in_words(), _tifffile().TiffFile(path) as tiff:
        page = _only_page(tiff)
        shape = page.shape
        if page.compression not in TIFF_COMPRESSIONS:
            name = getattr(page.compression, "name", page.compression)
            advice = JPEG_ADVICE if "JPEG" in str(name) else "write it again with deflate"
            kinds = ", ".join(dict.fromkeys(TIFF_COMPRESSIONS.values()))
            raise UnusableFile(found=f"the compression {name}", expected=f"one of {kinds}", advice=advice)
        if page.axes not in ("YX", "YXS") or (page.axes == "YXS" and shape[2] not in (3, 4)):
            raise UnusableFile(
                found=f"the axes {page.axes}, shape {shape}",
                expected="one label or one colour for each pixel",
            )
        return Header(shape[0], shape[1], str(page.dtype), shape[2] if page.axes == "YXS" else 1)


def _tiff_pixels(path: Path, header: Header) -> NDArray[Any]:
    with _tifffile().TiffFile(path) as tiff:
        pixels = np.asarray(_only_page(tiff).asarray(maxworkers=1))
    _check_shape(pixels, header)
    return pixels


def _only_page(tiff: Any) -> Any:
    pages = [page for page in tiff.pages if not page.is_reduced]
    if len(pages) != 1:
        raise UnusableFile(found=f"{len(pages)} pages", expected="one image")
    return pages[0]


def _npy_header(path: Path) -> Header:
    with _in_words():
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        return Header(array.shape[0], array.shape[1], str(array.dtype))
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        return Header(array.shape[0], array.shape[1], "uint8", array.shape[2])
    advice = "one-hot maps and logits are no label maps: take the argmax" if array.ndim == 3 else ""
    raise UnusableFile(
        found=f"{array.dtype} of shape {array.shape}",
        expected="one label for each pixel, (y, x)",
        advice=advice,
    )


def _npy_pixels(path: Path, header: Header) -> NDArray[Any]:
    pixels = np.array(np.load(path, mmap_mode="r", allow_pickle=False), order="C")
    _check_shape(pixels, header)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


READERS: dict[str, tuple[Callable[[Path], Header], Callable[[Path, Header], NDArray[Any]]]] = {
    ".png": (_png_header, _png_pixels),
    ".tif": (_tiff_header, _tiff_pixels),
    ".tiff": (_tiff_header, _tiff_pixels),
    ".npy": (_npy_header, _npy_pixels),
}
"""Ending -> how a file's header and its pixels are read."""


def _check_shape(pixels: NDArray[Any], header: Header) -> None:
    expected = (header.height, header.width, header.channels)[: 2 if header.channels == 1 else 3]
    if pixels.shape != expected:
        raise UnusableFile(
            found=f"pixels of shape {pixels.shape}", expected=f"{expected}, as its header says"
        )


@contextmanager
def _in_words() -> Iterator[None]:
    """The readers raise whatever they like for a damaged file."""
    try:
        yield
    except (UnusableFile, SegpipeError, MemoryError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200] or "no reason given"
        raise UnusableFile(found=f"a file that cannot be read ({type(error).__name__}: {words})") from None


def _pillow() -> Any:
    # Pillow and tifffile are an extra, and only the import of images needs them.
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError(_not_installed("PNG", "Pillow")) from None
    return Image


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        raise ConfigError(_not_installed("TIFF", "tifffile")) from None
    return tifffile


def _not_installed(kind: str, library: str) -> str:
    return f"{kind} files are read by {library}, which is not installed; try: pip install 'segpipe[images]'"
