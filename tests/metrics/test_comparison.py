"""Differences between two predictions: against dull loops over images, and against the textbook."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.comparison import Difference, Differences, ImageDifferences, paired_differences
from segpipe.metrics.replicates import ImageTable
from segpipe.metrics.resampling import bootstrap_counts
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts

CLASSES = ClassList.numbered(3)
RULES = ScoringRules(metrics=("dice", "mcc", "volume_error"))
DRAWS = IntervalRules(replicates=200)


def pair(images: int, *, gain: float = 0.0, seed: int = 0) -> tuple[ConfusionCells, ConfusionCells]:
    """Two predictions of the same truth; of 100 pixels of a class A hits about 70, B `gain` more."""
    random = np.random.default_rng(seed)
    easy = random.normal(0.7, 0.1, images)
    made = []
    for more in (0.0, gain):
        share = np.clip(easy + more + random.normal(0, 0.02, images), 0, 1)
        matrices = np.zeros((images, 5, 5), np.int64)
        for class_id in range(3):
            hits = random.binomial(100, share)
            matrices[:, class_id, class_id] = hits
            matrices[:, class_id, (class_id + 1) % 3] = 100 - hits
        made.append(ConfusionCells.from_dense(matrices))
    return made[0], made[1]


def compared(
    a: ConfusionCells,
    b: ConfusionCells,
    rules: IntervalRules = DRAWS,
    clusters: NDArray[np.int64] | None = None,
) -> Differences:
    own = np.arange(len(a)) if clusters is None else clusters
    tables = [ImageTable.of([cells], CLASSES, RULES, own) for cells in (a, b)]
    return paired_differences(*tables, rules)


def scored(cells: ConfusionCells) -> dict[str, float]:
    scores = score_counts([cells], cells.total(), CLASSES, RULES)
    return {name: one.value for name, one in scores.aggregates.items()}


def minus(a: ConfusionCells, b: ConfusionCells) -> dict[str, float]:
    """The differences of two datasets that are written out."""
    one, other = scored(a), scored(b)
    return {name: other[name] - value for name, value in one.items()}


def test_p_of_few_images_is_that_of_every_swap_by_hand() -> None:
    """All 32 ways to swap 5 images, each written out as two datasets and scored."""
    a, b = pair(5, gain=0.01)
    differences = []
    for swap in product([False, True], repeat=5):
        sides: tuple[list[ConfusionCells], list[ConfusionCells]] = ([], [])
        for image, swapped in enumerate(swap):
            for side, cells in zip(sides, (b, a) if swapped else (a, b), strict=True):
                side.append(cells.take([image]))
        differences.append(minus(*map(ConfusionCells.concatenate, sides)))
    for name, one in compared(a, b).aggregates.items():
        away = np.abs([each[name] for each in differences])
        assert one.p == np.mean(away >= away[0] - 1e-9), name


def test_interval_is_that_of_pairs_drawn_together() -> None:
    """The same multiplicities, each dataset written out."""
    a, b = pair(12, gain=0.02)
    differences = []
    for counts in bootstrap_counts(12, 0, range(100)).T:
        images = np.repeat(np.arange(12), counts)
        differences.append(minus(a.take(images), b.take(images)))
    whole = minus(a, b)
    for name, found in compared(a, b, IntervalRules(replicates=100)).aggregates.items():
        expected = np.quantile([each[name] for each in differences], [0.025, 0.975])
        assert (found.interval.low, found.interval.high) == pytest.approx(expected, abs=1e-9), name
        assert found.value == pytest.approx(whole[name], abs=1e-9)


def test_p_of_a_mean_is_near_that_of_scipy() -> None:
    """Per-image pixel accuracy of 40 images: a sign-flip test of a mean, other random numbers."""
    a, b = pair(40, gain=0.008)
    sides = [score_counts([one], one.total(), CLASSES, RULES).per_image["pixel_accuracy"] for one in (b, a)]
    peer = stats.permutation_test(
        sides, lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=4000,
        vectorized=True, rng=1,
    )  # fmt: skip
    found = compared(a, b, IntervalRules(replicates=4000)).aggregates["pixel_accuracy_per_image"]
    assert 0.01 < peer.pvalue < 0.9
    assert found.p == pytest.approx(peer.pvalue, abs=4 * math.sqrt(peer.pvalue / 4000) + 0.002)


def test_a_prediction_does_not_differ_from_itself() -> None:
    """No difference, an interval of no width, p 1, nothing better or worse."""
    a, _ = pair(10)
    found = compared(a, a)
    for one in (*found.aggregates.values(), *(each for row in found.per_class.values() for each in row)):
        assert (one.interval.low, one.interval.high, one.p, one.improves) == (0, 0, 1, None)


def test_turning_the_comparison_around_turns_the_signs() -> None:
    """Bit by bit, with the same p."""
    a, b = pair(30, gain=0.02)
    there, back = compared(a, b), compared(b, a)
    for name, one in there.aggregates.items():
        other = back.aggregates[name]
        assert (one.value, one.interval.low, one.p) == (
            -other.value,
            pytest.approx(-other.interval.high),
            other.p,
        )
        assert one.improves is None or one.improves is not other.improves


def test_an_interval_of_the_jackknife_lies_around_the_difference_on_either_side_of_zero() -> None:
    """Nothing cuts it off at 0: a difference goes from minus to plus the range of the score."""
    a, b = pair(30, gain=0.02)
    for found in (
        compared(a, b, IntervalRules(method="jackknife")),
        compared(b, a, IntervalRules(method="jackknife")),
    ):
        one = found.aggregates["mean_dice"]
        assert one.interval.low < one.value < one.interval.high
        assert one.value - one.interval.low == pytest.approx(one.interval.high - one.value)


def test_a_clear_gain_is_seen_and_pairs_see_more_than_two_intervals() -> None:
    """Images differ far more than the predictions do: the paired interval is narrow all the same."""
    a, b = pair(60, gain=0.03)
    one = compared(a, b).aggregates["mean_iou"]
    assert one.interval.low > 0
    assert one.p == pytest.approx(1 / 201)
    assert one.improves is True
    error = compared(a, b).per_class["volume_error"][0]
    assert isinstance(error, Difference)


def test_clusters_are_swapped_and_drawn_together() -> None:
    """Four copies of each image by cluster are as good as one; as single images they would look surer."""
    a, b = pair(10, gain=0.01)
    copies = np.repeat(np.arange(10), 4)
    once = compared(a, b).aggregates["mean_iou"]
    clustered = compared(a.take(copies), b.take(copies), clusters=copies).aggregates["mean_iou"]
    assert (clustered.p, clustered.interval) == (once.p, once.interval)


def test_one_image_has_a_difference_and_nothing_else() -> None:
    """And says why."""
    a, b = pair(1, gain=0.1)
    one = compared(a, b).aggregates["mean_iou"]
    assert one.value > 0
    assert math.isnan(one.p)
    assert one.interval.note == "there are not two images, or clusters of images, to draw from"


def test_images_that_changed_are_listed_by_how_much() -> None:
    """Equal changes in the order of ids; what has no score is in neither list."""
    nan = math.nan
    images = ImageDifferences(
        "mean_iou",
        ["a", "b", "c", "d", "e"],
        np.array([0.5, 0.5, 0.5, nan, 0.5]),
        np.array([0.6, 0.4, 0.6, 1, 0.5]),
    )
    assert (images.better, images.worse) == (2, 1)
    assert [row[0] for row in images.most(9, better=True)] == ["a", "c"]
    assert list(images.most(9, better=False)) == [("b", 0.5, 0.4)]
