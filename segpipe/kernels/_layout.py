"""The order in which two arrays are walked: any order counts the same, so take the one that reads best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Walk:
    """Images, rows and columns of two arrays of one shape, in bytes.

    Attributes:
        images: how many.
        rows: int64 (axis, 3); length, truth step and pred step of each axis outside the columns.
        columns: the pixels of one row.
        truth, pred: address of the first pixel, step from image to image, step from column to column.
    """

    images: int
    rows: NDArray[np.int64]
    columns: int
    truth: tuple[int, int, int]
    pred: tuple[int, int, int]


@dataclass(frozen=True)
class _Axis:
    length: int
    truth: int
    pred: int

    @property
    def distance(self) -> float:
        """How far apart its pixels lie; an axis that repeats the same pixels belongs outside."""
        return sum(abs(step) or np.inf for step in (self.truth, self.pred))

    def continues(self, inner: _Axis) -> bool:
        return self.truth == inner.truth * inner.length and self.pred == inner.pred * inner.length


def walk(truth: NDArray[Any], pred: NDArray[Any]) -> Walk:
    """How to walk through two arrays (image, ...) of one shape that is not empty.

    >>> label_map = np.zeros((2, 3, 4), np.uint8)
    >>> walk(label_map, label_map).columns, walk(label_map, label_map[:, ::-1, ::-1][:, ::-1]).columns
    (12, 4)
    """
    starts = [array.__array_interface__["data"][0] for array in (truth, pred)]
    axes = [_Axis(*axis) for axis in zip(truth.shape, truth.strides, pred.strides, strict=True)]
    pixels = []
    for axis in (axis for axis in axes[1:] if axis.length > 1):
        if (axis.truth or axis.pred) < 0:
            starts = [starts[0] + (axis.length - 1) * axis.truth, starts[1] + (axis.length - 1) * axis.pred]
            axis = _Axis(axis.length, -axis.truth, -axis.pred)
        pixels.append(axis)
    *rows, columns = _joined(sorted(pixels, key=lambda axis: -axis.distance)) or [
        _Axis(1, truth.itemsize, pred.itemsize)
    ]
    table = np.array([(axis.length, axis.truth, axis.pred) for axis in rows], np.int64).reshape(-1, 3)
    return Walk(
        axes[0].length,
        table,
        columns.length,
        (starts[0], axes[0].truth, columns.truth),
        (starts[1], axes[0].pred, columns.pred),
    )


def _joined(axes: list[_Axis]) -> list[_Axis]:
    """The axes, outer to inner, with those made one that follow each other without a gap on both sides."""
    joined: list[_Axis] = []
    for axis in axes:
        if joined and joined[-1].continues(axis):
            axis = _Axis(joined.pop().length * axis.length, axis.truth, axis.pred)
        joined.append(axis)
    return joined
