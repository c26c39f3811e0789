"""Raw label value -> code, as small arrays that a kernel can look into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels._scratch import address

WIDEST_TABLE = 1 << 16
"""Entries; label values that lie further apart are searched for instead."""


@dataclass(frozen=True)
class Lookup:
    """The codes of one side's raw values, read as unsigned numbers of `width` bytes.

    With a table, value v has code `codes[(v - low) mod 2^bits]`, and is invalid from `len(codes)` on: the
    arithmetic is modular, so that negative labels and a uint32 4294967295 lie just below 0. Bytes always
    have the whole table of 256. Without a table (`keys` is not empty), v has the code at its place in the
    sorted `keys`.

    Attributes:
        width: bytes of a raw value.
        low: the value of the first entry of a table.
        keys: int64 (key,); the values' bit patterns in ascending order as signed numbers, padded to 2^n - 1
            keys by repeating the last. Empty with a table.
        codes: uint16 (entry,) or (key,).
        invalid: the code of any other value.
    """

    width: int
    low: int
    keys: NDArray[np.int64]
    codes: NDArray[np.uint16]
    invalid: int

    @cached_property
    def first_alike(self) -> NDArray[np.uint16]:
        """Of each entry of a table, the first entry that has the same code; uint16 (entry,)."""
        _, first, which = np.unique(self.codes, return_index=True, return_inverse=True)
        return first[which].astype(np.uint16)

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Where the arrays lie; to ask for it takes as long as to count a thousand pixels."""
        return {"keys": address(self.keys), "codes": address(self.codes), "alike": address(self.first_alike)}


@lru_cache(maxsize=64)
def lookup(rules: LabelRules, dtype: np.dtype[Any]) -> Lookup:
    """The look-up for label maps of one dtype; values that the dtype cannot hold are left out.

    >>> table = lookup(LabelRules.of(2, no_class=[-1]), np.dtype(np.int32))
    >>> table.low, table.codes
    (4294967295, array([2, 0, 1], dtype=uint16))
    """
    size = 1 << (8 * dtype.itemsize)
    patterns = {value % size: code for value, code in rules.codes.items() if _fits(value, dtype)}
    low, span = (0, 256) if dtype.itemsize == 1 else _window(sorted(patterns), size)
    if span > WIDEST_TABLE:
        return _sorted_keys(patterns, rules, dtype.itemsize)
    codes = np.full(span, rules.invalid, np.uint16)
    for pattern, code in patterns.items():
        codes[(pattern - low) % size] = code
    return Lookup(dtype.itemsize, low, np.empty(0, np.int64), codes, rules.invalid)


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
    return bool(limits.min <= value <= limits.max)


def _window(patterns: list[int], size: int) -> tuple[int, int]:
    """First value and length of the shortest window, on the circle of `size` numbers, that holds them all.

    >>> _window([0, 1, 255], 256)
    (255, 3)
    """
    if not patterns:
        return 0, 0
    following = [*patterns[1:], patterns[0] + size]
    gap, start = max((after - value, after) for value, after in zip(patterns, following, strict=True))
    return start % size, size - gap + 1


def _sorted_keys(patterns: dict[int, int], rules: LabelRules, width: int) -> Lookup:
    keys = np.array(list(patterns), np.uint64).view(np.int64)
    codes = np.array(list(patterns.values()), np.uint16)
    order = np.argsort(keys)
    order = np.pad(order, (0, (1 << len(order).bit_length()) - 1 - len(order)), "edge")
    return Lookup(width, 0, keys[order], codes[order], rules.invalid)


def codes_of(labels: NDArray[Any], rules: LabelRules) -> NDArray[np.uint16]:
    """The code of every label, in NumPy: for what need not be fast. Any integer dtype, any shape.

    >>> codes_of(np.array([0, 1, 255, 7]), LabelRules.of(2, no_class=[255]))
    array([0, 1, 2, 3], dtype=uint16)
    """
    native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    known = sorted(value for value in rules.codes if _fits(value, labels.dtype))
    if not known:
        return np.full(labels.shape, rules.invalid, np.uint16)
    keys = np.array(known, np.uint8 if labels.dtype.kind == "b" else native.dtype)
    codes = np.array([rules.codes[value] for value in known], np.uint16)
    place = np.minimum(np.searchsorted(keys, native), len(keys) - 1)
    return np.where(keys[place] == native, codes[place], np.uint16(rules.invalid))
