"""Write the arrays of a results dataset: Zarr format 3, byte for byte what zarr-python would write.

A run has a hundred arrays of a few numbers each. zarr-python goes through its event loop several times for
every one of them, which together takes longer than everything else that a small run does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import VLenUTF8, Zstd
from numpy.typing import NDArray

from segpipe.counts.partials import write_atomically

DOCUMENT = "zarr.json"
_ZSTD_LEVEL = 3


def write_array(
    store: Path,
    name: str,
    values: NDArray[Any],
    chunks: tuple[int, ...],
    dims: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    """Write an array whole; every chunk is written and carries a checksum.

    Args:
        store: the folder of the store.
        name: the array's.
        values: numbers, truth values, or an object array of texts.
        chunks: the size of a chunk along each dimension.
        dims: a name for each dimension.
        attributes: what JSON can say.
    """
    for place in np.ndindex(
        *(math.ceil(size / part) for size, part in zip(values.shape, chunks, strict=True))
    ):
        here = tuple(slice(at * part, (at + 1) * part) for at, part in zip(place, chunks, strict=True))
        write_chunk(store, name, place, values[here], chunks)
    write_document(store, name, values.shape, values.dtype, chunks, dims, attributes)


def write_chunk(
    store: Path, name: str, place: tuple[int, ...], values: NDArray[Any], chunks: tuple[int, ...]
) -> None:
    """Write one chunk; one that the array's edge cuts is filled up.

    Args:
        store: the folder of the store.
        name: the array's.
        place: the number of the chunk along each dimension.
        values: the part of the array in it.
        chunks: the shape of a whole chunk.
    """
    whole = values
    if values.shape != chunks:
        whole = np.full(chunks, _fill_value(values.dtype), values.dtype)
        whole[tuple(map(slice, values.shape))] = values
    write_atomically(store.joinpath(name, "c", *map(str, place)), _encoded(whole))


def write_document(
    store: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    dims: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    """Write the metadata of an array, without which its chunks are not read."""
    document = {
        "shape": shape,
        "data_type": "string" if dtype.hasobject else dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill_value(dtype),
        "codecs": [
            _serializer(dtype),
            {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": True}},
        ],
        "attributes": dict(attributes),
        **({"dimension_names": dims} if dims else {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    _write_json(store / name / DOCUMENT, document)


def write_group(store: Path, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of the group that holds all arrays of a store, with a copy of theirs.

    With the copy xarray opens the store with one read and no warning. It is not in the specification of
    Zarr 3 yet; a reader that does not know it passes it over.
    """
    found = {path.parent.name: json.loads(path.read_bytes()) for path in sorted(store.glob(f"*/{DOCUMENT}"))}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": found}
    document = {"attributes": dict(attributes), "zarr_format": 3, "consolidated_metadata": consolidated}
    _write_json(store / DOCUMENT, {**document, "node_type": "group"})


def group_attributes(store: Path) -> dict[str, Any]:
    """What `write_group` was given."""
    attributes: dict[str, Any] = json.loads((store / DOCUMENT).read_bytes())["attributes"]
    return attributes


def _encoded(values: NDArray[Any]) -> bytes:
    if values.dtype.hasobject:
        plain = VLenUTF8().encode(values.ravel())
    else:
        plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    data: bytes = Zstd(level=_ZSTD_LEVEL, checksum=True).encode(plain)
    return data


def _serializer(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.hasobject:
        return {"name": "vlen-utf8", "configuration": {}}
    return (
        {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}
    )


def _fill_value(dtype: np.dtype[Any]) -> Any:
    return "" if dtype.hasobject else np.zeros((), dtype).item()


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(document, indent=2).encode())
