"""The one rule for ignored pixels in everything that looks at neighbours: bands, contours and objects.

A pixel whose truth is ignored or invalid is taken for a pixel beyond the edge of the image, in truth and in
the prediction. So nothing that a model says there changes any figure, and a perfect prediction stays perfect
beside it. A pixel that only the prediction leaves out (void, invalid) is there, and belongs to no class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ArrayError
from segpipe.kernels.confusion import require_labels, require_same_shape

Codes = NDArray[np.uint8] | NDArray[np.uint16]

RESERVED = 4
"""Codes that are no class: K, K + 1, and the two largest numbers, for what is interior and outside."""

MOST_CLASSES = (1 << 16) - RESERVED


def outside(codes: Codes) -> int:
    """The code of a pixel beyond the edge: the largest number of the dtype."""
    return int(np.iinfo(codes.dtype).max)


def without_ignored(truth: NDArray[Any], pred: NDArray[Any], num_classes: int) -> tuple[Codes, Codes]:
    """Codes of truth and pred in which ignored pixels lie outside.

    Args:
        truth: codes, 0..K-1 classes, K ignored, K+1 invalid; any integer dtype, any shape.
        pred: codes, K void, K+1 invalid; the shape of `truth`.
        num_classes: K.

    Returns:
        Two new arrays, contiguous, uint8 or, if there are too many classes, uint16: 255 (65535) where truth
        is no class, else the codes.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer, or there are too many classes.

    >>> without_ignored(np.array([0, 1, 2, 3]), np.array([2, 1, 0, 1]), num_classes=2)
    (array([  0,   1, 255, 255], dtype=uint8), array([  2,   1, 255, 255], dtype=uint8))
    """
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    require_same_shape(truth, pred)
    if num_classes > MOST_CLASSES:
        message = f"there are {num_classes} classes, expected at most {MOST_CLASSES}"
        raise ArrayError(message)
    dtype: Any = np.uint8 if num_classes + RESERVED <= 1 << 8 else np.uint16
    ignored = truth >= num_classes
    one, other = np.array(truth, dtype, order="C"), np.array(pred, dtype, order="C")
    for side in (one, other):
        np.copyto(side, outside(side), where=ignored)
    return one, other
