"""Calibration: whether a model is right as often as it says it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Setting

from segpipe.kernels.confidence import UNIT_BITS, sum_confidence
from segpipe.statistics.base import Counts, Field, Need, Pixels, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio

GUO = "Guo et al. 2017, arXiv:1706.04599"
BRIER = "Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
NOTHING = "NaN where there is no pixel"


def ece(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Expected calibration error, sum over bins of |right - confidence| / pixels, shape (...,). Best 0.

    Range 0 to 1; NaN where there is no pixel (Guo et al. 2017, arXiv:1706.04599).

    >>> sums = {"pixels": [2.0, 2], "right": [0.0, 2], "confidence": [0.5, 1.5]}
    >>> float(ece({name: np.array(values) for name, values in sums.items()}))
    0.25
    """
    gaps = np.abs(fields["right"] - fields["confidence"])
    return ratio(gaps.sum(axis=-1), fields["pixels"].sum(axis=-1))


def mce(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Maximum calibration error, largest |right - confidence| / pixels of a bin, shape (...,). Best 0.

    Range 0 to 1; NaN where there is no pixel (Guo et al. 2017, arXiv:1706.04599).

    >>> sums = {"pixels": [1.0, 3, 0], "right": [0.0, 3, 0], "confidence": [0.5, 2.25, 0]}
    >>> float(mce({name: np.array(values) for name, values in sums.items()}))
    0.5
    """
    gaps = ratio(np.abs(fields["right"] - fields["confidence"]), fields["pixels"])
    largest = np.where(np.isnan(gaps), -1.0, gaps).max(axis=-1)
    return np.where(largest < 0, np.nan, largest)


def brier(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Mean over pixels of the sum over classes of (p - y)^2, of two classes half of it, shape (...,). Best 0.

    Range 0 to 2, of two classes 0 to 1, where it is (p - y)^2 of either; NaN where there is no pixel (Brier
    1950).

    >>> float(brier({"squares": np.array(0.5), "pixels": np.array([0.0, 2])}))
    0.25
    """
    return ratio(fields["squares"], fields["pixels"].sum(axis=-1))


def nll(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Mean over pixels of -log p of the true class, in nats, shape (...,). Best 0.

    Range 0 to 36.04, because a probability below 2^-52 counts as 2^-52; NaN where there is no pixel. Also
    called log loss or cross-entropy.

    >>> float(nll({"minus_log": np.array(1.5), "pixels": np.array([0.0, 2])}))
    0.75
    """
    return ratio(fields["minus_log"], fields["pixels"].sum(axis=-1))


def _metric(function: Any, title: str, formula: str, source: str, maximum: float = 1.0) -> StatisticMetric:
    return StatisticMetric(
        name=function.__name__, title=title, per_class=False, formula=formula, nothing=NOTHING, source=source,
        best=0.0, maximum=maximum, function=function,
    )  # fmt: skip


@statistic("calibration")
class Calibration(Statistic):
    """Pixels by the probability of the likeliest class, how many of them are right, and scores of all p.

    Bin i of `bins` holds confidences from i / bins up to, but not including, (i + 1) / bins; the last one
    holds 1 as well. Logits go through softmax; binary scores are the probability of class 1. A pixel takes
    part where truth and prediction are classes. Every term is rounded once to a whole number of 2^-30, and
    exp and log are made of sums and products here, so the sums are the same on every CPU.

    >>> codes = np.array([[[0, 1]]])
    >>> counts = Calibration(bins=2).count(
    ...     Pixels(2, codes, codes, scores=np.array([[[[0.25, 0.5]]]]), representation="binary")
    ... )
    >>> counts["pixels"].tolist(), (counts["confidence"] / 2**30).tolist(), counts["squares"] / 2**30
    ([[0, 2]], [[0.0, 1.25]], array([0.3125]))
    """

    title: ClassVar[str] = "Calibration"
    source: ClassVar[str] = GUO
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        _metric(ece, "Expected calibration error", "sum |right - confidence| / sum pixels", GUO),
        _metric(mce, "Maximum calibration error", "max |right - confidence| / pixels", GUO),
        _metric(brier, "Brier score", "squares / sum pixels", BRIER, maximum=2.0),
        _metric(nll, "Negative log likelihood", "minus_log / sum pixels", "Good 1952", 52 * math.log(2)),
    )

    bins: int = Setting(default=15, ge=1, le=1000)

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """The reliability table, and two sums."""
        return (
            self._by_bin("pixels", "pixels whose confidence lies in the bin", 0),
            self._by_bin("right", "those of them whose class is right", 0),
            self._by_bin("confidence", "sum of their confidence, the probability of the likeliest class"),
            _sum("squares", "sum of (p - y)^2 over classes and pixels, of two classes half of it", largest=2),
            _sum("minus_log", "sum over pixels of -log p of the true class", largest=37),
        )

    def _by_bin(self, name: str, meaning: str, step_bits: int = UNIT_BITS) -> Field:
        return Field(name=name, meaning=meaning, dims=("bin",), shape=(self.bins,), step_bits=step_bits)

    def bytes_per_pixel(self, num_classes: int) -> int:
        """The codes; probabilities are made a strip at a time."""
        return 8

    def unfit(self, representation: str, dtype: np.dtype[Any]) -> str:
        """Whole numbers are no probabilities."""
        return "" if dtype.kind == "f" else f"scores of dtype {dtype} are no probabilities"

    def count(self, pixels: Pixels) -> Counts:
        """The table of every image."""
        scores, kind = pixels.scores, pixels.representation
        assert scores is not None
        images = len(pixels.truth)
        tables, sums = np.zeros((images, 3, self.bins), np.int64), np.zeros((images, 2), np.int64)
        for image, of_image in enumerate(zip(scores, pixels.truth, pixels.pred, strict=True)):
            tables[image], sums[image] = sum_confidence(*of_image, kind, pixels.num_classes, self.bins)
        table = dict(zip(("pixels", "right", "confidence"), np.moveaxis(tables, 1, 0), strict=True))
        return {**table, "squares": sums[:, 0], "minus_log": sums[:, 1]}


def _sum(name: str, meaning: str, largest: int) -> Field:
    return Field(name=name, meaning=meaning, dims=(), shape=(), step_bits=UNIT_BITS, largest=largest)
