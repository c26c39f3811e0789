"""Every image scored by itself, and the means over images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.sums import (
    WEIGHT_BITS,
    FixedPointSums,
    row_means,
    run_means,
    share_of,
    worst_means,
)

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def overall_values(metric: Metric, areas: ClassAreas, kept: BoolArray) -> FloatArray:
    """A metric of all classes together, (...,), without the classes that it leaves out."""
    return metric.function(areas.of_classes(kept) if metric.over == "truth classes" else areas)


def classes_of(metric: Metric, areas: ClassAreas, kept: BoolArray) -> BoolArray:
    """Which classes are in a metric of all classes together, bool (..., K)."""
    return kept & (areas.truth > 0) if metric.over == "truth classes" else areas.occurs


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of every image by itself.

    Attributes:
        image, class_id: int64 (pair,), the classes that each image has (the rule `present`), image by image.
        per_class: float64 (M, pair), the scores of the M per-class metrics; NaN where a class has no value
            and is left out.
        per_image: pooled name of every metric (`mean_iou`, `pixel_accuracy`) -> float64 (image,); NaN where
            an image has nothing to score.
    """

    image: IntArray
    class_id: IntArray
    per_class: FloatArray
    per_image: dict[str, FloatArray]


def score_images(areas: ClassAreas, classes: ClassList, rules: ScoringRules) -> ImageScores:
    """Score every image by itself; `areas` are (image, K)."""
    records, kept = chosen_metrics(rules.metrics), rules.kept(classes)
    image, class_id = np.nonzero(areas.occurs if rules.present == "either" else areas.truth > 0)
    hit, truth, pred = (side[image, class_id, None] for side in (areas.hit, areas.truth, areas.pred))
    pairs = ClassAreas(hit, truth, pred, valid=areas.valid[image])
    values = pair_values(pairs, [one for one in records if one.per_class])
    used = ~np.isnan(values) & kept[class_id]
    means = iter(run_means(values, used, np.bincount(image, minlength=len(areas.valid))))
    per_image = {
        one.averages[0]: next(means) if one.per_class else overall_values(one, areas, kept) for one in records
    }
    return ImageScores(image, class_id, values, per_image)


def pair_values(pairs: ClassAreas, records: list[Metric]) -> FloatArray:
    """Scores (M, pair) of classes in images; `pairs` are (pair, 1), as images have few of the classes."""
    values = np.empty((len(records), len(pairs.valid)))
    for one, own in zip(records, values, strict=True):
        own[:] = one.function(pairs)[:, 0]
        own[np.isnan(own)] = one.penalty
    return values


@dataclass(frozen=True, kw_only=True)
class ImageMean:
    """A mean over images of one metric.

    Attributes:
        metric: whose mean it is.
        name, title, rule: of the aggregate; the title goes after that of the pooled figure.
        value: the mean.
        images: how many images are in it.
        worst: it runs over the worst images only.
        classes: bool (K,), the classes that any of the images has a value for.
    """

    metric: Metric
    name: str
    title: str
    rule: str
    value: float
    images: int
    worst: bool
    classes: BoolArray

    def classes_used(self, areas: ClassAreas, kept: BoolArray) -> BoolArray:
        """Which classes are in the mean, bool (K,); `areas` are those of all images."""
        return self.classes & kept if self.metric.per_class else classes_of(self.metric, areas, kept)


