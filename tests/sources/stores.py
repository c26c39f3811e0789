"""Real Zarr stores for tests, ways to break them, and storages that watch or fail."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segpipe.sources.boxes import Box
from segpipe.sources.metadata import ArrayMeta, StoreView, view_store
from segpipe.sources.reader import LabelReader, open_reader
from segpipe.sources.storage import Blob, LocalStorage, ObjectInfo, Storage


def label_maps(shape: tuple[int, ...] = (7, 20, 30), dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Noise with every value in 1..18, so that fill value 0 is always seen."""
    return np.random.default_rng(seed).integers(1, 19, shape).astype(dtype)


def write(path: Path, data: NDArray[Any], name: str | None = None, **settings: Any) -> zarr.Array[Any]:
    """Write an array; zarr-python's warnings about extension codecs are not what is tested."""
    settings.setdefault(
        "chunks", tuple(min(size, part) for size, part in zip(data.shape, (2, 8, 16), strict=False))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(str(path), name=name, shape=data.shape, dtype=data.dtype, **settings)
        array[...] = data
    return array


def write_group(path: Path, arrays: dict[str, NDArray[Any]], attributes: Any = None, **settings: Any) -> None:
    """Write a group with arrays directly in it."""
    zarr_format = settings.get("zarr_format", 3)
    zarr.create_group(str(path), zarr_format=zarr_format, attributes=attributes)
    for name, data in arrays.items():
        write(path, data, name, **settings)


def consolidate(path: Path) -> None:
    """Write consolidated metadata of the format that the store has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))


def view(path: Path) -> StoreView:
    """The store as it is now."""
    return view_store(LocalStorage(str(path)))


def expectation(seen: StoreView, meta: ArrayMeta) -> dict[str, ObjectInfo | None]:
    """What the inventory saw of every chunk of an array."""
    return {meta.chunk_key(coords): seen.objects.get(meta.object_key(coords)) for coords in meta.units()}


def array_meta(seen: StoreView, name: str = "") -> ArrayMeta:
    """The metadata of an array that is known to be one."""
    meta = seen.node(name)
    assert isinstance(meta, ArrayMeta)
    return meta


OpenReader = Callable[[ArrayMeta, Storage, Mapping[str, ObjectInfo | None]], LabelReader]


def reader_of(path: Path, name: str = "", opener: OpenReader = open_reader) -> LabelReader:
    """A reader of an array as it is now."""
    seen = view(path)
    meta = array_meta(seen, name)
    return opener(meta, seen.storage, expectation(seen, meta))


def box_of(shape: tuple[int, ...], images: slice | None = None) -> Box:
    """A run `start:stop` of the first dimension of an array, whole in the others; None: all of the array."""
    box = tuple(slice(0, size) for size in shape)
    return box if images is None else (images, *box[1:])


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a metadata document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def flip_bit(path: Path, position: int) -> None:
    """Change one bit of a file; a negative position counts from its end."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def rewrite_quietly(path: Path, data: bytes) -> None:
    """Write other bytes and restore the time of the last change, as copying tools do."""
    status = os.stat(path)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class WatchedStorage(LocalStorage):
    """A local storage that keeps a list of what was read, and can be told to fail."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.reads: list[str] = []
        self.failures: dict[str, list[OSError]] = {}

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        self.reads.append(key)
        if self.failures.get(key):
            raise self.failures[key].pop()
        return super().get(key, start, stop)
