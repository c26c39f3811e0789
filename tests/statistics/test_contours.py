"""Boundary F: contour pixels and those that lie near, against sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.errors import ArrayError
from segpipe.kernels.contours import count_contours
from segpipe.statistics.base import STATISTICS
from tests.statistics import oracles
from tests.statistics.maps import K, blocky_pairs, parts_with_halo

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


@given(pair=blocky_pairs(), tolerance=st.integers(0, 3))
def test_contours_are_those_of_each_class_by_itself(pair: Pair, tolerance: int) -> None:
    """Four neighbours make a contour, straight distance a hit."""
    assert count_contours(*pair, K, tolerance).tolist() == oracles.contours(*pair, K, tolerance)


@settings(max_examples=25)
@given(pair=blocky_pairs(), tolerance=st.integers(0, 3), cuts=st.lists(st.integers(0, 8), max_size=3))
def test_parts_with_a_halo_add_up_to_the_whole(pair: Pair, tolerance: int, cuts: list[int]) -> None:
    """Exactly; the halo is a pixel wider than the tolerance."""
    whole = count_contours(*pair, K, tolerance)
    parts = [
        count_contours(truth, pred, K, tolerance, core)
        for truth, pred, core in parts_with_halo(pair, cuts, tolerance + 1)
    ]
    np.testing.assert_array_equal(sum(parts), whole)


def test_near_is_measured_straight() -> None:
    """(1, 1) is farther than 1 and within 2; (2, 2) is farther than 2."""
    truth, pred = np.zeros((2, 7, 7), int)
    truth[1, 1] = 1
    for step, tolerance, hit in ((1, 1, 0), (1, 2, 1), (2, 2, 0), (2, 3, 1)):
        pred[:] = 0
        pred[1 + step, 1 + step] = 1
        assert count_contours(truth, pred, 2, tolerance)[:, 1].tolist() == [1, hit, 1, hit]


def test_the_edge_and_ignored_pixels_make_no_contour() -> None:
    """An image of one class has none; a void prediction is there, and makes one."""
    truth = np.zeros((4, 4), int)
    truth[0] = 2
    assert not count_contours(truth, truth, 2, 1).any()
    pred = truth.copy()
    pred[3, 3] = 2
    assert count_contours(truth, pred, 2, 1)[:, 0].tolist() == [0, 0, 2, 0]


def test_the_tolerance_is_a_share_of_the_diagonal_or_px() -> None:
    """And the halo is a pixel wider."""
    kind = STATISTICS["boundary_f"]
    assert kind().halo((480, 640)) == 7
    assert kind().halo(None) is None
    assert kind(tolerance_px=0).halo(None) == 1
    with pytest.raises(ArrayError, match="a tolerance of -1 px is none, expected 0 or more"):
        count_contours(np.zeros((1, 1), int), np.zeros((1, 1), int), 1, -1)
