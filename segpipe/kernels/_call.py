"""Hand arrays to the compiled pass, and memory where it is short."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels import _runs
from segpipe.kernels._layout import walk
from segpipe.kernels._lookup import Lookup
from segpipe.kernels._scratch import address, thread_scratch
from segpipe.kernels.cells import ConfusionCells

LARGEST_TABLE = 1 << 21
"""Cells of a matrix that get a counter each (K = 1446, 24 MiB); larger ones are counted in a hash table."""

FIRST_SLOTS = 1 << 16
"""Slots of a hash table to begin with."""

FIRST_ROOM = 512
"""Cells of output for an image to begin with; an image seldom has more."""

MOST_ROOM_AHEAD = 1 << 20
"""Cells of output (12 MiB) for images that are not counted yet."""


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
    slots = _runs.PAIRS if in_bytes else FIRST_SLOTS if hashed else num_codes**2
    scratch = thread_scratch(_runs.STRIP, _runs.PAIRS)
    way = walk(truth, pred)
    grid = _runs.Grid(way.images, address(way.rows), len(way.rows), way.columns)
    truth_side = _side(truth, way.truth, truth_lookup, in_bytes, scratch.strip_addresses[0])
    pred_side = _side(pred, way.pred, pred_lookup, in_bytes, scratch.strip_addresses[1])
    output = _GrowingCells(way.images)
    done = 0
    while done < way.images:
        memory = _runs.Scratch(**scratch.provide(slots, hashed), slots=slots)
        done, room, too_small = _runs.count_images(
            done, grid, truth_side, pred_side, memory, int(hashed), output.addresses()
        )
        output.grow(room, done)
        slots <<= 2 * too_small
    return output.result(num_codes)


def _side(
    labels: NDArray[Any], way: tuple[int, int, int], table: Lookup, in_bytes: bool, strip: int
) -> _runs.Side:
    return _runs.Side(
        *way,
        width=table.width,
        swapped=int(not labels.dtype.isnative),
        method=_runs.BYTES if in_bytes else _runs.HASH_TABLE if len(table.keys) else _runs.TABLE,
        low=_signed(table.low),
        span=len(table.codes),
        **table.addresses,
        invalid=table.invalid,
        strip=strip,
    )


def _signed(value: int) -> int:
    """The bit pattern of an unsigned 64-bit number, as the signed one that has it."""
    return value - (1 << 64) if value >= 1 << 63 else value


class _GrowingCells:
    """The output of the compiled pass: cells in any order, of as many images as are done."""

    def __init__(self, images: int) -> None:
        room = min(FIRST_ROOM * images, MOST_ROOM_AHEAD)
        self._offsets = np.zeros(images + 1, np.int64)
        self._cells = np.empty(room, np.uint32)
        self._counts = np.empty(room, np.int64)

    def addresses(self) -> _runs.Output:
        return _runs.Output(
            offsets=address(self._offsets),
            cells=address(self._cells),
            counts=address(self._counts),
            room=len(self._cells),
        )

    def grow(self, room: int, done: int) -> None:
        """Make room for at least so many cells: as many as if the images to come were like the next one."""
        if room > len(self._cells):
            of_next = room - int(self._offsets[done])
            to_come = of_next * (len(self._offsets) - 2 - done)
            room += max(room, min(to_come, MOST_ROOM_AHEAD))
            cells, counts = np.empty(room, np.uint32), np.empty(room, np.int64)
            cells[: len(self._cells)], counts[: len(self._counts)] = self._cells, self._counts
            self._cells, self._counts = cells, counts

    def result(self, num_codes: int) -> ConfusionCells:
        """The cells of each image in ascending order."""
        written = self._offsets[-1]
        cells, counts = self._cells[:written], self._counts[:written]
        image = np.repeat(np.arange(len(self._offsets) - 1, dtype=np.uint64), np.diff(self._offsets))
        keys = image << np.uint64(32) | cells
        if np.all(keys[1:] > keys[:-1]):
            return ConfusionCells(num_codes - 2, self._offsets, cells.copy(), counts.copy())
        order = np.argsort(keys)
        return ConfusionCells(num_codes - 2, self._offsets, cells[order], counts[order])
