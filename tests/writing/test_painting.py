"""Polygons are filled as an oracle says that asks every pixel by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.writing.painting import Camera, Painter, box, disc, extruded, fill

Point = tuple[float, float]


def inside(polygon: list[Point], x: float, y: float) -> bool:
    """Whether a ray from the point to the left crosses an odd number of edges."""
    crossed = 0
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossed += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return crossed % 2 == 1


def star(random: np.random.Generator) -> list[Point]:
    """A polygon around a point: it does not cross itself, and may reach out of the picture."""
    angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 9)))
    reach = random.uniform(1, 14, len(angles))
    x, y = random.uniform(-4, 20, 2)
    # A gap of more than half a turn would leave the middle outside, and two edges could cross.
    if np.diff(angles, append=angles[0] + 2 * np.pi).max() >= np.pi:
        angles = np.linspace(0, 2 * np.pi, len(angles), endpoint=False)
    return [(x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(angles, reach, strict=True)]


@given(seed=st.integers(0, 10**6), number=st.integers(1, 4), turned=st.booleans())
def test_the_union_of_polygons_is_painted(seed: int, number: int, turned: bool) -> None:
    """A pixel is painted if and only if its centre is in one of the polygons, walked either way."""
    random = np.random.default_rng(seed)
    polygons = [star(random)[:: -1 if turned and index % 2 else 1] for index in range(number)]
    labels = np.zeros((12, 17), np.uint8)
    fill(labels, polygons, 9)
    expected = [
        [9 * any(inside(polygon, x + 0.5, y + 0.5) for polygon in polygons) for x in range(17)]
        for y in range(12)
    ]
    assert labels.tolist() == expected


def test_what_lies_outside_the_picture_paints_nothing() -> None:
    """Left, right, above and below."""
    labels = np.zeros((8, 8), np.uint8)
    for left, top in ((-9, 2), (9, 2), (2, -9), (2, 9)):
        fill(labels, [[(left, top), (left + 4, top), (left + 4, top + 4), (left, top + 4)]], 1)
    assert not labels.any()


def test_the_camera_sees_the_ground_below_the_horizon() -> None:
    """A pixel's point on the ground is projected back into that pixel."""
    camera = Camera(64, 128, bend_per_m=0.004, yaw_px=3.0, pitch_px=-2.0)
    top, across, ahead = camera.ground()
    columns, rows = camera.project(across, 0.0, np.broadcast_to(ahead, across.shape))
    assert top > camera.horizon_px
    near = (ahead > 1.0)[:, 0]
    np.testing.assert_allclose(columns[near], np.broadcast_to(np.arange(128) + 0.5, columns[near].shape))
    np.testing.assert_allclose(rows[near, 0], (np.arange(top, 64) + 0.5)[near])


def test_half_as_far_is_twice_as_large() -> None:
    """The width of a box in pixels grows as its distance shrinks."""
    widths = []
    for ahead in (10.0, 20.0):
        labels = np.zeros((256, 512), np.uint8)
        Painter(labels, Camera(256, 512)).flat((1.7, ahead), [box(-1, 0, 1, 1)], 1)
        widths.append(int(labels.any(axis=0).sum()))
    assert widths[0] == pytest.approx(2 * widths[1], abs=2)


def test_a_body_covers_both_of_its_sides() -> None:
    """An extruded body is at least what its two outlines cover."""
    outline = disc(0, 1.0, 1.0)
    sides = [
        np.column_stack([np.full(14, across), outline[:, 1], 12 + outline[:, 0]]) for across in (0.5, 2.5)
    ]
    body, plain = np.zeros((64, 128), np.uint8), np.zeros((64, 128), np.uint8)
    Painter(body, Camera(64, 128)).solid(extruded(*sides), 1)
    Painter(plain, Camera(64, 128)).solid(sides, 1)
    assert (body >= plain).all()
    assert body.sum() > plain.sum()
