"""Sums over the first rows of datasets that are drawn anew, where a row is there as often as it was drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_sums(
    counts: NDArray[np.uint16],
    clusters: NDArray[np.int64],
    terms: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Exact sums of the first rows of every replicate, (R, n).

    Args:
        counts: uint16 (cluster, R), how often each cluster is in a replicate.
        clusters: int64 (row,), the cluster of each row: the row is in a replicate as often.
        terms: int64 (row, n); no sum passes 2^63.
        taken: int64 (R,), how many rows of a replicate are summed.

    >>> counts = np.array([[2, 0], [0, 2]], np.uint16)
    >>> first_sums(counts, np.array([1, 0, 1]), np.array([[1], [5], [10]]), np.array([1, 3])).tolist()
    [[5], [12]]
    """
    from segpipe.kernels._draws import add_first  # Numba is loaded here and nowhere earlier.

    sums = np.zeros((terms.shape[1], len(taken)), np.int64)
    add_first(
        np.ascontiguousarray(counts), clusters, np.ascontiguousarray(terms), taken.astype(np.int64), sums
    )
    return sums.T
