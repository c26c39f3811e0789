"""Arrow arrays of Python's and NumPy's values, and columns of Parquet files, without pandas.

`pyarrow.array` loads pandas, where it is installed, to see whether it was given a column of it. That takes a
third of a second, which every command that writes a table would wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        dtype: of a row; numbers, truth values, texts, and lists and structs of them.

    Raises:
        OverflowError: the texts are longer than 2 GiB together.

    >>> arrow_array([{"a": [1]}, {"a": None}], pa.struct([("a", pa.list_(pa.int64()))])).to_pylist()
    [{'a': [1]}, {'a': None}]
    >>> arrow_array(np.array([0.5, np.nan]), pa.float64()).to_pylist()
    [0.5, nan]
    """
    if isinstance(values, np.ndarray):
        if dtype in _NUMBERS:
            return _array(dtype, len(values), [None, np.ascontiguousarray(values, _NUMBERS[dtype])])
        values = values.tolist()
    present = np.fromiter((value is not None for value in values), bool, len(values))
    valid = None if present.all() else np.packbits(present, bitorder="little")
    if pa.types.is_struct(dtype):
        columns = [[None if row is None else row.get(field.name) for row in values] for field in dtype]
        children = [arrow_array(column, field.type) for column, field in zip(columns, dtype, strict=True)]
        return _array(dtype, len(values), [valid], children)
    if pa.types.is_list(dtype):
        rows = [() if row is None else row for row in values]
        inner = arrow_array([value for row in rows for value in row], dtype.value_type)
        return _array(dtype, len(rows), [valid, _offsets(rows)], [inner])
    if pa.types.is_string(dtype):
        texts = [b"" if text is None else text.encode() for text in values]
        data = np.frombuffer(b"".join(texts), np.uint8)
        return _array(dtype, len(texts), [valid, _offsets(texts), data])
    numbers = [0 if value is None else value for value in values]
    if pa.types.is_boolean(dtype):
        return _array(dtype, len(numbers), [valid, np.packbits(np.array(numbers, bool), bitorder="little")])
    return _array(dtype, len(numbers), [valid, np.array(numbers, _NUMBERS[dtype])])


def read_columns(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a Parquet file, or all; `pyarrow.parquet.read_table` loads pandas too."""
    with pq.ParquetFile(path) as file:
        return file.read(None if names is None else list(names))


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
