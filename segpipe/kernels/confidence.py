"""Sums over pixels of how sure a model was and how right: what calibration is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.probabilities import probability_strips

UNIT_BITS = 30
"""Sums of reals are whole numbers of 2^-30; every pixel is rounded once."""

Table = NDArray[np.int64]
Sums = NDArray[np.int64]


def sum_confidence(
    scores: NDArray[Any],
    truth: NDArray[Any],
    pred: NDArray[Any],
    representation: str,
    num_classes: int,
    bins: int,
) -> tuple[Table, Sums]:
    """The pixels of one image by the probability of the likeliest class, and two sums over all of them.

    Only pixels whose truth and whose prediction are classes take part. No function is used that could differ
    between CPUs, so the sums are the same everywhere.

    Args:
        scores: floats (channel, *space), see `probability_strips`.
        truth: codes (*space).
        pred: codes (*space), the class that the scores decide for.
        representation: of the scores.
        num_classes: K.
        bins: of the confidence; bin i holds i / bins up to, but not including, (i + 1) / bins, and the last
            one holds 1 as well.

    Returns:
        int64 (3, bins): pixels, those that are right, the sum of their confidence in units of 2^-30; and
        int64 (2,), in the same units: the sum of (p - y)^2 over the classes, of two classes the half of it,
        and that of -log p of the true class, a p below 2^-52 counting as 2^-52.

    >>> codes = np.array([0, 1])
    >>> table, sums = sum_confidence(np.array([[0.25, 0.5]]), codes, codes, "binary", 2, bins=4)
    >>> table[:2].tolist(), (table[2] / 2**30).tolist(), (sums / 2**30).round(3).tolist()
    ([[0, 0, 1, 1], [0, 0, 1, 1]], [0.0, 0.0, 0.5, 0.75], [0.312, 0.981])
    """
    from segpipe.kernels._confidence import add_confidence  # Numba is loaded here and nowhere earlier.

    table, sums = np.zeros((3, bins), np.int64), np.zeros(2, np.int64)
    labels, guesses = (np.ascontiguousarray(side, np.uint16).reshape(-1) for side in (truth, pred))
    edges = np.arange(bins + 1) / bins
    half = 0.5 if num_classes == 2 else 1.0
    for pixels, values in probability_strips(scores, representation, num_classes):
        most, squares = np.empty((2, values.shape[1]))
        add_confidence(values, labels[pixels], guesses[pixels], half, edges, most, squares, table, sums)
    return table, sums
