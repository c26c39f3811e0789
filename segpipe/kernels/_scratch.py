"""Memory of the compiled pass: one per thread, kept from call to call, and always left clean."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ScratchMemory:
    """The arrays behind `segpipe.kernels._runs.Scratch`.

    The compiled pass allocates nothing, and empties `table` before it returns, whatever it returns. So an
    allocation that fails here or in its caller, between two calls, leaves nothing behind.

    Attributes:
        strip_px: pixels of a strip.
        ends: int64; one bit per pixel.
        lists: uint32 (3, pixel); positions of runs, cells of runs, and 0, 1, 2, ...
        strips: int64 (2, pixel); strips with gaps are packed here.
        table, cell_of, touched: as in `segpipe.kernels._runs.Scratch`.
    """

    def __init__(self, strip_px: int) -> None:
        padded = strip_px + 64
        self.ends = np.zeros(padded // 64 + 1, np.int64)
        self.lists = np.empty((3, padded), np.uint32)
        self.lists[2] = np.arange(padded)
        self.strips = np.empty((2, padded), np.int64)
        self.table = np.zeros(0, np.int64)
        self.cell_of = np.empty(0, np.uint32)
        self.touched = np.empty(1, np.uint32)

    def provide(self, slots: int, hashed: bool) -> None:
        """Make room for `slots` counters, and for the names of their cells."""
        if len(self.table) < slots:
            touched = np.empty(slots + 1, np.uint32)
            self.table, self.touched = np.zeros(slots, np.int64), touched
        if hashed and len(self.cell_of) < slots:
            self.cell_of = np.empty(slots, np.uint32)


_of_thread = threading.local()


def thread_scratch(strip_px: int) -> ScratchMemory:
    """The memory of the calling thread; given back when the thread ends."""
    if not hasattr(_of_thread, "scratch"):
        _of_thread.scratch = ScratchMemory(strip_px)
    scratch: ScratchMemory = _of_thread.scratch
    return scratch


def address(array: NDArray[Any]) -> int:
    """Where the first element lies; the caller keeps the array alive."""
    start: int = array.__array_interface__["data"][0]
    return start
