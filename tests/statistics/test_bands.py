"""Boundary IoU: bands on the label map are those of every class by itself, whole or in parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.errors import ArrayError, ConfigError, ShapeError
from segpipe.kernels.bands import count_bands
from segpipe.kernels.contours import count_contours
from segpipe.kernels.objects import count_objects
from segpipe.statistics.base import STATISTICS, Pixels
from tests.statistics import oracles
from tests.statistics.maps import K, blocky_pairs, parts_with_halo

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]
HALF = np.repeat([[0] * 6 + [1] * 6], 12, axis=0)


@given(pair=blocky_pairs(), width=st.integers(1, 5))
@example(pair=(np.zeros((1, 3, 5), int), np.zeros((1, 3, 5), int)), width=4)
def test_bands_are_those_of_each_class_by_itself(pair: Pair, width: int) -> None:
    """Bit for bit, in images and volumes, whatever is ignored, void or invalid."""
    assert count_bands(*pair, K, width).tolist() == oracles.bands(*pair, K, width)


@settings(max_examples=25)
@given(pair=blocky_pairs(), width=st.integers(1, 4), cuts=st.lists(st.integers(0, 8), max_size=3))
def test_parts_with_a_halo_add_up_to_the_whole(pair: Pair, width: int, cuts: list[int]) -> None:
    """Exactly; the halo is as wide as the band."""
    whole = count_bands(*pair, K, width)
    parts = [
        count_bands(truth, pred, K, width, core) for truth, pred, core in parts_with_halo(pair, cuts, width)
    ]
    np.testing.assert_array_equal(sum(parts), whole)


def test_without_a_halo_the_figure_is_wrong() -> None:
    """So the law above is about the halo: a cut makes a band where there is none."""
    halves = count_bands(HALF[:6], HALF[:6], 2, 2) + count_bands(HALF[6:], HALF[6:], 2, 2)
    assert halves.tolist() != count_bands(HALF, HALF, 2, 2).tolist()


def test_the_band_is_as_wide_as_is_said() -> None:
    """2 px along the edge of the image and along the boundary: 12 x 6 less 8 x 2."""
    assert count_bands(HALF, HALF, 2, 2).tolist() == [[56, 56]] * 3


def test_the_width_is_a_share_of_the_diagonal_or_px() -> None:
    """0.02 of the diagonal, as in the paper; volumes have a diagonal too; px hold where images are cut."""
    kind = STATISTICS["boundary_iou"]
    assert kind().halo((1024, 2048)) == 46
    assert kind(width_share=0.1).halo((30, 40, 120)) == 13
    assert kind().halo((10, 10)) == 1
    assert kind().halo(None) is None
    assert kind(width_px=7).halo(None) == 7


def test_images_are_counted_with_the_width_of_their_size() -> None:
    """The statistic is the kernel, image by image, in the core alone."""
    truth = np.stack([HALF, HALF[:, ::-1]])
    pixels = Pixels(2, truth, HALF[np.newaxis].repeat(2, axis=0), core=(slice(0, 5), slice(None)))
    counts = STATISTICS["boundary_iou"](width_px=2).count(pixels)
    for image in range(2):
        expected = count_bands(truth[image], HALF, 2, 2, pixels.core)
        assert [counts[name][image].tolist() for name in ("truth", "pred", "both")] == expected.tolist()


def test_what_cannot_be_counted_is_told() -> None:
    """A band of no width, sides of two sizes, parameters out of range."""
    with pytest.raises(ArrayError, match="a band of 0 px is none, expected a width of at least 1"):
        count_bands(HALF, HALF, 2, 0)
    with pytest.raises(ShapeError, match="shape"):
        count_bands(HALF, HALF[:3], 2, 1)
    with pytest.raises(ArrayError, match="there are 65533 classes, expected at most 65532"):
        count_bands(HALF, HALF, 65533, 1)
    with pytest.raises((ConfigError, ValueError), match="greater than or equal to 1"):
        STATISTICS["boundary_iou"](width_px=0)


@pytest.mark.parametrize("classes", [252, 253])
def test_many_classes_are_counted_as_few(classes: int) -> None:
    """Codes of 253 classes and more do not fit in bytes beside what is outside and interior."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, 6, (2, 6, 7)).repeat(2, axis=1).repeat(2, axis=2)
    few[few == 5] = 4 + rng.integers(0, 2)
    names = np.array([0, 1, classes - 2, classes - 1, classes, classes + 1])
    for count in (
        lambda *maps: count_bands(*maps, 2),
        lambda *maps: count_contours(*maps, 1),
        lambda *maps: _objects_of(*maps),
    ):
        np.testing.assert_array_equal(count(*names[few], classes)[:, names[:4]], count(*few, 4))


def _objects_of(truth: NDArray[np.int64], pred: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    pairs = count_objects(truth, pred, classes, 8)
    return np.array([np.bincount(side[0], side[part], classes) for side in pairs for part in (1, 2)])
