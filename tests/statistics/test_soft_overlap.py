"""Soft overlap against its definition, written out for every pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segpipe.statistics.base import Pixels, real_values
from segpipe.statistics.defined.soft_overlap import SoftOverlap

TRUTH = [[0, 1, 2], [2, 3, 1]]
PRED = [[0, 1, 1], [2, 0, 4]]


def by_hand(logits: np.ndarray, truth: list[list[int]], pred: list[list[int]]) -> list[list[float]]:
    """Truth, pred and hit of every class by plain Python."""
    sums = [[0.0] * 3 for _ in range(3)]
    for y, row in enumerate(truth):
        for x, true in enumerate(row):
            if true >= 3:
                continue
            sums[0][true] += 1
            if pred[y][x] >= 3:
                continue
            powers = [math.exp(logits[c, y, x]) for c in range(3)]
            for c in range(3):
                sums[1][c] += powers[c] / math.fsum(powers)
            sums[2][true] += powers[true] / math.fsum(powers)
    return sums


def test_logits_go_through_softmax_and_only_valid_pixels_take_part() -> None:
    """Ignored truth takes no part; an invalid prediction covers nothing and is missed all the same."""
    logits = np.random.default_rng(1).normal(size=(3, 2, 3)).astype(np.float32)
    logits[:, 1, 2] = np.nan
    pixels = Pixels(3, np.array([TRUTH]), np.array([PRED]), logits[None], "logits")
    fields = SoftOverlap().fields(3)
    values = real_values(SoftOverlap().count(pixels), fields)
    for name, expected in zip(("truth", "pred", "hit"), by_hand(logits, TRUTH, PRED), strict=True):
        np.testing.assert_allclose(values[name][0], expected, atol=1e-8)


def test_a_hard_prediction_scores_as_labels_do() -> None:
    """With probabilities 0 and 1 soft IoU is IoU, and a perfect one exactly 1."""
    truth = np.array([[[0, 0, 1, 2]]])
    scores = np.eye(3)[truth].transpose(0, 3, 1, 2)
    iou, dice = (metric.function for metric in SoftOverlap().metrics)
    counts = SoftOverlap().count(Pixels(3, truth, truth, scores, "probabilities"))
    values = real_values(counts, SoftOverlap().fields(3))
    assert iou(values).tolist() == dice(values).tolist() == [[1.0, 1.0, 1.0]]


def test_binary_scores_are_those_of_class_1() -> None:
    """And the rest is that of class 0; out of range they count as 0 and 1."""
    truth = np.array([[[0, 1, 1]]])
    scores = np.array([[[[0.25, 0.75, 3.0]]]], np.float32)
    counts = SoftOverlap().count(Pixels(2, truth, truth, scores, "binary"))
    assert real_values(counts, SoftOverlap().fields(2))["hit"].tolist() == [[0.75, 1.75]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_of_scores_does_not_matter(dtype: type[np.floating]) -> None:
    """Values that every float type holds give the same counts."""
    scores = np.array([[[[0.5, 0.25]], [[0.5, 0.75]]]], dtype)
    codes = np.array([[[0, 1]]])
    counts = SoftOverlap().count(Pixels(2, codes, codes, scores, "probabilities"))
    assert counts["pred"].tolist() == [[3 << 28, 5 << 28]]
