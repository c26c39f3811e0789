"""Raw label value -> code, as small arrays that a kernel can look into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels._runs import spread
from segpipe.kernels._scratch import address
from segpipe.kernels.codes import fits

WIDEST_TABLE = 1 << 16
"""Entries; label values that lie further apart are hashed instead."""


@dataclass(frozen=True)
class Lookup:
    """The codes of one side's raw values, read as unsigned numbers of `width` bytes.

    With a table, value v has code `codes[(v - low) mod 2^bits]`, and is invalid from `len(codes)` on: the
    arithmetic is modular, so that negative labels and a uint32 4294967295 lie just below 0. Bytes always
    have the whole table of 256. Where `keys` is not empty, the table is a hash table, and v has the code
    beside its key: it is sought from its own slot on, up to an empty slot, whose code is `invalid`.

    Attributes:
        width: bytes of a raw value.
        low: the value of the first entry of a table.
        keys: int64 (slot,), 2^n of them; the values' bit patterns as signed numbers. Empty with a table.
        codes: uint16 (entry,) or (slot,).
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
    patterns = {value % size: code for value, code in rules.codes.items() if fits(value, dtype)}
    low, span = (0, 256) if dtype.itemsize == 1 else _window(sorted(patterns), size)
    if span > WIDEST_TABLE:
        return _hash_table(patterns, rules, dtype.itemsize)
    codes = np.full(span, rules.invalid, np.uint16)
    for pattern, code in patterns.items():
        codes[(pattern - low) % size] = code
    return Lookup(dtype.itemsize, low, np.empty(0, np.int64), codes, rules.invalid)


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


def _hash_table(patterns: dict[int, int], rules: LabelRules, width: int) -> Lookup:
    """Three slots of four at least are empty, so that a label is seldom sought further than its own slot."""
    slots = 4 << len(patterns).bit_length()
    values = np.array(list(patterns), np.uint64).view(np.int64)
    keys, codes = np.zeros(slots, np.int64), np.full(slots, rules.invalid, np.uint16)
    for value, own, code in zip(values, spread(values), patterns.values(), strict=True):
        slot = own % slots
        while codes[slot] != rules.invalid:
            slot = (slot + 1) % slots
        keys[slot], codes[slot] = value, code
    return Lookup(width, 0, keys, codes, rules.invalid)
