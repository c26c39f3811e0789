"""Intervals of scores: how far they would move with other images of the same kind.

Images (or clusters of images, `cluster_by`) are what is drawn; model and labels are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import FloatArray
from segpipe.metrics.distributions import quantile
from segpipe.metrics.replicates import ImageTable, Replicates, Table
from segpipe.metrics.resampling import Draws, bootstrap, leave_one_out, whole
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Interval, Scores, StatisticScores
from segpipe.metrics.weights import ImageWeights
from segpipe.statistics.figures import Figure

__all__ = ["Interval", "IntervalRules", "ScoreIntervals", "score_intervals"]

IntArray = NDArray[np.int64]

TOO_FEW = "there are not two images, or clusters of images, to draw from"

FEW_CLUSTERS, FEW = 30, "few clusters ({}): rather too narrow, those of the jackknife less so"
"""With fewer than this many, percentile intervals are too narrow (simulated in tests/bench), and say so."""


@dataclass(frozen=True, eq=False)
class ScoreIntervals:
    """The intervals of the scores of one dataset.

    Attributes:
        aggregates: name of an aggregate -> its interval.
        per_class: metric name -> the intervals of its pooled scores, one per class; empty if nobody asked.
    """

    aggregates: Mapping[str, Interval]
    per_class: Mapping[str, tuple[Interval, ...]]


def score_intervals(
    blocks: Iterable[ConfusionCells],
    classes: ClassList,
    rules: ScoringRules,
    intervals: IntervalRules,
    clusters: IntArray,
    groups: IntArray | None = None,
    num_groups: int = 1,
    weights: ImageWeights | None = None,
) -> list[ScoreIntervals]:
    """Intervals of every aggregate, of each group of images as a dataset of its own.

    Neither the cut of the blocks nor the order of the images shows, nor which other groups there are.

    Args:
        blocks: the matrices of the images, some images at a time.
        classes: the K classes.
        rules: how counts are scored.
        intervals: how intervals are made.
        clusters: int64 (image,); images of one number are drawn together (`resampling.numbered`). The
            numbers' order matters for the bootstrap: let it be that of sorted ids.
        groups: int64 (image,), the group 0..G-1 of each image, or (way, image), its groups where images are
            grouped in several ways; None: all are of one group.
        num_groups: G.
        weights: of the images, in their order.

    >>> from segpipe.kernels.cells import ConfusionCells
    >>> maps = np.zeros((3, 3, 3), np.int64)
    >>> maps[:, 0, 0] = 6, 7, 8
    >>> cells, one = ConfusionCells.from_dense(maps), ClassList(("road",))
    >>> (found,) = score_intervals([cells], one, ScoringRules(), IntervalRules(), np.arange(3))
    >>> found.aggregates["mean_iou"].low, found.aggregates["mean_iou"].high
    (1.0, 1.0)
    """
    table = ImageTable.of(blocks, classes, rules, clusters, weights)
    if groups is None:
        return [table_intervals(table, intervals)]
    order = np.argsort(clusters, kind="stable")
    own = np.atleast_2d(groups)[:, order]
    members = ((own == group).any(axis=0) for group in range(num_groups))
    return [table_intervals(table.group(chosen), intervals) for chosen in members]


AnyScores = TypeVar("AnyScores", Scores, StatisticScores)


def with_intervals(scores: AnyScores, intervals: ScoreIntervals | None) -> AnyScores:
    """Scores with intervals, where there are any."""
    if intervals is None:
        return scores
    aggregates = {
        name: replace(one, interval=intervals.aggregates[name]) for name, one in scores.aggregates.items()
    }
    return replace(scores, aggregates=aggregates, class_intervals=intervals.per_class)


def table_intervals(table: Table, rules: IntervalRules) -> ScoreIntervals:
    """Intervals of every score of a table of images."""
    if table.num_clusters < 2:
        return _without(table, rules)
    estimate = table.replicates([whole(table.num_clusters)])
    replicates = table.replicates(draws_of(table, rules))
    return intervals_from(estimate, replicates, table.records, rules, table.num_clusters)


def intervals_from(
    estimate: Replicates,
    replicates: Replicates,
    records: Sequence[Figure],
    rules: IntervalRules,
    clusters: int,
) -> ScoreIntervals:
    """Intervals of scores.

    Args:
        estimate: the scores, as those of one replicate.
        replicates: of datasets that were drawn.
        records: the metrics that the scores are of.
        rules: how intervals are made.
        clusters: how many were drawn.
    """
    metrics = {name: one for one in records for name in (one.name, *one.averages)}

    def interval(name: str, values: FloatArray, score: float) -> Interval:
        ends = (metrics[name].minimum, metrics[name].maximum)
        return interval_of(values, float(score), ends, rules, clusters)

    return ScoreIntervals(
        aggregates={
            name: interval(name, values, estimate.aggregates[name][0])
            for name, values in replicates.aggregates.items()
        },
        per_class={
            name: tuple(
                interval(name, values[:, at], estimate.per_class[name][0, at])
                for at in range(values.shape[1])
            )
            for name, values in replicates.per_class.items()
            if rules.per_class
        },
    )


def interval_of(
    values: FloatArray, estimate: float, ends: tuple[float, float], rules: IntervalRules, clusters: int
) -> Interval:
    """The interval of one figure.

    Args:
        values: (R,), its replicates (`draws_of`); NaN where there is nothing to score.
        estimate: the figure itself.
        ends: the smallest and the largest value that it can have.
        rules: how intervals are made.
        clusters: how many were drawn.
    """
    make = {"bootstrap": _percentiles, "jackknife": _student}[rules.method]
    return make(values, estimate, ends, rules, clusters)


def draws_of(table: Table, rules: IntervalRules) -> Iterator[Draws]:
    """The replicates that the rules ask for; of two tables of the same clusters they are the same."""
    if rules.method == "jackknife":
        return iter(leave_one_out(table.num_clusters, table.bytes_per_replicate))
    return iter(bootstrap(table.num_clusters, rules.seed, rules.replicates, table.bytes_per_replicate))


def _without(table: Table, rules: IntervalRules) -> ScoreIntervals:
    """No intervals, for there is nothing to draw from."""
    one = _none(rules, table.num_clusters, TOO_FEW)
    aggregates = {name: one for record in table.records for name in record.averages}
    of_classes = [record.name for record in table.records if record.per_class and rules.per_class]
    return ScoreIntervals(aggregates, {name: (one,) * len(table.classes) for name in of_classes})


def _none(rules: IntervalRules, clusters: int, note: str) -> Interval:
    return Interval(math.nan, math.nan, rules.level, rules.method, clusters, note)


def _percentiles(
    values: FloatArray, estimate: float, ends: tuple[float, float], rules: IntervalRules, clusters: int
) -> Interval:
    """The percentile interval; it cannot leave the range."""
    there = np.sort(values[~np.isnan(values)])
    if math.isnan(estimate) or not len(there):
        return _none(rules, clusters, "there is nothing to score")
    outside = (1 - rules.level) / 2
    low, high = quantile(there, outside), quantile(there, 1 - outside)
    return Interval(low, high, rules.level, rules.method, clusters, _note(len(values), len(there), clusters))


def _note(replicates: int, there: int, clusters: int) -> str:
    few = FEW.format(clusters) if clusters < FEW_CLUSTERS else ""
    gone = f"{replicates - there} of {replicates} replicates have no value" if there < replicates else ""
    return "; ".join(filter(None, (few, gone)))


def _student(
    values: FloatArray, estimate: float, ends: tuple[float, float], rules: IntervalRules, clusters: int
) -> Interval:
    """The interval from the scores without one cluster each, within the range."""
    if math.isnan(estimate):
        return _none(rules, clusters, "there is nothing to score")
    if np.isnan(values).any():
        return _none(rules, clusters, "without one of the clusters there is nothing to score")
    half = student_quantile((1 + rules.level) / 2, clusters - 1) * jackknife_error(values)
    low, high = max(estimate - half, ends[0]), min(estimate + half, ends[1])
    return Interval(low, high, rules.level, rules.method, clusters, "")


def jackknife_error(values: FloatArray) -> float:
    """The standard error from the scores without one cluster each, (C,).

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, 11.5: sqrt((C - 1) / C sum (s_i - mean s)^2).

    >>> jackknife_error(np.array([1.0, 2.0, 3.0]))
    1.1547005383792515
    """
    clusters = len(values)
    # Squares of differences from one of the values: neither sum depends on the order.
    away = values - values.min()
    mean = math.fsum(away) / clusters
    return math.sqrt((clusters - 1) / clusters * math.fsum((away - mean) ** 2))


def student_quantile(share: float, freedom: int) -> float:
    """The quantile of Student's t, for shares above one half; rounded to eight digits.

    The distribution function is Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, inverted by bisection; from
    1000 degrees of freedom on the expansion 26.7.5.

    >>> student_quantile(0.975, 4), student_quantile(0.975, 5)
    (2.7764451, 2.5705818)
    """
    if freedom >= 1000:
        normal = NormalDist().inv_cdf(share)
        first, second = (normal**3 + normal) / 4, (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
        return float(f"{normal + first / freedom + second / freedom**2:.8g}")
    low, high = 0.0, 1.0
    while _student_share(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, freedom) < share else (low, middle)
    return float(f"{high:.8g}")


def _student_share(value: float, freedom: int) -> float:
    """The distribution function of Student's t at a value that is not negative."""
    angle = math.atan(value / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    terms = []
    for at in range(odd, freedom - 1, 2):
        terms.append(term)
        term *= square * (at + 1) / (at + 2)
    inside = math.sin(angle) * math.fsum(terms)
    return 0.5 + (angle + inside) / math.pi if odd else 0.5 + inside / 2
