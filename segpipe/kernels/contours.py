"""Contours of label maps, of all classes in one pass, and how many of their pixels lie near each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ArrayError
from segpipe.kernels.bands import Core
from segpipe.kernels.outside import Codes, outside, without_ignored


def count_contours(
    truth: NDArray[Any], pred: NDArray[Any], num_classes: int, tolerance_px: int, core: Core = ()
) -> NDArray[np.int64]:
    """The contour pixels of every class of one image, and how many of them the other side has near by.

    A contour pixel is a pixel of the class beside one that is of another class (4 neighbours in an image, 6
    in a volume). What lies beyond the edge of the image makes no contour, and neither do ignored pixels (see
    `segpipe.kernels.outside`). It is hit if a contour pixel of the same class on the other side lies within
    `tolerance_px`, measured straight (Euclid) between the centres of the pixels.

    An image may be counted in parts, as with `count_bands`: with `tolerance_px` + 1 pixels more.

    Args:
        truth: codes of one image, any integer dtype, (y, x) or (z, y, x): 0..K-1, K ignored, K+1 invalid.
        pred: codes, the shape of `truth`.
        num_classes: K.
        tolerance_px: 0 or more.
        core: a slice for each axis; without it all pixels are counted.

    Returns:
        int64 (4, K): contour pixels of truth, those of them that are hit, the same two of the prediction.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer, or the tolerance is negative.

    >>> truth = np.array([[0, 0, 0, 1, 1, 1]])
    >>> pred = np.array([[0, 0, 0, 0, 1, 0]])
    >>> count_contours(truth, pred, num_classes=2, tolerance_px=1).tolist()
    [[1, 1], [1, 1], [2, 1], [1, 1]]
    """
    if tolerance_px < 0:
        message = f"a tolerance of {tolerance_px} px is none, expected 0 or more"
        raise ArrayError(message)
    counts = np.zeros((4, num_classes), np.int64)
    if truth.size:
        from segpipe.kernels._contours import add_hits  # Numba is loaded here and nowhere earlier.

        sides = without_ignored(truth, pred, num_classes)
        one, other = (_padded(contours(side), tolerance_px) for side in sides)
        steps = _steps(one.shape, tolerance_px)
        for own, across, (sizes, hits) in ((one, other, counts[:2]), (other, one, counts[2:])):
            pixels = _positions(own, tolerance_px, core)
            add_hits(pixels, own.reshape(-1), across.reshape(-1), steps, num_classes, sizes, hits)
    return counts


def contours(labels: Codes) -> Codes:
    """The labels of contour pixels, that of pixels outside elsewhere.

    >>> contours(np.array([[3, 3, 4, 255]], np.uint8)).tolist()
    [[255, 3, 4, 255]]
    """
    beyond = outside(labels)
    found = np.zeros(labels.shape, np.bool_)
    for axis in range(labels.ndim):
        along, marks = np.moveaxis(labels, axis, 0), np.moveaxis(found, axis, 0)
        differ = along[1:] != along[:-1]
        differ &= along[1:] != beyond
        differ &= along[:-1] != beyond
        marks[1:] |= differ
        marks[:-1] |= differ
    lines = np.full_like(labels, beyond)
    np.copyto(lines, labels, where=found)
    return lines


def _padded(lines: Codes, margin: int) -> Codes:
    wide = np.full([side + 2 * margin for side in lines.shape], outside(lines), lines.dtype)
    wide[tuple(slice(margin, margin + side) for side in lines.shape)] = lines
    return wide


def _positions(padded: Codes, margin: int, core: Core) -> NDArray[np.int64]:
    """Where contour pixels of the core lie in the padded array, as indexes into all of it."""
    own = tuple(slice(margin, side - margin) for side in padded.shape)
    within = np.zeros(padded.shape, np.bool_)
    within[own][core] = padded[own][core] != outside(padded)
    return np.flatnonzero(within)


def _steps(shape: tuple[int, ...], tolerance: int) -> NDArray[np.int64]:
    """From a pixel to those within the tolerance, as differences of indexes, the nearest first.

    >>> _steps((10, 10), 1).tolist()
    [0, -10, -1, 1, 10]
    """
    reach = np.arange(-tolerance, tolerance + 1)
    offsets = np.stack(np.meshgrid(*[reach] * len(shape), indexing="ij")).reshape(len(shape), -1)
    squares = (offsets**2).sum(axis=0)
    order = np.argsort(squares, kind="stable")
    near = offsets[:, order[squares[order] <= tolerance**2]]
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return strides @ near
