"""Sums of floats that depend neither on the order of the terms nor on the CPU.

Floats do not add associatively: `np.sum` groups its terms by memory layout and by instruction set, so the
last digits of a mean would change with the order of images, the cut of blocks, or the machine. Stored
results must not. So every sum is one of integers, which add exactly: a term is rounded once to a multiple of
2^-62 (of the largest term of the sum, where terms have no bound), and the sum is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WEIGHT_BITS = 30
"""A weight is a whole number of 2^-30."""

FACTOR_BITS = 31
"""Of a factor in `cut_products`, at most, but for 2^31 itself."""

_LOWER = (1 << FACTOR_BITS) - 1

HIGH_BITS, LOW_BITS = 32, 30
"""A term is whole + high * 2^-32 + low * 2^-62; 2^31 terms of at most 2^31 fit into int64."""


def _split(terms: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Whole, high and low of every term."""
    whole = np.trunc(terms)
    # Exact: what is cut off has the sign and the last bit of the term.
    scaled = np.asarray(terms - whole)
    scaled *= 2.0**HIGH_BITS
    high = np.trunc(scaled)
    scaled -= high
    scaled *= 2.0**LOW_BITS
    return whole.astype(np.int64), high.astype(np.int64), np.rint(scaled).astype(np.int64)


def _rounded(whole: IntArray, high: IntArray, low: IntArray) -> FloatArray:
    """The sum of three sums; up to 2^21 it is rounded once, and a whole number is exact."""
    return np.asarray(((whole * 2.0**HIGH_BITS + high) + low * 2.0**-LOW_BITS) * 2.0**-HIGH_BITS)


def _summed(terms: FloatArray) -> FloatArray:
    """Sums over the last dim."""
    return _rounded(*(part.sum(axis=-1, dtype=np.int64) for part in _split(terms)))


def share_of(weights: IntArray) -> FloatArray:
    """Integer weights as numbers: 2^30 is 1. Exact up to 2^53."""
    return np.ldexp(weights.astype(np.float64), -WEIGHT_BITS)


def _means(sums: FloatArray, number: IntArray | FloatArray) -> FloatArray:
    means = np.full(number.shape, np.nan)
    np.divide(sums, number, out=means, where=number > 0)
    return means


def row_sums(values: FloatArray) -> FloatArray:
    """Sums over the last dim, (..., K) -> (...,), of terms of any size; 0 where there are none.

    A term is rounded to 2^-62 of a power of two that is no more than twice the largest term of its row.

    >>> row_sums(np.array([[1e16, 1.0, -1e16], [0.1, 0.2, 0.3]]))
    array([1. , 0.6])
    """
    _, exponents = np.frexp(np.abs(values).max(axis=-1, initial=0.0))
    return np.asarray(np.ldexp(_summed(np.ldexp(values, -exponents[..., None])), exponents))


def row_means(values: FloatArray, used: NDArray[np.bool_]) -> FloatArray:
    """Means over the last dim of the values that are used; NaN where none is.

    >>> values = np.array([[0.5, np.nan, 1.0], [0.5, np.nan, 0.0]])
    >>> row_means(values, used=np.array([[True, False, True], [False, False, False]]))
    array([0.75,  nan])
    """
    return _means(_summed(np.where(used, values, 0.0)), np.asarray(used.sum(axis=-1)))


def run_means(values: FloatArray, used: NDArray[np.bool_], lengths: IntArray) -> FloatArray:
    """Means of runs of the last dim, (..., value) -> (..., run), of the values used; NaN where none is.

    >>> values, used = np.array([[0.5, 1.0, np.nan, 0.25]]), np.array([[True, True, False, True]])
    >>> run_means(values, used, np.array([2, 0, 1, 1]))
    array([[0.75,  nan,  nan, 0.25]])
    """
    means = np.empty((*values.shape[:-1], len(lengths)))
    ends = np.cumsum(lengths)
    # Row by row: the terms of one stay in the caches of the CPU.
    for row in np.ndindex(values.shape[:-1]):
        parts = (*_split(np.where(used[row], values[row], 0.0)), used[row].astype(np.int64))
        *sums, number = (_run_sums(part, ends - lengths, ends) for part in parts)
        means[row] = _means(_rounded(*sums), number)
    return means


