"""Every score of datasets that are drawn anew from the images of one, from their counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.image_means import overall_values, pair_values, score_images
from segpipe.metrics.resampling import Draws, Rows
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.score_rows import SUM_BITS, ScoreRows, quotients
from segpipe.metrics.scoring import class_values, in_class_mean
from segpipe.metrics.sums import row_means
from segpipe.metrics.weights import ImageWeights
from segpipe.statistics.figures import Figure

IntArray = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """What is kept of every image so that any draw of images can be scored: 40 bytes for each of its classes.

    Attributes:
        classes, rules: what is scored, and how.
        clusters: int64 (image,), 0..C-1, ascending; the images come cluster by cluster.
        num_clusters: C.
        weights: int64 (image,), 1 where images have no weights.
        void: int64 (image,), pixels of valid truth whose prediction is void, times the weight of the image.
        valid: int64 (image,), the pixels that count.
        per_image: float64 (M, image), what the M metrics score the image by itself.
        starts: int64 (K + 1,); the pairs of class k are starts[k] to starts[k + 1].
        images: int64 (pair,), of each image and class that occurs in it; ascending within a class.
        areas: int64 (pair, 3), hit, truth and pred.
        weighed: int64 (pair, 3), the areas times the weight of the image.
    """

    classes: ClassList
    rules: ScoringRules
    clusters: IntArray
    num_clusters: int
    weights: IntArray
    void: IntArray
    valid: IntArray
    per_image: FloatArray
    starts: IntArray
    images: IntArray
    areas: IntArray
    weighed: IntArray

    @property
    def records(self) -> list[Metric]:
        """The M metrics."""
        return chosen_metrics(self.rules.metrics)

    @property
    def bytes_per_replicate(self) -> int:
        """What the scores of one replicate take while they are computed."""
        return 8 * (len(self.classes) + 1) * (3 * len(self.records) + 16)

    def replicates(self, draws: Iterable[Draws]) -> Replicates:
        """The scores of all replicates, some at a time; at least one."""
        return Replicates.joined([_Scoring(self, each).scores() for each in draws])

    def group(self, chosen: NDArray[np.bool_]) -> ImageTable:
        """The table of some of the images (image,); the clusters that they have are numbered anew."""
        place = np.cumsum(chosen) - 1
        pairs = chosen[self.images]
        clusters, numbers = np.unique(self.clusters[chosen], return_inverse=True)
        before = np.concatenate([[0], np.cumsum(pairs)])
        return ImageTable(
            classes=self.classes, rules=self.rules, clusters=numbers.astype(np.int64),
            num_clusters=len(clusters), weights=self.weights[chosen], void=self.void[chosen],
            valid=self.valid[chosen], per_image=self.per_image[:, chosen], starts=before[self.starts],
            images=place[self.images[pairs]], areas=self.areas[pairs], weighed=self.weighed[pairs],
        )  # fmt: skip

    def with_images_of(self, other: ImageTable) -> ImageTable:
        """The images of both tables; the clusters of the other one come after those of this one."""
        class_ids = np.concatenate(
            [np.repeat(np.arange(len(self.classes)), np.diff(one.starts)) for one in (self, other)]
        )
        order = np.argsort(class_ids, kind="stable")

        def both(name: str, axis: int = 0) -> NDArray[Any]:
            return np.concatenate([getattr(self, name), getattr(other, name)], axis=axis)

        images = np.concatenate([self.images, other.images + len(self.weights)])
        return ImageTable(
            classes=self.classes, rules=self.rules, num_clusters=self.num_clusters + other.num_clusters,
            clusters=np.concatenate([self.clusters, other.clusters + self.num_clusters]),
            weights=both("weights"), void=both("void"), valid=both("valid"), per_image=both("per_image", 1),
            starts=self.starts + other.starts, images=images[order], areas=both("areas")[order],
            weighed=both("weighed")[order],
        )  # fmt: skip

    @classmethod
    def of(
        cls,
        blocks: Iterable[ConfusionCells],
        classes: ClassList,
        rules: ScoringRules,
        clusters: IntArray,
        weights: ImageWeights | None = None,
    ) -> ImageTable:
        """The table of a dataset.

        Args:
            blocks: the matrices of the images, some images at a time.
            classes: the K classes.
            rules: the settings.
            clusters: int64 (image,), the cluster 0.. of each image.
            weights: of the images, in their order.
        """
        parts, start = [], 0
        for block in blocks:
            parts.append(_Part.of(block, classes, rules, weights, start))
            start += len(block)
        if not parts:
            parts = [_Part.of(ConfusionCells.empty(len(classes)), classes, rules, None, 0)]
        units = np.ones(start, np.int64) if weights is None else weights.units
        return _Part.joined(parts).table(classes, rules, clusters, units)


class _Part(NamedTuple):
    """Some images as they come; the fields are those of `ImageTable`, `classes` (pair,)."""

    void: IntArray
    valid: IntArray
    per_image: FloatArray
    images: IntArray
    classes: IntArray
    areas: IntArray
    weighed: IntArray

    @classmethod
    def of(
        cls, cells: ConfusionCells, classes: ClassList, rules: ScoringRules, weights: ImageWeights | None,
        start: int,
    ) -> _Part:  # fmt: skip
        """Of the images `start`, `start` + 1, ..."""
        plain = weighed = ClassAreas.from_cells(cells, invalid_pred=rules.invalid_pred)
        if weights is not None:
            weighed = ClassAreas.from_cells(weights.weighed(cells, start), invalid_pred=rules.invalid_pred)
        scores = score_images(plain, classes, rules).per_image
        per_image = np.stack([scores[one.averages[0]] for one in chosen_metrics(rules.metrics)])
        places = np.nonzero(plain.occurs)
        areas = (
            np.stack([one.hit[places], one.truth[places], one.pred[places]], axis=1)
            for one in (plain, weighed)
        )
        images, class_ids = (one.astype(np.int64) for one in places)
        return cls(weighed.void, plain.valid, per_image, images, class_ids, *areas)

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """The images of several parts, one after the other."""
        firsts = np.cumsum([0] + [len(part.valid) for part in parts])
        moved = [
            part._replace(images=part.images + first) for part, first in zip(parts, firsts, strict=False)
        ]
        names = cls._fields
        fields = (
            np.concatenate([getattr(part, name) for part in moved], axis=int(name == "per_image"))
            for name in names
        )
        return cls(*fields)

    def table(
        self, classes: ClassList, rules: ScoringRules, clusters: IntArray, units: IntArray
    ) -> ImageTable:
        """Images by cluster, pairs by class and image."""
        order = np.argsort(clusters, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        pairs = np.lexsort((place[self.images], self.classes))
        names, numbers = np.unique(clusters[order], return_inverse=True)
        return ImageTable(
            classes=classes, rules=rules, clusters=numbers.astype(np.int64), num_clusters=len(names),
            weights=units[order], void=self.void[order], valid=self.valid[order],
            per_image=self.per_image[:, order],
            starts=np.searchsorted(self.classes[pairs], np.arange(len(classes) + 1)),
            images=place[self.images[pairs]], areas=self.areas[pairs], weighed=self.weighed[pairs],
        )  # fmt: skip


class Table(Protocol):
    """What is kept of the images of a dataset so that any draw of them can be scored."""

    @property
    def classes(self) -> ClassList:
        """The K classes."""

    @property
    def num_clusters(self) -> int:
        """How many clusters of images there are to draw from."""

    @property
    def records(self) -> Sequence[Figure]:
        """What is scored."""

    @property
    def bytes_per_replicate(self) -> int:
        """What the scores of one replicate take while they are computed."""

    def replicates(self, draws: Iterable[Draws]) -> Replicates:
        """The scores of all replicates, some at a time; at least one."""

    def with_images_of(self: T, other: T) -> T:
        """The images of both tables; the clusters of the other one come after those of this one."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """The scores of R replicates.

    Attributes:
        aggregates: name -> float64 (R,), pooled and per-image figures; NaN where there is nothing to score.
        per_class: metric name -> float64 (R, K), pooled, after the rule for absent classes.
    """

    aggregates: dict[str, FloatArray]
    per_class: dict[str, FloatArray]

    @classmethod
    def joined(cls, parts: Sequence[Replicates]) -> Replicates:
        """The replicates of several parts, one after the other; at least one part."""
        return cls(
            {name: np.concatenate([one.aggregates[name] for one in parts]) for name in parts[0].aggregates},
            {name: np.concatenate([one.per_class[name] for one in parts]) for name in parts[0].per_class},
        )


class _Scoring:
    """The scores of some replicates."""

    def __init__(self, table: ImageTable, draws: Draws) -> None:
        self._table, self._draws = table, draws
        self._records, self._kept = table.records, table.rules.kept(table.classes)
        self._of_classes = [one for one in self._records if one.per_class]
        self._most = int(np.bincount(table.clusters, minlength=1).max())
        self._shift = _shift(table, draws.largest)

    def scores(self) -> Replicates:
        """Every score."""
        table = self._table
        areas, of_classes = self._classes()
        per_class = {one.name: class_values(one, areas, table.rules) for one in self._of_classes}
        rows = self._rows(table.per_image, np.arange(len(table.weights)), self._records)
        images = self._means(rows, *self._draws.sums([Rows(table.clusters, rows.terms)]))
        aggregates: dict[str, FloatArray] = {}
        for metric in self._records:
            figures = [self._pooled(metric, areas, per_class), *self._per_image(metric, images, of_classes)]
            aggregates |= dict(zip(metric.averages, figures, strict=True))
        return Replicates(aggregates, per_class)

    def _pooled(self, metric: Metric, areas: ClassAreas, per_class: dict[str, FloatArray]) -> FloatArray:
        if not metric.per_class:
            return np.asarray(overall_values(metric, areas, self._kept))
        values = per_class[metric.name]
        return row_means(values, in_class_mean(values, areas, self._kept))

    def _per_image(self, metric: Metric, images: _Means, of_classes: _Means) -> Iterator[FloatArray]:
        """Means over images, in the order of `Metric.averages`."""
        for worst in (False, True)[: 1 + metric.by_image]:
            yield images.of(self._records.index(metric), worst)
            if metric.per_class:
                means = of_classes.of(self._of_classes.index(metric), worst)
                yield row_means(means, ~np.isnan(means) & self._kept)

    def _classes(self) -> tuple[ClassAreas, _Means]:
        """The areas of the classes, (R, K), and the means over the images that have the class."""
        table, shape = self._table, (len(self._draws), len(self._table.classes))
        hit, truth, pred = areas = np.zeros((3, *shape), np.int64)
        means: list[_Means] = []
        for classes in _some_at_once(table.starts):
            pairs = [slice(table.starts[at], table.starts[at + 1]) for at in classes]
            rows = [self._class_rows(one) for one in pairs]
            sums = self._draws.sums([self._shifted(table.images[one], table.weighed[one]) for one in pairs])
            areas[:, :, classes.start : classes.stop] = np.stack(sums, axis=-1).transpose(1, 0, 2)
            parts = [Rows(table.clusters[each.images], each.terms) for each in rows]
            means += map(self._means, rows, self._draws.sums(parts))
        every = np.arange(len(table.weights))
        (void,) = self._draws.sums([self._shifted(every, table.void[:, None])])
        return ClassAreas(hit, truth, pred, void[:, 0]), _Means.stacked(means)

    def _shifted(self, images: IntArray, areas: IntArray) -> Rows:
        return Rows(self._table.clusters[images], areas >> self._shift)

    def _class_rows(self, pairs: slice) -> ScoreRows[Metric]:
        """The scores of a class in the images that have it."""
        images, areas = self._table.images[pairs], self._table.areas[pairs]
        if self._table.rules.present == "truth":
            images, areas = images[areas[:, 1] > 0], areas[areas[:, 1] > 0]
        hit, truth, pred = (areas[:, at, None] for at in range(3))
        own = ClassAreas(hit, truth, pred, valid=self._table.valid[images])
        return self._rows(pair_values(own, self._of_classes), images, self._of_classes)

    def _rows(self, values: FloatArray, images: IntArray, records: list[Metric]) -> ScoreRows[Metric]:
        return ScoreRows.of(
            values, images, self._table.weights[images], records, self._draws.largest * self._most
        )

    def _means(self, rows: ScoreRows[Metric], sums: IntArray) -> _Means:
        """Means over the images of all metrics, and over the worst images of some."""
        weight, number = rows.weight_and_number(sums)
        means = quotients(sums[:, : len(rows.records)], rows.places, weight)
        worst = {
            at: self._worst(rows, at, number[:, at]) for at, one in enumerate(rows.records) if one.by_image
        }
        return _Means(means, worst)

    def _worst(self, rows: ScoreRows[Metric], at: int, number: IntArray) -> FloatArray:
        """Means over the worst values of one metric, (R,)."""
        share = Fraction(str(self._table.rules.worst_percent)) / 100
        taken = np.minimum(np.maximum(number * share.numerator // share.denominator, 1), number)
        clusters = self._table.clusters[rows.images]
        order = rows.worst_first(at, clusters)
        terms = np.stack([rows.terms[order, at], rows.weights[order]], axis=1)
        sums = self._draws.worst_sums(clusters[order], terms, taken)
        return quotients(sums[:, 0], rows.places[at], sums[:, 1])


PAIRS_AT_ONCE = 1 << 18
"""Pairs of images and classes that are summed at one time, some fifty megabytes, or one class."""


def _some_at_once(starts: IntArray) -> Iterator[range]:
    """Runs of classes, so many that their pairs are not too many."""
    first = 0
    while first < len(starts) - 1:
        fitting = int(np.searchsorted(starts, starts[first] + PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(fitting, first + 1), len(starts) - 1)
        yield range(first, stop)
        first = stop


def _shift(table: ImageTable, largest: int) -> int:
    """How many bits areas have too many for int64: they are ratios in every metric, so all lose as many."""
    totals = np.zeros(table.num_clusters, np.int64)
    np.add.at(totals, table.clusters[table.images], table.weighed[:, 1])
    return max(0, (int(totals.max(initial=0)) * largest).bit_length() - SUM_BITS)


@dataclass(frozen=True, eq=False)
class _Means:
    """Means of M metrics over images: (R, M) or (R, M, K); and over the worst images, metric -> (R, ...)."""

    every: FloatArray
    worst: dict[int, FloatArray]

    def of(self, metric: int, worst: bool) -> FloatArray:
        return self.worst[metric] if worst else self.every[:, metric]

    @classmethod
    def stacked(cls, of_classes: list[_Means]) -> _Means:
        """The means of all classes, over a last dim more."""
        every = np.stack([one.every for one in of_classes], axis=-1)
        names = of_classes[0].worst
        return cls(every, {at: np.stack([one.worst[at] for one in of_classes], axis=-1) for at in names})
