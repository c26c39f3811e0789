"""Threshold sweep: precision, recall and false alarms at every threshold of the probability of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Setting
from pydantic import field_validator

from segpipe.kernels.score_bins import count_scores
from segpipe.statistics.base import Counts, Field, Need, Pixels, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio

DAVIS = "Davis and Goadrich 2006, doi:10.1145/1143844.1143874"
FAWCETT = "Fawcett 2006, doi:10.1016/j.patrec.2005.10.010"
RIJSBERGEN = "van Rijsbergen 1979, Information Retrieval"


def at_thresholds(fields: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """True positives and false alarms at every threshold i / bins, where p >= i / bins is positive.

    Returns:
        Two arrays (..., K, bins).

    >>> at_thresholds({"positive": np.array([[1.0, 2]]), "negative": np.array([[3.0, 1]])})
    (array([[3., 2.]]), array([[4., 1.]]))
    """
    hits, alarms = (
        np.cumsum(fields[name][..., ::-1], axis=-1)[..., ::-1] for name in ("positive", "negative")
    )
    return hits, alarms


def average_precision(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Sum over thresholds of precision times the step in recall, shape (..., K). Range 0 to 1, best 1.

    Scores of one bin count as equal. NaN where the class is not in truth (Davis and Goadrich 2006, without
    interpolation).

    >>> average_precision({"positive": np.array([[1.0, 2]]), "negative": np.array([[3.0, 1]])})
    array([0.58730159])
    """
    hits, alarms = at_thresholds(fields)
    precision = np.nan_to_num(ratio(hits, hits + alarms))
    return ratio((fields["positive"] * precision).sum(axis=-1), fields["positive"].sum(axis=-1))


def auroc(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Area under the curve of recall over false alarms, shape (..., K). Range 0 to 1, best 1.

    The probability that a pixel of the class has a higher score than one that is not; equal bins count half.
    NaN where truth has only pixels of the class, or none (Fawcett 2006).

    >>> auroc({"positive": np.array([[1.0, 2]]), "negative": np.array([[3.0, 1]])})
    array([0.70833333])
    """
    hits, _ = at_thresholds(fields)
    above = ratio(hits - fields["positive"] / 2, fields["positive"].sum(axis=-1, keepdims=True))
    # Divided by the pixels of the class first: if all lie above it is 1 exactly, and so is the area.
    return ratio((fields["negative"] * above).sum(axis=-1), fields["negative"].sum(axis=-1))


def best_f1(fields: Mapping[str, FloatArray]) -> FloatArray:
    """The largest F1 of any threshold, 2 tp / (t + tp + fp), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is not in truth (van Rijsbergen 1979).

    >>> best_f1({"positive": np.array([[1.0, 2]]), "negative": np.array([[3.0, 1]])})
    array([0.66666667])
    """
    hits, alarms = at_thresholds(fields)
    truth = fields["positive"].sum(axis=-1, keepdims=True)
    score: FloatArray = ratio(2 * hits, np.where(truth > 0, truth + hits + alarms, 0.0)).max(axis=-1)
    return score


def _metric(function: Any, title: str, formula: str, nothing: str, source: str) -> StatisticMetric:
    return StatisticMetric(
        name=function.__name__, title=title, per_class=True, formula=formula, nothing=nothing, source=source,
        function=function,
    )  # fmt: skip


@statistic("threshold_sweep")
class ThresholdSweep(Statistic):
    """Histograms of the probability of every class, over pixels of the class and over all others.

    Class by class, so a problem of K classes is K problems of class against the rest. `bins` is a power of 2:
    every threshold i / bins is then a number that floats hold exactly, and what is positive at it (p >= t)
    is exact too. Logits go through softmax; binary scores are the probability of class 1. A pixel takes part
    where truth and prediction are classes. It keeps 16 x K x bins bytes of every image.

    >>> codes = np.array([[[0, 1, 1]]])
    >>> scores = np.array([[[[0.25, 0.5, 1.0]]]])
    >>> counts = ThresholdSweep(bins=4).count(Pixels(2, codes, codes, scores=scores, representation="binary"))
    >>> counts["positive"][0, 1].tolist(), counts["negative"][0, 1].tolist()
    ([0, 0, 1, 1], [0, 1, 0, 0])
    """

    title: ClassVar[str] = "Threshold sweep"
    source: ClassVar[str] = FAWCETT
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        _metric(average_precision, "Average precision", "sum precision x step in recall",
                "NaN where the class is not in truth", DAVIS),
        _metric(auroc, "Area under the ROC curve", "area of recall over false alarms",
                "NaN where truth has only pixels of the class, or none", FAWCETT),
        _metric(best_f1, "Best F1", "max over thresholds of 2 tp / (t + tp + fp)",
                "NaN where the class is not in truth", RIJSBERGEN),
    )  # fmt: skip

    bins: int = Setting(default=256, ge=2, le=65536)

    @field_validator("bins")
    @classmethod
    def _power_of_two(cls, bins: int) -> int:
        if bins & (bins - 1):
            message = f"bins is {bins}, expected a power of 2: 64, 128, 256, ..."
            raise ValueError(message)
        return bins

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Two histograms of every class."""
        return (
            self._histogram(num_classes, "positive", "pixels of the class, by its probability"),
            self._histogram(
                num_classes, "negative", "pixels of other classes, by the probability of this one"
            ),
        )

    def _histogram(self, num_classes: int, name: str, meaning: str) -> Field:
        shape = (num_classes, self.bins)
        return Field(name=name, meaning=meaning, dims=("class", "bin"), shape=shape, units="pixel")

    def bytes_per_pixel(self, num_classes: int) -> int:
        """The codes; probabilities are made a strip at a time."""
        return 8

    def unfit(self, representation: str, dtype: np.dtype[Any]) -> str:
        """Whole numbers are no probabilities."""
        return "" if dtype.kind == "f" else f"scores of dtype {dtype} are no probabilities"

    def count(self, pixels: Pixels) -> Counts:
        """The histograms of every image."""
        scores, classes = pixels.scores, pixels.num_classes
        assert scores is not None
        counts = np.zeros((len(pixels.truth), 2, classes, self.bins), np.int64)
        for image, of_image in enumerate(zip(scores, pixels.truth, pixels.pred, strict=True)):
            counts[image] = count_scores(*of_image, pixels.representation, classes, self.bins)
        return {"negative": counts[:, 0], "positive": counts[:, 1]}
