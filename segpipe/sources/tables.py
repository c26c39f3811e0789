"""Tables beside the stores, CSV or Parquet: one row for each image, known by its id."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import ImageTable
from segpipe.errors import ConfigError, InputError, Problem


def read_table(table: ImageTable, required: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """The columns of a table, each (row,): bool, int, float, or object (str, '' where there is nothing).

    Raises:
        ConfigError: it cannot be read, or a column is missing.
    """
    frame = _read(table)
    missing = [name for name in (table.id, *required) if name not in frame.columns]
    if missing:
        known = ", ".join(map(str, frame.columns))
        message = f"{table.path} has no column {missing[0]!r}; it has {known}"
        raise ConfigError(message)
    columns = {str(name): _plain(frame[name].to_numpy()) for name in frame.columns}
    return columns | {table.id: np.array([str(value) for value in frame[table.id]], object)}


def join_table(table: ImageTable, ids: list[str]) -> dict[str, NDArray[Any]]:
    """The columns of a table in the order of `ids`, each (image,).

    Raises:
        ConfigError: the table cannot be read or has no id column.
        InputError: an id is given twice, or an image has no row; all of them are listed.
    """
    columns = read_table(table)
    keys = columns.pop(table.id).tolist()
    row_of = {key: row for row, key in enumerate(keys)}
    advice = f"give {table.path} exactly one row for each image"
    problems = [
        Problem(kind="image table", found=f"{count} rows for one id", image=key, advice=advice)
        for key, count in Counter(keys).items()
        if count > 1
    ] + [
        Problem(kind="image table", found="no row for this image", image=key, advice=advice)
        for key in ids
        if key not in row_of
    ]
    if problems:
        raise InputError(problems)
    rows = [row_of[key] for key in ids]
    return {name: values[rows] for name, values in columns.items()}


def _read(table: ImageTable) -> Any:
    # pandas takes a third of a second to load, and few runs have a table.
    import pandas

    path = Path(table.path)
    if path.exists() and not path.is_file():
        message = f"{path} is no file"
        raise ConfigError(message)
    try:
        return pandas.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, table.id)
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as CSV or Parquet ({error})"
        raise ConfigError(message) from None


def _read_csv(path: Path, id_column: str) -> Any:
    import pandas

    # Without index_col=False, pandas takes the first column for row labels where rows are longer than their
    # heads, and every value for that of the column before.
    options: dict[str, Any] = {"encoding": "utf-8-sig", "index_col": False}
    heads = pandas.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False, **options)
    twice = [name for name, count in Counter(heads.iloc[0]).items() if count > 1]
    if twice:
        message = f"the column {twice[0]!r} is there twice"
        raise ValueError(message)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(path, **options)
    except pandas.errors.ParserWarning:
        message = "rows have more values than there are columns"
        raise ValueError(message) from None
    if id_column in frame.columns:
        # As text, whatever it looks like: 007 is not 7, and NA is a name.
        as_text: dict[str, Any] = {"usecols": [id_column], "dtype": str, "na_filter": False}
        frame[id_column] = pandas.read_csv(path, **options, **as_text)[id_column]
    return frame


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers and booleans as they are, everything else as text ('' where there is nothing)."""
    if values.dtype.kind in "iufb":
        return values
    # pandas is loaded already: it made the values.
    import pandas

    missing = pandas.isna(values)
    texts = ["" if none else str(value) for value, none in zip(values, missing, strict=True)]
    return np.array(texts, dtype=object)
