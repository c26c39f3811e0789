"""Predictions to Zarr so that they can be trusted later: every image whole, and a record of which are there.

with segpipe.create_store("pred.zarr", like="truth.zarr::labels", classes="cityscapes") as writer:
    for batch in loader:
        writer.write(batch["id"], model(batch["image"]).argmax(1).cpu().numpy())
writer.finish()
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import IncompleteError, InfrastructureError, InputError, Problem
from segpipe.sources.completeness import WRITTEN_FOLDER, Entry
from segpipe.writing.durable import put_durably
from segpipe.writing.given import batch_problems, id_list, label_maps
from segpipe.writing.locks import StoreLocks
from segpipe.writing.prediction_store import PredictionStore
from segpipe.writing.record import Record
from segpipe.writing.waiting import Waiting

SHOWN_MISSING = 5


class PredictionWriter:
    """Writes label maps to a store that `create_store` made; any order, any number of threads and processes.

    An image counts as written when its pixels are on the disk, and not before. Images that share a chunk or a
    shard wait beside the array until all of them are there; no two writers are ever at one object. Writing an
    image again with the same pixels does nothing; with others it is an error unless `overwrite`. A writer can
    be pickled, and used in a forked process.

    Args:
        path: the folder of the store.
        overwrite: images that were written may be written anew; a finished store is then finished again.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path).absolute()
        self.overwrite = overwrite
        self._store = PredictionStore(self.path)
        folder = self._store.record_folder
        self._temporary = folder / "new"
        self._record = Record(folder / WRITTEN_FOLDER)
        self._locks = StoreLocks(folder / "locks")
        self._waiting = Waiting(folder / "waiting", self._temporary)

    @classmethod
    def open(cls, path: str | Path, *, overwrite: bool = False) -> PredictionWriter:
        """Go on with a store that `create_store` made, here or in another process.

        Raises:
            InputError: there is no such store.
        """
        return cls(path, overwrite=overwrite)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (str(self.path), self.overwrite)

    def __repr__(self) -> str:
        return f"PredictionWriter({str(self.path)!r}, overwrite={self.overwrite})"

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give files back; the writer can be used again. Nothing is declared: that is what `finish` does."""
        self._record.close()

    @property
    def ids(self) -> list[str]:
        """The ids of all images of the store, in order."""
        return list(self._store.ids)

    @property
    def begun_ns(self) -> int:
        """When the store was made, in nanoseconds since 1970, by the clock of its file system."""
        return self._store.begun_ns

    def write(self, ids: Any, maps: Any) -> None:
        """Write a batch; when this returns, its images survive whatever happens to the process.

        Args:
            ids: one id for each image: texts, numbers, or a tensor of numbers; or a single id.
            maps: label maps of an integer dtype: an array or tensor (image, y, x), or a sequence of (y, x)
                where sizes differ; a single (y, x) with a single id.

        Raises:
            InputError: ids, dtype, shapes or labels are not those of the store (nothing of the batch is
                written then), or an image was written before with other pixels. All problems are listed.
            InfrastructureError: the disk or the locks of the file system fail; the same call can be repeated.
        """
        names, one = id_list(ids)
        given = label_maps(maps, one=one)
        sizes = {name: self._store.size(self._positions[name]) for name in names if name in self._positions}
        problems = batch_problems(names, given, sizes, self._store.labels, self._store.dtype)
        if not problems:
            placed = {self._positions[name]: each for name, each in zip(names, given, strict=True)}
            with self._disk():
                problems = self._write_rows(placed)
        if problems:
            raise InputError([self._placed(problem) for problem in problems])

    def missing(self) -> list[str]:
        """The ids of the images that are still to be written, in order."""
        self._record.refresh()
        waiting = self._waiting.positions()
        return [
            name
            for position, name in enumerate(self._store.ids)
            if not self._record[name].content and position not in waiting
        ]

    def finish(self) -> None:
        """Declare the store complete: every image was written, and every object of it is there.

        Raises:
            IncompleteError: images are missing; the first of them are named.
        """
        with self._disk(), self._locks.store(alone=True):
            self._record.refresh()
            for row in self._waiting.rows():
                with self._locks.row(row):
                    self._put(row, {})
            self._record.sync()
            missing = self._lost(self._waiting.positions())
            if missing:
                raise IncompleteError(self._incomplete(missing))
            self._waiting.remove()
            self._store.declare(complete=True)
        self.close()

    def damaged(self, ids: Iterable[str]) -> list[str]:
        """Read images back; which of those that were written are not what was written, pixel for pixel."""
        self._record.refresh()
        positions = sorted(self._positions[name] for name in ids)
        damaged = []
        for row, of_row in groupby(positions, self._store.row_of):
            written = [at for at in of_row if self._record[self._store.ids[at]].content]
            stored = self._store.read(row) if written else []
            first = self._store.positions(row).start
            damaged += [
                self._store.ids[at]
                for at in written
                if content_of(stored[at - first]) != self._record[self._store.ids[at]].content
            ]
        return damaged

    def row_of(self, image: str) -> int:
        """The number of the row of storage units that an image lies in."""
        return self._store.row_of(self._positions[image])

    def row_ids(self) -> Iterator[list[str]]:
        """The images that share their objects: written in one batch, they need not wait for one another."""
        for row in self._store.rows():
            yield [self._store.ids[position] for position in self._store.positions(row)]

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self._store.ids)}

    def _write_rows(self, placed: Mapping[int, NDArray[Any]]) -> list[Problem]:
        problems = []
        ordered = sorted(placed)
        with self._locks.store(alone=False):
            for row, positions in groupby(ordered, self._store.row_of):
                maps = {at: placed[at].astype(self._store.dtype, copy=False) for at in positions}
                with self._locks.row(row):
                    problems += self._write_row(row, maps)
        self._record.sync()
        return problems

    def _write_row(self, row: int, maps: Mapping[int, NDArray[Any]]) -> list[Problem]:
        """Write what is new among the images of a row; the row is locked."""
        self._record.refresh()
        there = all(path.is_file() for path in self._store.files(row))
        new, problems = {}, []
        for position, labelled in maps.items():
            name, content = self._store.ids[position], content_of(labelled)
            written = self._record[name].content
            before = written or self._waiting.content(row, position)
            if before == content and (there or not written):
                continue
            if before and before != content and not self.overwrite:
                problems.append(_different(name))
            else:
                new[position] = labelled
        if new:
            self._put(row, new)
        return problems

    def _put(self, row: int, new: Mapping[int, NDArray[Any]]) -> None:
        """Put new images of a row to those that are there; if some are still missing, they all wait."""
        positions = self._store.positions(row)
        maps = {**({} if len(new) == len(positions) else self._there(row)), **new}
        whole = [maps[at] for at in positions if at in maps]
        if len(whole) < len(positions):
            self._waiting.add(row, {at: (content_of(each), each) for at, each in new.items()})
            return
        self._distrust(self._store.ids[at] for at in new)
        for path, data in self._store.encoded(row, whole).items():
            put_durably(path, data, self._temporary)
        told = [(self._store.ids[at], content_of(each)) for at, each in zip(positions, whole, strict=True)]
        self._record.append(
            Entry(name, self._record[name].take + 1, content)
            for name, content in told
            if self._record[name].content != content
        )
        if self._waiting.has(row):
            # What waited may go only when the record that stands for it is on the disk.
            self._record.sync()
            self._waiting.remove(row)

    def _there(self, row: int) -> dict[int, NDArray[Any]]:
        """The pixels of the images that wait, or that were written before and are still what was written."""
        positions = self._store.positions(row)
        sizes = {at: self._store.size(at) for at in positions}
        maps = {at: self._waiting.read(row, at, self._store.dtype, size) for at, size in sizes.items()}
        contents = {at: self._record[self._store.ids[at]].content for at in positions}
        written = [at for at in positions if maps[at] is None and contents[at]]
        for at, labelled in zip(positions, self._store.read(row) if written else [], strict=False):
            if at in written and content_of(labelled) == contents[at]:
                maps[at] = labelled
        self._distrust(self._store.ids[at] for at in written if maps[at] is None)
        return {at: labelled for at, labelled in maps.items() if labelled is not None}

    def _distrust(self, names: Iterable[str]) -> None:
        """Before pixels are replaced, say that they cannot be trusted until they are there."""
        written = [self._record[name] for name in names if self._record[name].content]
        if not written:
            return
        if self._store.complete:
            self._store.declare(complete=False)
        self._record.append(Entry(entry.image, entry.take + 1, "") for entry in written)
        self._record.sync()

    def _lost(self, waiting: Collection[int]) -> list[str]:
        """Images that nobody wrote, or whose objects are gone; those are not trusted any more."""
        lost, gone = [], []
        for row in self._store.rows():
            there = all(path.is_file() for path in self._store.files(row))
            for position in self._store.positions(row):
                name = self._store.ids[position]
                written = bool(self._record[name].content)
                gone += [name] if written and not there else []
                lost += [name] if not (there if written else position in waiting) else []
        self._distrust(gone)
        return lost

    def _incomplete(self, missing: Sequence[str]) -> str:
        named = ", ".join(map(repr, missing[:SHOWN_MISSING]))
        more = ", ..." if len(missing) > SHOWN_MISSING else ""
        return (
            f"{self.path} is not complete: {len(missing)} of {len(self._store.ids)} images were not written "
            f"({named}{more}). Write what writer.missing() lists, then finish() again"
        )

    def _placed(self, problem: Problem) -> Problem:
        return replace(problem, store=str(self.path))

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = (
                f"{self.path}: cannot be written ({error.strerror or error}); what was written before is "
                "kept, mend this and write the batch again"
            )
            raise InfrastructureError(message) from error


def _opened(path: str, overwrite: bool) -> PredictionWriter:
    return PredictionWriter(path, overwrite=overwrite)


def content_of(labelled: NDArray[Any]) -> str:
    """The hash of a label map in the dtype of its store: blake2b of 160 bits, in hex."""
    return blake2b(np.ascontiguousarray(labelled).data, digest_size=20).hexdigest()


def _different(name: str) -> Problem:
    return Problem(
        kind="different content",
        image=name,
        found="other pixels than were written for this image before",
        expected="each image once, or the same pixels again",
        advice="to replace predictions open the store with overwrite=True, or write to a new store",
    )
