"""Label maps in Zarr arrays, one row of storage units at a time: their objects as bytes, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from segpipe.sources.documents import Json
from segpipe.sources.metadata import ArrayMeta, parse_array

DOCUMENT = "zarr.json"


@dataclass(frozen=True)
class LabelArray:
    """An array of the store: (image, y, x) with rows of images, or (y, x) that is one image, row 0.

    A row is what one run of storage units along the first dimension holds: no object belongs to two rows.
    """

    folder: Path
    document: bytes

    @cached_property
    def meta(self) -> ArrayMeta:
        """Shape, chunks and keys."""
        raw: Json = json.loads(self.document)
        return parse_array("", raw, raw.get("attributes") or {})

    @property
    def row_images(self) -> int:
        """Images in a row, the last one perhaps excepted."""
        return self.meta.chunks[0] if len(self.meta.shape) == 3 else 1

    def indices(self, row: int) -> range:
        """The places of a row's images along the first dimension."""
        count = self.meta.shape[0] if len(self.meta.shape) == 3 else 1
        return range(row * self.row_images, min((row + 1) * self.row_images, count))

    def files(self, row: int) -> list[Path]:
        """Where the objects of a row lie."""
        inner = [range(count) for count in self.meta.grid]
        if len(self.meta.shape) == 3:
            inner[0] = range(row, row + 1)
        return [self.folder / self.meta.chunk_key(unit) for unit in product(*inner)]

    def encoded(self, row: int, maps: Sequence[NDArray[Any]]) -> dict[Path, bytes]:
        """The objects of a row from all its label maps (y, x), in order. Equal maps give equal bytes."""
        objects: dict[str, Buffer] = {}
        array = _writable(self.document, objects)
        if len(self.meta.shape) == 3:
            indices = self.indices(row)
            array[indices.start : indices.stop] = np.stack(maps)
        else:
            array[...] = maps[0]
        return {self.folder / key: objects[key].to_bytes() for key in sorted(objects) if key != DOCUMENT}

    def read(self, row: int) -> list[NDArray[Any]]:
        """The label maps (y, x) of a row, as they lie on the disk."""
        array = zarr.open_array(self.folder, mode="r", zarr_format=3)
        if len(self.meta.shape) == 2:
            return [np.asarray(array[...])]
        indices = self.indices(row)
        return list(np.asarray(array[indices.start : indices.stop]))


def _writable(document: bytes, objects: dict[str, Buffer]) -> zarr.Array[Any]:
    """An array in memory with a document of its own, whose chunks are all written, of the fill value too."""
    store = MemoryStore(objects)
    objects[DOCUMENT] = default_buffer_prototype().buffer.from_bytes(document)
    return zarr.open_array(store, mode="r+", zarr_format=3).with_config({"write_empty_chunks": True})
