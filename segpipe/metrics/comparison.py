"""Two predictions over the same images, compared pair by pair: differences, their intervals, and p-values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules
from segpipe.metrics.base import FloatArray
from segpipe.metrics.intervals import TOO_FEW, draws_of, interval_of
from segpipe.metrics.replicates import Replicates, Table
from segpipe.metrics.resampling import Multiplicities, swaps, whole
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Interval, slice_name
from segpipe.statistics.base import Statistic
from segpipe.statistics.figures import Figure

AnyTable = TypeVar("AnyTable", bound=Table)

ROUNDING = 1e-10
"""Differences that are not larger are no differences."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much a score of B differs from that of A.

    Attributes:
        name: of the aggregate, or of the metric of a class.
        a, b: the scores; NaN where there is nothing to score.
        interval: of the difference b - a, from drawing images of both at once.
        p: how often so large a difference, of either sign, comes of swapping A and B in some of the images
            (or clusters); NaN where that cannot be said.
        adjusted_p: the same where many differences are looked at, those of the classes of one metric or of
            the slices of one cut (`adjusted`); NaN for others.
        improves: whether B is better; None if neither is, or if more is not better or worse.
    """

    name: str
    a: float
    b: float
    interval: Interval
    p: float
    improves: bool | None
    adjusted_p: float = math.nan

    @property
    def value(self) -> float:
        """The difference b - a."""
        return self.b - self.a

    @property
    def verdict(self) -> Literal["better", "worse"] | None:
        """What B is, where 0 is not in the interval; None: nothing can be said."""
        low, high = self.interval.low, self.interval.high
        if self.improves is None or math.isnan(low) or low <= 0 <= high:
            return None
        return "better" if self.improves else "worse"

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name, "a": self.a, "b": self.b, "difference": self.value, "low": self.interval.low,
            "high": self.interval.high, "p": self.p, "adjusted_p": self.adjusted_p,
            "improves": self.improves, "note": self.interval.note,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Differences:
    """The differences of all scores.

    Attributes:
        aggregates: name -> difference.
        per_class: metric name -> the difference of each class.
    """

    aggregates: Mapping[str, Difference]
    per_class: Mapping[str, tuple[Difference, ...]]

    def __or__(self, other: Differences) -> Differences:
        """These and others."""
        return Differences({**self.aggregates, **other.aggregates}, {**self.per_class, **other.per_class})


def paired_differences(a: AnyTable, b: AnyTable, rules: IntervalRules) -> Differences:
    """Compare two tables of the same images, in the same clusters, under the same rules.

    Intervals: the same images are drawn of both, so that what makes an image hard falls out (Efron and
    Tibshirani 1993, ch. 8.3). p-values: if A and B were alike, one would not see it if they were swapped in
    any cluster; so the difference is held against those of datasets in which they are (a sign-flip
    permutation test, Good 2005, 3.2: all swaps where they are few, else `replicates` random ones). Those of
    classes are also adjusted for how many classes are looked at.

    Args:
        a, b: the tables.
        rules: method and number of replicates, level, seed.
    """
    scores = [table.replicates([whole(table.num_clusters)]) for table in (a, b)]
    drawn = swapped = None
    if a.num_clusters > 1:
        drawn = _minus(*(table.replicates(draws_of(table, rules)) for table in (a, b)))
        swapped = _swapped(a, b, rules)
    return _Pairs(a, rules, scores, drawn, swapped).differences()


def _minus(a: Replicates, b: Replicates) -> Replicates:
    """What B has more than A."""
    return Replicates(
        {name: b.aggregates[name] - values for name, values in a.aggregates.items()},
        {name: b.per_class[name] - values for name, values in a.per_class.items()},
    )


def _swapped(a: AnyTable, b: AnyTable, rules: IntervalRules) -> Replicates:
    """The differences where A and B are swapped in some clusters, first of all in none."""
    both, clusters = a.with_images_of(b), a.num_clusters
    parts = []
    for swap in swaps(clusters, rules.seed, rules.replicates, 2 * both.bytes_per_replicate):
        kept = 1 - swap
        pair = (np.concatenate([kept, swap]), np.concatenate([swap, kept]))
        made = [both.replicates([Multiplicities(counts, largest=clusters)]) for counts in pair]
        parts.append(_minus(*made))
    return Replicates.joined(parts)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """What differences are made of; without replicates there is neither interval nor p.

    Attributes:
        table: one of the tables.
        rules: how intervals are made.
        scores: of A and of B, each as its only replicate.
        drawn, swapped: differences of datasets that were drawn, and that were swapped in part.
    """

    table: Table
    rules: IntervalRules
    scores: Sequence[Replicates]
    drawn: Replicates | None
    swapped: Replicates | None

    def differences(self) -> Differences:
        """The differences of all scores."""
        records = {name: one for one in self.table.records for name in (one.name, *one.averages)}
        return Differences(
            aggregates={
                name: self._difference(name, records[name], partial(_aggregate, name))
                for name in self.scores[0].aggregates
            },
            per_class={
                name: adjusted(
                    [
                        self._difference(name, records[name], partial(_of_class, name, at))
                        for at in range(len(self.table.classes))
                    ]
                )
                for name in self.scores[0].per_class
            },
        )

    def _difference(
        self, name: str, metric: Figure, values: Callable[[Replicates], FloatArray]
    ) -> Difference:
        a, b = (float(values(one)[0]) for one in self.scores)
        rules, clusters = self.rules, self.table.num_clusters
        interval, p = Interval(math.nan, math.nan, rules.level, rules.method, clusters, TOO_FEW), math.nan
        if self.drawn and self.swapped:
            span = metric.maximum - metric.minimum
            interval = interval_of(values(self.drawn), b - a, (-span, span), rules, clusters)
            p = permutation_p(values(self.swapped))
        return Difference(name=name, a=a, b=b, interval=interval, p=p, improves=_better(metric, a, b))


def _aggregate(name: str, scores: Replicates) -> FloatArray:
    return scores.aggregates[name]


def _of_class(name: str, class_id: int, scores: Replicates) -> FloatArray:
    return scores.per_class[name][:, class_id]


def _better(metric: Figure, a: float, b: float) -> bool | None:
    """Whether b is better than a; None if that cannot be said."""
    closer = abs(a - metric.best) - abs(b - metric.best)
    return closer > 0 if abs(closer) > ROUNDING else None


def permutation_p(differences: FloatArray) -> float:
    """The share of swaps whose difference is as large as that of the first, which swaps nothing.

    As the first is one of them, p is never 0 (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585). NaN
    without a difference; swaps without one are left out.

    >>> permutation_p(np.array([-0.2, 0.1, -0.1, 0.2]))
    0.5
    """
    there = differences[~np.isnan(differences)]
    if math.isnan(differences[0]):
        return math.nan
    return int((np.abs(there) >= abs(differences[0]) - ROUNDING).sum()) / len(there)


def adjusted(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Differences that are looked at together, with their p adjusted."""
    values = adjusted_p(np.array([one.p for one in differences]))
    return tuple(
        replace(one, adjusted_p=float(value)) for one, value in zip(differences, values, strict=True)
    )


