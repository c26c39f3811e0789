"""Intervals hold the true score about as often as they say; `python -m tests.bench intervals` in short."""

from __future__ import annotations

import pytest

from tests.bench.simulation import SCORES, Case, coverage, true_scores

DATASETS = 60


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    """Of the population."""
    return true_scores(40_000)


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_intervals_of_95_percent_hold_the_true_score_that_often(method: str, truth: dict[str, float]) -> None:
    """Of 60 images, within four standard errors below."""
    held = coverage(Case(60, 1, False, method), truth, DATASETS, replicates=200)
    for name in SCORES:
        assert 0.84 <= held[name] <= 1.0, name


def test_images_of_one_video_are_no_independent_images(truth: dict[str, float]) -> None:
    """Drawing images where videos are what is independent, intervals miss the true score far too often."""
    by_image = coverage(Case(15, 8, False, "jackknife"), truth, DATASETS)
    by_video = coverage(Case(15, 8, True, "jackknife"), truth, DATASETS)
    assert by_image["mean_iou_per_image"] < 0.85
    assert by_video["mean_iou_per_image"] > by_image["mean_iou_per_image"]
