"""Scores of images in fixed point, so that means of any draw of them are quotients of exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.statistics.figures import Figure, FloatArray

IntArray = NDArray[np.int64]
AnyFigure = TypeVar("AnyFigure", bound=Figure)

SUM_BITS, DIGIT_BITS, FEWEST_BITS = 61, 51, 36
"""Of a sum of scores in fixed point; of one that float64 adds at once; and the fewest a term may have."""


@dataclass(frozen=True, eq=False)
class ScoreRows(Generic[AnyFigure]):
    """Values of M metrics in fixed point, with their weights; of images, or of a class in images.

    Attributes:
        records: the M metrics.
        images: (row,).
        weights: (row,).
        ranks: (M, row), the values, or their negatives where lower is better: the lowest are the worst.
        places: (M,); a term of a metric is in units of 2^-places.
        which: (M,); metrics that have values in the same rows share their weights.
        terms: int64 (row, M + P) or (row, M + 2 P): values times weights, the weights of each of P patterns
            of rows with a value; and the rows themselves, 1 each, unless all weights are 1.
    """

    records: Sequence[AnyFigure]
    images: IntArray
    weights: IntArray
    ranks: FloatArray
    places: IntArray
    which: list[int]
    terms: IntArray

    @classmethod
    def of(
        cls,
        values: FloatArray,
        images: IntArray,
        weights: IntArray,
        records: Sequence[AnyFigure],
        largest: int,
    ) -> ScoreRows[AnyFigure]:
        """Values (M, row), NaN where there is none, of which a replicate has `largest` at most."""
        there = ~np.isnan(values) & (weights > 0)
        # Rounded once, alike on every CPU; with the weight 1 it is the value itself.
        products = np.where(there, values, 0.0) * weights
        _, above = np.frexp(np.abs(products).max(axis=1, initial=0.0))
        bounded = np.array([np.isfinite(one.maximum - one.minimum) for one in records])
        places = _bits(largest, bounded) - above
        scaled = np.rint(np.ldexp(products, places[:, None])).astype(np.int64)
        patterns: dict[bytes, int] = {}
        which = [patterns.setdefault(own.tobytes(), len(patterns)) for own in there]
        own = there[[which.index(number) for number in range(len(patterns))]].astype(np.int64)
        weighted = [own] if (weights == 1).all() else [own * weights, own]
        terms = np.ascontiguousarray(np.concatenate([scaled, *weighted]).T)
        signs = np.array([-1.0 if one.lower_is_better else 1.0 for one in records])
        return cls(records, images, weights, values * signs[:, None], places, which, terms)

    def weight_and_number(self, sums: IntArray) -> tuple[IntArray, IntArray]:
        """Weight and number of the rows that have a value, each (R, M), from sums of the terms."""
        rest = sums[:, len(self.records) :]
        number = rest[:, -(max(self.which) + 1) :]
        return rest[:, self.which], number[:, self.which]

    def worst_first(self, at: int, clusters: IntArray) -> IntArray:
        """The rows that have a value of one metric, worst first; equal ones in an order of their own."""
        there = np.flatnonzero(self.terms[:, len(self.records) + self.which[at]])
        return there[np.lexsort((self.weights[there], clusters[there], self.ranks[at, there]))]


def quotients(sums: IntArray, places: IntArray, weight: IntArray) -> FloatArray:
    """Sums in units of 2^-places over their weight; NaN where that is 0."""
    means = np.full(sums.shape, np.nan)
    np.divide(np.ldexp(sums.astype(np.float64), -places), weight, out=means, where=weight > 0)
    return means


def _bits(largest: int, bounded: NDArray[np.bool_]) -> IntArray:
    """Bits of a term: those that float64 adds at once, if they are enough for scores that have bounds."""
    spent = int(largest).bit_length()
    once = bounded & (DIGIT_BITS - spent >= FEWEST_BITS)
    return np.where(once, DIGIT_BITS - spent, SUM_BITS - spent)
