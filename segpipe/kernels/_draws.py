"""The compiled pass of `segpipe.kernels.draws`."""

from __future__ import annotations

from typing import Any

import numpy as np

from segpipe.kernels.jit import compiled


@compiled
def add_first(counts: Any, clusters: Any, terms: Any, left: Any, sums: Any) -> None:
    """Add rows to the sums of every replicate until none of them has rows left to take.

    Args:
        counts: uint16 (cluster, R), how often a cluster is in a replicate.
        clusters: int64 (row,), the cluster of each row, which is there as often as that.
        terms: int64 (row, n).
        left: int64 (R,), how many rows are to be taken; they end at 0.
        sums: int64 (n, R).
    """
    used = np.empty_like(left)
    for row in range(len(clusters)):
        some = 0
        here = counts[clusters[row]]
        for replicate in range(len(left)):
            used[replicate] = min(np.int64(here[replicate]), left[replicate])
            left[replicate] -= used[replicate]
            some |= left[replicate]
        for number in range(len(sums)):
            term, own = terms[row, number], sums[number]
            for replicate in range(len(left)):
                own[replicate] += used[replicate] * term
        if not some:
            return
