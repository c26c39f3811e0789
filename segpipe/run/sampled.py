"""A few chunks of an array, spread over it: which values they hold, and what of shards was never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import InputError, Problem
from segpipe.sources.boxes import Box, chunk_box, common
from segpipe.sources.metadata import ArrayMeta, StoreView
from segpipe.sources.reader import DamagedChunkError, LabelReader, open_reader
from segpipe.sources.storage import ObjectInfo

SAMPLED_CHUNKS = 8
MAX_SAMPLE_BYTES = 64 << 20
"""Larger chunks, decoded, are not sampled."""

MAX_STORED_BYTES = 256 << 20
"""Larger objects are not sampled."""

MAX_INNER_CHUNKS = 1 << 16
"""The indexes of shards with more inner chunks are not looked at."""

SHOWN_VALUES = 40


@dataclass(frozen=True)
class Sample:
    """What a few chunks of an array hold.

    Attributes:
        chunks, pixels: how much was read.
        values: value -> pixels, the most frequent ones, by value; of integers and bools only.
        other_values: how many more values there are.
        lowest, highest: of all values that were read; None: there are none.
        not_a_number: values that are NaN.
        whole_numbers: all values but NaN are whole numbers.
        shards, empty_inner_chunks: shards whose index was read, and inner chunks never written in them.
        problems: chunks that cannot be read.
        left_out: why nothing was read; empty: something was.
    """

    chunks: int = 0
    pixels: int = 0
    values: dict[int, int] = field(default_factory=dict)
    other_values: int = 0
    lowest: float | None = None
    highest: float | None = None
    not_a_number: int = 0
    whole_numbers: bool = True
    shards: int = 0
    empty_inner_chunks: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out: str = ""


def take_sample(view: StoreView, meta: ArrayMeta, units: Sequence[tuple[int, ...]]) -> Sample:
    """Read a few of the stored units of an array, evenly spread; the same ones each time.

    Args:
        view: the store.
        meta: an array of numbers.
        units: the places of its storage units that are stored, sorted.
    """
    chosen = spread(units, SAMPLED_CHUNKS)
    keys = {place: meta.chunk_key(place) for place in chosen}
    objects = {key: view.objects.get(meta.object_key(place)) for place, key in keys.items()}
    why = _too_large(meta, objects) or ("" if chosen else "no chunk is stored")
    if why:
        return Sample(left_out=why)
    reader = open_reader(meta, view.storage, objects)
    seen = _Seen()
    for place in chosen:
        unit = common(chunk_box(place, meta.chunks), tuple(slice(0, size) for size in meta.shape))
        if unit is not None:
            seen.look(reader, meta, unit)
    return seen.sample()


def spread(items: Sequence[Any], number: int) -> list[Any]:
    """Some items at equal distances, the first and the last among them.

    >>> spread("abcdefghij", 4), spread("ab", 4)
    (['a', 'd', 'g', 'j'], ['a', 'b'])
    """
    if len(items) <= number:
        return list(items)
    return [items[at * (len(items) - 1) // (number - 1)] for at in range(number)]


def _too_large(meta: ArrayMeta, objects: Mapping[str, ObjectInfo | None]) -> str:
    decoded = prod(meta.inner_chunks or meta.chunks) * meta.dtype.itemsize
    if decoded > MAX_SAMPLE_BYTES:
        return f"its chunks are {decoded >> 20} MiB each when decoded"
    stored = max((info.size for info in objects.values() if info), default=0)
    return f"its objects are {stored >> 20} MiB each" if stored > MAX_STORED_BYTES else ""


class _Seen:
    """Collects what the chunks of a sample hold."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.pixels = self.chunks = self.nans = self.shards = self.empty = 0
        self.lowest, self.highest, self.whole = np.inf, -np.inf, True
        self.problems: list[Problem] = []

    def look(self, reader: LabelReader, meta: ArrayMeta, unit: Box) -> None:
        """Read a chunk; of a shard the first inner chunk that was written."""
        try:
            box = self._written(reader, meta, unit)
            if box is not None:
                self._add(reader.read(box))
        except (DamagedChunkError, InputError) as error:
            self.problems += error.problems[:1]

    def _written(self, reader: LabelReader, meta: ArrayMeta, unit: Box) -> Box | None:
        if meta.inner_chunks is None:
            return unit
        first = chunk_box([0] * len(unit), meta.inner_chunks, [part.start for part in unit])
        if prod(meta.chunks) // prod(meta.inner_chunks) > MAX_INNER_CHUNKS:
            return common(first, unit)
        absent = {tuple(part.start for part in box) for box in reader.absent(unit)}
        self.shards += 1
        self.empty += len(absent)
        counts = [
            -(-(part.stop - part.start) // size) for part, size in zip(unit, meta.inner_chunks, strict=True)
        ]
        for inner in np.ndindex(*counts):
            start = tuple(at * size for at, size in zip(inner, meta.inner_chunks, strict=True))
            if start not in absent:
                return common(chunk_box(inner, meta.inner_chunks, [part.start for part in unit]), unit)
        return None

    def _add(self, read: NDArray[Any]) -> None:
        self.chunks += 1
        self.pixels += read.size
        if read.dtype.kind == "f":
            missing = np.isnan(read)
            self.nans += int(missing.sum())
            read = read[~missing]
            finite = read[np.isfinite(read)]
            self.whole = self.whole and bool((finite == np.trunc(finite)).all())
        elif read.dtype.kind in "iu":
            for value, count in zip(
                *(part.tolist() for part in np.unique(read, return_counts=True)), strict=True
            ):
                self.values[value] = self.values.get(value, 0) + count
        if read.size and read.dtype.kind in "iuf":
            self.lowest = min(self.lowest, read.min().item())
            self.highest = max(self.highest, read.max().item())

    def sample(self) -> Sample:
        """What was seen."""
        frequent = sorted(self.values, key=lambda value: (-self.values[value], value))[:SHOWN_VALUES]
        return Sample(
            chunks=self.chunks,
            pixels=self.pixels,
            values={value: self.values[value] for value in sorted(frequent)},
            other_values=len(self.values) - len(frequent),
            lowest=self.lowest if self.lowest <= self.highest else None,
            highest=self.highest if self.lowest <= self.highest else None,
            not_a_number=self.nans,
            whole_numbers=self.whole,
            shards=self.shards,
            empty_inner_chunks=self.empty,
            problems=self.problems,
        )