def _run_sums(terms: IntArray, starts: IntArray, ends: IntArray) -> IntArray:
    """Differences of running sums, for reduceat has no empty runs; integers lose nothing by it."""
    running = np.zeros(len(terms) + 1, np.int64)
    np.cumsum(terms, out=running[1:])
    return np.asarray(running[ends] - running[starts])


class FixedPointSums:
    """Running sums, one per place of an array.

    >>> sums = FixedPointSums((2,))
    >>> sums.add(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.7]))
    >>> sums.mean(np.array([2, 0]))
    array([0.15,  nan])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._parts = tuple(np.zeros(shape, np.int64) for _ in range(3))

    def add(self, places: IntArray, terms: FloatArray) -> None:
        """Add each term at a place, given as an index into the flattened array."""
        for sums, parts in zip(self._parts, _split(terms), strict=True):
            np.add.at(sums.reshape(-1), places, parts)

    def total(self) -> FloatArray:
        """The sums themselves."""
        return _rounded(*self._parts)

    def row(self, index: int) -> FixedPointSums:
        """The sums of one row, sharing memory."""
        part = FixedPointSums(())
        part._parts = tuple(sums[index, ...] for sums in self._parts)
        return part

    def mean(self, number: IntArray | FloatArray) -> FloatArray:
        """The sums over the number of terms, or over their weight; NaN where that is 0."""
        return _means(_rounded(*self._parts), number)


def cut_products(counts: IntArray, factors: IntArray, bits: int) -> IntArray:
    """Exact products without their last bits, floor(counts * factors / 2^bits).

    Args:
        counts: none negative.
        factors: 0 to 2^31, of the shape of the counts or one that it is repeated to.
        bits: so many that what is left fits into int64.

    >>> cut_products(np.array([2**62 + 8, 5]), np.array([2**30, 3]), 33).tolist()
    [576460752303423489, 0]
    """
    high, low = (counts >> FACTOR_BITS) * factors, (counts & ((1 << FACTOR_BITS) - 1)) * factors
    if bits >= FACTOR_BITS:
        return high + (low >> FACTOR_BITS) >> bits - FACTOR_BITS
    return (high << FACTOR_BITS - bits) + (low >> bits)


class UnitSums:
    """Exact sums of weights in whole units, one per place of an array; they may be larger than int64.

    >>> sums = UnitSums((2,))
    >>> sums.add(np.array([0, 0, 1]), np.array([2**62, 2**62, 2**29]))
    >>> sums.weights()
    array([8.58993459e+09, 5.00000000e-01])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._whole, self._units = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(self, places: IntArray | NDArray[np.uint32], units: IntArray) -> None:
        """Add units of 2^-30, none negative, each at a place, given as an index into the flattened array."""
        np.add.at(self._whole.reshape(-1), places, units >> WEIGHT_BITS)
        np.add.at(self._units.reshape(-1), places, units & ((1 << WEIGHT_BITS) - 1))

    def weights(self) -> FloatArray:
        """The sums, each rounded once."""
        whole = self._whole + (self._units >> WEIGHT_BITS)
        return np.asarray(whole + share_of(self._units & ((1 << WEIGHT_BITS) - 1)), np.float64)


def digits_of(numbers: IntArray, factors: IntArray | None = None) -> list[IntArray]:
    """Whole numbers as digits to the base 2^31, the lowest first: sums of digits do not overflow.

    Only the highest digit has a sign. Digits of up to 2^30 numbers can be added in int64.

    Args:
        numbers: any of int64.
        factors: 0 to 2^30, of the shape of the numbers or one that it is repeated to; each number times its
            factor. None: the numbers themselves.

    >>> [digit.tolist() for digit in digits_of(np.array([2**31 + 5, -1]))]
    [[5, 2147483647], [1, -1]]
    """
    high, low = numbers >> FACTOR_BITS, numbers & _LOWER
    if factors is None:
        return [low, high]
    low = low * factors
    high = high * factors + (low >> FACTOR_BITS)
    return [low & _LOWER, high & _LOWER, high >> FACTOR_BITS]


