"""How the scores of images are spread, class by class: a mean says nothing of the images that it hides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.image_means import score_images
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.sums import row_means, worst_means
from segpipe.metrics.weights import ImageWeights

FIGURES = ("mean", "sd", "lowest", "lower_quartile", "median", "upper_quartile", "highest", "worst")
"""What is told of the scores, in the order of tables."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Distribution:
    """The scores of one metric in the images that have a class (the rule `present`), for each class.

    Every image counts alike, whatever its weight; those of weight 0 are left out. The quartiles lie between
    two values by their distance (Hyndman and Fan 1996, type 7). All are NaN where no image has the class.

    Attributes:
        metric: its name.
        images: int64 (K,), how many images have a score.
        mean, sd, lowest, lower_quartile, median, upper_quartile, highest: float64 (K,); sd is that of a
            sample, NaN of one image.
        worst: float64 (K,), the mean of the worst `worst_percent` of the images, one at least.
    """

    metric: str
    images: NDArray[np.int64]
    mean: FloatArray
    sd: FloatArray
    lowest: FloatArray
    lower_quartile: FloatArray
    median: FloatArray
    upper_quartile: FloatArray
    highest: FloatArray
    worst: FloatArray

    def rows(self, classes: ClassList) -> list[dict[str, Any]]:
        """One row per class."""
        return [
            {
                "metric": self.metric,
                "class_id": class_id,
                "class_name": name,
                "images": int(self.images[class_id]),
                **{figure: float(getattr(self, figure)[class_id]) for figure in FIGURES},
            }
            for class_id, name in enumerate(classes.names)
        ]


def class_distributions(
    blocks: Iterable[ConfusionCells],
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> tuple[Distribution, ...]:
    """The distribution of every per-class metric that tables keep by image (IoU and, if computed, Dice).

    Neither order nor cut of the blocks matters. 8 bytes for every image and class that it has stay in memory,
    and 8 for each metric.

    >>> from segpipe.kernels.cells import ConfusionCells
    >>> maps = np.zeros((3, 3, 3), np.int64)
    >>> maps[:, 0, 0], maps[:, 0, 2] = (1, 2, 4), (3, 2, 0)
    >>> (iou,) = class_distributions(
    ...     [ConfusionCells.from_dense(maps)], ClassList(("road",)), ScoringRules(metrics=("iou",))
    ... )
    >>> iou.mean, iou.median, iou.sd.round(3), iou.worst
    (array([0.58333333]), array([0.5]), array([0.382]), array([0.25]))
    """
    records = [one for one in chosen_metrics(rules.metrics) if one.per_class]
    kept = [at for at, one in enumerate(records) if one.by_image]
    class_ids, values = [np.empty(0, np.int64)], [np.empty((len(kept), 0))]
    start = 0
    for block in blocks:
        areas = ClassAreas.from_cells(block, invalid_pred=rules.invalid_pred)
        scores = score_images(areas, classes, rules)
        counted = slice(None) if weights is None else weights.units[start + scores.image] > 0
        class_ids.append(scores.class_id[counted])
        values.append(scores.per_class[kept][:, counted])
        start += len(block)
    every = np.concatenate(class_ids)
    return tuple(
        _distribution(records[at], every, own, len(classes), rules.worst_percent)
        for at, own in zip(kept, np.concatenate(values, axis=1), strict=True)
    )


def _distribution(
    metric: Metric, class_ids: NDArray[np.int64], values: FloatArray, num_classes: int, percent: float
) -> Distribution:
    there = ~np.isnan(values)
    class_ids, values = class_ids[there], values[there]
    order = np.lexsort((values, class_ids))
    starts = np.searchsorted(class_ids[order], np.arange(num_classes + 1))
    own = [values[order[first:stop]] for first, stop in pairwise(starts.tolist())]
    worst, _ = worst_means(class_ids, values, num_classes, percent, highest=metric.lower_is_better)
    means = np.array([_mean(one) for one in own])
    figures = {"lowest": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "highest": 1.0}
    return Distribution(
        metric=metric.name,
        images=np.diff(starts).astype(np.int64),
        mean=means,
        sd=np.array([_sd(one, mean) for one, mean in zip(own, means.tolist(), strict=True)]),
        worst=worst,
        **{name: np.array([quantile(one, share) for one in own]) for name, share in figures.items()},
    )


def _mean(values: FloatArray) -> float:
    return float(row_means(values, np.ones(len(values), np.bool_)))


def _sd(values: FloatArray, mean: float) -> float:
    """The standard deviation of a sample, with n - 1; NaN of one value."""
    if len(values) < 2:
        return float("nan")
    return float(np.sqrt(_mean((values - mean) ** 2) * (len(values) / (len(values) - 1))))


def quantile(ascending: FloatArray, share: float) -> float:
    """The quantile of sorted values, between two of them by their distance (Hyndman and Fan 1996, type 7).

    NaN of no values.

    >>> quantile(np.array([1.0, 2.0, 4.0]), 0.75)
    3.0
    """
    if not len(ascending):
        return float("nan")
    place = (len(ascending) - 1) * share
    below = min(int(place), len(ascending) - 1)
    above = min(below + 1, len(ascending) - 1)
    low, high = float(ascending[below]), float(ascending[above])
    return low if low == high else low + (high - low) * (place - below)
