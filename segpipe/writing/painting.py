"""A pinhole camera over a flat street, and polygons filled with a class id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.uint8]
Numbers = NDArray[np.float64]

NEAREST_M = 1.0
"""What is nearer than this is projected as if it were here, which is outside the picture."""


def fill(labels: Labels, polygons: Sequence[ArrayLike], class_id: int) -> None:
    """Paint the union of polygons: the pixels whose centre is inside one of them, or more.

    Args:
        labels: uint8 (y, x), painted in place.
        polygons: the corners (column, row) of each in pixels, float (corner, 2); no polygon crosses
            itself, and corners may lie outside the picture.
        class_id: what to paint.

    >>> labels = np.zeros((3, 4), np.uint8)
    >>> fill(labels, [[(0, 1), (3, 1), (3, 3), (0, 3)]], 7)
    >>> labels
    array([[0, 0, 0, 0],
           [7, 7, 7, 0],
           [7, 7, 7, 0]], dtype=uint8)
    """
    corners = [np.asarray(polygon, np.float64) for polygon in polygons]
    _fill(labels, np.concatenate(corners), np.array([len(each) for each in corners]), class_id)


def _fill(labels: Labels, corners: Numbers, sizes: NDArray[np.int64], class_id: int) -> None:
    height, width = labels.shape
    (left, top), (right, bottom) = corners.min(axis=0) - 0.5, corners.max(axis=0) - 0.5
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return
    columns = slice(max(math.ceil(left), 0), min(math.ceil(right), width))
    rows = slice(max(math.ceil(top), 0), min(math.ceil(bottom), height))
    window = labels[rows, columns]
    if window.size:
        window[_winding(corners - (columns.start, rows.start), sizes, window.shape) > 0] = class_id


def _winding(corners: Numbers, sizes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int16]:
    """In how many of the polygons each pixel's centre lies, int16 (y, x).

    Every polygon is walked in the same sense; an edge that is crossed on the way from the left counts
    1 upwards and -1 downwards.
    """
    after = np.arange(1, len(corners) + 1)
    ends = np.cumsum(sizes)
    after[ends - 1] = ends - sizes
    x, y = corners[:, 0], corners[:, 1]
    x_after, y_after = x[after], y[after]
    sense = np.sign(np.add.reduceat(x * y_after - x_after * y, ends - sizes)).repeat(sizes)
    centres = np.arange(shape[0])[:, None] + 0.5
    row, edge = ((y <= centres) != (y_after <= centres)).nonzero()
    along = (row + 0.5 - y[edge]) / (y_after[edge] - y[edge])
    crossing = np.ceil(x[edge] + along * (x_after[edge] - x[edge]) - 0.5)
    column = np.minimum(np.maximum(crossing, 0), shape[1]).astype(np.intp)
    turns = np.zeros((shape[0], shape[1] + 1), np.int16)
    downwards = (y_after > y)[edge]
    np.add.at(turns, (row, column), np.where(downwards, -sense[edge], sense[edge]).astype(np.int16))
    return np.cumsum(turns[:, :-1], axis=1, dtype=np.int16)


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

    def solid(self, polygons: Sequence[ArrayLike], class_id: int) -> None:
        """The union of polygons in space; corners are (across, up, ahead)."""
        parts = [np.asarray(polygon, np.float64) for polygon in polygons]
        columns, rows = self.camera.project(*np.concatenate(parts).T)
        _fill(
            self.labels, np.column_stack([columns, rows]), np.array([len(each) for each in parts]), class_id
        )

    def flat(self, place: tuple[float, float], outlines: Sequence[ArrayLike], class_id: int) -> None:
        """A figure that stands at (across, ahead) and faces the camera; the outlines are (across, up)."""
        parts = [np.asarray(outline, np.float64) for outline in outlines]
        columns, rows = self.camera.project(*self._upright(place, np.concatenate(parts)))
        _fill(
            self.labels, np.column_stack([columns, rows]), np.array([len(each) for each in parts]), class_id
        )

    @staticmethod
    def _upright(place: tuple[float, float], outline: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        return place[0] + outline[:, 0], outline[:, 1], np.full(len(outline), place[1])

    def size_px(self, metres: float, ahead: float) -> float:
        """How large something of that size is in the picture."""
        return self.camera.focal_px * metres / max(ahead, NEAREST_M)


def extruded(left: Numbers, right: Numbers) -> list[Numbers]:
    """A body between two outlines, each float (corner, 3): both sides and all between them."""
    around = np.stack([left, np.roll(left, -1, axis=0), np.roll(right, -1, axis=0), right], axis=1)
    return [left, right, *around]


def disc(across: float, up: float, radius: float, corners: int = 14, squeeze: float = 1.0) -> Numbers:
    """The outline of an ellipse, first corner on top, float (corner, 2) in metres."""
    angles = np.pi / 2 + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.column_stack([across + squeeze * radius * np.cos(angles), up + radius * np.sin(angles)])


def box(left: float, bottom: float, right: float, top: float) -> Numbers:
    """The outline of a rectangle in metres, float (4, 2)."""
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)])
