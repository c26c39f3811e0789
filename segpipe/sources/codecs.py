"""The codecs that are decoded here: a chunk's bytes into memory that is there already, exactly as many."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc, lz4, zstd
from numpy.typing import NDArray

from segpipe.sources.documents import Json, chunk_codecs
from segpipe.sources.metadata import ArrayMeta

Bytes = NDArray[np.uint8]

MAX_ITEM_BYTES = 8

GZIP_BITS, ZLIB_BITS = 31, 15
FEED_BYTES = 4096
"""Compressed bytes that zlib is given at a time, so that what it returns stays small."""

BLOSC_HEADER_BYTES = 16

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SIZE_FIELDS = (("<B", 0), ("<H", 256), ("<I", 0), ("<Q", 0))
"""How a zstd frame writes the size of its content, and what is added to it, by two bits of its header."""


class NotDirect(Exception):
    """An array that is left to zarr-python; the message says why."""


@dataclass(frozen=True)
class Chain:
    """How the bytes of a chunk become values.

    Attributes:
        dtype: of the values as they are stored, with their byte order; uint8 for bool.
        axes: the axes of the array in the order in which they are stored.
        outer_checksums: checksums (crc32c) around the compressed bytes.
        decompress: fills an array with exactly what the bytes hold; None: they are not compressed.
        inner_checksums: checksums around the values, within the compressed bytes.
    """

    dtype: np.dtype[Any]
    axes: tuple[int, ...]
    outer_checksums: int = 0
    decompress: Callable[[Bytes, Bytes], None] | None = None
    inner_checksums: int = 0

    def decode(self, data: Bytes, out: Bytes) -> None:
        """Fill `out` with the bytes of a chunk's values.

        Args:
            data: uint8 (byte,), as stored.
            out: uint8 (byte,), as long as the decoded chunk.

        Raises:
            EOFError: the data end too early.
            ValueError, RuntimeError: they are damaged, or hold more or less than the chunk.
        """
        data = _without_checksums(data, self.outer_checksums)
        if self.decompress is None:
            out[...] = _exactly(data, len(out))
        elif not self.inner_checksums:
            self.decompress(data, out)
        else:
            values = np.empty(len(out) + 4 * self.inner_checksums, np.uint8)
            self.decompress(data, values)
            out[...] = _without_checksums(values, self.inner_checksums)

    def decoded(self, data: Bytes, out: Bytes) -> Bytes:
        """The bytes of a chunk's values: `out`, filled, or the data themselves. Raises as `decode` does."""
        if self.decompress is None:
            return _exactly(_without_checksums(data, self.outer_checksums), len(out))
        self.decode(data, out)
        return out


def chain_of(meta: ArrayMeta) -> Chain:
    """How an array's chunks are decoded.

    Raises:
        NotDirect: not here.
    """
    found = _chain(meta.codecs_text, meta.dtype, len(meta.shape))
    if isinstance(found, str):
        raise NotDirect(found)
    return found


@lru_cache(maxsize=4096)
def _chain(codecs_text: str, dtype: np.dtype[Any], ndim: int) -> Chain | str:
    """The chain, or why there is none; parsed once for all arrays, whatever the sizes of their chunks."""
    document = json.loads(codecs_text)
    try:
        _check_dtype(document, dtype)
        if dtype.kind == "b":
            dtype = np.dtype(np.uint8)
        codecs = chunk_codecs(document)
        if document["zarr_format"] == 2:
            axes = tuple(range(ndim))
            return _chain_of_bytes(codecs, dtype, axes if document["order"] == "C" else axes[::-1])
        return _chain_of_format_3(codecs, dtype, ndim)
    except NotDirect as reason:
        return str(reason)


def _check_dtype(document: Json, dtype: np.dtype[Any]) -> None:
    known = dtype.kind in "biuf" and dtype.itemsize <= MAX_ITEM_BYTES
    if not known or (document["zarr_format"] == 3 and document["data_type"] != dtype.name):
        message = f"the dtype {dtype}"
        raise NotDirect(message)


def _chain_of_format_3(codecs: Sequence[tuple[str, Json]], dtype: np.dtype[Any], ndim: int) -> Chain:
    axes = tuple(range(ndim))
    for number, (name, settings) in enumerate(codecs):
        if name == "bytes":
            stored = dtype.newbyteorder(">" if settings.get("endian") == "big" else "<")
            return _chain_of_bytes(codecs[number + 1 :], stored, axes)
        order = settings.get("order")
        if name != "transpose" or not isinstance(order, list) or sorted(order) != list(range(ndim)):
            raise _not_direct(name)
        axes = tuple(axes[axis] for axis in order)
    raise _not_direct(", ".join(name for name, _ in codecs))


def _chain_of_bytes(codecs: Sequence[tuple[str, Json]], dtype: np.dtype[Any], axes: tuple[int, ...]) -> Chain:
    """The chain behind the codecs that turn bytes into bytes, in the order of encoding."""
    checksums, decompress = [0, 0], None
    for name, settings in codecs:
        plain = name.removeprefix("numcodecs.")
        if name == "crc32c" and settings.get("location", "end") == "end":
            checksums[decompress is not None] += 1
        elif plain in DECOMPRESS and decompress is None:
            decompress = DECOMPRESS[plain]
        elif plain in DECOMPRESS:
            message = "more than one compression"
            raise NotDirect(message)
        else:
            raise _not_direct(name)
    if decompress is None:
        checksums.reverse()
    return Chain(dtype, axes, checksums[1], decompress, checksums[0])


