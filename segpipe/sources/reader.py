"""Boxes out of Zarr arrays: decoded, with what of them was never stored, and what is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from numpy.typing import NDArray

from segpipe.sources.boxes import Box
from segpipe.sources.codecs import NotDirect, chain_of
from segpipe.sources.damage import DamagedChunkError
from segpipe.sources.direct import DirectReader
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.storage import ObjectInfo, Storage
from segpipe.sources.zarr_reader import ZarrReader

__all__ = [
    "DamagedChunkError",
    "LabelReader",
    "ReaderKind",
    "open_reader",
    "reader_of",
    "readers_in_words",
]


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


class ReaderKind(NamedTuple):
    """Which reader an array gets, and why: the reason names what the direct reader does not decode."""

    kind: Literal["direct", "zarr-python"]
    reason: str


def reader_of(meta: ArrayMeta) -> ReaderKind:
    """Which reader an array gets, from its metadata alone."""
    try:
        chain_of(meta)
    except NotDirect as reason:
        return ReaderKind("zarr-python", str(reason))
    return ReaderKind("direct", "")


def readers_in_words(sides: Mapping[str, Sequence[ArrayMeta]]) -> str:
    """Which readers the arrays of each side get: `direct`, or each side with what is left to zarr-python."""
    kinds = {side: Counter(map(reader_of, arrays)) for side, arrays in sides.items()}
    if all(kind.kind == "direct" for counts in kinds.values() for kind in counts):
        return "direct"
    return "; ".join(f"{side}: {_counted(counts)}" for side, counts in kinds.items())


def _counted(counts: Counter[ReaderKind]) -> str:
    """`direct (2 arrays), zarr-python (1 array: the codec delta)`"""
    words = []
    for kind, count in sorted(counts.items()):
        reason = f": {kind.reason}" if kind.reason else ""
        words.append(f"{kind.kind} ({count:,} array{'s' * (count > 1)}{reason})")
    return ", ".join(words)


def open_reader(meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> LabelReader:
    """A reader of boxes of an array: the direct one where it can, else zarr-python.

    Args:
        meta: the array; no metadata is read again.
        storage: where it lies.
        expected: chunk key relative to the array -> what the inventory saw, None if there was no object,
            for every storage unit that will be read.
    """
    try:
        return DirectReader(meta, storage, expected, chain_of(meta))
    except NotDirect:
        return ZarrReader(meta, storage, expected)
