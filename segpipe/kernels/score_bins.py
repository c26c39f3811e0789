"""How often a score is given to pixels of a class, and to others: what every threshold is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.probabilities import probability_strips


def count_scores(
    scores: NDArray[Any],
    truth: NDArray[Any],
    pred: NDArray[Any],
    representation: str,
    num_classes: int,
    bins: int,
) -> NDArray[np.int64]:
    """Histograms of the probability of every class, over the pixels of one image.

    Only pixels whose truth and whose prediction are classes take part.

    Args:
        scores: floats (channel, *space), see `probability_strips`.
        truth: codes (*space).
        pred: codes (*space), the class that the scores decide for.
        representation: of the scores.
        num_classes: K.
        bins: a power of 2, so that every edge i / bins is a number that floats hold exactly; bin i holds
            i / bins up to, but not including, (i + 1) / bins, and the last one holds 1 as well.

    Returns:
        int64 (2, K, bins): pixels of other classes, pixels of the class.

    >>> scores = np.array([[0.25, 0.75, 0.5]])
    >>> count_scores(scores, np.array([0, 1, 2]), np.array([0, 1, 1]), "binary", 2, bins=4)[:, 1].tolist()
    [[0, 1, 0, 0], [0, 0, 0, 1]]
    """
    from segpipe.kernels._score_bins import add_scores  # Numba is loaded here and nowhere earlier.

    histograms = np.zeros((2, num_classes, bins), np.int64)
    labels, guesses = (np.ascontiguousarray(side, np.uint16).reshape(-1) for side in (truth, pred))
    for pixels, values in probability_strips(scores, representation, num_classes):
        add_scores(values, labels[pixels], guesses[pixels], histograms)
    return histograms
