"""Boxes out of Zarr arrays: decoded, with what of them was never stored, and what is damaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype

from segpipe.errors import EXIT_INCOMPLETE, InputError, Problem, SegpipeError, problem_list
from segpipe.sources.boxes import Box, chunk_box, common, relative, rows_of, shape_of, units_in
from segpipe.sources.checked import ExpectedObjects, open_checked
from segpipe.sources.documents import shard_index
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.storage import ObjectInfo, Storage

__all__ = ["Box", "DamagedChunkError", "LabelReader", "open_reader"]

EMPTY = np.iinfo(np.uint64).max
"""Offset and length, in a shard index, of an inner chunk that was not stored."""

DAMAGE_ADVICE = "write the chunk again from its source, or let its images be left out"


class DamagedChunkError(SegpipeError):
    """Chunks that are there and cannot be read.

    `problems` names each; `regions` tells, in the same order, which part of the box it would have filled,
    counted from the corner of the box.
    """

    exit_code = EXIT_INCOMPLETE

    def __init__(self, problems: Sequence[Problem], regions: Sequence[Box]) -> None:
        self.problems, self.regions = list(problems), list(regions)
        super().__init__(problem_list(self.problems))

    def __reduce__(self) -> tuple[type[DamagedChunkError], tuple[list[Problem], list[Box]]]:
        return type(self), (self.problems, self.regions)


class LabelReader(Protocol):
    """Boxes of one array of any number of dimensions; it knows nothing of images.

    A reader is used by one thread at a time, sees only the objects it was told to expect, and holds no more
    than the box and a few chunks. Every reader keeps: `ExpectedObjects` as its only way to bytes (what
    changed, vanished or appeared raises), values as they are stored, `absent` from the inventory and the
    shard index, and `DamagedChunkError` that names each bad chunk and no good one. The laws are tested by
    `tests/sources/conformance.py`.
    """

    def read(self, box: Box) -> NDArray[Any]:
        """The stored values of a box, in its shape: machine byte order, contiguous, bools as uint8.

        Args:
            box: one slice for each dimension, with start and stop within the array and step 1.

        Raises:
            DamagedChunkError: stored chunks of the box cannot be read.
            InputChangedError: an object is not what the inventory saw.
        """

    def absent(self, box: Box) -> list[Box]:
        """The parts of a box that were never stored, and are read as fill value; from the box's corner.

        Chunks without an object, and empty inner chunks of a shard. Raises as `read` does.
        """


def open_reader(meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> LabelReader:
    """A reader of boxes of an array.

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

    def read(self, box: Box) -> NDArray[Any]:
        """See `LabelReader.read`."""
        self._check(box)
        for _ in range(2):  # What fails once and never again was the network or the disk.
            try:
                return self._selection(box)
            except InputError:
                raise
            except Exception as error:
                failure = error
                self._raise_damage(box)
        problem = self._problem("", failure)
        raise DamagedChunkError([problem], [relative(box, box)])

    def absent(self, box: Box) -> list[Box]:
        """See `LabelReader.absent`."""
        self._check(box)
        try:
            return [relative(part, box) for part in self._absent_boxes(box)]
        except (ValueError, EOFError, OSError):
            self._raise_damage(box)
            return [relative(part, box) for part in self._absent_boxes(box)]

    def _check(self, box: Box) -> None:
        """A box that does not fit the array, or was not announced, is a mistake of the caller."""
        shape = self.meta.shape
        fits = len(box) == len(shape) and all(
            part.step in (None, 1) and 0 <= part.start <= part.stop <= size
            for part, size in zip(box, shape, strict=True)
        )
        if not fits:
            message = (
                f"the box {box}: expected a slice within the array, of shape {shape}, for each dimension"
            )
            raise ValueError(message)
        unknown = [
            key for key in map(self.meta.chunk_key, self._units(box)) if key not in self._objects.expected
        ]
        if unknown:
            message = f"{unknown[0]} of {self.meta.path}: the reader was not told what to expect there"
            raise ValueError(message)

    def _selection(self, box: Box) -> NDArray[Any]:
        """A box of the array, read one row of storage units after the other.

        zarr-python holds ten chunks at once, encoded and decoded; a row bounds that, and workers run several
        readers anyway.
        """
        stored = np.dtype(bool) if self.meta.dtype.kind == "b" else self._labels
        values = np.empty(shape_of(box), stored)
        for rows in rows_of(box, self.meta.chunks) if values.size else ():
            at: tuple[Any, ...] = (*relative(rows, box), ...)
            out = default_buffer_prototype().nd_buffer.from_numpy_array(values[at])
            self._array.get_basic_selection(rows, out=out)
        return values.view(self._labels)

    def _units(self, box: Box) -> Iterator[tuple[int, ...]]:
        """The storage units that a box touches."""
        return units_in(box, self.meta.chunks)

    def _absent_boxes(self, box: Box) -> Iterator[Box]:
        for coords in self._units(box):
            unit = chunk_box(coords, self.meta.chunks)
            if self._objects.expected[self.meta.chunk_key(coords)] is None:
                parts = [unit]
            else:
                parts = list(self._empty_inner(coords, unit))
            yield from (inside for part in parts if (inside := common(part, box)) is not None)

    def _empty_inner(self, coords: tuple[int, ...], unit: Box) -> Iterator[Box]:
        """The inner chunks of a shard that were not stored."""
        index, inner = self._index(coords), self.meta.inner_chunks
        if index is not None and inner is not None:
            corner = [part.start for part in unit]
            for place in np.argwhere(index[..., 0] == EMPTY).tolist():
                yield chunk_box(place, inner, corner)

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

    def _raise_damage(self, box: Box) -> None:
        """Read chunk by chunk, and raise if some are bad."""
        problems: list[Problem] = []
        regions: list[Box] = []
        for coords in self._units(box):
            for piece, words in self._pieces(coords, box):
                failure = self._failure(coords, piece)
                if failure is not None:
                    problems.append(self._problem(self.meta.chunk_key(coords) + words, failure))
                    regions.append(relative(piece, box))
        if problems:
            raise DamagedChunkError(problems, regions)

    def _pieces(self, coords: tuple[int, ...], box: Box) -> Iterator[tuple[Box, str]]:
        """The smallest parts of a storage unit that are read on their own, and what they are called."""
        unit, inner = chunk_box(coords, self.meta.chunks), self.meta.inner_chunks
        try:
            index = self._index(coords)
        except (ValueError, EOFError, OSError):
            index = None
        parts = [(unit, "")]
        if index is not None and inner is not None:
            corner = [part.start for part in unit]
            parts = [
                (chunk_box(place, inner, corner), f" (inner chunk {', '.join(map(str, place))})")
                for place in np.ndindex(*_per_shard(self.meta))
            ]
        yield from ((inside, words) for part, words in parts if (inside := common(part, box)) is not None)

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


def _per_shard(meta: ArrayMeta) -> tuple[int, ...]:
    assert meta.inner_chunks is not None
    return tuple(unit // inner for unit, inner in zip(meta.chunks, meta.inner_chunks, strict=True))


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
