"""Bands along the boundaries of label maps, of all classes in one pass: what Boundary IoU is made of."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.outside import Codes, outside, without_ignored

Core = tuple[slice, ...]
"""The part of an array that is counted; what lies around it is only looked at."""


def count_bands(
    truth: NDArray[Any], pred: NDArray[Any], num_classes: int, width_px: int, core: Core = ()
) -> NDArray[np.int64]:
    """The sizes of the bands of every class of one image, and of what the bands have in common.

    The band of a class is its pixels from which `width_px` steps, diagonal ones too, lead out of the class or
    of the image: its mask without the mask eroded `width_px` times by a square of 3 x 3 pixels (by a cube of
    3 x 3 x 3), for all classes at once. Ignored pixels lie beyond the edge (see `segpipe.kernels.outside`).

    An image may be counted in parts: each with `width_px` pixels more on every side where the image goes on,
    and with `core`, the pixels that are its own. Their sums are those of the whole image, exactly.

    Args:
        truth: codes of one image, any integer dtype, (y, x) or (z, y, x): 0..K-1, K ignored, K+1 invalid.
        pred: codes, the shape of `truth`.
        num_classes: K.
        width_px: width of the band, at least 1.
        core: a slice for each axis; without it all pixels are counted.

    Returns:
        int64 (3, K): pixels in the band of truth, in the band of the prediction, in both bands.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer, or the width is less than 1.

    >>> truth = np.array([[0, 0, 0, 0, 1]] * 5)
    >>> count_bands(truth, np.where(truth == 1, 0, truth), num_classes=2, width_px=1).tolist()
    [[14, 5], [16, 0], [11, 0]]
    """
    if width_px < 1:
        message = f"a band of {width_px} px is none, expected a width of at least 1"
        raise ArrayError(message)
    sides = without_ignored(truth, pred, num_classes)
    if not truth.size:
        return np.zeros((3, num_classes), np.int64)
    beyond = outside(sides[0])
    for side in sides:
        np.copyto(side, beyond - 1, where=interior(side, width_px))
    # Interior is a value that the rules do not name: a row and a column of its own, not those of ignored.
    rules = LabelRules.of(num_classes, no_class=(num_classes, num_classes + 1, beyond))
    one, other = (side[core][np.newaxis] for side in sides)
    cells = count_confusion(one, other, rules, rules)
    return _areas(cells.truth_codes, cells.pred_codes, cells.counts, num_classes)


def _areas(
    truth: NDArray[np.int64], pred: NDArray[np.int64], counts: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Sums of the rows, of the columns (all rows, that of interior truth too), and the diagonal; (3, K)."""
    areas = np.zeros((3, num_classes + 2), np.int64)
    np.add.at(areas[0], truth, counts)
    np.add.at(areas[1], pred, counts)
    same = truth == pred
    np.add.at(areas[2], truth[same], counts[same])
    return areas[:, :num_classes].copy()


def interior(labels: Codes, width_px: int) -> NDArray[np.bool_]:
    """The pixels whose square of side 2 `width_px` + 1 holds one label only, and lies in the image.

    Args:
        labels: contiguous and not empty, (y, x) or (z, y, x).

    >>> interior(np.array([[1, 1, 1, 2, 2]] * 3, np.uint16), 1).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    from segpipe.kernels import _bands  # Numba is loaded here and nowhere earlier.

    inside = np.empty(labels.shape, np.uint8)
    rows = (-1, labels.shape[-1])
    alike = np.empty((width_px.bit_length() + 1, labels.shape[-1]), np.uint8)
    _bands.mark_along_rows(labels.reshape(rows), width_px, inside.reshape(rows), alike)
    for axis in range(labels.ndim - 1):
        blocks = prod(labels.shape[:axis]), labels.shape[axis], prod(labels.shape[axis + 1 :])
        run = np.empty(blocks[2], np.int32)
        _bands.mark_across(labels.reshape(blocks), width_px, inside.reshape(blocks), run)
    return inside.view(np.bool_)
