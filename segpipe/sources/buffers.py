"""Memory for arrays that come and go: fresh pages cost as much as decoding, so they are used again."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SMALL_BYTES = 64 << 10
"""Below this the allocator of the C library keeps the pages itself."""


class Buffers:
    """Arrays without values, in memory that is used again once nothing refers to what was there.

    Free memory is let go when none of it is large enough, so that no more is held than was in use at once.
    For one thread; arrays made here may go to others.
    """

    def __init__(self) -> None:
        self._held: list[tuple[NDArray[np.uint8], weakref.ref[NDArray[Any]]]] = []

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Like `np.empty`: contiguous, in C order."""
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if count * kind.itemsize < SMALL_BYTES:
            return np.empty(shape, kind)
        buffer = self._free(count * kind.itemsize)
        # Every view of an array refers to the first one over foreign memory: to `flat`.
        flat = np.frombuffer(buffer.data, kind, count)
        self._held.append((buffer, weakref.ref(flat)))
        return flat.reshape(shape)

    def _free(self, size: int) -> NDArray[np.uint8]:
        """The smallest free memory that is large enough, or new one."""
        free = sorted(
            (buffer.nbytes, number) for number, (buffer, user) in enumerate(self._held) if user() is None
        )
        fitting = next((number for nbytes, number in free if nbytes >= size), None)
        if fitting is not None:
            return self._held.pop(fitting)[0]
        self._held = [item for item in self._held if item[1]() is not None]
        return np.empty(size, np.uint8)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.buffers = Buffers()


_of_thread = _OfThread()


def thread_buffers() -> Buffers:
    """The buffers of the running thread; they end with it."""
    return _of_thread.buffers
