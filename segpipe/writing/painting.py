"""A pinhole camera over a flat street, and polygons filled with a class id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.uint8]
Numbers = NDArray[np.float64]

NEAREST_M = 1.0
"""What is nearer than this is projected as if it were here, which is outside the picture."""


def fill(labels: Labels, columns: ArrayLike, rows: ArrayLike, class_id: int) -> None:
    """Paint the inside of a polygon: the pixels whose centre is inside by the even-odd rule.

    Args:
        labels: uint8 (y, x), painted in place.
        columns, rows: the corners in pixels, float (corner,); they may lie outside the picture.
        class_id: what to paint.

    >>> labels = np.zeros((3, 4), np.uint8)
    >>> fill(labels, [0, 3, 3, 0], [1, 1, 3, 3], 7)
    >>> labels
    array([[0, 0, 0, 0],
           [7, 7, 7, 0],
           [7, 7, 7, 0]], dtype=uint8)
    """
    x, y = np.asarray(columns, np.float64), np.asarray(rows, np.float64)
    height, width = labels.shape
    left, right = _pixel_range(x, width)
    top, bottom = _pixel_range(y, height)
    if left >= right or top >= bottom:
        return
    inside = _parity(x - left, y - top, bottom - top, right - left)
    labels[top:bottom, left:right][inside] = class_id


def _pixel_range(corners: Numbers, size: int) -> tuple[int, int]:
    """The pixels whose centre lies between the smallest and the largest corner, cut at the picture."""
    first, last = np.clip(np.ceil(np.array([corners.min(), corners.max()]) - 0.5), 0, size)
    return int(first), int(last)


def _parity(x: Numbers, y: Numbers, height: int, width: int) -> NDArray[np.bool_]:
    """Where an odd number of edges lies to the left, bool (height, width)."""
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(height)[:, None] + 0.5
    row, edge = np.nonzero((y <= centres) != (y_next <= centres))
    along = (row + 0.5 - y[edge]) / (y_next[edge] - y[edge])
    crossing = np.ceil(x[edge] + along * (x_next[edge] - x[edge]) - 0.5)
    column = np.clip(crossing, 0, width).astype(np.intp)
    turns = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).astype(np.uint8)
    counted = np.cumsum(turns.reshape(height, width + 1)[:, :-1], axis=1, dtype=np.uint8)
    return (counted & 1).astype(np.bool_)


@dataclass(frozen=True)
class Camera:
    """Where the camera stands in the street, and the picture that it takes.

    Across is in metres from the middle of the road (right is positive), up from the ground, ahead from
    the camera. `bend_per_m` is the curvature of the street; `yaw_px` and `pitch_px` shake the picture.
    """

    height: int
    width: int
    across_m: float = 1.7
    eye_m: float = 1.3
    bend_per_m: float = 0.0
    yaw_px: float = 0.0
    pitch_px: float = 0.0

    @property
    def focal_px(self) -> float:
        """Focal length: a field of view of 53 degrees."""
        return float(self.width)

    @property
    def horizon_px(self) -> float:
        """The row of the horizon."""
        return 0.43 * self.height + self.pitch_px

    @property
    def middle_px(self) -> float:
        """The column straight ahead."""
        return 0.5 * self.width + self.yaw_px

    def project(self, across: ArrayLike, up: ArrayLike, ahead: ArrayLike) -> tuple[Numbers, Numbers]:
        """Columns and rows in pixels of points in metres."""
        z = np.maximum(np.asarray(ahead, np.float64), NEAREST_M)
        x = np.asarray(across, np.float64) - self.across_m + self.bend_per_m * z * z / 2
        return (
            self.middle_px + self.focal_px * x / z,
            self.horizon_px + self.focal_px * (self.eye_m - np.asarray(up, np.float64)) / z,
        )

    def ground(self) -> tuple[int, Numbers, Numbers]:
        """The first row below the horizon, and of every pixel from there on its point on the ground.

        Returns:
            top; across in metres (row, x); ahead in metres (row, 1).
        """
        top = int(np.ceil(self.horizon_px + 0.5))
        rows = np.arange(top, self.height)[:, None] + 0.5
        ahead = np.asarray(self.focal_px * self.eye_m / (rows - self.horizon_px), np.float64)
        columns = np.arange(self.width)[None, :] + 0.5
        across = (columns - self.middle_px) * ahead / self.focal_px - self.bend_per_m * ahead**2 / 2
        return top, across + self.across_m, ahead


@dataclass(frozen=True)
class Painter:
    """Paints shapes given in metres into the picture of a camera."""

    labels: Labels
    camera: Camera

    def solid(self, corners: Sequence[tuple[float, float, float]], class_id: int) -> None:
        """A polygon in space; corners are (across, up, ahead)."""
        self._polygon(np.array(corners, np.float64), class_id)

    def flat(
        self, place: tuple[float, float], outline: Sequence[tuple[float, float]] | Numbers, class_id: int
    ) -> None:
        """A figure that stands at (across, ahead) and faces the camera; the outline is (across, up)."""
        aside, up = np.asarray(outline, np.float64).T
        columns, rows = self.camera.project(place[0] + aside, up, np.full(len(up), place[1]))
        fill(self.labels, columns, rows, class_id)

    def extruded(self, left: Numbers, right: Numbers, class_id: int) -> None:
        """A body between two outlines, each float (corner, 3): both sides and all between them."""
        for side in (left, right):
            self._polygon(side, class_id)
        for here, after in zip(range(len(left)), np.roll(np.arange(len(left)), -1), strict=True):
            around = np.array([left[here], left[after], right[after], right[here]])
            self._polygon(around, class_id)

    def _polygon(self, corners: Numbers, class_id: int) -> None:
        columns, rows = self.camera.project(corners[:, 0], corners[:, 1], corners[:, 2])
        fill(self.labels, columns, rows, class_id)

    def size_px(self, metres: float, ahead: float) -> float:
        """How large something of that size is in the picture."""
        return self.camera.focal_px * metres / max(ahead, NEAREST_M)


def disc(across: float, up: float, radius: float, corners: int = 14, squeeze: float = 1.0) -> Numbers:
    """The outline of an ellipse in metres, float (corner, 2)."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.column_stack([across + squeeze * radius * np.cos(angles), up + radius * np.sin(angles)])


def box(left: float, bottom: float, right: float, top: float) -> list[tuple[float, float]]:
    """The outline of a rectangle in metres."""
    return [(left, bottom), (right, bottom), (right, top), (left, top)]
