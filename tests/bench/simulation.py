"""Counts of images drawn from a population whose scores are known: how often do intervals hold them?

Images are of an easy or hard kind, have some of the classes, and of each some thousand pixels, few large ones
and many small ones. Images of one video share most of how hard they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.intervals import score_intervals
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts

CLASSES = ClassList.numbered(4)
SCORES = ("mean_iou", "pixel_accuracy", "mean_iou_per_image")
RULES = ScoringRules(metrics=("iou", "pixel_accuracy"))
HAVING = np.array([1.0, 0.9, 0.5, 0.3])
"""The share of images that have each class."""

SAME = 0.8
"""The share of what makes an image hard that all images of its video have."""


def population(images: int, per_video: int, random: np.random.Generator) -> ConfusionCells:
    """Images of the population, video after video."""
    videos = -(-images // per_video)
    shared = np.repeat(random.normal(size=videos), per_video)[:images]
    hard = np.sqrt(SAME) * shared + np.sqrt(1 - SAME) * random.normal(size=images)
    found = 1 / (1 + np.exp(-(1.5 - hard[:, None] - 0.3 * np.arange(len(CLASSES)))))
    there = random.random((images, len(CLASSES))) < HAVING
    sizes = np.where(there, random.lognormal(7, 1, there.shape), 0).astype(np.int64)
    hits = random.binomial(sizes, np.clip(found + random.normal(0, 0.05, found.shape), 0, 1))
    return ConfusionCells.from_dense(_matrices(sizes, hits))


def _matrices(sizes: NDArray[np.int64], hits: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is missed of a class is taken for the next one."""
    num_classes = len(CLASSES)
    matrices = np.zeros((len(sizes), num_classes + 2, num_classes + 2), np.int64)
    for class_id in range(num_classes):
        matrices[:, class_id, class_id] = hits[:, class_id]
        matrices[:, class_id, (class_id + 1) % num_classes] += sizes[:, class_id] - hits[:, class_id]
    return matrices


def true_scores(images: int) -> dict[str, float]:
    """The scores of very many images."""
    cells = population(images, 1, np.random.default_rng(0))
    scores = score_counts([cells], cells.total(), CLASSES, RULES)
    return {name: scores[name] for name in SCORES}


@dataclass(frozen=True)
class Case:
    """What is drawn, and how intervals are made of it.

    Attributes:
        videos, per_video: the images of one dataset.
        by_video: videos are drawn, not images.
        method: of the intervals.
    """

    videos: int
    per_video: int
    by_video: bool
    method: str


def coverage(case: Case, truth: dict[str, float], datasets: int, replicates: int = 1000) -> dict[str, float]:
    """The share of datasets whose interval of 95 % holds the true score, by its name."""
    random = np.random.default_rng([case.videos, case.per_video])
    images = case.videos * case.per_video
    clusters = np.repeat(np.arange(case.videos), case.per_video) if case.by_video else np.arange(images)
    rules = IntervalRules.model_validate({"method": case.method, "replicates": replicates})
    held = dict.fromkeys(SCORES, 0)
    for _ in range(datasets):
        cells = population(images, case.per_video, random)
        (found,) = score_intervals([cells], CLASSES, RULES, rules, clusters)
        for name in SCORES:
            held[name] += found.aggregates[name].low <= truth[name] <= found.aggregates[name].high
    return {name: number / datasets for name, number in held.items()}
