"""images.parquet: ids and metadata columns of the planned images, in the order of the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segpipe.counts.columns import ColumnKind, column_kind, plain_column
from segpipe.planning.arrow import arrow_array, read_columns
from segpipe.planning.plan import Plan

IMAGES_NAME = "images.parquet"
_ID = "image id"
"""Column names of metadata are prefixed, so that none can be taken for this one."""
_PREFIX = "metadata:"
_TYPES: dict[ColumnKind, pa.DataType] = {
    "str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(),
}  # fmt: skip


def write_images(run: Path, plan: Plan) -> None:
    """Write ids and metadata."""
    columns = {_ID: arrow_array(plan.alignment.ids, pa.string())}
    for name, values in plan.columns.items():
        kind = column_kind(values)
        columns[_PREFIX + name] = arrow_array(plain_column(name, values, kind), _TYPES[kind])
    pq.write_table(pa.table(columns), run / IMAGES_NAME)


def metadata_kinds(run: Path) -> dict[str, ColumnKind]:
    """Metadata column -> kind."""
    schema = pq.read_schema(run / IMAGES_NAME)
    return {field.name.removeprefix(_PREFIX): _kind(field.type) for field in schema if field.name != _ID}


def read_images(run: Path) -> dict[str, NDArray[Any]]:
    """The metadata columns, each (image,), in the order of the plan."""
    table = read_columns(run / IMAGES_NAME)
    kinds = metadata_kinds(run)
    return {
        name: np.array(table[_PREFIX + name].to_pylist(), object if kind == "str" else None)
        for name, kind in kinds.items()
    }


def _kind(dtype: Any) -> ColumnKind:
    if pa.types.is_boolean(dtype):
        return "bool"
    if pa.types.is_integer(dtype):
        return "int"
    return "float" if pa.types.is_floating(dtype) else "str"
