"""Intervals: by the book for small cases, the same for any order, and honest where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segpipe.classes import ClassList
from segpipe.config import interval_rules
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import METRICS
from segpipe.metrics.distributions import quantile
from segpipe.metrics.intervals import (
    TOO_FEW,
    Interval,
    IntervalRules,
    ScoreIntervals,
    jackknife_error,
    score_intervals,
    student_quantile,
)
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts
from segpipe.metrics.weights import ImageWeights
from tests.metrics.matrices import Maps, label_maps

DEFAULT = ScoringRules()
BOOTSTRAP = IntervalRules(replicates=100, per_class=True)
JACKKNIFE = BOOTSTRAP.model_copy(update={"method": "jackknife"})


def random_cells(images: int, num_classes: int = 3, seed: int = 0) -> ConfusionCells:
    """Images that differ: some good, some bad, not every class in each."""
    random = np.random.default_rng(seed)
    matrices = random.integers(0, 40, (images, num_classes + 2, num_classes + 2))
    matrices *= random.integers(0, 2, matrices.shape)
    for image, matrix in enumerate(matrices):
        matrix[np.diag_indices(num_classes)] += random.integers(0, 200, num_classes) * (image % 3)
    return ConfusionCells.from_dense(matrices)


def intervals_of(
    cells: ConfusionCells, rules: IntervalRules, clusters: np.ndarray | None = None
) -> ScoreIntervals:
    numbers = np.arange(len(cells)) if clusters is None else clusters
    (found,) = score_intervals([cells], ClassList.numbered(cells.num_classes), DEFAULT, rules, numbers)
    return found


@pytest.mark.parametrize("share", [0.6, 0.9, 0.975, 0.9995])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 10, 29, 250, 999, 1000, 100_000])
def test_quantiles_of_student_are_those_of_scipy(share: float, freedom: int) -> None:
    """For even and odd degrees of freedom, and where the expansion begins."""
    assert student_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=5e-8)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=9), share=st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    """Linear interpolation, for any share."""
    expected = np.quantile(values, share)
    assert quantile(np.sort(values), share) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=10)
@given(maps=label_maps(min_images=1), method=st.sampled_from(["bootstrap", "jackknife"]), data=st.data())
def test_intervals_do_not_depend_on_order_or_cut_of_blocks(
    maps: Maps, method: str, data: st.DataObject
) -> None:
    """Bit by bit; images are known by their cluster."""
    rules = BOOTSTRAP.model_copy(update={"method": method})
    cells, number = maps.cells(), len(maps.truth)
    order = data.draw(st.permutations(range(number)))
    mixed = cells.take(order)
    blocks = [mixed.take([place]) for place in range(number)]
    args = maps.classes, DEFAULT, rules
    weights = np.array([1.0, 3.0, 0.5, 2.0, 1.0])[:number]
    units = [ImageWeights.of(values, pixels=100) for values in (weights, weights[order])]
    assert repr(score_intervals([cells], *args, np.arange(number), weights=units[0])) == repr(
        score_intervals(blocks, *args, np.array(order), weights=units[1])
    )


def test_a_group_has_the_intervals_of_a_dataset_of_its_own() -> None:
    """Whatever other groups there are; and a group without images has none."""
    cells = random_cells(12)
    groups = np.arange(12) % 2
    found = score_intervals(
        [cells], ClassList.numbered(3), DEFAULT, BOOTSTRAP, np.arange(12), groups, num_groups=3
    )
    for group in range(2):
        alone = intervals_of(cells.take(np.flatnonzero(groups == group)), BOOTSTRAP)
        assert repr(found[group]) == repr(alone)
    assert found[2].aggregates["mean_iou"].note == TOO_FEW


def test_jackknife_of_a_mean_is_the_textbook_interval() -> None:
    """The mean over images of pixel accuracy: mean, standard error and Student's t of a sample."""
    cells = random_cells(20)
    scores = score_counts([cells], cells.total(), ClassList.numbered(3), DEFAULT)
    sample = scores.per_image["pixel_accuracy"]
    expected = stats.t.interval(0.95, 19, loc=sample.mean(), scale=stats.sem(sample))
    found = intervals_of(cells, JACKKNIFE).aggregates["pixel_accuracy_per_image"]
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-8)


def test_jackknife_error_is_that_of_scipy() -> None:
    """Of pooled pixel accuracy, leaving images out by hand."""
    cells = random_cells(9)
    classes = ClassList.numbered(3)
    values = []
    for image in range(9):
        rest = cells.take([other for other in range(9) if other != image])
        values.append(score_counts([rest], rest.total(), classes, DEFAULT)["pixel_accuracy"])
    by_hand = math.sqrt(8 / 9 * sum((value - np.mean(values)) ** 2 for value in values))
    assert jackknife_error(np.array(values)) == pytest.approx(by_hand, rel=1e-12)
    one = intervals_of(cells, JACKKNIFE).aggregates["pixel_accuracy"]
    assert (one.high - one.low) / 2 == pytest.approx(by_hand * stats.t.ppf(0.975, 8), rel=1e-7)


