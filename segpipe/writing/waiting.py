"""Label maps that wait, on the disk, until all images that share their chunks or shard are there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from segpipe.writing.durable import put_durably

PACKED = Zstd(level=1, checksum=True)


class Waiting:
    """One folder for each row, one file for each image in it, named by place and content.

    Everything that concerns a row is called under the lock of that row.

    Args:
        folder: where they lie.
        temporary: where files are while they are written.
    """

    def __init__(self, folder: Path, temporary: Path) -> None:
        self._folder, self._temporary = folder, temporary

    def add(self, row: int, maps: Mapping[int, tuple[str, NDArray[Any]]]) -> None:
        """Keep label maps, each with its content's hash; an image that waits already is replaced."""
        for position, (content, labelled) in maps.items():
            before = self._file(row, position)
            packed = bytes(PACKED.encode(np.ascontiguousarray(labelled)))
            path = self._folder / str(row) / f"{position}-{content}"
            put_durably(path, packed, self._temporary)
            if before not in (None, path):
                before.unlink()

    def content(self, row: int, position: int) -> str:
        """The hash of an image that waits; empty if it does not."""
        path = self._file(row, position)
        return path.name.partition("-")[2] if path else ""

    def read(
        self, row: int, position: int, dtype: np.dtype[Any], size: tuple[int, int]
    ) -> NDArray[Any] | None:
        """The label map (y, x) of an image that waits; None if it does not, or is damaged."""
        path = self._file(row, position)
        if path is None:
            return None
        data = PACKED.decode(path.read_bytes(), np.empty(size, dtype))
        if blake2b(data, digest_size=20).hexdigest() != path.name.partition("-")[2]:
            path.unlink()
            return None
        labelled: NDArray[Any] = data
        return labelled

    def has(self, row: int) -> bool:
        """Whether images of a row wait."""
        return (self._folder / str(row)).is_dir()

    def rows(self) -> list[int]:
        """The rows that images wait for."""
        return sorted(int(path.name) for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def positions(self) -> set[int]:
        """All images that wait."""
        found = self._folder.glob("*/*-*")
        return {int(path.name.partition("-")[0]) for path in found}

    def remove(self, row: int | None = None) -> None:
        """Forget the images of a row, or all."""
        shutil.rmtree(self._folder if row is None else self._folder / str(row), ignore_errors=True)

    def _file(self, row: int, position: int) -> Path | None:
        return next(iter(sorted((self._folder / str(row)).glob(f"{position}-*"))), None)
