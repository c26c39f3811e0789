"""Sums of floats that depend neither on the order of the terms nor on the CPU.

Floats do not add associatively: `np.sum` groups its terms by memory layout and by instruction set, so the
last digits of a mean would change with the order of images, the cut of blocks, or the machine. Stored
results must not. So a sum is either `math.fsum` (exact, rounded once; the terms must be at hand), or, where
terms stream by, a sum of integers: every term is rounded once to a multiple of 2^-62, and integers add
exactly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HIGH_BITS, LOW_BITS = 32, 30
"""A term is high * 2^-32 + low * 2^-62; 2^31 terms of at most 1 fit into int64."""


def row_sums(values: FloatArray, *, empty: NDArray[np.bool_]) -> FloatArray:
    """Exact sums over the last dim, (..., K) -> (...,); NaN where `empty` (...,) is true.

    >>> row_sums(np.array([[1e16, 1.0, -1e16], [0.1, 0.2, 0.3]]), empty=np.array([False, True]))
    array([ 1., nan])
    """
    rows = values.reshape(-1, values.shape[-1]).tolist()
    sums = np.array([math.fsum(row) for row in rows], np.float64).reshape(values.shape[:-1])
    return np.where(empty, np.nan, sums)


def row_means(values: FloatArray, used: NDArray[np.bool_]) -> FloatArray:
    """Exact means over the last dim of the values that are used; NaN where none is.

    >>> values = np.array([[0.5, np.nan, 1.0], [0.5, np.nan, 0.0]])
    >>> row_means(values, used=np.array([[True, False, True], [False, False, False]]))
    array([0.75,  nan])
    """
    number = used.sum(axis=-1)
    sums = row_sums(np.where(used, values, 0.0), empty=number == 0)
    means = np.full(number.shape, np.nan)
    np.divide(sums, number, out=means, where=number > 0)
    return means


class FixedPointSums:
    """Running sums, one per place of an array, of terms between -1 and 1.

    >>> sums = FixedPointSums((2,))
    >>> sums.add(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.7]))
    >>> sums.mean(np.array([2, 0]))
    array([0.15,  nan])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._high = np.zeros(shape, np.int64)
        self._low = np.zeros(shape, np.int64)

    def add(self, places: IntArray, terms: FloatArray) -> None:
        """Add each term at a place, given as an index into the flattened array."""
        scaled = terms * 2.0**HIGH_BITS
        high = np.floor(scaled)
        low = np.rint((scaled - high) * 2.0**LOW_BITS)
        np.add.at(self._high.reshape(-1), places, high.astype(np.int64))
        np.add.at(self._low.reshape(-1), places, low.astype(np.int64))

    def row(self, index: int) -> FixedPointSums:
        """The sums of one row, sharing memory."""
        part = FixedPointSums(())
        part._high, part._low = self._high[index, ...], self._low[index, ...]
        return part

    def mean(self, number: IntArray) -> FloatArray:
        """The sums over the number of terms, rounded once; NaN where the number is 0."""
        triples = zip(self._high.flat, self._low.flat, number.flat, strict=True)
        # Python divides integers of any size with one correct rounding.
        means = [
            ((int(high) << LOW_BITS) + int(low)) / (int(n) << 62) if n else math.nan
            for high, low, n in triples
        ]
        return np.array(means, np.float64).reshape(self._high.shape)
