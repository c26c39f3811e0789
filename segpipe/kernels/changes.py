"""What changed between two predictions, and whether it was for the better."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.confusion import require_labels, require_same_shape


def count_changes(
    truth: NDArray[Any], pred: NDArray[Any], other: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Compare two predictions of one image where truth is a class.

    Args:
        truth: codes, 0..K-1, K ignored, K+1 invalid; any integer dtype, any shape.
        pred: codes, K void, K+1 invalid, both of them no class; the shape of `truth`.
        other: codes of the prediction that it is compared with, the same.
        num_classes: K.

    Returns:
        int64 (8, K). Of the pixels of each class in truth: all, those where `pred` is right, where `other`
        is, where both are, where the two say the same. Then, whatever truth is: pixels of each class in
        `pred`, in `other`, in both.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer.

    >>> truth, pred, other = np.array([[0, 0, 1, 2], [0, 1, 1, 0], [0, 0, 0, 1]])
    >>> count_changes(truth, pred, other, num_classes=2).tolist()
    [[2, 1], [1, 1], [2, 0], [1, 0], [1, 0], [1, 2], [3, 0], [1, 0]]
    """
    from segpipe.kernels._changes import add_changes  # Numba is loaded here and nowhere earlier.

    for name, side in {"truth": truth, "pred": pred, "other": other}.items():
        require_labels(side, name)
        require_same_shape(truth, side)
    sides = [np.ascontiguousarray(side, np.uint16).reshape(-1) for side in (truth, pred, other)]
    counts = np.zeros((8, num_classes + 1), np.int64)
    add_changes(sides[0], sides[1], sides[2], num_classes, counts)
    return counts[:, :num_classes].copy()
