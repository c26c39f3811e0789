"""Parquet files written block by block, with row groups that depend on the rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROWS_PER_GROUP = 131_072

_TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}


def write_parquet(path: Path, kinds: Mapping[str, str], blocks: Iterable[Mapping[str, ArrayLike]]) -> None:
    """Write rows as they come.

    Args:
        path: the file.
        kinds: column name -> `str`, `int`, `float` or `bool`.
        blocks: column name -> values of some rows, in order; any number of rows at a time.
    """
    # pyarrow takes a fifth of a second to load, and no command that only prints needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(_TYPES[kind])) for name, kind in kinds.items()])
    waiting = pa.Table.from_batches([], schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in blocks:
            waiting = pa.concat_tables([waiting, _table(schema, block)])
            while len(waiting) >= ROWS_PER_GROUP:
                writer.write_table(waiting.slice(0, ROWS_PER_GROUP))
                waiting = waiting.slice(ROWS_PER_GROUP)
        if len(waiting):
            # A column in many pieces would be encoded page by page along the pieces.
            writer.write_table(waiting.combine_chunks())


def repeated_texts(texts: Sequence[str], places: NDArray[np.int64]) -> Any:
    """The texts at some places, as Arrow makes them: without one Python object per row.

    >>> repeated_texts(["a", "b"], np.array([1, 1, 0])).to_pylist()
    ['b', 'b', 'a']
    """
    import pyarrow as pa

    from segpipe.planning.arrow import arrow_array

    return arrow_array(texts, pa.string()).take(arrow_array(places, pa.int64()))


def _table(schema: Any, block: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    from segpipe.planning.arrow import arrow_array

    columns = {
        field.name: column if isinstance(column, pa.Array) else arrow_array(column, field.type)
        for field, column in ((field, block[field.name]) for field in schema)
    }
    return pa.table(columns, schema=schema)
