"""Hand arrays to the compiled pass, and memory where it is short."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels import _runs
from segpipe.kernels._layout import walk
from segpipe.kernels._lookup import Lookup
from segpipe.kernels._scratch import ScratchMemory, address, thread_scratch
from segpipe.kernels.cells import ConfusionCells

LARGEST_TABLE = 1 << 21
"""Cells of a matrix that get a counter each (K = 1446, 24 MiB); larger ones are counted in a hash table."""

SLOTS = 1 << 16
"""Counters for pairs of bytes, and of a hash table to begin with."""

FIRST_ROOM = 512
"""Cells of output for an image to begin with; an image seldom has more."""


def count_images(
    truth: NDArray[Any], pred: NDArray[Any], truth_lookup: Lookup, pred_lookup: Lookup
) -> ConfusionCells:
    """Count two arrays (image, ...) of one shape that is not empty.

    The compiled pass stops before an image for which memory is short, with nothing half done, and is called
    again with more.
    """
    num_codes = truth_lookup.invalid + 1
    in_bytes = truth_lookup.width == pred_lookup.width == 1
    hashed = not in_bytes and num_codes**2 > LARGEST_TABLE
    slots = SLOTS if in_bytes or hashed else num_codes**2
    scratch = thread_scratch(_runs.STRIP)
    way = walk(truth, pred)
    grid = _runs.Grid(way.images, address(way.rows), len(way.rows), way.columns)
    truth_side = _side(truth, way.truth, truth_lookup, in_bytes, scratch.strips[0])
    pred_side = _side(pred, way.pred, pred_lookup, in_bytes, scratch.strips[1])
    alike = (
        np.stack([truth_lookup.first_alike, pred_lookup.first_alike]) if in_bytes else np.empty(0, np.uint16)
    )
    output = _GrowingCells(way.images)
    done = 0
    while done < way.images:
        scratch.provide(slots, hashed)
        memory = _memory(scratch, slots)
        done, room, too_small = _runs.count_images(
            done, grid, truth_side, pred_side, memory, int(hashed), output.addresses(alike)
        )
        output.grow(room)
        slots <<= 2 * too_small
    return output.result(num_codes)


def _side(
    labels: NDArray[Any], way: tuple[int, int, int], table: Lookup, in_bytes: bool, strip: NDArray[np.int64]
) -> _runs.Side:
    return _runs.Side(
        *way,
        width=table.width,
        swapped=int(not labels.dtype.isnative),
        method=_runs.BYTES if in_bytes else _runs.SEARCH if len(table.keys) else _runs.TABLE,
        low=_signed(table.low),
        span=len(table.codes),
        keys=address(table.keys),
        codes=address(table.codes),
        invalid=table.invalid,
        strip=address(strip),
    )


def _signed(value: int) -> int:
    """The bit pattern of an unsigned 64-bit number, as the signed one that has it."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _memory(scratch: ScratchMemory, slots: int) -> _runs.Scratch:
    positions, cells, everywhere = map(address, scratch.lists)
    return _runs.Scratch(
        ends=address(scratch.ends),
        positions=positions,
        cells=cells,
        everywhere=everywhere,
        table=address(scratch.table),
        cell_of=address(scratch.cell_of),
        touched=address(scratch.touched),
        slots=slots,
    )


class _GrowingCells:
    """The output of the compiled pass: cells in any order, of as many images as are done."""

    def __init__(self, images: int) -> None:
        room = min(FIRST_ROOM * images, 1 << 20)
        self._offsets = np.zeros(images + 1, np.int64)
        self._cells = np.empty(room, np.uint32)
        self._counts = np.empty(room, np.int64)

    def addresses(self, alike: NDArray[np.uint16]) -> _runs.Output:
        return _runs.Output(
            address(self._offsets),
            address(self._cells),
            address(self._counts),
            len(self._cells),
            address(alike),
        )

    def grow(self, room: int) -> None:
        """Make room for at least so many cells, and for as many again."""
        if room > len(self._cells):
            cells, counts = np.empty(2 * room, np.uint32), np.empty(2 * room, np.int64)
            cells[: len(self._cells)], counts[: len(self._counts)] = self._cells, self._counts
            self._cells, self._counts = cells, counts

    def result(self, num_codes: int) -> ConfusionCells:
        """The cells of each image in ascending order."""
        written = self._offsets[-1]
        cells, counts = self._cells[:written], self._counts[:written]
        image = np.repeat(np.arange(len(self._offsets) - 1, dtype=np.uint64), np.diff(self._offsets))
        order = np.argsort(image << np.uint64(32) | cells)
        return ConfusionCells(num_codes - 2, self._offsets, cells[order], counts[order])
