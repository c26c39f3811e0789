"""The scores of a whole run, from the counts of its images: for the stage that stores them, and later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from segpipe.counts.results import ResultsReader
from segpipe.metrics.groups import score_class_groups
from segpipe.metrics.intervals import with_intervals
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores, StatisticScores, with_statistics
from segpipe.metrics.scoring import score_counts
from segpipe.metrics.slices import Slices, score_slices
from segpipe.metrics.statistic_scores import score_statistic, score_statistic_groups
from segpipe.planning.plan_file import written_at
from segpipe.run.drawn import (
    group_intervals,
    intervals_of_run,
    statistic_intervals,
    with_slice_intervals,
)
from segpipe.run.sliced import cut_slices
from segpipe.statistics.base import Statistic

TOTAL = Path("confusion", "c", "0", "0")
"""The first chunk of the sum over all images, which is written after the images."""


def score_run(results: Path, rules: ScoringRules) -> Scores:
    """All scores of a results dataset under some rules, groups of classes and slices too; no pixel is read.

    They are kept until others are asked for: a process that evaluates and then prints scores once.

    Raises:
        InputError: there is no results dataset, or it cannot be decoded.
        InfrastructureError: the images do not add up to the stored total: the results are damaged.
    """
    total = results / TOTAL
    return _scored(results, rules, written_at(total) if total.exists() else ())


@lru_cache(maxsize=1)
def _scored(path: Path, rules: ScoringRules, written: tuple[int, ...]) -> Scores:
    results = ResultsReader(path)
    weights = results.image_weights(rules)
    total = results.scored_total(weights)
    scores = score_counts(results.cells(), total, results.classes, rules, weights)
    groups = score_class_groups(total, results.classes, rules, units_per_pixel=scores.units_per_pixel)
    cut = cut_slices(results, rules)
    slices = score_slices(results.cells(), cut, results.classes, rules, weights)
    slices = with_slice_intervals(slices, results, cut, rules)
    if results.statistics:
        slices = tuple(map(with_statistics, slices, _statistics_of_slices(results, cut, rules)))
    statistics = tuple(_scored_statistic(results, one, rules) for one in results.statistics)
    if groups is not None and rules.intervals is not None:
        groups = with_intervals(groups, group_intervals(results, results.classes, rules, rules.intervals))
    scores = replace(scores, groups=groups, slices=slices, statistics=statistics)
    return with_intervals(scores, intervals_of_run(results, rules))


def _scored_statistic(results: ResultsReader, one: Statistic, rules: ScoringRules) -> StatisticScores:
    """The scores of a statistic, with their intervals if the rules ask for them."""
    weights = results.plain_weights(rules)
    scores = score_statistic(one, results.sums(one), results.classes, rules, weights)
    scores = replace(scores, masked=results.weighted)
    if rules.intervals is None:
        return scores
    return with_intervals(scores, statistic_intervals(results, one, rules, rules.intervals))


def _statistics_of_slices(
    results: ResultsReader, cut: Sequence[Slices], rules: ScoringRules
) -> Iterator[tuple[StatisticScores, ...]]:
    """What statistics score of every slice, in the order of the slices."""
    weights, classes = results.plain_weights(rules), results.classes
    for way in cut:
        scored = (
            score_statistic_groups(
                one, results.sums(one), way.slice_of, len(way.where), classes, rules, weights
            )
            for one in results.statistics
        )
        yield from zip(*scored, strict=True)
