"""Soft IoU and Dice: how far probabilities, not labels, cover each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from segpipe.kernels.overlap import sum_overlap
from segpipe.statistics.base import Counts, Field, Need, Pixels, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio

STEP_BITS = 30
"""A probability is rounded once, to a whole number of 2^-30."""

NOT_IN_TRUTH = "NaN where the class is not in truth: nearly every probability is more than 0"
MILLETARI = "Milletari et al. 2016, doi:10.1109/3DV.2016.79"
RAHMAN = "Rahman and Wang 2016, doi:10.1007/978-3-319-50835-1_22"


def soft_iou(fields: Mapping[str, FloatArray]) -> FloatArray:
    """sum t p / (sum t + sum p - sum t p), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is not in truth (Rahman and Wang 2016, doi:10.1007/978-3-319-50835-1_22).

    >>> soft_iou({"hit": np.array([1.5, 0]), "truth": np.array([2.0, 0]), "pred": np.array([2.5, 0.5])})
    array([0.5, nan])
    """
    union = fields["truth"] + fields["pred"] - fields["hit"]
    return ratio(fields["hit"], np.where(fields["truth"] > 0, union, 0.0))


def soft_dice(fields: Mapping[str, FloatArray]) -> FloatArray:
    """2 sum t p / (sum t + sum p), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is not in truth (Milletari et al. 2016, doi:10.1109/3DV.2016.79, without squares).

    >>> soft_dice({"hit": np.array([1.5, 0]), "truth": np.array([2.0, 0]), "pred": np.array([2.0, 0.5])})
    array([0.75,  nan])
    """
    both = fields["truth"] + fields["pred"]
    return ratio(2.0 * fields["hit"], np.where(fields["truth"] > 0, both, 0.0))


@statistic("soft_overlap")
class SoftOverlap(Statistic):
    """Sums of t, p and t p of every class, t 1 or 0 and p the probability, over all pixels of valid truth.

    Logits go through softmax; binary scores are the probability of class 1, and that of class 0 is the rest.
    Probabilities below 0 and above 1 count as 0 and 1. Where a prediction is void or invalid all p are 0. exp
    is made of sums and products here, so the sums are the same on every CPU.

    >>> scores = np.array([[[[0.75, 0.5]], [[0.25, 0.5]]]])
    >>> codes = np.array([[[0, 1]]]), np.array([[[0, 0]]])
    >>> counts = SoftOverlap().count(Pixels(2, *codes, scores=scores, representation="probabilities"))
    >>> (counts["hit"] / 2**STEP_BITS).tolist(), (counts["pred"] / 2**STEP_BITS).tolist()
    ([[0.75, 0.5]], [[1.25, 0.75]])
    """

    title: ClassVar[str] = "Soft overlap"
    source: ClassVar[str] = MILLETARI
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        StatisticMetric(
            name="soft_iou", title="Soft IoU", per_class=True, formula="sum t p / (sum t + sum p - sum t p)",
            nothing=NOT_IN_TRUTH, source=RAHMAN, function=soft_iou,
        ),
        StatisticMetric(
            name="soft_dice", title="Soft Dice", per_class=True, formula="2 sum t p / (sum t + sum p)",
            nothing=NOT_IN_TRUTH, source=MILLETARI, function=soft_dice,
        ),
    )  # fmt: skip

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Areas of every class, those of pred and of the overlap in parts of a pixel."""
        meanings = "sum of the probabilities of the class", "the same over the pixels of the class in truth"
        return (
            Field.of_classes(num_classes, "truth", "pixels of the class in truth"),
            Field.of_classes(num_classes, "pred", meanings[0], step_bits=STEP_BITS),
            Field.of_classes(num_classes, "hit", meanings[1], step_bits=STEP_BITS),
        )

    def bytes_per_pixel(self, num_classes: int) -> int:
        """The codes; probabilities are made a strip at a time."""
        return 8

    def unfit(self, representation: str, dtype: np.dtype[Any]) -> str:
        """Whole numbers are no probabilities."""
        return "" if dtype.kind == "f" else f"scores of dtype {dtype} are no probabilities"

    def count(self, pixels: Pixels) -> Counts:
        """The sums of every image."""
        scores, classes = pixels.scores, pixels.num_classes
        assert scores is not None
        sums = np.zeros((len(pixels.truth), 3, classes), np.int64)
        for image, of_image in enumerate(zip(scores, pixels.truth, pixels.pred, strict=True)):
            sums[image] = sum_overlap(*of_image, pixels.representation, classes)
        return {"truth": sums[:, 0], "pred": sums[:, 1], "hit": sums[:, 2]}