def adjusted_p(p: FloatArray) -> FloatArray:
    """p-values of many differences, adjusted so that no more than that share of those called real is not.

    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x: the smallest p of this rank or a
    higher one, times how many there are, over its rank. NaN stays, and does not count.

    >>> adjusted_p(np.array([0.01, 0.04, np.nan, 0.03, 0.5])).tolist()
    [0.04, 0.05333333333333334, nan, 0.05333333333333334, 0.5]
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    ranks = np.arange(1, len(order) + 1)
    found = np.full(len(p), np.nan)
    found[order] = np.minimum.accumulate((p[order] * len(order) / ranks)[::-1])[::-1]
    return found


@dataclass(frozen=True, eq=False)
class ImageDifferences:
    """One score of every image under A and under B.

    Attributes:
        name: of the score of an image.
        ids: (image,), sorted.
        a, b: float64 (image,); NaN where an image has nothing to score.
    """

    name: str
    ids: Sequence[str]
    a: FloatArray
    b: FloatArray

    @property
    def better(self) -> int:
        """How many images have a higher score under B."""
        return int((self.b > self.a).sum())

    @property
    def worse(self) -> int:
        """How many images have a lower score under B."""
        return int((self.b < self.a).sum())

    def most(self, number: int, *, better: bool) -> Iterator[tuple[str, float, float]]:
        """The images that gained (or lost) most: id, a, b; equal ones in the order of ids."""
        change = np.where(np.isnan(self.b - self.a), 0.0, self.b - self.a)
        for place in np.argsort(-change if better else change, kind="stable")[:number]:
            if change[place] > 0 if better else change[place] < 0:
                yield self.ids[place], float(self.a[place]), float(self.b[place])


@dataclass(frozen=True, eq=False, kw_only=True)
class SliceDifferences:
    """The differences in one slice.

    Attributes:
        title: what images are cut by.
        where: what its images have in common.
        images: how many they are.
        differences: of its scores.
    """

    title: str
    where: Mapping[str, str | None]
    images: int
    differences: Differences

    @property
    def name(self) -> str:
        """The slice in words."""
        return slice_name(self.where)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Run B against run A; every difference is that of B less that of A.

    Attributes:
        a, b: what the runs are called: suite, model, and run.
        classes: that both have.
        rules: under which both were scored.
        intervals: how intervals and p-values were made.
        differences: of all scores, those of statistics last.
        images: the mean IoU of every image.
        slices: differences in slices of the images; of statistics there are none.
        statistics: those that are compared.
        groups: differences of the groups of classes, which stand for classes; None where there are none.
        group_names: of the groups.
        left_out: what of the runs is not compared, in sentences; empty if all is.
    """

    a: str
    b: str
    classes: ClassList
    rules: ScoringRules
    intervals: IntervalRules
    differences: Differences
    images: ImageDifferences
    slices: tuple[SliceDifferences, ...]
    left_out: tuple[str, ...]
    statistics: tuple[Statistic, ...] = ()
    groups: Differences | None = None
    group_names: tuple[str, ...] = ()
