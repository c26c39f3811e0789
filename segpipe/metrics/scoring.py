"""From counts to scores: pooled figures, means over classes, means over images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.classes import ClassList
from segpipe.errors import InfrastructureError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import COUNT_NAMES, ClassAreas, image_counts, matrix_counts
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.distributions import Distribution, class_distribution
from segpipe.metrics.image_means import (
    ImageMean,
    ImageMeans,
    ImageScores,
    classes_of,
    overall_values,
    score_images,
)
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE, Aggregate, Scores, pixels_of
from segpipe.metrics.sums import row_means
from segpipe.metrics.weights import ImageWeights

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

ABSENT, EXCLUDED, NO_VALUE = "absent from truth and prediction", "excluded by exclude_classes", "has no value"
PREDICTED_ONLY, NEVER_PREDICTED = "predicted, but nowhere in truth", "in truth, but never predicted"
NOT_IN_TRUTH, NOWHERE_IN_TRUTH = "in truth of no image", "nowhere in truth"

_AREAS = ("hit", "truth", "pred")


def score_matrix(
    matrix: ArrayLike, classes: ClassList, rules: ScoringRules, *, units_per_pixel: float = 1
) -> Scores:
    """Score one summed matrix.

    Args:
        matrix: int64 (S, S), row = truth code, column = pred code, S = K + 2.
        classes: the K classes.
        rules: the settings.
        units_per_pixel: what a pixel of weight 1 counts as, for sums of fixed-point weights.

    Returns:
        Pooled scores; means over images need the images (`score_counts`).

    >>> maps = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> score_matrix(maps, ClassList.numbered(2), ScoringRules())["mean_iou"]
    0.3333333333333333
    """
    every = np.asarray(matrix, np.int64)
    areas = ClassAreas.from_matrix(every, invalid_pred=rules.invalid_pred)
    units = matrix_counts(every)
    counts = {name: pixels_of(number, units_per_pixel) for name, number in units.items()}
    scores = pooled_scores(areas, classes, rules, counts=counts, images=None)
    return replace(scores, units_per_pixel=units_per_pixel)


def score_counts(
    blocks: Iterable[ConfusionCells],
    total: ArrayLike,
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> Scores:
    """Score a dataset from the counts of its images; of an image only two or three floats stay in memory.

    Args:
        blocks: the matrices of the images, some images at a time; neither cut nor order matters, but for
            the order of `Scores.per_image`.
        total: int64 (S, S), the sum of all of them; with weights, `weighted_total`.
        classes: the K classes.
        rules: the settings.
        weights: of the images, in their order; not None where pixels have weights.

    Raises:
        InfrastructureError: the images do not add up to the total: a damaged or mixed-up file.
    """
    sums, start = _GroupSums(1, classes, rules, weights), 0
    each = []
    for block in blocks:
        each.append(_kept_images(sums.add(block, np.zeros((1, len(block)), np.int64), start), rules))
        start += len(block)
    names = each[0] if each else {}
    scores = replace(
        next(sums.scores()),
        per_image={name: np.concatenate([one[name] for one in each]) for name in names},
        distributions=sums.distributions(),
    )
    every = np.asarray(total, np.int64)
    areas = ClassAreas.from_matrix(every, invalid_pred=rules.invalid_pred)
    same_areas = all(np.array_equal(getattr(scores.areas, name), getattr(areas, name)) for name in _AREAS)
    if not same_areas or (weights is None and scores.counts != matrix_counts(every)):
        raise _damaged(scores.counts["pixels"], every)
    return scores


def _damaged(pixels: float, total: IntArray) -> InfrastructureError:
    message = (
        f"the counts of the images ({pixels} pixels) do not add up to the stored total "
        f"({int(total.sum())} pixels): the results are damaged; evaluate again"
    )
    return InfrastructureError(message)


def weighted_total(blocks: Iterable[ConfusionCells], total: ArrayLike, weights: ImageWeights) -> IntArray:
    """The sum of the images' matrices, each times the weight of its image, int64 (S, S).

    Args:
        blocks: the matrices of all images, in the order of the weights.
        total: int64 (S, S), their sum in pixels, without weights.
        weights: of the images.

    Raises:
        InfrastructureError: the images do not add up to the total.
    """
    plain, start = np.asarray(total, np.int64), 0
    sums = np.zeros((2, plain.size), np.int64)
    for block in blocks:
        np.add.at(sums[0], block.cells, block.in_pixels.counts)
        np.add.at(sums[1], block.cells, weights.weighed(block, start).counts)
        start += len(block)
    if not np.array_equal(sums[0], plain.reshape(-1)):
        raise _damaged(int(sums[0].sum()), plain)
    weighted: IntArray = sums[1].reshape(plain.shape)
    return weighted


def score_groups(
    blocks: Iterable[tuple[ConfusionCells, IntArray]],
    num_groups: int,
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> list[Scores]:
    """Score groups of images, each as a dataset of its own.

    Args:
        blocks: pairs of the matrices of some images, and the group 0..G-1 of each image, int64 (image,).
        num_groups: G.
        classes: the K classes.
        rules: the settings.
        weights: of the images, in their order.
    """
    by_one = ((cells, groups[None]) for cells, groups in blocks)
    return list(each_group(by_one, num_groups, classes, rules, weights))


def each_group(
    blocks: Iterable[tuple[ConfusionCells, IntArray]],
    num_groups: int,
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> Iterator[Scores]:
    """Score groups of images that are grouped in several ways; one after the other, for scores take memory.

    Arguments are those of `score_groups`, but for the groups of an image: int64 (way, image).
    """
    sums, start = _GroupSums(num_groups, classes, rules, weights), 0
    for cells, groups in blocks:
        sums.add(cells, groups, start)
        start += len(cells)
    return sums.scores()


def _kept_images(images: ImageScores, rules: ScoringRules) -> dict[str, FloatArray]:
    """The scores of images that stay in memory."""
    names = [one.averages[0] for one in chosen_metrics(rules.metrics) if one.by_image]
    return {name: images.per_image[name] for name in names}


def pooled_scores(
    areas: ClassAreas,
    classes: ClassList,
    rules: ScoringRules,
    *,
    counts: Mapping[str, int | float],
    images: int | None,
) -> Scores:
    """Scores of summed areas (K,): per class, means over classes, all classes together."""
    records = chosen_metrics(rules.metrics)
    per_class = {one.name: class_values(one, areas, rules) for one in records if one.per_class}
    make = {True: _class_mean, False: _overall}
    named = {one.averages[0]: make[one.per_class](one, areas, classes, rules) for one in records}
    aggregates = {HEADLINE: named.pop(HEADLINE), **named}
    return Scores(
        classes=classes, rules=rules, images=images, counts=counts, areas=areas,
        per_class=per_class, aggregates=aggregates,
    )  # fmt: skip


def class_values(metric: Metric, areas: ClassAreas, rules: ScoringRules) -> FloatArray:
    """A per-class metric after the rules, (..., K).

    A class that occurs and has no value (recall where it is not in truth, precision where it was never
    predicted) scores the worst value, so that the means of most metrics run over the same classes, or
    stays NaN where the metric says so; a class that is absent scores what `absent_class` says.
    """
    values = metric.function(areas)
    scored = np.where(np.isnan(values), metric.penalty, values)
    return np.where(areas.occurs, scored, rules.absent_value)


def in_class_mean(values: FloatArray, areas: ClassAreas, kept: BoolArray) -> BoolArray:
    """Which classes are in a mean over classes of their `class_values`, bool (..., K)."""
    # Where nothing occurs there is nothing to score, whatever an absent class counts as.
    return kept & ~np.isnan(values) & (areas.occurs & kept).any(axis=-1, keepdims=True)


class _GroupSums:
    """The sums of each group: integers only, so that neither order nor cut of the blocks shows."""

    def __init__(
        self, num_groups: int, classes: ClassList, rules: ScoringRules, weights: ImageWeights | None
    ) -> None:
        self._classes, self._rules, self._weights = classes, rules, weights
        self._images = np.zeros(num_groups, np.int64)
        self._counts = {name: np.zeros(num_groups, np.int64) for name in COUNT_NAMES}
        self._areas = {name: np.zeros((num_groups, len(classes)), np.int64) for name in _AREAS}
        self._void = np.zeros(num_groups, np.int64)
        self._means = ImageMeans(num_groups, classes, rules)

    def add(self, cells: ConfusionCells, groups: IntArray, start: int) -> ImageScores:
        """Add images, each to its groups (way, image); returns what they score by themselves.

        Counts of pixels are plain; areas are times the weights of the images `start`, `start` + 1, ...
        """
        areas = weighed = ClassAreas.from_cells(cells, invalid_pred=self._rules.invalid_pred)
        counts, weights = image_counts(cells), None
        if self._weights is not None:
            weights = self._weights.units[start : start + len(cells)]
            own_cells = self._weights.weighed(cells, start)
            weighed = ClassAreas.from_cells(own_cells, invalid_pred=self._rules.invalid_pred)
        images = score_images(areas, self._classes, self._rules)
        for own in groups:
            np.add.at(self._images, own, 1)
            for name, pixels in counts.items():
                np.add.at(self._counts[name], own, pixels)
            for name in _AREAS:
                np.add.at(self._areas[name], own, getattr(weighed, name))
            np.add.at(self._void, own, weighed.void)
            self._means.add(images, own, weights)
        return images

    def scores(self) -> Iterator[Scores]:
        """The scores of every group."""
        self._means.finish()
        return map(self._scores, range(len(self._images)))

    def distributions(self) -> tuple[Distribution, ...]:
        """How the scores of the images that have a class are spread, where there is one group."""
        records = [one for one in chosen_metrics(self._rules.metrics) if one.per_class and one.by_image]
        number, percent = len(self._classes), self._rules.worst_percent
        return tuple(
            class_distribution(one, *self._means.class_values(one), number, percent) for one in records
        )

    def _scores(self, group: int) -> Scores:
        hit, truth, pred = (self._areas[name][group] for name in _AREAS)
        areas = ClassAreas(hit, truth, pred, self._void[group])
        counts = {name: int(values[group]) for name, values in self._counts.items()}
        images = int(self._images[group])
        pooled = pooled_scores(areas, self._classes, self._rules, counts=counts, images=images)
        if self._weights is not None:
            pooled = replace(pooled, units_per_pixel=self._weights.per_pixel)
        more = [
            self._per_image(mean, pooled, images)
            for metric in chosen_metrics(self._rules.metrics)
            for mean in self._means.of(metric, group)
        ]
        return replace(pooled, aggregates={**pooled.aggregates, **{one.name: one for one in more}})

    def _per_image(self, mean: ImageMean, pooled: Scores, images: int) -> Aggregate:
        """A mean over images as an aggregate, of the metric of a pooled one."""
        metric, areas = mean.metric, pooled.areas
        one = pooled.aggregates[metric.averages[0]]
        classes, used = self._classes, mean.classes_used(areas, self._rules.kept(self._classes))
        return replace(
            one, name=mean.name, title=f"{one.title} {mean.title}", value=mean.value,
            averaging="per-image", rule=mean.rule,
            classes_used=_names(classes, used),
            classes_dropped=_dropped(metric, areas, classes, self._rules, used, missing=NOT_IN_TRUTH),
            flagged={name: why for name, why in one.flagged.items() if used[classes.names.index(name)]},
            images_used=mean.images, images_dropped=images - mean.images,
            main=metric.by_image and not mean.worst,
        )  # fmt: skip


def _names(classes: ClassList, chosen: BoolArray) -> tuple[str, ...]:
    return tuple(classes.names[index] for index in np.flatnonzero(chosen))


def _dropped(
    metric: Metric, areas: ClassAreas, classes: ClassList, rules: ScoringRules, used: BoolArray,
    missing: str = NO_VALUE,
) -> dict[str, str]:  # fmt: skip
    """Why each class is not in a figure; `missing` if it could be and has no value."""
    leaves_out = metric.per_class or metric.over == "truth classes"
    excluded = ~rules.kept(classes) & leaves_out
    why = np.where(excluded, EXCLUDED, np.where(areas.occurs, missing, ABSENT))
    return {classes.names[index]: str(why[index]) for index in np.flatnonzero(~used)}


def _class_mean(metric: Metric, areas: ClassAreas, classes: ClassList, rules: ScoringRules) -> Aggregate:
    """The mean over classes of summed counts (macro); NaN where no class that is kept occurs."""
    values = class_values(metric, areas, rules)
    used = in_class_mean(values, areas, rules.kept(classes))
    return _aggregate(
        metric, name=f"mean_{metric.name}", title=f"Mean {metric.title}",
        value=float(row_means(values, used)),
        rule=f"mean over classes, of counts summed over all images; absent classes: {rules.absent_class}",
        classes_used=_names(classes, used),
        classes_dropped=_dropped(metric, areas, classes, rules, used),
        flagged=_flagged(metric, areas, classes, used),
    )  # fmt: skip


def _flagged(metric: Metric, areas: ClassAreas, classes: ClassList, used: BoolArray) -> dict[str, str]:
    """Classes in the mean that a reader should know of."""
    values = metric.function(areas)
    notes = {}
    for index in np.flatnonzero(used & areas.occurs):
        scored = metric.penalty if np.isnan(values[index]) else values[index]
        if areas.truth[index] == 0:
            notes[classes.names[index]] = f"{PREDICTED_ONLY}: scores {scored:g}"
        elif np.isnan(values[index]):
            notes[classes.names[index]] = f"{NEVER_PREDICTED}: scores {scored:g}"
    return notes


def _overall(metric: Metric, areas: ClassAreas, classes: ClassList, rules: ScoringRules) -> Aggregate:
    """A figure of all classes together."""
    used = classes_of(metric, areas, rules.kept(classes))
    return _aggregate(
        metric, name=metric.name, title=metric.title,
        value=float(overall_values(metric, areas, rules.kept(classes))),
        rule=f"all classes together, of counts summed over all images; {metric.exclusion}",
        classes_used=_names(classes, used),
        classes_dropped=_dropped(metric, areas, classes, rules, used, missing=NOWHERE_IN_TRUTH),
        flagged={},
    )  # fmt: skip


def _aggregate(metric: Metric, **given: Any) -> Aggregate:
    """A pooled aggregate with what its metric says of it."""
    return Aggregate(
        averaging="pooled", formula=metric.formula, best=metric.best, minimum=metric.minimum,
        maximum=metric.maximum, metric=metric.name, main=metric.main, **given,
    )  # fmt: skip
