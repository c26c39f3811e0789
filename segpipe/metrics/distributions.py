"""How the scores of images are spread, class by class: a mean says nothing of the images that it hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.metrics.base import FloatArray, Metric
from segpipe.metrics.sums import by_place, row_means, worst_number

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


def class_distribution(
    metric: Metric, class_ids: NDArray[np.int64], values: FloatArray, num_classes: int, percent: float
) -> Distribution:
    """The distribution of the scores of images, class by class; their order does not matter.

    Args:
        metric: whose scores they are.
        class_ids: (value,), the class of each.
        values: (value,), none NaN.
        num_classes: K.
        percent: how many percent of the images are the worst.

    >>> from segpipe.metrics.base import METRICS
    >>> values = np.array([0.25, 0.5, 1.0])
    >>> iou = class_distribution(METRICS["iou"], np.zeros(3, np.int64), values, 1, percent=5)
    >>> iou.mean, iou.median, iou.sd.round(3), iou.worst
    (array([0.58333333]), array([0.5]), array([0.382]), array([0.25]))
    """
    number = np.bincount(class_ids, minlength=num_classes)
    starts = np.cumsum(number)[:-1]
    own = [np.sort(one) for one in np.split(values[by_place(class_ids, num_classes)], starts)]
    taken = worst_number(number, percent).tolist()
    means = np.array([_mean(one) for one in own])
    figures = {"lowest": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "highest": 1.0}
    return Distribution(
        metric=metric.name,
        images=number,
        mean=means,
        sd=np.array([_sd(one, mean) for one, mean in zip(own, means.tolist(), strict=True)]),
        worst=np.array([_worst(one, count, metric) for one, count in zip(own, taken, strict=True)]),
        **{name: np.array([quantile(one, share) for one in own]) for name, share in figures.items()},
    )


def _worst(ascending: FloatArray, number: int, metric: Metric) -> float:
    """The mean of so many values at the bad end."""
    return _mean(ascending[len(ascending) - number :] if metric.lower_is_better else ascending[:number])


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
