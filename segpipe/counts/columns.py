"""Metadata columns: values of any store as text, whole numbers, numbers or truth values, under safe names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.errors import InputError, Problem

ColumnKind = Literal["str", "int", "float", "bool"]
COLUMN_DTYPES: Mapping[ColumnKind, np.dtype[Any]] = {
    "str": np.dtype(object),
    "int": np.dtype(np.int64),
    "float": np.dtype(np.float64),
    "bool": np.dtype(np.bool_),
}

_SAFE_NAME = re.compile(r"\w[\w.-]{0,99}")
_PREFIX = "metadata_"


def column_kind(values: ArrayLike) -> ColumnKind:
    """Which of the four kinds a column is stored as; dates and everything unknown are text.

    >>> column_kind([1, 2]), column_kind(["a"]), column_kind(np.array(["2024-05-01"], "datetime64[D]"))
    ('int', 'str', 'str')
    """
    kinds: dict[str, ColumnKind] = {"b": "bool", "i": "int", "u": "int", "f": "float"}
    return kinds.get(np.asarray(values).dtype.kind, "str")


def plain_column(name: str, values: ArrayLike, kind: ColumnKind) -> NDArray[Any]:
    """A column in the dtype in which it is stored; None is an empty text, a date is in ISO form.

    Raises:
        InputError: a whole number does not fit into int64.

    >>> plain_column("day", np.array(["2024-05-01"], "datetime64[D]"), "str")
    array(['2024-05-01'], dtype=object)
    """
    given = np.asarray(values)
    if kind == "int" and given.dtype.kind == "u" and given.size and int(given.max()) > np.iinfo(np.int64).max:
        raise InputError(
            Problem(
                kind="metadata", found=f"{given.max()} in the column {name!r}", expected="numbers below 2^63"
            )
        )
    if kind != "str":
        return given.astype(COLUMN_DTYPES[kind])
    if given.dtype.kind == "M":
        given = np.datetime_as_string(given)
    plain = np.empty(given.shape, object)
    plain[...] = [clean_text(value) for value in given.tolist()]
    return plain


def clean_text(value: object) -> str:
    """A value as text that can be encoded: lone surrogates, which come out of JSON, become question marks.

    >>> clean_text("a\\ud800"), clean_text(None)
    ('a?', '')
    """
    return "" if value is None else str(value).encode("utf-8", "replace").decode("utf-8")


def stored_names(columns: Iterable[str], reserved: Collection[str]) -> dict[str, str]:
    """Column name -> the name under which results and tables hold it.

    Names come from the stores of users: a name that is taken by a figure of the results, or that is no
    name for an object in a store (`../x`), is changed, the same way everywhere.

    >>> stored_names(["weather", "pixels", "../x"], {"pixels"})
    {'weather': 'weather', 'pixels': 'metadata_pixels', '../x': 'metadata_.._x'}
    """
    taken = {name.casefold() for name in reserved}
    names: dict[str, str] = {}
    for column in columns:
        name = column if _SAFE_NAME.fullmatch(column) else _PREFIX + re.sub(r"[^\w.-]", "_", column)[:80]
        while name.casefold() in taken:
            name = _PREFIX + name
        # Two files that differ in case only are one file on some systems.
        taken.add(name.casefold())
        names[column] = name
    return names
