"""Churn: what changes from one prediction to another, and whether it is for the better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from segpipe.kernels.changes import count_changes
from segpipe.statistics.base import Counts, Field, Need, Pixels, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio

FARD = "Fard et al. 2016, Launch and Iterate: Reducing Prediction Churn"
YAN = "Yan et al. 2021, doi:10.1109/CVPR46437.2021.01407"
MEANINGS = {
    "truth": "pixels of the class in truth",
    "right": "those of them where the prediction is right",
    "other_right": "those of them where the other prediction is right",
    "both_right": "those of them where both are right",
    "same": "those of them where both say the same, right or wrong",
    "pred": "pixels of the class in the prediction, where truth is a class",
    "other": "pixels of the class in the other prediction, where truth is a class",
    "both": "pixels of the class in both predictions, where truth is a class",
}


def churn(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Share of the pixels where the two predictions differ, 1 - same / truth, shape (...,). Best 0.

    Range 0 to 1; NaN where there is no pixel (Fard et al. 2016).

    >>> float(churn({"truth": np.array([3.0, 1]), "same": np.array([2.0, 1])}))
    0.25
    """
    pixels = fields["truth"].sum(axis=-1)
    return ratio(pixels - fields["same"].sum(axis=-1), pixels)


def negative_flip_rate(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Share of the pixels where the other prediction is right and this one is wrong, shape (...,). Best 0.

    (other_right - both_right) / truth. Range 0 to 1; NaN where there is no pixel (Yan et al. 2021).

    >>> sums = {"truth": [3.0, 1], "other_right": [2.0, 1], "both_right": [1.0, 1]}
    >>> float(negative_flip_rate({name: np.array(values) for name, values in sums.items()}))
    0.25
    """
    broken = (fields["other_right"] - fields["both_right"]).sum(axis=-1)
    return ratio(broken, fields["truth"].sum(axis=-1))


def repair_rate(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Share of the other prediction's errors that this one puts right, shape (...,). Best 1.

    (right - both_right) / (truth - other_right). Range 0 to 1; NaN where the other one makes no error.

    >>> sums = {"truth": [3.0, 1], "right": [2.0, 1], "other_right": [1.0, 0], "both_right": [1.0, 0]}
    >>> float(repair_rate({name: np.array(values) for name, values in sums.items()}).round(3))
    0.667
    """
    repaired = (fields["right"] - fields["both_right"]).sum(axis=-1)
    return ratio(repaired, (fields["truth"] - fields["other_right"]).sum(axis=-1))


def agreement_iou(fields: Mapping[str, FloatArray]) -> FloatArray:
    """IoU of the two predictions, both / (pred + other - both), shape (..., K). Range 0 to 1, best 1.

    NaN where neither predicts the class.

    >>> agreement_iou({"pred": np.array([2.0, 0]), "other": np.array([3.0, 0]), "both": np.array([1.0, 0])})
    array([0.25,  nan])
    """
    return ratio(fields["both"], fields["pred"] + fields["other"] - fields["both"])


def _metric(
    function: Any, title: str, formula: str, nothing: str, source: str, **record: Any
) -> StatisticMetric:
    return StatisticMetric(
        name=function.__name__, title=title, formula=formula, nothing=f"NaN where {nothing}", source=source,
        function=function, **record,
    )  # fmt: skip


@statistic("churn")
class Churn(Statistic):
    """Pixels where two predictions agree, and where each of them is right, class by class.

    Only pixels count whose truth is a class. Void and invalid predictions are no class, and two of them say
    the same.

    >>> truth, pred, other = np.array([[0, 0, 1, 2], [0, 1, 1, 0], [0, 0, 0, 1]])[:, np.newaxis]
    >>> counts = Churn().count(Pixels(2, truth, pred, other=other))
    >>> counts["right"].tolist(), counts["other_right"].tolist(), counts["both"].tolist()
    ([[1, 1]], [[2, 0]], [[1, 0]])
    """

    title: ClassVar[str] = "Churn"
    source: ClassVar[str] = FARD
    needs: ClassVar[frozenset[Need]] = frozenset({"other"})
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        _metric(churn, "Churn", "1 - sum same / sum truth", "there is no pixel", FARD,
                per_class=False, best=0.0),
        _metric(negative_flip_rate, "Negative flips", "sum (other_right - both_right) / sum truth",
                "there is no pixel", YAN, per_class=False, best=0.0),
        _metric(repair_rate, "Repaired errors", "sum (right - both_right) / sum (truth - other_right)",
                "the other prediction makes no error", YAN, per_class=False),
        _metric(agreement_iou, "IoU of the predictions", "both / (pred + other - both)",
                "neither predicts the class", FARD, per_class=True),
    )  # fmt: skip

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Eight areas of every class."""
        return tuple(Field.of_classes(num_classes, name, meaning) for name, meaning in MEANINGS.items())

    def count(self, pixels: Pixels) -> Counts:
        """The areas of every image."""
        assert pixels.other is not None
        counts = np.zeros((len(pixels.truth), len(MEANINGS), pixels.num_classes), np.int64)
        for image, sides in enumerate(zip(pixels.truth, pixels.pred, pixels.other, strict=True)):
            counts[image] = count_changes(*sides, pixels.num_classes)
        return {name: counts[:, at] for at, name in enumerate(MEANINGS)}