def _not_direct(codec: str) -> NotDirect:
    return NotDirect(f"the codec {codec}")


# ---- bytes to bytes


def _without_checksums(data: Bytes, count: int) -> Bytes:
    """The data in front of `count` checksums (crc32c, little-endian), each of which must be right."""
    for _ in range(count):
        if len(data) < 4:
            message = f"{len(data)} bytes where a checksum takes 4"
            raise EOFError(message)
        data, stored = data[:-4], data[-4:].tobytes()
        if google_crc32c.value(data) != int.from_bytes(stored, "little"):
            message = "the checksum (crc32c) stored with the chunk is not that of its bytes"
            raise ValueError(message)
    return data


def _exactly(data: Bytes, size: int) -> Bytes:
    if len(data) < size:
        message = f"{len(data)} bytes where the chunk has {size}"
        raise EOFError(message)
    _check_claim(len(data), size)
    return data


def _check_claim(claimed: int, size: int) -> None:
    if claimed != size:
        message = f"{claimed} bytes decoded where the chunk has {size}"
        raise ValueError(message)


def _zstd(data: Bytes, out: Bytes) -> None:
    """Frames that tell their size must not tell more than `out` has, and others must fill it exactly.

    Both is checked by numcodecs before it decodes. It takes frames that tell less: where the first frame
    is not the whole chunk, all are decoded once more to learn their size, which is known to be bounded.
    """
    told = _zstd_content(data)
    zstd.decompress(data, out)
    if told is not None and told != len(out):
        _check_claim(len(zstd.decompress(data)), len(out))


def _zstd_content(data: Bytes) -> int | None:
    """The size that the first frame tells of its content (RFC 8878, 3.1.1.1); None: it tells none."""
    head = data[:18].tobytes()
    if len(head) < 6 or not head.startswith(ZSTD_MAGIC):
        return -1
    flags = head[4]
    single_segment = flags >> 5 & 1
    if not flags >> 6 and not single_segment:
        return None
    dictionary = (0, 1, 2, 4)[flags & 3]
    field, more = ZSTD_SIZE_FIELDS[flags >> 6]
    start = 5 + (not single_segment) + dictionary
    if len(head) < start + struct.calcsize(field):
        return -1
    return int(struct.unpack_from(field, head, start)[0]) + more


def _blosc(data: Bytes, out: Bytes) -> None:
    """A header of 16 bytes tells the decoded size and the stored size."""
    if len(data) < BLOSC_HEADER_BYTES:
        message = f"{len(data)} bytes where the header of blosc has {BLOSC_HEADER_BYTES}"
        raise EOFError(message)
    claimed, _, stored = struct.unpack_from("<III", data.data, 4)
    _check_claim(claimed, len(out))
    if stored > len(data):
        message = f"{len(data)} of {stored} bytes"
        raise EOFError(message)
    _check_end(len(data) - stored)
    blosc.decompress(data, out)


def _lz4(data: Bytes, out: Bytes) -> None:
    """One block; the 4 bytes in front of it tell the decoded size."""
    if len(data) < 4:
        message = f"{len(data)} bytes where the size takes 4"
        raise EOFError(message)
    _check_claim(struct.unpack_from("<I", data.data)[0], len(out))
    lz4.decompress(data, out)


def _inflate(data: Bytes, out: Bytes, window_bits: int) -> None:
    """gzip (of one or more members) or zlib; both carry a checksum."""
    done, rest = _inflate_member(data.data, out, 0, window_bits)
    while len(rest) and window_bits == GZIP_BITS:
        done, rest = _inflate_member(rest, out, done, window_bits)
    _check_end(len(rest))
    _check_claim(done, len(out))


def _inflate_member(data: memoryview, out: Bytes, done: int, window_bits: int) -> tuple[int, memoryview]:
    """Decode one stream into `out[done:]`; how far `out` is filled then, and the data behind the stream."""
    stream = zlib.decompressobj(window_bits)
    for start in range(0, len(data), FEED_BYTES):
        try:
            part = stream.decompress(data[start : start + FEED_BYTES], len(out) - done + 1)
        except zlib.error as error:
            message = str(error).replace("incorrect data check", "wrong checksum")
            raise ValueError(message) from None
        if done + len(part) > len(out):
            message = f"more bytes decoded than the {len(out)} that the chunk has"
            raise ValueError(message)
        out[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
        if stream.eof:
            return done, data[min(start + FEED_BYTES, len(data)) - len(stream.unused_data) :]
    message = f"compressed data without an end, after {len(data)} bytes"
    raise EOFError(message)


def _check_end(left: int) -> None:
    if left:
        message = f"{left} bytes behind the end of the compressed data"
        raise ValueError(message)


DECOMPRESS: dict[str, Callable[[Bytes, Bytes], None]] = {
    "zstd": _zstd,
    "blosc": _blosc,
    "lz4": _lz4,
    "gzip": partial(_inflate, window_bits=GZIP_BITS),
    "zlib": partial(_inflate, window_bits=ZLIB_BITS),
}
"""Codec -> `decompress(data, out)`: fill `out` with exactly what the data hold, or raise."""
