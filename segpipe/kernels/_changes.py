"""The compiled pass of `segpipe.kernels.changes`."""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled


@compiled
def add_changes(truth: Any, pred: Any, other: Any, num_classes: int, counts: Any) -> None:
    """Add the pixels of an image whose truth is a class; see `segpipe.kernels.changes.count_changes`.

    Args:
        truth, pred, other: uint16 (n,), codes.
        counts: int64 (8, K + 1).
    """
    for x in range(len(truth)):
        label = truth[x]
        if label < num_classes:
            now, before = min(pred[x], num_classes), min(other[x], num_classes)
            counts[0, label] += 1
            counts[1, label] += now == label
            counts[2, label] += before == label
            counts[3, label] += (now == label) & (before == label)
            counts[4, label] += now == before
            counts[5, now] += 1
            counts[6, before] += 1
            counts[7, now] += now == before
