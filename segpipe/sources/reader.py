"""Label maps out of Zarr arrays: decoded windows, what of them was never stored, and what is damaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype

from segpipe.errors import EXIT_INCOMPLETE, InputError, Problem, SegpipeError, problem_list
from segpipe.sources.checked import ExpectedObjects, open_checked
from segpipe.sources.documents import shard_index
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.storage import ObjectInfo, Storage

Region = tuple[slice, slice, slice]
"""Image, y, x: part of a window, counted from the window's corner."""

EMPTY = np.iinfo(np.uint64).max
"""Offset and length, in a shard index, of an inner chunk that was not stored."""

DAMAGE_ADVICE = "write the chunk again from its source, or let its images be left out"


class DamagedChunkError(SegpipeError):
    """Chunks that are there and cannot be read.

    `problems` names each; `regions` tells, in the same order, which part of the window it would have filled.
    """

    exit_code = EXIT_INCOMPLETE

    def __init__(self, problems: Sequence[Problem], regions: Sequence[Region]) -> None:
        self.problems, self.regions = list(problems), list(regions)
        super().__init__(problem_list(self.problems))

    def __reduce__(self) -> tuple[type[DamagedChunkError], tuple[list[Problem], list[Region]]]:
        return type(self), (self.problems, self.regions)


class LabelReader(Protocol):
    """Windows of one array. A window is a run of images, whole in y and x.

    A reader is used by one thread at a time, sees only the objects it was told to expect, and holds no more
    than the window and a few chunks. A faster reader must keep: `ExpectedObjects` as its only way to bytes
    (what changed, vanished or appeared raises), labels as they are stored, `absent` from the inventory and
    the shard index, and `DamagedChunkError` that names each bad chunk and no good one. The laws are tested
    by `tests/sources/conformance.py`.
    """

    def read(self, images: slice | None) -> NDArray[Any]:
        """Raw labels of a run of images, shape (image, y, x), integers of the machine's byte order.

        Args:
            images: `start:stop` along the first dimension; None: all of the array. An array of two
                dimensions is one image and takes None.

        Raises:
            DamagedChunkError: stored chunks of the window cannot be read.
            InputChangedError: an object is not what the inventory saw.
        """

    def absent(self, images: slice | None) -> list[Region]:
        """The parts of the window that were never stored, and are read as fill value.

        Chunks without an object, and empty inner chunks of a shard. Raises as `read` does.
        """


