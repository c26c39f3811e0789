"""The scores of statistics of datasets that are drawn anew from the images of one, from their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import prod

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.metrics.replicates import Replicates
from segpipe.metrics.resampling import Draws, Rows
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.score_rows import ScoreRows, quotients
from segpipe.metrics.statistic_scores import pooled_values
from segpipe.metrics.sums import digits_of, value_of
from segpipe.metrics.weights import WeightUnits
from segpipe.statistics.base import Counts, Statistic, StatisticMetric, joined, real_values
from segpipe.statistics.figures import FloatArray

IntArray = NDArray[np.int64]
Blocks = Callable[[], Iterable[Counts]]
"""Gives the sums of all images in their order, some images at a time, as often as it is called."""

KEPT_BYTES = 1 << 27
"""Sums that are not larger stay in memory; others are read again for every pass over the replicates."""

BLOCK_BYTES = 1 << 24
"""Sums of images that are added at one time."""


@dataclass(frozen=True, eq=False)
class StatisticTable:
    """What is needed of every image so that any draw of images can be scored by a statistic.

    Attributes:
        statistic, classes, rules: what is scored, and how.
        blocks: the sums of the images.
        clusters: int64 (image,), 0..C-1; -1: the image takes no part.
        num_clusters: C.
        units: int64 (image,), the weights of the images, or None.
        step_bits: a weight of 1 is 2^step_bits units.
        per_image: float64 (M, image), what the M metrics score the image by itself.
    """

    statistic: Statistic
    classes: ClassList
    rules: ScoringRules
    blocks: Blocks
    clusters: IntArray
    num_clusters: int
    units: IntArray | None
    step_bits: int
    per_image: FloatArray

    @classmethod
    def of(
        cls, statistic: Statistic, blocks: Blocks, classes: ClassList, rules: ScoringRules,
        clusters: IntArray, weights: FloatArray | None = None,
    ) -> StatisticTable:  # fmt: skip
        """The table of a dataset.

        Args:
            statistic: with its parameters.
            blocks: the sums of the images.
            classes: the K classes.
            rules: the settings; `exclude_classes` is looked at.
            clusters: int64 (image,), the number of the cluster of each image; -1: it takes no part.
            weights: of the images, float64 (image,), in their order.
        """
        if len(clusters) * statistic.image_bytes(len(classes)) <= KEPT_BYTES:
            # Its copies share what is in it.
            blocks = list(blocks()).copy
        own = None if weights is None else WeightUnits.of(weights)
        table = cls(
            statistic=statistic, classes=classes, rules=rules, blocks=blocks,
            clusters=clusters, num_clusters=0, units=None if own is None else own.units,
            step_bits=0 if own is None else own.step_bits,
            per_image=_each_image(statistic, blocks, classes, rules),
        )  # fmt: skip
        return table.group(clusters >= 0)

    @property
    def records(self) -> tuple[StatisticMetric, ...]:
        """The M metrics."""
        return self.statistic.records

    @property
    def bytes_per_replicate(self) -> int:
        """What one replicate takes: digits of sums, their values, and what metrics make of these."""
        return 12 * self.statistic.image_bytes(len(self.classes))

    def group(self, chosen: NDArray[np.bool_]) -> StatisticTable:
        """The table of some of the images (image,); the clusters that they have are numbered anew."""
        names, numbers = np.unique(self.clusters[chosen], return_inverse=True)
        clusters = np.full(len(self.clusters), -1, np.int64)
        clusters[chosen] = numbers
        return replace(self, clusters=clusters, num_clusters=len(names))

    def with_images_of(self, other: StatisticTable) -> StatisticTable:
        """The images of both tables; the clusters of the other one come after those of this one."""
        moved = np.where(other.clusters < 0, -1, other.clusters + self.num_clusters)
        units = None
        if self.units is not None and other.units is not None:
            units = np.concatenate([self.units, other.units])
        return replace(
            self,
            blocks=lambda: chain(self.blocks(), other.blocks()),
            clusters=np.concatenate([self.clusters, moved]),
            num_clusters=self.num_clusters + other.num_clusters,
            units=units,
            per_image=np.concatenate([self.per_image, other.per_image], axis=1),
        )

    def replicates(self, draws: Iterable[Draws]) -> Replicates:
        """The scores of all replicates, some at a time; at least one."""
        return Replicates.joined([self._scored(each) for each in draws])

    def _scored(self, draws: Draws) -> Replicates:
        sums, means = self._sums(draws), self._image_means(draws)
        kept = self.rules.kept(self.classes)
        figures = {one.name: one.function(sums) for one in self.records}
        aggregates: dict[str, FloatArray] = {}
        for one, over_images in zip(self.records, means.T, strict=True):
            pooled = pooled_values(one, figures[one.name], kept)
            aggregates |= dict(zip(one.averages, (pooled, over_images), strict=True))
        return Replicates(aggregates, {one.name: figures[one.name] for one in self.records if one.per_class})

    def _sums(self, draws: Draws) -> dict[str, FloatArray]:
        """The sums of every replicate in real units, (R, *shape) of each field."""
        fields = self.statistic.fields(len(self.classes))
        sizes = [prod(field.shape) for field in fields]
        places = 2 if self.units is None else 3
        total = np.zeros((places, len(draws), sum(sizes)), np.int64)
        for clusters, units, block in self._rows():
            terms = np.concatenate([block[one.name].reshape(len(clusters), -1) for one in fields], axis=1)
            for own, digit in zip(total, digits_of(terms, units), strict=True):
                # Most sums of an image have one digit only, and many classes are not in it.
                there = digit.any(axis=0)
                if there.any():
                    (found,) = draws.sums([Rows(clusters, digit[:, there])])
                    own[:, there] += found
        ends = np.cumsum(sizes)
        return {
            field.name: value_of(
                list(total[:, :, end - size : end]), field.step_bits + self.step_bits
            ).reshape(len(draws), *field.shape)
            for field, size, end in zip(fields, sizes, ends, strict=True)
        }  # fmt: skip

    def _rows(self) -> Iterator[tuple[IntArray, IntArray | None, Counts]]:
        """Clusters (ascending), weights (image, 1) and sums of the images, some at a time."""
        start = 0
        for block in _larger(self.blocks(), self.statistic.image_bytes(len(self.classes))):
            stop = start + len(next(iter(block.values())))
            own = self.clusters[start:stop]
            order = np.argsort(own, kind="stable")
            order = order[own[order] >= 0]
            units = None if self.units is None else self.units[start:stop][order, None]
            if len(order):
                yield own[order], units, {name: values[order] for name, values in block.items()}
            start = stop

    def _image_means(self, draws: Draws) -> FloatArray:
        """Means over images of what each scores by itself, (R, M)."""
        order = np.argsort(self.clusters, kind="stable")
        order = order[self.clusters[order] >= 0]
        clusters = self.clusters[order]
        units = np.ones(len(order), np.int64) if self.units is None else self.units[order]
        most = draws.largest * int(np.bincount(clusters, minlength=1).max())
        rows = ScoreRows.of(self.per_image[:, order], order, units, self.records, most)
        (sums,) = draws.sums([Rows(clusters, rows.terms)])
        weight, _ = rows.weight_and_number(sums)
        return quotients(sums[:, : len(self.records)], rows.places, weight)


def _each_image(statistic: Statistic, blocks: Blocks, classes: ClassList, rules: ScoringRules) -> FloatArray:
    """What every metric scores each image by itself, float64 (M, image)."""
    fields, kept = statistic.fields(len(classes)), rules.kept(classes)
    parts = [np.empty((len(statistic.records), 0))]
    for block in blocks():
        values = real_values(block, fields)
        parts.append(np.stack([pooled_values(one, one.function(values), kept) for one in statistic.records]))
    return np.concatenate(parts, axis=1)


def _larger(blocks: Iterable[Counts], image_bytes: int) -> Iterator[Counts]:
    """The same images in blocks of about `BLOCK_BYTES`, so that a product of matrices is worth its start."""
    waiting: list[Counts] = []
    images = 0
    for block in blocks:
        waiting.append(block)
        images += len(next(iter(block.values())))
        if images * image_bytes >= BLOCK_BYTES:
            yield joined(waiting)
            waiting, images = [], 0
    if waiting:
        yield joined(waiting)
