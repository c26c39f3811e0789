"""The compiled pass of `segpipe.kernels.overlap`."""

from __future__ import annotations

from typing import Any

import numpy as np

from segpipe.kernels.jit import compiled

UNIT = 1073741824.0
"""2^30: a probability is rounded once, to a whole number of 2^-30."""


@compiled
def add_overlap(values: Any, truth: Any, pred: Any, sums: Any) -> None:
    """Add the pixels of a strip.

    Args:
        values: float64 (class, pixel), probabilities.
        truth, pred: uint16 (pixel,), codes.
        sums: int64 (3, class), see `segpipe.kernels.overlap.sum_overlap`.
    """
    classes, pixels = values.shape
    for x in range(pixels):
        if truth[x] < classes:
            sums[0, truth[x]] += 1
    for class_id in range(classes):
        row = values[class_id]
        for x in range(pixels):
            if truth[x] < classes and pred[x] < classes:
                units = np.int64(np.rint(row[x] * UNIT))
                sums[1, class_id] += units
                if truth[x] == class_id:
                    sums[2, class_id] += units
