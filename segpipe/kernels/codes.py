"""The code of every label, in NumPy: for what need not be fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules


def codes_of(labels: NDArray[Any], rules: LabelRules) -> NDArray[np.uint16]:
    """The code of every label. Any integer dtype, any shape.

    >>> codes_of(np.array([0, 1, 255, 7]), LabelRules.of(2, no_class=[255]))
    array([0, 1, 2, 3], dtype=uint16)
    """
    native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    known = sorted(value for value in rules.codes if fits(value, labels.dtype))
    if not known:
        return np.full(labels.shape, rules.invalid, np.uint16)
    keys = np.array(known, np.uint8 if labels.dtype.kind == "b" else native.dtype)
    codes = np.array([rules.codes[value] for value in known], np.uint16)
    place = np.minimum(np.searchsorted(keys, native), len(keys) - 1)
    return np.where(keys[place] == native, codes[place], np.uint16(rules.invalid))


def fits(value: int, dtype: np.dtype[Any]) -> bool:
    """Whether a label map of this dtype can hold the value."""
    limits = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
    return bool(limits.min <= value <= limits.max)
