"""A row of numbers as a small curve of block characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """One character for each number, from the lowest to the highest of them; a blank where there is none.

    >>> sparkline([0.5, 0.6, None, 0.8]), sparkline([1.0, 1.0]), sparkline([])
    ('▁▃ █', '▄▄', '')
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_block(value, low, high) for value in values)


def _block(value: float | None, low: float, high: float) -> str:
    if value is None or not math.isfinite(value):
        return " "
    return BLOCKS[3] if high == low else BLOCKS[round((value - low) / (high - low) * (len(BLOCKS) - 1))]
