"""The compiled pass of `segpipe.kernels.score_bins`."""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled


@compiled
def add_scores(values: Any, truth: Any, pred: Any, histograms: Any) -> None:
    """Add the pixels of a strip whose truth and prediction are classes.

    Args:
        values: float64 (class, pixel), 0 to 1.
        truth, pred: uint16 (pixel,), codes.
        histograms: int64 (2, class, bin): pixels of other classes, of the class.
    """
    classes, pixels = values.shape
    bins = histograms.shape[2]
    for class_id in range(classes):
        row = values[class_id]
        for x in range(pixels):
            if truth[x] < classes and pred[x] < classes:
                at = min(int(row[x] * bins), bins - 1)
                histograms[int(truth[x] == class_id), class_id, at] += 1
