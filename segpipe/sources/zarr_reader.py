"""The reader for every array that zarr-python reads, through the store that checks what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype

from segpipe.errors import Problem, SegpipeError
from segpipe.sources.boxes import Box, check_box, chunk_box, common, relative, rows_of, shape_of, units_in
from segpipe.sources.checked import ExpectedObjects, open_checked
from segpipe.sources.damage import DamagedChunkError, damage_problem, inner_words
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.shards import EMPTY, ShardIndexes, most_stored_bytes
from segpipe.sources.storage import ObjectInfo, Storage


class ZarrReader:
    """Any array that zarr-python reads, through `CheckedStore`."""

    def __init__(self, meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> None:
        self.meta = meta
        self._objects = ExpectedObjects(storage, meta.path, expected, most_stored_bytes(meta, meta.chunks))
        self._array = open_checked(meta, self._objects)
        self._shards = None if meta.inner_chunks is None else ShardIndexes(meta, self._objects)
        self._labels = np.dtype(np.uint8) if meta.dtype.kind == "b" else meta.dtype.newbyteorder("=")

    def read(self, box: Box) -> NDArray[Any]:
        """See `LabelReader.read`."""
        self._check(box)
        for _ in range(2):  # What fails once and never again was the network or the disk.
            try:
                return self._selection(box)
            except (SegpipeError, MemoryError):
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
        check_box(box, self.meta.shape)
        for coords in units_in(box, self.meta.chunks):
            self._objects.listed(self.meta.chunk_key(coords))

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

    def _absent_boxes(self, box: Box) -> Iterator[Box]:
        for coords in units_in(box, self.meta.chunks):
            unit = chunk_box(coords, self.meta.chunks)
            if self._objects.listed(self.meta.chunk_key(coords)) is None:
                parts = [unit]
            else:
                parts = list(self._empty_inner(coords, unit))
            yield from (inside for part in parts if (inside := common(part, box)) is not None)

    def _empty_inner(self, coords: tuple[int, ...], unit: Box) -> Iterator[Box]:
        """The inner chunks of a shard that were not stored."""
        if self._shards is not None:
            corner = [part.start for part in unit]
            index = self._shards.get(self.meta.chunk_key(coords))
            for place in np.argwhere(index[..., 0] == EMPTY).tolist():
                yield chunk_box(place, self._shards.inner_chunks, corner)

    def _raise_damage(self, box: Box) -> None:
        """Read chunk by chunk, and raise if some are bad."""
        problems: list[Problem] = []
        regions: list[Box] = []
        for coords in units_in(box, self.meta.chunks):
            for piece, words in self._pieces(coords, box):
                failure = self._failure(coords, piece)
                if failure is not None:
                    problems.append(self._problem(self.meta.chunk_key(coords) + words, failure))
                    regions.append(relative(piece, box))
        if problems:
            raise DamagedChunkError(problems, regions)

    def _pieces(self, coords: tuple[int, ...], box: Box) -> Iterator[tuple[Box, str]]:
        """The smallest parts of a storage unit that are read on their own, and what they are called."""
        unit = chunk_box(coords, self.meta.chunks)
        parts = [(unit, "")]
        if self._shards is not None and self._is_index_sound(coords):
            corner = [part.start for part in unit]
            parts = [
                (chunk_box(place, self._shards.inner_chunks, corner), inner_words(place))
                for place in np.ndindex(*self._shards.per_shard)
            ]
        yield from ((inside, words) for part, words in parts if (inside := common(part, box)) is not None)

    def _is_index_sound(self, coords: tuple[int, ...]) -> bool:
        try:
            self._check_index(coords)
        except (ValueError, EOFError, OSError):
            return False
        return self._objects.listed(self.meta.chunk_key(coords)) is not None

    def _check_index(self, coords: tuple[int, ...]) -> None:
        key = self.meta.chunk_key(coords)
        if self._shards is not None and self._objects.listed(key) is not None:
            self._shards.get(key)

    def _failure(self, coords: tuple[int, ...], box: Box) -> Exception | None:
        """Why a part cannot be read; what the system refuses is asked for twice."""
        failure: Exception | None = None
        for _ in range(2):
            try:
                self._check_index(coords)
                self._selection(box)
            except (SegpipeError, MemoryError):
                raise
            except OSError as error:
                failure = error
            except Exception as error:
                return error
            else:
                return None
        return failure

    def _problem(self, chunk: str, failure: Exception) -> Problem:
        return damage_problem(self.meta, self._objects.storage.url, chunk, failure)
