"""Boundary F: how much of the contours of truth and prediction lies near each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Setting

from segpipe.kernels.contours import count_contours
from segpipe.statistics.base import Counts, Field, Pixels, Scope, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio
from segpipe.statistics.widths import width_px

CSURKA = "Csurka et al. 2013, doi:10.5244/C.27.32"
NAMES = ("truth", "truth_hit", "pred", "pred_hit")


def boundary_precision(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Predicted contour near that of truth, pred_hit / pred, shape (..., K). Range 0 to 1, best 1.

    NaN where the prediction has no contour of the class (Csurka et al. 2013, doi:10.5244/C.27.32).

    >>> boundary_precision({"pred": np.array([4.0, 0]), "pred_hit": np.array([3.0, 0])})
    array([0.75,  nan])
    """
    return ratio(fields["pred_hit"], fields["pred"])


def boundary_recall(fields: Mapping[str, FloatArray]) -> FloatArray:
    """True contour near the predicted one, truth_hit / truth, shape (..., K). Range 0 to 1, best 1.

    NaN where truth has no contour of the class (Csurka et al. 2013, doi:10.5244/C.27.32).

    >>> boundary_recall({"truth": np.array([4.0, 0]), "truth_hit": np.array([2.0, 0])})
    array([0.5, nan])
    """
    return ratio(fields["truth_hit"], fields["truth"])


def boundary_f(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Harmonic mean of boundary precision and recall, shape (..., K). Range 0 to 1, best 1.

    0 where only one side has a contour of the class, or nothing lies near; NaN where neither has one (Csurka
    et al. 2013, doi:10.5244/C.27.32).

    >>> sums = {"truth": [4.0, 4, 0], "truth_hit": [2.0, 0, 0], "pred": [4.0, 0, 0], "pred_hit": [4.0, 0, 0]}
    >>> boundary_f({name: np.array(values) for name, values in sums.items()})
    array([0.66666667, 0.        ,        nan])
    """
    precision, recall = boundary_precision(fields), boundary_recall(fields)
    score = ratio(2.0 * precision * recall, precision + recall)
    occurs = fields["truth"] + fields["pred"] > 0
    return np.where(occurs & np.isnan(score), 0.0, score)


def _metric(function: Any, title: str, formula: str, nothing: str) -> StatisticMetric:
    return StatisticMetric(
        name=function.__name__, title=title, per_class=True, formula=formula,
        nothing=f"NaN where {nothing} contour of the class", source=CSURKA, function=function,
    )  # fmt: skip


@statistic("boundary_f")
class BoundaryF(Statistic):
    """Contour pixels of every class in truth and pred, and how many have one of the other side near by.

    A contour pixel lies beside a pixel of another class (4 neighbours, 6 in a volume), and near is no farther
    than `tolerance_px`, measured straight. Without `tolerance_px` it is `tolerance_share` of the diagonal of
    the image, rounded, at least 1. The edge of the image makes no contour, and neither do pixels of ignored
    truth, which are taken for pixels beyond the edge.

    >>> codes = np.array([[[0, 0, 0, 1, 1, 1]]]), np.array([[[0, 0, 0, 0, 1, 0]]])
    >>> counts = BoundaryF(tolerance_px=1).count(Pixels(2, *codes))
    >>> counts["pred"].tolist(), counts["pred_hit"].tolist()
    ([[2, 1]], [[1, 1]])
    """

    title: ClassVar[str] = "Boundary F"
    source: ClassVar[str] = CSURKA
    scope: ClassVar[Scope] = "halo"
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        _metric(boundary_f, "Boundary F", "2 P R / (P + R), P = pred_hit / pred, R = truth_hit / truth",
                "neither truth nor prediction has a"),
        _metric(boundary_precision, "Boundary precision", "pred_hit / pred", "the prediction has no"),
        _metric(boundary_recall, "Boundary recall", "truth_hit / truth", "truth has no"),
    )  # fmt: skip

    tolerance_px: int | None = Setting(default=None, ge=0)
    tolerance_share: float = Setting(default=0.0075, gt=0, lt=1)

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Contour pixels of every class."""
        meanings = (
            "contour pixels of the class in truth",
            "those of them that the prediction has near by",
            "contour pixels of the class in the prediction",
            "those of them that truth has near by",
        )
        return tuple(Field.of_classes(num_classes, *words) for words in zip(NAMES, meanings, strict=True))

    def halo(self, size: tuple[int, ...] | None) -> int | None:
        """As far as is looked, and one pixel more, beside which the contour runs."""
        tolerance = width_px(self.tolerance_px, self.tolerance_share, size)
        return None if tolerance is None else tolerance + 1

    def bytes_per_pixel(self, num_classes: int) -> int:
        """Codes, contours and marks of both sides."""
        return 24

    def count(self, pixels: Pixels) -> Counts:
        """The contours of every image."""
        tolerance = width_px(self.tolerance_px, self.tolerance_share, pixels.truth.shape[1:])
        assert tolerance is not None
        counts = np.zeros((len(pixels.truth), 4, pixels.num_classes), np.int64)
        for image, sides in enumerate(zip(pixels.truth, pixels.pred, strict=True)):
            counts[image] = count_contours(*sides, pixels.num_classes, tolerance, pixels.core)
        return {name: counts[:, at] for at, name in enumerate(NAMES)}
