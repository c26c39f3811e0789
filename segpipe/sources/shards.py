"""Shards: the index of their inner chunks, checked and read once, and reads that lie close together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from segpipe.sources.checked import ExpectedObjects
from segpipe.sources.documents import shard_index
from segpipe.sources.metadata import ArrayMeta

EMPTY = np.iinfo(np.uint64).max
"""Offset and length, in a shard index, of an inner chunk that was not stored."""

GAP_BYTES = 64 << 10
"""Ranges of a shard with no more than this between them are read at once: a request costs more."""

SPAN_BYTES = 16 << 20
"""Ranges are joined up to this size."""


STORED_PER_DECODED, STORED_MORE_BYTES = 8, 64 << 20
"""No chunk takes more: so many times its decoded bytes (codecs may write text), and the index of a shard.
More is never held in memory."""


def most_stored_bytes(meta: ArrayMeta, unit: tuple[int, ...]) -> int:
    """The most bytes that are read for a chunk, an inner chunk or a shard of this shape.

    An object may have any size, and hold a chunk that was never that large.
    """
    return STORED_PER_DECODED * math.prod(unit) * meta.dtype.itemsize + STORED_MORE_BYTES


class ShardIndexes:
    """The checked indexes of the shards of an array, each read once.

    Args:
        meta: an array with inner chunks.
        objects: its shards.
    """

    def __init__(self, meta: ArrayMeta, objects: ExpectedObjects) -> None:
        assert meta.inner_chunks is not None
        self.inner_chunks = meta.inner_chunks
        self.per_shard = tuple(
            unit // inner for unit, inner in zip(meta.chunks, meta.inner_chunks, strict=True)
        )
        self._location, self._big_endian, self._has_crc = shard_index(meta.document)
        self._objects, self._most_bytes = objects, most_stored_bytes(meta, meta.inner_chunks)
        self._indexes: dict[str, NDArray[np.uint64]] = {}

    def get(self, key: str) -> NDArray[np.uint64]:
        """Offset and length in bytes of every inner chunk of a stored shard, shape (*per_shard, 2).

        Raises:
            EOFError: the index is cut short.
            ValueError: its checksum is wrong, or it names bytes outside of the object.
            OSError: it cannot be read.
            InputChangedError: the shard is not what the inventory saw.
        """
        if key not in self._indexes:
            self._indexes[key] = self._read(key)
        return self._indexes[key]

    def _read(self, key: str) -> NDArray[np.uint64]:
        count = 16 * math.prod(self.per_shard) + 4 * self._has_crc
        bounds = (-count, None) if self._location == "end" else (0, count)
        data = self._objects.get(key, *bounds)
        listed = self._objects.listed(key)
        assert data is not None
        assert listed is not None
        index = parse_index(data, self.per_shard, big_endian=self._big_endian, has_crc=self._has_crc)
        check_index(index, listed.size, self._most_bytes)
        return index


def parse_index(
    data: bytes, per_shard: tuple[int, ...], *, big_endian: bool, has_crc: bool
) -> NDArray[np.uint64]:
    """Offset and length in bytes of every inner chunk of a shard, shape (*per_shard, 2).

    Raises:
        EOFError: the index is cut short.
        ValueError: its checksum is wrong.
    """
    count = 16 * math.prod(per_shard)
    if len(data) != count + 4 * has_crc:
        message = f"{len(data)} bytes where the index of the shard has {count + 4 * has_crc}"
        raise EOFError(message)
    if has_crc and google_crc32c.value(data[:count]) != int.from_bytes(data[count:], "little"):
        message = "wrong checksum of the shard's index"
        raise ValueError(message)
    pairs = np.frombuffer(data, ">u8" if big_endian else "<u8", count // 8)
    return pairs.reshape(*per_shard, 2).astype(np.uint64)


def check_index(index: NDArray[np.uint64], object_bytes: int, most_bytes: int) -> None:
    """Every inner chunk is stored within the object, with 1 to `most_bytes` bytes, or not at all.

    Raises:
        ValueError: one is not. zarr-python would read a chunk of no bytes as fill value.
    """
    offset, length = index[..., 0], index[..., 1]
    empty = (offset == EMPTY) & (length == EMPTY)
    size = np.uint64(object_bytes)
    inside = (length > 0) & (offset <= size) & (length <= size - np.minimum(offset, size))
    if not (empty | inside).all():
        message = "the shard's index names bytes outside of the object"
        raise ValueError(message)
    if (length[~empty] > most_bytes).any():
        message = f"the shard's index names an inner chunk of more than {most_bytes:,} bytes"
        raise ValueError(message)


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Join ranges `start:stop` that lie close together.

    Yields:
        Start and stop of a read, and the numbers of the ranges within it, in the order of their starts.

    >>> list(joined_ranges([(300_000, 300_100), (0, 10), (4, 20)]))
    [(0, 20, [1, 2]), (300000, 300100, [0])]
    """
    start, stop, numbers = 0, 0, list[int]()
    for number, (first, last) in sorted(enumerate(ranges), key=lambda item: item[1]):
        if numbers and (first > stop + GAP_BYTES or max(last, stop) - start > SPAN_BYTES):
            yield start, stop, numbers
            numbers = []
        if not numbers:
            start = stop = first
        stop = max(stop, last)
        numbers.append(number)
    if numbers:
        yield start, stop, numbers
