"""Contours of label maps, of all classes in one pass, and how many of their pixels lie near each other."""

from __future__ import annotations

from math import prod
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
        before, steps, ends = _around(one.shape, tolerance_px)
        for own, across, (sizes, hits) in ((one, other, counts[:2]), (other, one, counts[2:])):
            pixels, missed = _positions(own, tolerance_px, core), np.zeros(own.size, np.uint8)
            flat = own.reshape(-1), across.reshape(-1)
            add_hits(pixels, *flat, missed, before, steps, ends, num_classes, sizes, hits)
    return counts


def contours(labels: Codes) -> Codes:
    """The labels of contour pixels, that of pixels outside elsewhere.

    Args:
        labels: contiguous and not empty, (y, x) or (z, y, x).

    >>> contours(np.array([[3, 3, 4, 255]], np.uint8)).tolist()
    [[255, 3, 4, 255]]
    """
    from segpipe.kernels import _contours  # Numba is loaded here and nowhere earlier.

    number: Any = labels.dtype.type
    beyond = number(outside(labels))
    found: Codes = np.empty_like(labels)
    rows = (-1, labels.shape[-1])
    _contours.mark_along_rows(labels.reshape(rows), beyond, found.reshape(rows))
    for axis in range(labels.ndim - 1):
        blocks = prod(labels.shape[:axis]), labels.shape[axis], prod(labels.shape[axis + 1 :])
        _contours.mark_across(labels.reshape(blocks), beyond, found.reshape(blocks))
    # Outside has all bits set, and so has 0 - 1.
    np.subtract(found, number(1), out=found)
    np.bitwise_or(found, labels, out=found)
    return found


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


def _around(
    shape: tuple[int, ...], tolerance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """What `add_hits` is told of the surroundings of a pixel, as differences of indexes.

    Returns:
        The neighbours before it, the nearest first; the pixels within the tolerance, the nearest first, and
        of these, for each neighbour, those that are not within the tolerance of it; where each of them ends.

    >>> [part.tolist() for part in _around((10,), 2)]
    [[-1], [0, -1, 1, -2, 2, 2], [5, 6]]
    """
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    near = _offsets(len(shape), tolerance)
    near = near[:, _squares(near) <= tolerance**2]
    before = _offsets(len(shape), 1)
    before = before[:, strides @ before < 0]
    of_each = [near, *(near[:, _squares(near - own[:, None]) > tolerance**2] for own in before.T)]
    ends = np.cumsum([part.shape[1] for part in of_each])
    return strides @ before, strides @ np.concatenate(of_each, axis=1), ends


def _offsets(axes: int, reach: int) -> NDArray[np.int64]:
    """All offsets of up to `reach` along each axis, (axis, n), the nearest first."""
    along = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(*[along] * axes, indexing="ij")).reshape(axes, -1)
    return offsets[:, np.argsort(_squares(offsets), kind="stable")]


def _squares(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((offsets**2).sum(axis=0))
