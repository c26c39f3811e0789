"""Memory of the compiled pass: one per thread, kept from call to call, and always left clean."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ScratchMemory:
    """The arrays behind `segpipe.kernels._runs.Scratch`.

    The compiled pass allocates nothing, and empties its counters before it returns, whatever it returns.
    So an allocation that fails here or in its caller, between two calls, leaves nothing behind.

    Attributes:
        ends: int64; one bit per pixel.
        lists: uint32 (3, pixel); positions of runs, cells of runs, and 0, 1, 2, ...
        strips: int64 (2, pixel); strips with gaps are packed here, truth and pred.
        pairs: uint32 (2, pair); the counters of pairs of bytes, and the list of those that are not 0.
        table, cell_of, touched: as in `segpipe.kernels._runs.Scratch`.
    """

    def __init__(self, strip_px: int, num_pairs: int) -> None:
        padded = strip_px + 64
        self.ends = np.zeros(padded // 64 + 1, np.int64)
        self.lists = np.empty((3, padded), np.uint32)
        self.lists[2] = np.arange(padded)
        self.strips = np.empty((2, padded), np.int64)
        self.pairs = np.zeros((2, num_pairs), np.uint32)
        self.table = np.zeros(0, np.int64)
        self.cell_of = np.empty(0, np.uint32)
        self.strip_addresses = (address(self.strips[0]), address(self.strips[1]))
        self._addresses: dict[str, int] = {}
        self.touched = np.empty(0, np.uint32)

    def provide(self, slots: int, hashed: bool) -> dict[str, int]:
        """Make room for `slots` counters, and for the names of their cells; returns all addresses by name."""
        if len(self.table) < slots:
            touched = np.empty(slots, np.uint32)
            self.table, self.touched = np.zeros(slots, np.int64), touched
            self._addresses = {}
        if hashed and len(self.cell_of) < slots:
            self.cell_of = np.empty(slots, np.uint32)
            self._addresses = {}
        if not self._addresses:
            self._addresses = self._find()
        return self._addresses

    def _find(self) -> dict[str, int]:
        arrays = {
            "ends": self.ends,
            "positions": self.lists[0],
            "cells": self.lists[1],
            "everywhere": self.lists[2],
            "pairs": self.pairs[0],
            "pairs_touched": self.pairs[1],
            "table": self.table,
            "cell_of": self.cell_of,
            "touched": self.touched,
        }
        return {name: address(array) for name, array in arrays.items()}


_of_thread = threading.local()


def thread_scratch(strip_px: int, num_pairs: int) -> ScratchMemory:
    """The memory of the calling thread; given back when the thread ends."""
    if not hasattr(_of_thread, "scratch"):
        _of_thread.scratch = ScratchMemory(strip_px, num_pairs)
    scratch: ScratchMemory = _of_thread.scratch
    return scratch


def address(array: NDArray[Any]) -> int:
    """Where the first element lies; the caller keeps the array alive."""
    start: int = array.ctypes.data
    return start
