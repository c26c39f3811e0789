"""Locks between all writers of a store: threads, processes, and machines that share a file system.

The kernel gives a lock back when its process ends, however it ends, so that nobody has to judge whether a
lock is stale.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segpipe.errors import InfrastructureError
from segpipe.writing.durable import make_folder

STRIPES = 64
"""Lock files of a store; storage units share them, so that a store of millions of units has no more."""

_of_this_process = [threading.Lock() for _ in range(STRIPES)]
"""Some network file systems lock out other processes only, not other threads."""


class StoreLocks:
    """The locks of one store; a thread holds at most one row and, before it, the store.

    Args:
        folder: where the lock files lie; made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def row(self, number: int) -> Iterator[None]:
        """Nobody else writes the objects of this row meanwhile."""
        stripe = number % STRIPES
        with _of_this_process[stripe], self._held(f"{stripe:02d}", fcntl.LOCK_EX):
            yield

    @contextmanager
    def store(self, *, alone: bool) -> Iterator[None]:
        """Hold the store: alone to declare something of it, else together with other writers."""
        with self._held("store", fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            yield

    @contextmanager
    def _held(self, name: str, kind: int) -> Iterator[None]:
        make_folder(self._folder)
        handle = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, kind)
            except OSError as error:
                message = (
                    f"{self._folder}: this file system has no locks ({error.strerror}), so writers could "
                    "not keep out of each other's way; write to another one and copy the finished store"
                )
                raise InfrastructureError(message) from error
            yield
        finally:
            os.close(handle)
