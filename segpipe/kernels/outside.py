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

OUTSIDE = (1 << 16) - 1
"""The code of a pixel beyond the edge."""

MOST_CLASSES = OUTSIDE - 2


def without_ignored(
    truth: NDArray[Any], pred: NDArray[Any], num_classes: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Codes of truth and pred in which ignored pixels lie outside.

    Args:
        truth: codes, 0..K-1 classes, K ignored, K+1 invalid; any integer dtype, any shape.
        pred: codes, K void, K+1 invalid; the shape of `truth`.
        num_classes: K.

    Returns:
        Two new arrays, uint16 and contiguous: `OUTSIDE` where truth is no class, else the codes.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer, or there are too many classes.

    >>> without_ignored(np.array([0, 1, 2, 3]), np.array([2, 1, 0, 1]), num_classes=2)
    (array([    0,     1, 65535, 65535], dtype=uint16), array([    2,     1, 65535, 65535], dtype=uint16))
    """
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    require_same_shape(truth, pred)
    if num_classes > MOST_CLASSES:
        message = f"there are {num_classes} classes, expected at most {MOST_CLASSES}"
        raise ArrayError(message)
    ignored = truth >= num_classes
    sides = np.array(truth, np.uint16, order="C"), np.array(pred, np.uint16, order="C")
    for side in sides:
        np.copyto(side, OUTSIDE, where=ignored)
    return sides
