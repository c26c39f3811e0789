"""Metadata of images: ids and columns out of one-dimensional Zarr arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import InputError, Problem, SegpipeError
from segpipe.sources.checked import ExpectedObjects, open_checked
from segpipe.sources.claims import MANY_CHUNKS, PACKING
from segpipe.sources.metadata import ArrayMeta, StoreView

MAX_COLUMN_BYTES = 1 << 30
"""The largest column, as stored and as NumPy holds it, that is read."""

FILL_RULE = {"missing_chunks": "are_fill_value"}
FILL_ADVICE = (
    'write all chunks (write_empty_chunks=True), or declare in the attributes: "segpipe": '
    '{"missing_chunks": "are_fill_value"}'
)


class UnreadableColumn(Exception):
    """A column that cannot be used, and why."""


def read_column(view: StoreView, meta: ArrayMeta, *, absent_is_fill: bool = False) -> NDArray[Any]:
    """The values of a one-dimensional array: strings as Python objects, else bool, int64, uint64 or float64.

    Args:
        absent_is_fill: chunks that were never stored are read as the fill value; else they are refused.

    Raises:
        UnreadableColumn: the values are no strings and no plain numbers, are packed, too many, or in part
            not stored.
        InputError: the stored values are damaged.
        InputChangedError: an object is not what the listing saw.
    """
    _check_kind(meta)
    expected = {meta.chunk_key(coords): view.objects.get(meta.object_key(coords)) for coords in meta.units()}
    absent = [key for key, info in expected.items() if info is None]
    if absent and not absent_is_fill:
        message = f"{len(absent)} of its {len(expected)} chunks were never stored (the first is {absent[0]})"
        raise UnreadableColumn(message)
    if sum(info.size for info in expected.values() if info) > MAX_COLUMN_BYTES:
        message = f"it takes more than {MAX_COLUMN_BYTES >> 20} MiB"
        raise UnreadableColumn(message)
    array = open_checked(meta, ExpectedObjects(view.storage, meta.path, expected))
    try:
        stored = np.asarray(array[:]) if meta.shape[0] else np.empty(0, meta.dtype)
        return _plain(stored, meta)
    except (SegpipeError, UnreadableColumn):
        raise
    except Exception as error:
        found = f"values that cannot be read ({type(error).__name__}: {error})"
        raise InputError(
            Problem(kind="decode", found=found, store=view.storage.url, array=meta.path)
        ) from error


def declares_fill(*attributes: dict[str, Any]) -> bool:
    """Whether attributes, of an array or else of its group, declare absent chunks to be fill value.

    Raises:
        UnreadableColumn: they declare something else.

    >>> declares_fill({}, {"segpipe": {"missing_chunks": "are_fill_value"}})
    True
    """
    declared: Any = next((found["segpipe"] for found in attributes if "segpipe" in found), {})
    rule = declared.get("missing_chunks") if isinstance(declared, dict) else declared
    if rule not in (None, FILL_RULE["missing_chunks"]):
        message = f"the attribute `segpipe` declares missing_chunks: {rule!r}"
        raise UnreadableColumn(message)
    return rule is not None


def id_texts(values: NDArray[Any]) -> list[str]:
    """Ids as text: strings as they are, whole numbers in decimal.

    Raises:
        UnreadableColumn: they are neither.
    """
    if values.dtype.kind not in "iuO":
        message = f"values of dtype {values.dtype} are no ids; use strings or whole numbers"
        raise UnreadableColumn(message)
    return [str(value) for value in values.tolist()]


def _check_kind(meta: ArrayMeta) -> None:
    packed = [name for name in PACKING if name in meta.attributes]
    message = ""
    if meta.dtype.kind not in "biufUST":
        message = f"its dtype is {meta.dtype}; columns are strings, integers, floats or bools"
    elif packed:
        message = f"its values are packed ({packed[0]}); store the values themselves"
    elif meta.shape[0] * meta.dtype.itemsize > MAX_COLUMN_BYTES:
        message = f"it takes more than {MAX_COLUMN_BYTES >> 20} MiB"
    elif meta.grid[0] > MANY_CHUNKS:
        message = f"it has {meta.grid[0]:,} chunks; at most {MANY_CHUNKS:,}"
    if message:
        raise UnreadableColumn(message)


def _plain(stored: NDArray[Any], meta: ArrayMeta) -> NDArray[Any]:
    """Few dtypes, whatever was stored; xarray keeps bools as int8 with an attribute."""
    kind = stored.dtype.kind
    if kind == "S":
        return np.array([value.decode() for value in stored.tolist()], dtype=object)
    if kind in "UTO":
        return np.array([str(value) for value in stored.tolist()], dtype=object)
    if kind == "b" or meta.attributes.get("dtype") == "bool":
        return stored.astype(bool)
    return stored.astype({"i": np.int64, "u": np.uint64, "f": np.float64}[kind])
