"""Sums of probabilities, over all pixels and over those of each class: what soft IoU and Dice are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.probabilities import probability_strips


def sum_overlap(
    scores: NDArray[Any], truth: NDArray[Any], pred: NDArray[Any], representation: str, num_classes: int
) -> NDArray[np.int64]:
    """The sums of t, p and t p of every class over the pixels of one image.

    The same on every CPU, and however the image is cut.

    Args:
        scores: floats (channel, *space), see `probability_strips`.
        truth: codes (*space); only pixels of a class take part.
        pred: codes (*space), the class that the scores decide for; where it is none, all p are 0.
        representation: of the scores.
        num_classes: K.

    Returns:
        int64 (3, K): pixels of the class in truth; the sum of its probabilities, in units of 2^-30; the same
        over the pixels of the class in truth.

    >>> sums = sum_overlap(np.array([[0.25, 0.5]]), np.array([0, 1]), np.array([0, 1]), "binary", 2)
    >>> sums[0].tolist(), (sums[1:] / 2**30).tolist()
    ([1, 1], [[1.25, 0.75], [0.75, 0.5]])
    """
    from segpipe.kernels._overlap import add_overlap  # Numba is loaded here and nowhere earlier.

    sums = np.zeros((3, num_classes), np.int64)
    labels, guesses = (np.ascontiguousarray(side, np.uint16).reshape(-1) for side in (truth, pred))
    for pixels, values in probability_strips(scores, representation, num_classes):
        add_overlap(values, labels[pixels], guesses[pixels], sums)
    return sums
