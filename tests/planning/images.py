"""Images of one side without a store: what an inventory would have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segpipe.sources.layouts import ImageSet
from segpipe.sources.metadata import ArrayMeta, parse_array
from segpipe.sources.storage import ObjectInfo


def array(
    path: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    **changes: Any,
) -> ArrayMeta:
    """An array of format 3, sharded if `shards` are given."""
    codecs: list[Any] = [{"name": "bytes"}, {"name": "crc32c"}]
    if shards is not None:
        inner = {"chunk_shape": list(chunks), "codecs": codecs, "index_codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shards or chunks)}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
    }
    return parse_array(path, {**document, **changes}, {})


def stacked(count: int, unit: int, inner: int | None = None, ids: list[str] | None = None) -> ImageSet:
    """`count` images of 4 x 4 in one array, `unit` of them in a storage unit, `inner` in an inner chunk."""
    shards = None if inner is None else (unit, 4, 4)
    meta = array("labels", (count, 4, 4), (inner or unit, 4, 4), shards)
    return _images([meta], [0] * count, list(range(count)), ids)


def grouped(ids: list[str]) -> ImageSet:
    """An array of 4 x 4 for each image."""
    metas = [array(f"labels/{name}", (4, 4), (4, 4)) for name in ids]
    return _images(metas, list(range(len(ids))), [-1] * len(ids), ids)


def _images(metas: list[ArrayMeta], arrays: list[int], index: list[int], ids: list[str] | None) -> ImageSet:
    sizes = np.full((len(arrays), 2), 4, np.int64)
    keys = (meta.object_key(unit) for meta in metas for unit in meta.units())
    return ImageSet(
        store="store",
        ids=ids,
        arrays=metas,
        array_of_image=np.array(arrays, np.int64),
        index_in_array=np.array(index, np.int64),
        corners=np.zeros_like(sizes),
        sizes=sizes,
        columns={},
        objects={key: ObjectInfo(16, f"tag of {key}", 0) for key in keys},
    )
