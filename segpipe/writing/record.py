"""The record of completeness while it is written: one file for each writer, to which it alone appends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from segpipe.errors import InputError, Problem
from segpipe.sources.completeness import Entry, entries
from segpipe.writing.durable import make_folder, sync_folder, write_all


class Record:
    """What all writers of a store have written so far, and this writer's own file of it.

    Every process appends to a file of its own; what others appended is seen after `refresh`. A line that was
    cut off by the end of its writer counts for nothing.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Entry] = {}
        self._read: dict[str, int] = {}
        self._own: int | None = None
        self._process = 0
        self._mutex = threading.Lock()

    def refresh(self) -> None:
        """Read what was appended since the last time.

        Raises:
            InputError: a file is no record.
        """
        with self._mutex:
            if not self._folder.is_dir():
                return
            with os.scandir(self._folder) as files:
                grown = [file.name for file in files if file.stat().st_size > self._read.get(file.name, 0)]
            for name in grown:
                self._read_on(name)

    def __getitem__(self, image: str) -> Entry:
        """The last entry of an image; take 0 and no content if there is none."""
        return self._known.get(image, Entry(image, 0, ""))

    def append(self, added: Iterable[Entry]) -> None:
        """Tell of images; seen by other writers at once, durable after `sync`."""
        told = list(added)
        with self._mutex:
            try:
                write_all(self._file(), b"".join(entry.line() for entry in told))
            except OSError:
                # The last line may be cut off, and nothing may follow it: a new file is begun.
                self._leave()
                raise
            self._learn(told)

    def sync(self) -> None:
        """Return when all that was appended is on the disk."""
        with self._mutex:
            if self._own is not None:
                os.fsync(self._own)

    def close(self) -> None:
        """Give the file back; what is appended later goes to a new one."""
        with self._mutex:
            self._leave()

    def _leave(self) -> None:
        if self._own is not None:
            os.close(self._own)
        self._own = None

    def _file(self) -> int:
        """This process's own file; a child that was forked begins its own."""
        if self._own is None or self._process != os.getpid():
            self._leave()
            make_folder(self._folder)
            path = self._folder / f"{uuid4().hex}.jsonl"
            self._own = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
            )
            self._process = os.getpid()
            sync_folder(self._folder)
        return self._own

    def _read_on(self, name: str) -> None:
        path, start = self._folder / name, self._read.get(name, 0)
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
        try:
            self._learn(entries(data))
        except (ValueError, RecursionError) as error:
            found = f"{path} is no record ({error})"
            advice = "write the store again from the beginning"
            raise InputError(Problem(kind="record of completeness", found=found, advice=advice)) from None
        self._read[name] = start + data.rfind(b"\n") + 1

    def _learn(self, found: Iterable[Entry]) -> None:
        for entry in found:
            if self[entry.image].take < entry.take:
                self._known[entry.image] = entry