def test_bootstrap_is_near_that_of_scipy() -> None:
    """Percentile intervals of a mean over images: other random numbers, so near and not equal."""
    cells = random_cells(60)
    sample = score_counts([cells], cells.total(), ClassList.numbered(3), DEFAULT).per_image["pixel_accuracy"]
    peer = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=4000, rng=1)
    found = intervals_of(cells, IntervalRules(replicates=4000)).aggregates["pixel_accuracy_per_image"]
    width = peer.confidence_interval.high - peer.confidence_interval.low
    assert found.low == pytest.approx(peer.confidence_interval.low, abs=width / 15)
    assert found.high == pytest.approx(peer.confidence_interval.high, abs=width / 15)


def test_clusters_of_equal_images_widen_the_interval() -> None:
    """Nine copies of each image are no new information: the interval of the copies by cluster is the same."""
    cells = random_cells(30)
    copies = np.repeat(np.arange(30), 9)
    once = intervals_of(cells, BOOTSTRAP).aggregates["mean_iou"]
    clustered = intervals_of(cells.take(copies), BOOTSTRAP, copies).aggregates["mean_iou"]
    naive = intervals_of(cells.take(copies), BOOTSTRAP).aggregates["mean_iou"]
    assert (clustered.low, clustered.high, clustered.clusters) == (once.low, once.high, 30)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("rules", [BOOTSTRAP, JACKKNIFE], ids=["bootstrap", "jackknife"])
def test_there_is_an_interval_for_every_aggregate_and_class(rules: IntervalRules) -> None:
    """In the range of the metric, around the score; and none where nothing says how images differ."""
    cells = random_cells(40)
    scores = score_counts([cells], cells.total(), ClassList.numbered(3), DEFAULT)
    found = intervals_of(cells, rules)
    assert set(found.aggregates) == set(scores.aggregates)
    assert set(found.per_class) == set(scores.per_class)
    for name, one in found.aggregates.items():
        aggregate = scores.aggregates[name]
        assert aggregate.minimum <= one.low <= aggregate.value <= one.high <= aggregate.maximum, name
    for name, row in found.per_class.items():
        for class_id, one in enumerate(row):
            assert one.low <= scores.per_class[name][class_id] <= one.high, METRICS[name]


def test_an_interval_that_cannot_be_made_says_why() -> None:
    """One image; nothing to score; a class that some replicates do not have."""
    one = intervals_of(random_cells(1), BOOTSTRAP)
    assert one.aggregates["mean_iou"].note == TOO_FEW
    assert math.isnan(one.per_class["iou"][0].low)
    nothing = intervals_of(ConfusionCells.empty(3, 4), BOOTSTRAP).aggregates["mean_iou"]
    assert nothing.note == "there is nothing to score"
    matrices = np.zeros((4, 4, 4), np.int64)
    matrices[:, 0, 0], matrices[0, 1, 1] = 5, 5
    rare = intervals_of(ConfusionCells.from_dense(matrices), BOOTSTRAP).per_class["iou"][1]
    assert "of 100 replicates have no value" in rare.note
    assert "few clusters (4): rather too narrow" in rare.note
    left = intervals_of(ConfusionCells.from_dense(matrices), JACKKNIFE).per_class["iou"][1]
    assert left.note == "without one of the clusters there is nothing to score"
    assert left == Interval(left.low, left.high, 0.95, "jackknife", 4, left.note)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"method": "guess"}, "intervals.method: input should be 'bootstrap' or 'jackknife'"),
        ({"level": 95}, "intervals.level: input should be less than 1"),
        ({"replicates": 10}, "intervals.replicates: input should be greater than or equal to 100"),
        ({"seed": -1, "level": "no"}, "intervals.level: .*; intervals.seed: "),
        ({"cluster": "video"}, "intervals.cluster: no such key; did you mean cluster_by?"),
    ],
)
def test_rules_that_cannot_be_are_refused(setting: dict[str, object], message: str) -> None:
    """With their key, what was found and what is expected."""
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        interval_rules(setting)


def test_rules_say_in_words_what_they_are() -> None:
    """Also those that are given as one word."""
    assert interval_rules({"cluster_by": "sequence", "level": 0.9, "seed": 3}).in_words() == (
        "Intervals of 90 % over clusters of images (sequence): "
        "percentiles of 2000 datasets drawn with replacement (seed 3)."
    )
    assert interval_rules("jackknife").in_words() == (
        "Intervals of 95 % over images: the jackknife with Student's t."
    )
