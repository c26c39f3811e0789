"""Sums of weights of pixels in place of pixels: the same scores, however large the sums are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.classes import ClassGroup, ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.weighted import UNIT_BITS
from segpipe.metrics.groups import score_class_groups
from segpipe.metrics.intervals import score_intervals
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts, score_groups, weighted_total
from segpipe.metrics.sums import UnitSums, cut_products
from segpipe.metrics.weights import ImageWeights

CLASSES = ClassList(("a", "b", "c"), groups=(ClassGroup("ab", (0, 1)), ClassGroup("bc", (1, 2))))
RULES = ScoringRules(worst_percent=40)
OF_IMAGES = np.array([0.5, 3.0, 0.0, 1.25, 1e-3, 2.0, 0.7])


def pixels(largest: int, seed: int = 0) -> np.ndarray:
    """Extended matrices of seven images; class c is in some of them only."""
    found = np.random.default_rng(seed).integers(0, largest, (7, 5, 5))
    found[::2, 2], found[::2, :, 2] = 0, 0
    return found


def weighted(found: np.ndarray) -> ConfusionCells:
    """The same with every pixel of weight 1."""
    cells = ConfusionCells.from_dense(found)
    return cells.with_weights(ConfusionCells.from_dense(found << UNIT_BITS))


def blocks(cells: ConfusionCells, cut: int = 3) -> list[ConfusionCells]:
    """Some images at a time."""
    return [cells.take(np.arange(at, min(at + cut, len(cells)))) for at in range(0, len(cells), cut)]


def own_weights(cells: ConfusionCells, values: np.ndarray | None) -> ImageWeights | None:
    """Weights of images as a results dataset makes them."""
    if cells.of_pixels is None:
        return None if values is None else ImageWeights.of(values, pixels=int(cells.counts.sum()))
    sums = UnitSums((1,))
    sums.add(np.zeros(len(cells.counts), np.int64), cells.counts)
    return ImageWeights.of_weighted_pixels(values, len(cells), float(sums.weights()[0]))


def scored(cells: ConfusionCells, values: np.ndarray | None) -> tuple[Scores, Scores]:
    """All scores, and those of the groups of classes."""
    weights, total = own_weights(cells, values), cells.in_pixels.total()
    if weights is not None:
        total = weighted_total(blocks(cells), total, weights)
    scores = score_counts(blocks(cells), total, CLASSES, RULES, weights)
    groups = score_class_groups(total, CLASSES, RULES, units_per_pixel=scores.units_per_pixel)
    assert groups is not None
    return scores, groups


def values_of(scores: Scores) -> dict[str, Any]:
    """Every figure by name, as text: to the bit, and NaN is NaN."""
    figures = {name: one.value for name, one in scores.aggregates.items()}
    return {name: repr(value) for name, value in (figures | dict(scores.per_class)).items()}


@given(count=st.integers(0, 2**63 - 1), factor=st.integers(0, 2**31), bits=st.integers(0, 90))
def test_products_are_cut_exactly(count: int, factor: int, bits: int) -> None:
    """As Python's integers are, wherever what is left fits."""
    right = count * factor >> bits
    if right < 2**63:
        assert cut_products(np.array([count]), np.array([factor]), bits).tolist() == [right]


@given(units=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40))
def test_sums_of_units_are_rounded_once(units: list[int]) -> None:
    """To the nearest float64, and where int64 would wrap around as well."""
    sums = UnitSums((1,))
    for part in np.array_split(np.array(units), 3):
        sums.add(np.zeros(len(part), np.int64), part)
    assert sums.weights()[0] == float(Fraction(sum(units), 2**UNIT_BITS))


@pytest.mark.parametrize("largest", [30, 2**26, 2**28])
def test_weights_of_one_give_the_scores_of_pixels(largest: int) -> None:
    """To the bit: pooled, per image, of groups of classes and of images; with sums that no int64 holds."""
    plain, ones = ConfusionCells.from_dense(pixels(largest)), weighted(pixels(largest))
    for before, after in zip(scored(plain, None), scored(ones, None), strict=True):
        assert values_of(after) == values_of(before)
    scores = scored(ones, None)[0]
    assert scores.counts == scored(plain, None)[0].counts
    np.testing.assert_allclose(
        scores.areas.truth / scores.units_per_pixel, scored(plain, None)[0].areas.truth
    )
    group = np.array([0, 1, 0, 2, 1, 0, 1])
    ways = [
        score_groups([(cells, group)], 3, CLASSES, RULES, own_weights(cells, None)) for cells in (plain, ones)
    ]
    assert list(map(values_of, ways[1])) == list(map(values_of, ways[0]))


@pytest.mark.parametrize("largest", [30, 2**28])
def test_weights_of_images_and_of_pixels_compose(largest: int) -> None:
    """A weight of an image is one of each of its pixels; an image of weight 0 is left out."""
    plain, ones = ConfusionCells.from_dense(pixels(largest)), weighted(pixels(largest))
    right, found = scored(plain, OF_IMAGES)[0], scored(ones, OF_IMAGES)[0]
    for name, one in right.aggregates.items():
        assert found[name] == pytest.approx(one.value, rel=1e-7, nan_ok=True), name
    assert found.aggregates["mean_iou_per_image"].images_used == 6
    for name, values in right.per_class.items():
        np.testing.assert_allclose(found.per_class[name], values, rtol=1e-7)
    areas = [one.areas.truth / one.units_per_pixel for one in (found, right)]
    np.testing.assert_allclose(*areas, rtol=1e-7)


def test_what_weighs_little_still_occurs() -> None:
    """A class of one pixel of the least weight, beside sums that leave no bit for it."""
    found = np.zeros((2, 5, 5), np.int64)
    found[0, 0, 0], found[1, 2, 1] = 2**62, 1
    cells = ConfusionCells.from_dense(np.minimum(found, 1)).with_weights(ConfusionCells.from_dense(found))
    scores = scored(cells, OF_IMAGES[:2])[0]
    assert scores.headline.classes_used == ("a", "b", "c")
    assert scores["mean_iou"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
@pytest.mark.parametrize("images", [None, OF_IMAGES])
def test_intervals_are_those_of_weighted_pixels(method: Any, images: np.ndarray | None) -> None:
    """The same images are drawn, and weights of one change nothing; large sums neither."""
    rules = IntervalRules(method=method, replicates=100, per_class=True)
    drawn = []
    for cells in (ConfusionCells.from_dense(pixels(2**28)), weighted(pixels(2**28))):
        own = own_weights(cells, images)
        drawn += score_intervals(blocks(cells), CLASSES, RULES, rules, np.arange(7), weights=own)
    for name, interval in drawn[0].aggregates.items():
        found = drawn[1].aggregates[name]
        assert [found.low, found.high] == pytest.approx(
            [interval.low, interval.high], rel=1e-6, abs=1e-9, nan_ok=True
        ), name
