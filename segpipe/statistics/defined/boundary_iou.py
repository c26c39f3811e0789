"""Boundary IoU: how far the bands along the boundaries of truth and prediction cover each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field as Setting

from segpipe.kernels.bands import count_bands
from segpipe.statistics.base import Counts, Field, Pixels, Scope, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio
from segpipe.statistics.widths import width_px

CHENG = "Cheng et al. 2021, doi:10.1109/CVPR46437.2021.01508"


def boundary_iou(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Common band / (truth band + pred band - common band), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred (Cheng et al. 2021, doi:10.1109/CVPR46437.2021.01508).

    >>> boundary_iou({"truth": np.array([4.0, 0]), "pred": np.array([3.0, 0]), "both": np.array([2.0, 0])})
    array([0.4, nan])
    """
    return ratio(fields["both"], fields["truth"] + fields["pred"] - fields["both"])


@statistic("boundary_iou")
class BoundaryIoU(Statistic):
    """Areas of the band along the boundary of every class, in truth, in pred and of what they share.

    The band of a class is its mask without the mask eroded `width_px` times by a square of 3 x 3; what lies
    beyond the edge of the image is outside of every class. Without `width_px` the width is `width_share` of
    the diagonal of the image, rounded, at least 1. Pixels of ignored truth are taken for pixels beyond the
    edge, in truth and in pred: what a model says there changes nothing.

    >>> truth = np.array([[[0, 0, 0, 0, 1]] * 5])
    >>> counts = BoundaryIoU(width_px=1).count(Pixels(2, truth, np.zeros_like(truth)))
    >>> counts["truth"].tolist(), counts["pred"].tolist(), counts["both"].tolist()
    ([[14, 5]], [[16, 0]], [[11, 0]])
    """

    title: ClassVar[str] = "Boundary IoU"
    source: ClassVar[str] = CHENG
    scope: ClassVar[Scope] = "halo"
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        StatisticMetric(
            name="boundary_iou", title="Boundary IoU", per_class=True, formula="both / (truth + pred - both)",
            nothing="NaN where the class is in neither truth nor prediction", source=CHENG,
            function=boundary_iou,
        ),
    )  # fmt: skip

    width_px: int | None = Setting(default=None, ge=1)
    width_share: float = Setting(default=0.02, gt=0, lt=1)

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Three areas of every class."""
        return (
            Field.of_classes(num_classes, "truth", "pixels of the band in truth"),
            Field.of_classes(num_classes, "pred", "pixels of the band in the prediction"),
            Field.of_classes(num_classes, "both", "pixels of both bands"),
        )

    def halo(self, size: tuple[int, ...] | None) -> int | None:
        """The width of the band."""
        return width_px(self.width_px, self.width_share, size)

    def count(self, pixels: Pixels) -> Counts:
        """The areas of every image."""
        width = self.halo(pixels.truth.shape[1:])
        assert width is not None
        areas = np.zeros((len(pixels.truth), 3, pixels.num_classes), np.int64)
        for image, sides in enumerate(zip(pixels.truth, pixels.pred, strict=True)):
            areas[image] = count_bands(*sides, pixels.num_classes, width, pixels.core)
        return {"truth": areas[:, 0], "pred": areas[:, 1], "both": areas[:, 2]}
