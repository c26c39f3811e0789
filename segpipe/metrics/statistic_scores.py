"""Scores of what statistics sum beside the confusion matrix: pooled, per class, and per image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Aggregate, StatisticScores
from segpipe.metrics.sums import FixedPointSums, WholeSums, row_means, share_of
from segpipe.metrics.weights import WeightUnits
from segpipe.statistics.base import Counts, Statistic, StatisticMetric, real_values
from segpipe.statistics.figures import FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

EXCLUDED = "excluded by exclude_classes"


def score_statistic(
    statistic: Statistic,
    blocks: Iterable[Counts],
    classes: ClassList,
    rules: ScoringRules,
    weights: FloatArray | None = None,
) -> StatisticScores:
    """Score what was counted of a statistic; neither cut nor order of the images matters.

    Args:
        statistic: with its parameters.
        blocks: the sums of some images at a time, int64 (image, *shape) of each field.
        classes: the K classes.
        rules: the settings; `exclude_classes` is looked at.
        weights: of the images, float64 (image,), in their order; None: all weigh alike.
    """
    sums, start, each = _GroupSums(statistic, 1, classes, rules, weights), 0, []
    for block in blocks:
        number = len(next(iter(block.values())))
        each.append(sums.add(block, np.zeros(number, np.int64), start))
        start += number
    per_image = {
        metric.pooled_name: np.concatenate([np.empty(0), *(one[metric.pooled_name] for one in each)])
        for metric in statistic.records
    }
    return sums.scores(0, per_image)


def score_statistic_groups(
    statistic: Statistic,
    blocks: Iterable[Counts],
    groups: IntArray,
    num_groups: int,
    classes: ClassList,
    rules: ScoringRules,
    weights: FloatArray | None = None,
) -> Iterator[StatisticScores]:
    """The same of groups of images, each as a dataset of its own; `groups` is (image,), 0..G-1, or -1."""
    sums, start = _GroupSums(statistic, num_groups, classes, rules, weights), 0
    for block in blocks:
        number = len(next(iter(block.values())))
        sums.add(block, groups[start : start + number], start)
        start += number
    return (sums.scores(group, {}) for group in range(num_groups))


class _GroupSums:
    """The sums of each group, in integers, and the sums of what its images score by themselves."""

    def __init__(
        self,
        statistic: Statistic,
        num_groups: int,
        classes: ClassList,
        rules: ScoringRules,
        weights: FloatArray | None,
    ) -> None:
        self._statistic, self._classes, self._kept = statistic, classes, rules.kept(classes)
        self._weights = None if weights is None else WeightUnits.of(weights)
        self._fields = statistic.fields(len(classes))
        self._sums = {
            one.name: WholeSums((num_groups, *one.shape), weighted=weights is not None)
            for one in self._fields
        }
        self._images = np.zeros(num_groups, np.int64)
        self._means = {one.name: _ImageMean(num_groups, len(classes)) for one in statistic.records}

    def add(self, counts: Counts, groups: IntArray, start: int) -> dict[str, FloatArray]:
        """Add the images `start`, `start` + 1, ..., each to its group; what they score by themselves."""
        inside = groups >= 0
        groups, counts = groups[inside], {name: values[inside] for name, values in counts.items()}
        units = None if self._weights is None else self._weights.units[start : start + len(inside)][inside]
        shares = np.ones(len(groups)) if units is None else share_of(units)
        np.add.at(self._images, groups, 1)
        for name, rows in counts.items():
            self._sums[name].add_rows(groups, rows, units)
        values = real_values(counts, self._fields)
        scores: dict[str, FloatArray] = {}
        for metric in self._statistic.records:
            figures = metric.function(values)
            used, own = self._used(metric, figures), pooled_values(metric, figures, self._kept)
            self._means[metric.name].add(own, used, groups, shares)
            scores[metric.pooled_name] = own
        return scores

    def _used(self, metric: StatisticMetric, figures: FloatArray) -> BoolArray:
        """Which classes are in a mean over classes, bool (..., K); of other figures all are."""
        if metric.per_class:
            return ~np.isnan(figures) & self._kept
        return np.broadcast_to(np.ones(len(self._classes), np.bool_), (*figures.shape, len(self._classes)))

    def scores(self, group: int, per_image: dict[str, FloatArray]) -> StatisticScores:
        """The scores of one group."""
        more = 0 if self._weights is None else self._weights.step_bits
        sums = {
            one.name: self._sums[one.name].row(group).values(one.step_bits + more) for one in self._fields
        }
        figures = {metric.name: metric.function(sums) for metric in self._statistic.records}
        aggregates = [
            one
            for metric in self._statistic.records
            for one in (self._pooled(metric, figures[metric.name]), self._per_image(metric, group))
        ]
        return StatisticScores(
            statistic=self._statistic, num_classes=len(self._classes), sums=sums, per_image=per_image,
            per_class={one.name: figures[one.name] for one in self._statistic.records if one.per_class},
            aggregates={one.name: one for one in aggregates},
        )  # fmt: skip

    def _pooled(self, metric: StatisticMetric, figures: FloatArray) -> Aggregate:
        used = self._used(metric, figures)
        over = "mean over classes" if metric.per_class else "all classes together"
        return self._aggregate(
            metric, used, name=metric.pooled_name, title=metric.pooled_title, averaging="pooled",
            value=float(pooled_values(metric, figures, self._kept)),
            rule=f"{over}, of sums over all images; {metric.nothing}",
        )  # fmt: skip

    def _per_image(self, metric: StatisticMetric, group: int) -> Aggregate:
        mean = self._means[metric.name]
        inside = "the mean over its classes that have a value" if metric.per_class else "its figure"
        images = int(mean.images[group])
        return self._aggregate(
            metric, mean.classes[group] > 0, name=metric.averages[1],
            title=f"{metric.pooled_title} per image", averaging="per-image", value=mean.value(group),
            rule=f"mean over images of {inside}; images with nothing to score are left out",
            images_used=images, images_dropped=int(self._images[group]) - images,
        )  # fmt: skip

    def _aggregate(self, metric: StatisticMetric, used: BoolArray, **given: Any) -> Aggregate:
        names = self._classes.names
        return Aggregate(
            formula=metric.formula, best=metric.best, minimum=metric.minimum, maximum=metric.maximum,
            metric=metric.name, flagged={},
            classes_used=tuple(name for name, own in zip(names, used, strict=True) if own),
            classes_dropped={
                name: metric.nothing if kept else EXCLUDED
                for name, own, kept in zip(names, used, self._kept, strict=True)
                if not own
            },
            **given,
        )  # fmt: skip


def pooled_values(metric: StatisticMetric, figures: FloatArray, kept: BoolArray) -> FloatArray:
    """The figures of the whole, (...,): of a per-class metric the means over the classes that are kept.

    Args:
        metric: the metric.
        figures: what its function gives, (..., K) or (...,).
        kept: bool (K,), the classes that means run over; those without a value are left out.
    """
    if not metric.per_class:
        return figures
    return row_means(np.nan_to_num(figures), ~np.isnan(figures) & kept)


class _ImageMean:
    """The mean over the images of each group of what they score by themselves."""

    def __init__(self, num_groups: int, num_classes: int) -> None:
        self._sums, self._weight = FixedPointSums((num_groups,)), FixedPointSums((num_groups,))
        self.images = np.zeros(num_groups, np.int64)
        self.classes = np.zeros((num_groups, num_classes), np.int64)

    def add(self, values: FloatArray, used: BoolArray, groups: IntArray, shares: FloatArray) -> None:
        """Add images with their weights; NaN and weight 0 are left out."""
        there = ~np.isnan(values) & (shares > 0)
        self._sums.add(groups[there], values[there] * shares[there])
        self._weight.add(groups[there], shares[there])
        np.add.at(self.images, groups[there], 1)
        np.add.at(self.classes, groups[there], used[there])

    def value(self, group: int) -> float:
        """The mean; NaN where there is nothing."""
        return float(self._sums.mean(self._weight.total())[group])