def open_reader(meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> LabelReader:
    """A reader of the label maps of an array of two or three dimensions.

    Args:
        meta: the array; no metadata is read again.
        storage: where it lies.
        expected: chunk key relative to the array -> what the inventory saw, None if there was no object,
            for every storage unit that will be read.
    """
    return ZarrReader(meta, storage, expected)


class ZarrReader:
    """Any array that zarr-python reads, through `CheckedStore`."""

    def __init__(self, meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> None:
        self.meta = meta
        self._objects = ExpectedObjects(storage, meta.path, expected)
        self._array = open_checked(meta, self._objects)
        self._indexes: dict[str, NDArray[np.uint64]] = {}
        self._labels = np.dtype(np.uint8) if meta.dtype.kind == "b" else meta.dtype.newbyteorder("=")

    def read(self, images: slice | None) -> NDArray[Any]:
        """See `LabelReader.read`."""
        window = self._window(images)
        for _ in range(2):  # What fails once and never again was the network or the disk.
            try:
                return self._decoded(window)
            except InputError:
                raise
            except Exception as error:
                failure = error
                self._raise_damage(window)
        problem = self._problem("", failure)
        raise DamagedChunkError([problem], [_relative(window, window)])

    def absent(self, images: slice | None) -> list[Region]:
        """See `LabelReader.absent`."""
        window = self._window(images)
        try:
            return [_relative(box, window) for box in self._absent_boxes(window)]
        except (ValueError, EOFError, OSError):
            self._raise_damage(window)
            return [_relative(box, window) for box in self._absent_boxes(window)]

    def _window(self, images: slice | None) -> Box:
        whole = tuple(slice(0, size) for size in self.meta.shape)
        if images is None:
            window = whole
        elif len(whole) == 3 and images.step in (None, 1):
            start, stop, _ = images.indices(self.meta.shape[0])
            window = (slice(start, max(start, stop)), *whole[1:])
        else:
            message = f"images {images}: expected a run of images of an array of three dimensions"
            raise ValueError(message)
        keys = map(self.meta.chunk_key, self._units(window))
        unknown = [key for key in keys if key not in self._objects.expected]
        if unknown:
            message = f"{unknown[0]} of {self.meta.path}: the reader was not told what to expect there"
            raise ValueError(message)
        return window

    def _decoded(self, window: Box) -> NDArray[Any]:
        return self._selection(window).reshape((-1, *(part.stop - part.start for part in window[-2:])))

    def _selection(self, box: Box) -> NDArray[Any]:
        """A box of the array, read one row of storage units after the other.

        zarr-python holds ten chunks at once, encoded and decoded; a row bounds that, and workers run several
        readers anyway.
        """
        stored = np.dtype(bool) if self.meta.dtype.kind == "b" else self._labels
        labels = np.empty([part.stop - part.start for part in box], stored)
        for rows in _rows(box[0], self.meta.chunks[0]) if labels.size else ():
            part = labels[rows.start - box[0].start : rows.stop - box[0].start]
            out = default_buffer_prototype().nd_buffer.from_numpy_array(part)
            self._array.get_basic_selection((rows, *box[1:]), out=out)
        return labels.view(self._labels)

    def _units(self, window: Box) -> Iterator[tuple[int, ...]]:
        if all(part.stop > part.start for part in window):
            yield from self.meta.units(window[0] if len(window) == 3 else None)

    def _absent_boxes(self, window: Box) -> Iterator[Box]:
        for coords in self._units(window):
            corner = [at * size for at, size in zip(coords, self.meta.chunks, strict=True)]
            if self._objects.expected[self.meta.chunk_key(coords)] is None:
                yield from _clipped(corner, self.meta.chunks, window)
                continue
            index = self._index(coords)
            if index is not None and self.meta.inner_chunks is not None:
                for inner in np.argwhere(index[..., 0] == EMPTY).tolist():
                    yield from _clipped(
                        _inner_corner(corner, inner, self.meta.inner_chunks), self.meta.inner_chunks, window
                    )

    def _index(self, coords: tuple[int, ...]) -> NDArray[np.uint64] | None:
        """The checked index of a shard, read once; None if there is no shard."""
        key = self.meta.chunk_key(coords)
        if self.meta.inner_chunks is None or self._objects.expected[key] is None:
            return None
        if key not in self._indexes:
            self._indexes[key] = self._read_index(key)
        return self._indexes[key]

    def _read_index(self, key: str) -> NDArray[np.uint64]:
        per_shard = _per_shard(self.meta)
        location, big_endian, has_crc = shard_index(self.meta.document)
        count = 16 * math.prod(per_shard) + 4 * has_crc
        data = self._objects.get(key, -count) if location == "end" else self._objects.get(key, 0, count)
        listed = self._objects.expected[key]
        assert data is not None
        assert listed is not None
        index = parse_index(data, per_shard, big_endian=big_endian, has_crc=has_crc)
        check_index(index, listed.size)
        return index

    def _raise_damage(self, window: Box) -> None:
        """Read chunk by chunk, and raise if some are bad."""
        problems: list[Problem] = []
        regions: list[Region] = []
        for coords in self._units(window):
            for box, words in self._pieces(coords, window):
                failure = self._failure(coords, box)
                if failure is not None:
                    problems.append(self._problem(self.meta.chunk_key(coords) + words, failure))
                    regions.append(_relative(box, window))
        if problems:
            raise DamagedChunkError(problems, regions)

    def _pieces(self, coords: tuple[int, ...], window: Box) -> Iterator[tuple[Box, str]]:
        """The smallest parts of a storage unit that are read on their own, and what they are called."""
        corner = [at * size for at, size in zip(coords, self.meta.chunks, strict=True)]
        try:
            index = self._index(coords)
        except (ValueError, EOFError, OSError):
            index = None
        if index is None or self.meta.inner_chunks is None:
            yield from ((box, "") for box in _clipped(corner, self.meta.chunks, window))
            return
        for inner in np.ndindex(*_per_shard(self.meta)):
            start = _inner_corner(corner, inner, self.meta.inner_chunks)
            words = f" (inner chunk {', '.join(map(str, inner))})"
            yield from ((box, words) for box in _clipped(start, self.meta.inner_chunks, window))

    def _failure(self, coords: tuple[int, ...], box: Box) -> Exception | None:
        """Why a part cannot be read; what the system refuses is asked for twice."""
        failure: Exception | None = None
        for _ in range(2):
            try:
                self._index(coords)
                self._selection(box)
            except InputError:
                raise
            except OSError as error:
                failure = error
            except Exception as error:
                return error
            else:
                return None
        return failure

    def _problem(self, chunk: str, failure: Exception) -> Problem:
        kind, found = _words(failure)
        unit = self.meta.inner_chunks or self.meta.chunks
        return Problem(
            kind=kind,
            found=found,
            expected=f"a chunk of shape {unit}, {self.meta.dtype}",
            store=self._objects.storage.url,
            array=self.meta.path,
            chunk=chunk,
            advice=DAMAGE_ADVICE,
        )


Box = tuple[slice, ...]
"""Part of an array, counted from the array's corner."""


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


def check_index(index: NDArray[np.uint64], object_bytes: int) -> None:
    """Every inner chunk is stored within the object, with at least one byte, or not at all.

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


def _rows(run: slice, unit: int) -> Iterator[slice]:
    """A run of the first dimension, cut where storage units begin."""
    start = run.start
    while start < run.stop:
        stop = min(run.stop, (start // unit + 1) * unit)
        yield slice(start, stop)
        start = stop


def _per_shard(meta: ArrayMeta) -> tuple[int, ...]:
    assert meta.inner_chunks is not None
    return tuple(unit // inner for unit, inner in zip(meta.chunks, meta.inner_chunks, strict=True))


def _inner_corner(corner: Sequence[int], inner: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return [start + at * size for start, at, size in zip(corner, inner, sizes, strict=True)]


def _clipped(corner: Sequence[int], sizes: Sequence[int], window: Box) -> Iterator[Box]:
    """The part of a chunk that lies in the window, if there is any."""
    box = tuple(
        slice(max(start, part.start), min(start + size, part.stop))
        for start, size, part in zip(corner, sizes, window, strict=True)
    )
    if all(part.start < part.stop for part in box):
        yield box


def _relative(box: Box, window: Box) -> Region:
    """A box of the array as a region of the window; an array of two dimensions is image 0."""
    parts = [
        slice(part.start - origin.start, part.stop - origin.start)
        for part, origin in zip(box, window, strict=True)
    ]
    image, y, x = parts if len(parts) == 3 else (slice(0, 1), *parts)
    return image, y, x


def _words(failure: Exception) -> tuple[str, str]:
    """The kind of damage, and what was found."""
    reason = f"{type(failure).__name__}: {str(failure).strip().split(chr(10))[0]}"
    if isinstance(failure, EOFError):
        return "truncated", f"an object that ends too early ({reason})"
    if isinstance(failure, OSError):
        return "unreadable", f"an object that cannot be read ({reason})"
    if "checksum" in reason.lower():
        return "checksum", f"a wrong checksum ({reason})"
    return "decode", f"bytes that cannot be decoded ({reason})"
