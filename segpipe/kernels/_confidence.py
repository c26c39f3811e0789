"""The compiled pass of `segpipe.kernels.confidence`; see `segpipe.kernels._softmax` on sums of reals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from segpipe.kernels.jit import compiled, inlined

UNIT = 1073741824.0
"""2^30: a term is rounded once, to a whole number of 2^-30."""

LEAST = 2.0**-52
"""A smaller probability of the true class counts as this one in -log p."""

SQRT_HALF = 0.7071067811865476
LOG_2 = 0.6931471805599453
SERIES = tuple(1.0 / odd for odd in range(25, 0, -2))


@inlined
def _minus_log(p: float) -> float:
    """-log p for LEAST <= p <= 1: 2 atanh of (1 - m)/(1 + m), m the mantissa near 1, by its series."""
    mantissa, exponent = math.frexp(p)
    if mantissa < SQRT_HALF:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    z = (1.0 - mantissa) / (1.0 + mantissa)
    square, series = z * z, 0.0
    for factor in SERIES:
        series = series * square + factor
    return 2.0 * z * series - exponent * LOG_2


@inlined
def _bin(confidence: float, edges: Any) -> int:
    """The last i with edges[i] <= confidence; the last bin is closed."""
    bins = len(edges) - 1
    at = min(int(confidence * bins), bins - 1)
    if confidence < edges[at]:
        return at - 1
    return at + 1 if at + 1 < bins and confidence >= edges[at + 1] else at


@compiled
def add_confidence(
    values: Any,
    truth: Any,
    pred: Any,
    half: float,
    edges: Any,
    most: Any,
    squares: Any,
    table: Any,
    sums: Any,
) -> None:
    """Add the pixels of a strip whose truth and prediction are classes.

    Args:
        values: float64 (class, pixel), probabilities.
        truth, pred: uint16 (pixel,), codes.
        half: what the squares are multiplied by.
        edges: float64 (bin + 1,), of the bins of confidence.
        most, squares: float64 (pixel,), scratch: the largest probability of a pixel, the sum of p^2.
        table: int64 (3, bin): pixels, those that are right, confidence in units.
        sums: int64 (2,): squares of p - y, -log p; in units.
    """
    classes, pixels = values.shape
    most[:] = 0.0
    squares[:] = 0.0
    for class_id in range(classes):
        row = values[class_id]
        for x in range(pixels):
            most[x] = row[x] if row[x] > most[x] else most[x]
            squares[x] += row[x] * row[x]
    for x in range(pixels):
        label, guess = truth[x], pred[x]
        if label >= classes or guess >= classes:
            continue
        at, true = _bin(most[x], edges), values[label, x]
        table[0, at] += 1
        table[1, at] += np.int64(label == guess)
        table[2, at] += np.int64(np.rint(most[x] * UNIT))
        sums[0] += np.int64(np.rint(half * (squares[x] + (1.0 - 2.0 * true)) * UNIT))
        sums[1] += np.int64(np.rint(_minus_log(true if true > LEAST else LEAST) * UNIT))