def value_of(digits: Sequence[IntArray], step_bits: int) -> FloatArray:
    """Sums of digits as numbers, in units of 2^-step_bits; up to 2^84 units a number is rounded once.

    >>> value_of(digits_of(np.array([2**62 + 2**31, -3])), 30).tolist()
    [4294967298.0, -2.7939677238464355e-09]
    """
    carried = np.zeros_like(digits[0])
    lower = []
    for digit in digits[:-1]:
        digit = digit + carried
        lower.append(digit & _LOWER)
        carried = digit >> FACTOR_BITS
    value = (digits[-1] + carried).astype(np.float64)
    for digit in reversed(lower):
        value = value * 2.0**FACTOR_BITS + digit
    return np.asarray(np.ldexp(value, -step_bits))


class WholeSums:
    """Exact sums of arrays of whole numbers, one for each group; they may be larger than int64.

    >>> sums = WholeSums((2, 1), weighted=False)
    >>> sums.add_rows(np.array([0, 0, 1]), np.array([[2**62], [2**62], [3]]))
    >>> sums.values(30).tolist()
    [[8589934592.0], [2.7939677238464355e-09]]
    """

    def __init__(self, shape: tuple[int, ...], *, weighted: bool) -> None:
        self._digits = [np.zeros(shape, np.int64) for _ in range(3 if weighted else 2)]

    def add_rows(self, groups: IntArray, rows: IntArray, factors: IntArray | None = None) -> None:
        """Add arrays (row, ...), each times its factor (row,), to the sums of its group (group, ...)."""
        if factors is not None:
            factors = factors.reshape(-1, *(1,) * (rows.ndim - 1))
        for sums, parts in zip(self._digits, digits_of(rows, factors), strict=True):
            if len(sums) == 1:
                sums[0] += parts.sum(axis=0)
            else:
                np.add.at(sums, groups, parts)

    def row(self, index: int) -> WholeSums:
        """The sums of one group, sharing memory."""
        part = WholeSums((), weighted=False)
        part._digits = [sums[index, ...] for sums in self._digits]
        return part

    def values(self, step_bits: int) -> FloatArray:
        """The sums in units of 2^-step_bits."""
        return value_of(self._digits, step_bits)


def by_place(places: IntArray, num_places: int) -> NDArray[np.intp]:
    """What sorts the places 0..num_places-1; of equal ones the order stays.

    NumPy sorts integers of up to 16 bits by their digits, which takes no comparison.
    """
    return np.argsort(places.astype(np.min_scalar_type(num_places)), kind="stable")


def worst_number(number: IntArray, percent: float) -> IntArray:
    """How many of so many values are the worst ones: rounded down, but one at least if there is one.

    >>> worst_number(np.array([0, 1, 59]), 5)
    array([0, 1, 2])
    """
    share = Fraction(str(percent)) / 100
    return np.minimum(np.maximum(number * share.numerator // share.denominator, 1), number)


def worst_means(
    places: IntArray,
    values: FloatArray,
    num_places: int,
    percent: float,
    weights: IntArray | None = None,
    *,
    highest: bool = False,
) -> tuple[FloatArray, IntArray]:
    """The mean of the worst values of each place.

    Args:
        places: (value,), which place a value belongs to.
        values: (value,).
        num_places: how many places there are.
        percent: how many percent of the values of a place are taken, rounded down, but one at least.
        weights: (value,), 2^30 for a weight of 1; they weigh the mean, and change nothing in what is taken.
        highest: the highest values are the worst ones.

    Returns:
        The means (place,), NaN where a place has no values; and how many values were taken, (place,).

    >>> worst_means(np.array([0, 1, 0, 0, 0]), np.array([0.5, 0.25, 0.0, 1.0, 0.75]), 3, 50)
    (array([0.25, 0.25,  nan]), array([2, 1, 0]))
    """
    number = np.bincount(places, minlength=num_places)
    taken = worst_number(number, percent)
    order = np.argsort(-values if highest else values, kind="stable")
    order = order[by_place(places[order], num_places)]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
    worst = order[rank < taken[places[order]]]
    own = np.full(len(worst), 1 << WEIGHT_BITS) if weights is None else weights[worst]
    sums, weight = FixedPointSums((num_places,)), np.zeros(num_places, np.int64)
    sums.add(places[worst], values[worst] * share_of(own))
    np.add.at(weight, places[worst], own)
    return sums.mean(share_of(weight)), taken