class ImageMeans:
    """Running means over the images of groups of images.

    Of the metrics that are averaged over the worst images every value is kept: 24 bytes for each image, and
    for each class that the image has. The others are sums.

    Args:
        num_groups: G.
        classes: the K classes.
        rules: the settings.
    """

    def __init__(self, num_groups: int, classes: ClassList, rules: ScoringRules) -> None:
        self._records, self._kept, self._rules = chosen_metrics(rules.metrics), rules.kept(classes), rules
        self._of_classes = [one for one in self._records if one.per_class]
        self._present = "in truth or prediction" if rules.present == "either" else "in truth"
        self._images = _Means((num_groups, len(self._records)), self._records, rules.worst_percent)
        shape = (num_groups, len(self._of_classes), len(classes))
        self._classes = _Means(shape, self._of_classes, rules.worst_percent)

    def add(self, images: ImageScores, groups: IntArray, weights: IntArray | None = None) -> None:
        """Add images, each to its group (image,), with weights (image,), 2^30 for 1; None: all alike."""
        if weights is None:
            weights = np.full(len(groups), 1 << WEIGHT_BITS)
        per_image = np.stack([images.per_image[one.averages[0]] for one in self._records])
        self._images.add(per_image, weights, groups)
        pairs = weights[images.image], groups[images.image]
        self._classes.add(images.per_class, *pairs, images.class_id)

    def finish(self) -> None:
        """All images have been added."""
        self._images.finish()
        self._classes.finish()

    def class_values(self, metric: Metric) -> tuple[IntArray, FloatArray]:
        """The scores of every image and class that it has, where there is one group of images.

        Args:
            metric: one per class and `by_image`.

        Returns:
            The classes, int64 (value,), and the values, float64 (value,); images of weight 0 are left out.
        """
        places, values, _ = self._classes.kept(self._of_classes.index(metric))
        return places % len(self._kept), values

    def of(self, metric: Metric, group: int) -> Iterator[ImageMean]:
        """The means of one metric in one group, in the order of `Metric.averages`."""
        place = (group, self._records.index(metric))
        number = int(self._images.number[place])
        names = iter(metric.averages[1:])
        inside = f"the mean over the classes present ({self._present})" if metric.per_class else "its score"
        having = f"the images that have the class ({self._present})"
        classes = np.ones(len(self._kept), np.bool_)
        if metric.per_class:
            own = (group, self._of_classes.index(metric))
            classes = self._classes.number[own] > 0
        for worst in (False, True)[: 1 + metric.by_image]:
            share = f"the worst {self._rules.worst_percent:g} % of " if worst else ""
            end = f", worst {self._rules.worst_percent:g} %" if worst else ""
            yield ImageMean(
                metric=metric, name=next(names), title=f"per image{end}", worst=worst, classes=classes,
                value=float(self._images.means(worst)[place]),
                images=int(self._images.taken[place]) if worst else number,
                rule=f"mean over {share}images of {inside}; images with nothing to score are left out",
            )  # fmt: skip
            if metric.per_class:
                means = self._classes.means(worst)[own]
                yield ImageMean(
                    metric=metric, name=next(names), title=f"per image and class{end}", worst=worst,
                    value=float(row_means(means, classes & self._kept)), images=number, classes=classes,
                    rule=f"mean over classes of the mean over {share}{having}",
                )  # fmt: skip


class _Means:
    """Sums and numbers of values, (G, M, ...), and the values themselves where the worst are asked for."""

    def __init__(self, shape: tuple[int, ...], records: list[Metric], percent: float) -> None:
        self._sums, self.number = FixedPointSums(shape), np.zeros(shape, np.int64)
        self._weight = np.zeros(shape, np.int64)
        nothing = (np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        self._kept = {index: [nothing] for index, one in enumerate(records) if one.by_image}
        self._records, self._percent = records, percent
        self.taken = np.zeros(shape, np.int64)

    def add(
        self, values: FloatArray, weights: IntArray, groups: IntArray, classes: IntArray | None = None
    ) -> None:
        """Add values (M, value), NaN where there is none, to their groups, and to their classes if given."""
        alike = bool((weights == 1 << WEIGHT_BITS).all())
        # Where the values of the first metric belong; those of the others lie at a fixed distance.
        _, metrics, *rest = self.number.shape
        step = prod(rest)
        first = groups * (metrics * step) + (0 if classes is None else classes)
        # Metric by metric: the terms of one stay in the caches of the CPU.
        for metric, own in enumerate(values):
            there = np.flatnonzero(~np.isnan(own) & (weights > 0))
            places, terms, weight = first[there] + metric * step, own[there], weights[there]
            # A product is rounded once, alike on every CPU; with the weight 1 it is the value itself.
            self._sums.add(places, terms if alike else terms * share_of(weight))
            np.add.at(self.number.reshape(-1), places, 1)
            np.add.at(self._weight.reshape(-1), places, weight)
            if metric in self._kept:
                self._kept[metric].append((places, terms, weight))

    def finish(self) -> None:
        """Compute the means."""
        self._all = self._sums.mean(share_of(self._weight))
        self._worst = np.full(self.number.shape, np.nan)
        for index in self._kept:
            places, values, weights = self.kept(index)
            highest = self._records[index].lower_is_better
            worst = worst_means(places, values, self.number.size, self._percent, weights, highest=highest)
            self._worst[:, index], self.taken[:, index] = (
                part.reshape(self.number.shape)[:, index] for part in worst
            )

    def kept(self, index: int) -> tuple[IntArray, FloatArray, IntArray]:
        """Places, values and weights of a metric of which every value is kept, in the order of the images."""
        kept = self._kept[index]
        if len(kept) > 1:
            places, values, weights = (np.concatenate(parts) for parts in zip(*kept, strict=True))
            self._kept[index] = [(places, values, weights)]
        return self._kept[index][0]

    def means(self, worst: bool) -> FloatArray:
        """The means of all values, or of the worst ones."""
        return self._worst if worst else self._all
