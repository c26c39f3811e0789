"""Weights of pixels in counts: apart from the pixels themselves, and kept with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.counts.missing import judge_absent
from segpipe.counts.partials import Partial, decode, encode
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.weighted import UNITS_PER_WEIGHT, WrongWeights
from segpipe.statistics.confusion import MATRICES, ImageCounts, LabelMaps, count_images

K, IGNORED, VOID = 3, 255, 254
RULES = LabelRules.of(K, no_class=[IGNORED]), LabelRules.of(K, no_class=[VOID])
LABELS = arrays(np.uint8, (2, 2, 3, 4), elements=st.sampled_from([0, 1, 2, 9, VOID, IGNORED]))
"""Truth and pred of two images."""
WHOLE = arrays(np.int64, (2, 3, 4), elements=st.integers(0, 3))
MASK = arrays(np.bool_, (2, 3, 4))
LOST = [(0, (slice(0, 2), slice(1, 3)))], [(0, (slice(1, 3), slice(0, 2))), (1, (slice(0, 3), slice(3, 4)))]


def counted(labels: NDArray[Any], *args: Any, lost: Any = ((), ())) -> ImageCounts:
    truth, pred = (LabelMaps(values, absent) for values, absent in zip(labels, lost, strict=True))
    return count_images(truth, pred, *RULES, *args)


@settings(max_examples=40)
@given(labels=LABELS, weights=WHOLE, dtype=st.sampled_from(["u1", ">i4", "f2", "f8"]))
def test_whole_weights_are_as_good_as_repeated_pixels(
    labels: NDArray[Any], weights: NDArray[np.int64], dtype: str
) -> None:
    """The weighted matrix is that of an image with every pixel so many times; and pixels stay pixels."""
    counts = counted(labels, None, weights.astype(dtype))
    assert counts.weighted is not None
    assert counts.cells.pixels().tolist() == [12, 12]
    assert counts.wrong_weights == ()
    for image in range(2):
        repeated = labels[:, image].reshape(2, 12).repeat(weights[image].ravel(), axis=1)
        expected = counted(repeated[:, None, None]).cells.dense()[0]
        np.testing.assert_array_equal(counts.weighted.cells.dense()[image], expected * UNITS_PER_WEIGHT)


@settings(max_examples=40)
@given(labels=LABELS, mask=MASK, fill=st.tuples(st.booleans(), st.booleans()))
def test_weights_of_one_are_pixels(labels: NDArray[Any], mask: NDArray[Any], fill: tuple[bool, bool]) -> None:
    """Of all pixels, of those of absent chunks, with a mask, and under every rule for absent chunks."""
    plain = counted(labels, mask, lost=LOST)
    counts = counted(labels, mask, np.ones(mask.shape, np.float32), lost=LOST)
    assert counts.weighted is not None
    for name in MATRICES:
        one, weighted = getattr(counts, name), getattr(counts.weighted, name)
        np.testing.assert_array_equal(one.dense(), getattr(plain, name).dense())
        np.testing.assert_array_equal(weighted.dense(), one.dense() * UNITS_PER_WEIGHT)
    judged = judge_absent(counts, truth_is_fill=fill[0], pred_is_fill=fill[1])
    assert judged.weighted is not None
    np.testing.assert_array_equal(judged.weighted.dense(), judged.cells.dense() * UNITS_PER_WEIGHT)
    assert counts.invalid == plain.invalid


@settings(max_examples=40)
@given(labels=LABELS, mask=MASK)
def test_weight_zero_is_a_mask(labels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    """Pixels of weight 0 are ignored as those are that are not valid, and what they hold is not told."""
    masked, weighted = counted(labels, mask), counted(labels, None, np.where(mask, 0.5, 0))
    np.testing.assert_array_equal(weighted.cells.dense(), masked.cells.dense())
    assert weighted.invalid == masked.invalid
    assert weighted.weighted is not None
    doubled = 2 * weighted.weighted.cells.dense()[:, :K]
    np.testing.assert_array_equal(doubled, masked.cells.dense()[:, :K] * UNITS_PER_WEIGHT)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (-1.5, "-1.5"),
        (-(2.0**-140), "-7.17465e-43"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        (2.0**33, "8.58993e+09"),
        (3e38, "3e+38"),
    ],
)
def test_a_wrong_weight_is_told_with_its_place(bad: float, said: str) -> None:
    """The first of its image, and how many there are; it counts as 0, and all else is counted."""
    labels, weights = np.zeros((2, 2, 3, 4), np.uint8), np.ones((2, 3, 4), np.float32)
    weights[1, 1, 2] = weights[1, 2, 0] = bad
    counts = counted(labels, None, weights)
    assert counts.wrong_weights == ((1, WrongWeights(said, (1, 2), 2)),)
    assert counts.weighted is not None
    assert counts.weighted.cells.pixels().tolist() == [12 * UNITS_PER_WEIGHT, 10 * UNITS_PER_WEIGHT]
    assert counts.cells.pixels().tolist() == [12, 12]


def test_weights_that_add_up_to_too_much_are_told() -> None:
    """Their sum would wrap around: the image has none."""
    weights = np.ones((2, 3, 4))
    weights[0, :2] = 2.0**30
    counts = counted(np.zeros((2, 2, 3, 4), np.uint8), None, weights)
    assert counts.wrong_weights == ((0, WrongWeights("8.58993e+09", (), 12)),)
    assert counts.weighted is not None
    assert counts.weighted.cells.pixels().tolist() == [0, 12 * UNITS_PER_WEIGHT]


def test_images_take_their_weights_along() -> None:
    """Taken, in another order, and put together again."""
    rng = np.random.default_rng(3)
    labels, weights = rng.integers(0, 3, (2, 5, 3, 4), np.uint8), rng.random((5, 3, 4))
    weights[3, 0, 1] = -1
    whole = counted(labels, None, weights)
    parts = [whole.take([4, 3]), whole.take([0]), whole.take([2, 1])]
    joined = ImageCounts.concatenate(parts)
    again = joined.take([2, 4, 3, 1, 0])
    assert whole.weighted is not None
    assert again.weighted is not None
    np.testing.assert_array_equal(again.weighted.cells.dense(), whole.weighted.cells.dense())
    assert joined.wrong_weights == ((1, WrongWeights("-1", (0, 1), 1)),)
    assert again.wrong_weights == whole.wrong_weights


def test_partials_keep_weights_and_those_without_are_as_ever() -> None:
    """The weighted matrices and wrong weights come back; a partial without weights says nothing of them."""
    rng = np.random.default_rng(3)
    labels, weights = rng.integers(0, 3, (2, 2, 3, 4), np.uint8), rng.random((2, 3, 4))
    weights[1, 2, 3] = np.nan
    counts = counted(labels, None, weights, lost=LOST)
    data = encode(Partial(("a", "b"), counts), "key")
    found = decode(data, "key", Partial).counts
    assert found.weighted is not None
    assert counts.weighted is not None
    assert found.wrong_weights == counts.wrong_weights
    for name in MATRICES:
        one, other = getattr(found.weighted, name), getattr(counts.weighted, name)
        np.testing.assert_array_equal(one.dense(), other.dense())
    assert encode(Partial(("a", "b"), found), "key") == data

    cells, none = ConfusionCells.from_dense(np.eye(5, dtype=np.int64)[None]), ConfusionCells.empty(K, 1)
    plain = encode(Partial(("a",), ImageCounts(cells, none, none, none)), "name")
    assert b"weight" in data
    assert b"weight" not in plain
    assert decode(plain, "name", Partial).counts.weighted is None


@pytest.mark.parametrize(
    ("truth_is_fill", "pred_is_fill", "judged"),
    [
        (True, True, [[4, 1, 0], [0, 0, 0], [0, 0, 0]]),
        (False, True, [[3, 1, 0], [1, 0, 0], [0, 0, 0]]),
        (True, False, [[2, 3, 0], [0, 0, 0], [0, 0, 0]]),
        (False, False, [[1, 3, 0], [1, 0, 0], [0, 0, 0]]),
    ],
)
def test_what_is_declared_of_one_side_says_nothing_of_the_other(
    truth_is_fill: bool, pred_is_fill: bool, judged: list[list[int]]
) -> None:
    """A pixel under a lost chunk of truth, two under one of pred: each side by its own rule."""

    def matrix(first: int, void: int = 0) -> ConfusionCells:
        return ConfusionCells.from_dense(np.array([[[first, void, 0], [0] * 3, [0] * 3]]))

    counts = ImageCounts(matrix(4, 1), matrix(1), matrix(2), ConfusionCells.empty(1, 1))
    found = judge_absent(counts, truth_is_fill=truth_is_fill, pred_is_fill=pred_is_fill)
    assert found.cells.dense()[0].tolist() == judged
    assert found.affected.tolist() == [not (truth_is_fill and pred_is_fill)]
    assert found.absent_pixels.tolist() == [[1, 2]]
