"""Arrow arrays of Python's and NumPy's values, and columns of Parquet files, without pandas.

`pyarrow.array` loads pandas, where it is installed, to see whether it was given a column of it. That takes a
third of a second, which every command that writes a table would wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_NUMBERS = {pa.type_for_alias(name): np.dtype(name) for name in ("int8", "int32", "int64", "float64")}
"""What Arrow and NumPy keep alike in memory."""


def arrow_array(values: Sequence[Any] | NDArray[Any], dtype: pa.DataType) -> pa.Array:
    """Values as an Arrow array; None is null, NaN stays NaN.

    Args:
        values: (row,).
        dtype: of a row; numbers, truth values, texts, and lists and structs (dicts with all names) of them.

    Raises:
        OverflowError: the texts are longer than 2 GiB together.

    >>> arrow_array([{"a": [1]}, {"a": None}], pa.struct([("a", pa.list_(pa.int64()))])).to_pylist()
    [{'a': [1]}, {'a': None}]
    >>> arrow_array(np.array([0.5, np.nan]), pa.float64()).to_pylist()
    [0.5, nan]
    """
    if isinstance(values, np.ndarray) and dtype in _NUMBERS:
        return _array(dtype, len(values), [None, np.ascontiguousarray(values, _NUMBERS[dtype])])
    rows: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    valid = None
    if None in rows:
        present = np.fromiter((value is not None for value in rows), bool, len(rows))
        valid = np.packbits(present, bitorder="little")
        nothing = _nothing(dtype)
        rows = [nothing if value is None else value for value in rows]
    if pa.types.is_struct(dtype):
        children = [arrow_array(list(map(itemgetter(field.name), rows)), field.type) for field in dtype]
        return _array(dtype, len(rows), [valid], children)
    if pa.types.is_list(dtype):
        inner = arrow_array(list(chain.from_iterable(rows)), dtype.value_type)
        return _array(dtype, len(rows), [valid, _offsets(rows)], [inner])
    if pa.types.is_string(dtype):
        texts = list(map(str.encode, rows))
        data = np.frombuffer(b"".join(texts), np.uint8)
        return _array(dtype, len(texts), [valid, _offsets(texts), data])
    if pa.types.is_boolean(dtype):
        return _array(dtype, len(rows), [valid, np.packbits(np.array(rows, bool), bitorder="little")])
    return _array(dtype, len(rows), [valid, np.array(rows, _NUMBERS[dtype])])


def read_columns(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a Parquet file, or all; `pyarrow.parquet.read_table` loads pandas too."""
    with pq.ParquetFile(path) as file:
        return file.read(None if names is None else list(names))


def _nothing(dtype: pa.DataType) -> Any:
    """What lies in memory where a value is null."""
    if pa.types.is_struct(dtype):
        return {field.name: None for field in dtype}
    return () if pa.types.is_list(dtype) else "" if pa.types.is_string(dtype) else 0


def _offsets(parts: Sequence[Any]) -> NDArray[np.int32]:
    """Where each part begins, and the last one ends."""
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    if len(ends) and ends[-1] > np.iinfo(np.int32).max:
        message = f"{ends[-1]:,} bytes of text or values in one column of a table, more than 2^31"
        raise OverflowError(message)
    return np.concatenate([[0], ends]).astype(np.int32)


def _array(
    dtype: pa.DataType, length: int, buffers: Sequence[NDArray[Any] | None], children: Sequence[pa.Array] = ()
) -> pa.Array:
    memory = [None if buffer is None else pa.py_buffer(buffer) for buffer in buffers]
    return pa.Array.from_buffers(dtype, length, memory, children=list(children) or None)
