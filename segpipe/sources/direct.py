"""The direct reader: bytes by key, decoded by the codec libraries into memory that is used again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.sources.boxes import Box, Piece, check_box, pieces_of, shape_of
from segpipe.sources.buffers import thread_buffers
from segpipe.sources.checked import ExpectedObjects
from segpipe.sources.codecs import Chain
from segpipe.sources.damage import DamagedChunkError, damage_problem, inner_words
from segpipe.sources.fetching import Outcome, attempt, fetched, requests_at_once
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.shards import EMPTY, ShardIndexes, joined_ranges, most_stored_bytes
from segpipe.sources.storage import ObjectInfo, Storage


@dataclass(slots=True)
class _Chunk:
    """A chunk that a box touches: where its bytes lie, and what of it goes where.

    `stop` None: to the end of the object. `inner` is the place of an inner chunk in its shard.
    """

    key: str
    start: int
    stop: int | None
    inner: tuple[int, ...] | None
    piece: Piece

    @property
    def name(self) -> str:
        """What it is called where it is damaged."""
        return self.key + ("" if self.inner is None else inner_words(self.inner))


@dataclass(slots=True)
class _Request:
    """A part of an object, and the chunks in it."""

    key: str
    start: int
    stop: int | None
    chunks: Sequence[_Chunk]


@dataclass
class _Cut:
    """A box in terms of what is stored: requests, parts that were never stored, and shards that are lost."""

    box: Box
    requests: list[_Request]
    absent: list[Box]
    damaged: list[tuple[_Chunk, Exception]]


class DirectReader:
    """Arrays with the codecs of `codecs.Chain`, sharded or not."""

    def __init__(
        self,
        meta: ArrayMeta,
        storage: Storage,
        expected: Mapping[str, ObjectInfo | None],
        chain: Chain,
    ) -> None:
        self.meta = meta
        self._objects = ExpectedObjects(storage, meta.path, expected, most_stored_bytes(meta, meta.chunks))
        self._chain = chain
        self._shards = None if meta.inner_chunks is None else ShardIndexes(meta, self._objects)
        self._unit = meta.inner_chunks or meta.chunks
        self._unit_bytes = math.prod(self._unit) * chain.dtype.itemsize
        self._stored_shape = [self._unit[axis] for axis in chain.axes]
        self._axes = None if list(chain.axes) == sorted(chain.axes) else np.argsort(chain.axes).tolist()
        self._values = np.dtype(np.uint8) if meta.dtype.kind == "b" else meta.dtype.newbyteorder("=")
        self._last: _Cut | None = None

    def read(self, box: Box) -> NDArray[Any]:
        """See `LabelReader.read`."""
        cut = self._cut(box)
        values = thread_buffers().empty(shape_of(box), self._values)
        for part in cut.absent:
            values[part] = self.meta.fill_value
        damaged = list(cut.damaged)
        at_once = requests_at_once(self._objects.storage)
        for request, outcome in fetched(cut.requests, self._get, self._size, at_once):
            damaged += self._failures(request, outcome, values)
        self._raise(damaged)
        return values

    def absent(self, box: Box) -> list[Box]:
        """See `LabelReader.absent`."""
        cut = self._cut(box)
        self._raise(cut.damaged)
        return list(cut.absent)

    # ---- what a box needs

    def _cut(self, box: Box) -> _Cut:
        """Found once for `read` and `absent` of the same box."""
        if self._last is not None and self._last.box == box:
            return self._last
        check_box(box, self.meta.shape)
        cut = _Cut(box, [], [], [])
        shards: list[_Chunk] = []
        for piece in pieces_of(box, self.meta.chunks):
            key = self.meta.chunk_key(piece.place)
            unit = _Chunk(key, 0, None, None, piece)
            stored = self._objects.listed(key) is not None
            if stored and self._shards is not None:
                shards.append(unit)
                continue
            # What was absent is asked for as well: that it appeared would be an error.
            cut.requests.append(_Request(key, 0, None, [unit]))
            if not stored:
                cut.absent.append(piece.target)
        if self._shards is not None:
            self._cut_shards(cut, shards, self._shards)
        self._last = None if cut.damaged else cut
        return cut

    def _cut_shards(self, cut: _Cut, shards: Sequence[_Chunk], indexes: ShardIndexes) -> None:
        """Read the indexes of shards that are not known yet, and what they say of the box."""
        at_once = requests_at_once(self._objects.storage)
        for shard, outcome in fetched(shards, lambda unit: indexes.get(unit.key), lambda _: 0, at_once):
            if outcome.failure is not None:
                outcome = attempt(indexes.get, shard.key)
            if outcome.failure is not None:
                cut.damaged.append((shard, outcome.failure))
            elif outcome.answer is not None:
                self._cut_shard(cut, shard, outcome.answer, indexes.inner_chunks)

    def _cut_shard(
        self, cut: _Cut, shard: _Chunk, index: NDArray[np.uint64], inner_chunks: tuple[int, ...]
    ) -> None:
        chunks: list[_Chunk] = []
        corner = shard.piece.target
        for piece in pieces_of(shard.piece.source, inner_chunks):
            piece.target = tuple(
                slice(part.start + origin.start, part.stop + origin.start)
                for part, origin in zip(piece.target, corner, strict=True)
            )
            offset, length = index[piece.place].tolist()
            if offset == EMPTY:
                cut.absent.append(piece.target)
            else:
                chunks.append(_Chunk(shard.key, offset, offset + length, piece.place, piece))
        ranges = [(chunk.start, chunk.stop or 0) for chunk in chunks]
        cut.requests += [
            _Request(shard.key, start, stop, [chunks[number] for number in numbers])
            for start, stop, numbers in joined_ranges(ranges)
        ]

    # ---- bytes

    def _get(self, request: _Request | _Chunk) -> bytes | None:
        return self._objects.get(request.key, request.start, request.stop)

    def _size(self, request: _Request) -> int:
        if request.stop is not None:
            return request.stop - request.start
        listed = self._objects.listed(request.key)
        return 0 if listed is None else listed.size

    def _failures(
        self, request: _Request, outcome: Outcome[bytes], values: NDArray[Any]
    ) -> Iterator[tuple[_Chunk, Exception]]:
        """Decode the chunks of a request; what fails is fetched once more on its own.

        Yields:
            The chunks that failed twice, with the reason.
        """
        for chunk in request.chunks:
            failure = outcome.failure
            if failure is None and outcome.answer is not None:
                first = chunk.start - request.start
                last = None if chunk.stop is None else chunk.stop - request.start
                data = np.frombuffer(outcome.answer, np.uint8)[first:last]
                failure = attempt(self._decode, chunk, data, values).failure
            if failure is not None:
                failure = attempt(self._load, chunk, values).failure
            if failure is not None:
                yield chunk, failure

    def _load(self, chunk: _Chunk, values: NDArray[Any]) -> None:
        data = self._get(chunk)
        if data is not None:
            self._decode(chunk, np.frombuffer(data, np.uint8), values)

    def _decode(self, chunk: _Chunk, data: NDArray[np.uint8], values: NDArray[Any]) -> None:
        """Decode a chunk into its part of `values`: where that is one piece of memory, straight into it."""
        at: tuple[Any, ...] = (*chunk.piece.target, ...)
        region = values[at]
        if chunk.piece.whole and self._axes is None and region.flags.c_contiguous:
            flat = region.reshape(-1)
            self._chain.decode(data, flat.view(np.uint8))
            if not self._chain.dtype.isnative:
                flat.byteswap(inplace=True)
            return
        scratch = thread_buffers().empty((self._unit_bytes,), np.uint8)
        decoded = self._chain.decoded(data, scratch).view(self._chain.dtype)
        stored = decoded.reshape(self._stored_shape)
        region[...] = (stored if self._axes is None else stored.transpose(self._axes))[chunk.piece.source]

    def _raise(self, damaged: Sequence[tuple[_Chunk, Exception]]) -> None:
        if damaged:
            named = sorted(damaged, key=lambda item: [part.start for part in item[0].piece.target])
            store = self._objects.storage.url
            raise DamagedChunkError(
                [damage_problem(self.meta, store, chunk.name, failure) for chunk, failure in named],
                [chunk.piece.target for chunk, _ in named],
            )
