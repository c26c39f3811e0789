"""What is drawn for the intervals of a run: images, or clusters of images by a metadata column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.counts.results import ResultsReader
from segpipe.criteria import IntervalRules
from segpipe.errors import ConfigError
from segpipe.metrics.group_replicates import GroupTable
from segpipe.metrics.intervals import ScoreIntervals, score_intervals, table_intervals
from segpipe.metrics.resampling import numbered
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE, SliceScore
from segpipe.metrics.slices import Slices, slice_groups
from segpipe.metrics.statistic_replicates import StatisticTable
from segpipe.statistics.base import Statistic


def intervals_of_run(results: ResultsReader, rules: ScoringRules) -> ScoreIntervals | None:
    """The intervals that the rules ask for; no label map is read.

    Raises:
        ConfigError: the run has no such metadata column.
    """
    if rules.intervals is None:
        return None
    weights = results.image_weights(rules)
    clusters = run_clusters(results, rules.intervals)
    (found,) = score_intervals(
        results.cells(), results.classes, rules, rules.intervals, clusters, weights=weights
    )
    return found


def statistic_intervals(
    results: ResultsReader,
    one: Statistic,
    rules: ScoringRules,
    drawn: IntervalRules,
    chosen: NDArray[np.bool_] | None = None,
) -> ScoreIntervals:
    """The intervals of every figure of a statistic.

    Args:
        results: of the run.
        one: the statistic.
        rules: how it is scored.
        drawn: how intervals are made.
        chosen: bool (image,), which images are a dataset of their own; None: all.
    """
    table = statistic_table(results, one, rules, run_clusters(results, drawn))
    return table_intervals(table if chosen is None else table.group(chosen), drawn)


def statistic_table(
    results: ResultsReader, one: Statistic, rules: ScoringRules, clusters: NDArray[np.int64]
) -> StatisticTable:
    """What the images of a run have of a statistic; `clusters` is int64 (image,), -1 for those left out."""
    weights = results.plain_weights(rules)
    return StatisticTable.of(one, partial(results.sums, one), results.classes, rules, clusters, weights)


def group_intervals(
    results: ResultsReader, classes: ClassList, rules: ScoringRules, drawn: IntervalRules
) -> ScoreIntervals:
    """The intervals of the scores of groups of classes; `classes` are those of the run, with these groups."""
    clusters, weights = run_clusters(results, drawn), results.image_weights(rules)
    return table_intervals(GroupTable.of(results.cells, classes, rules, clusters, weights), drawn)


def with_slice_intervals(
    scored: Sequence[SliceScore], results: ResultsReader, cut: Sequence[Slices], rules: ScoringRules
) -> tuple[SliceScore, ...]:
    """Slices with the intervals of their main figures, if the rules ask for intervals.

    Args:
        scored: the slices.
        results: of the run.
        cut: the images, cut into these slices.
        rules: the settings.
    """
    if rules.intervals is None or not scored:
        return tuple(scored)
    # Of many slices, the intervals of all metrics and classes would take minutes.
    main = replace(rules, metrics=())
    drawn = rules.intervals.model_copy(update={"per_class": False})
    groups, number = slice_groups(cut)
    found = score_intervals(
        results.cells(), results.classes, main, drawn, run_clusters(results, drawn), groups, number,
        results.image_weights(rules),
    )  # fmt: skip
    return tuple(
        replace(one, intervals={name: own.aggregates[name] for name in (HEADLINE, "pixel_accuracy")})
        for one, own in zip(scored, found, strict=True)
    )


def run_clusters(results: ResultsReader, rules: IntervalRules) -> NDArray[np.int64]:
    """The cluster of each image, int64 (image,), in the order of sorted ids or values.

    Raises:
        ConfigError: the run has no such metadata column.
    """
    if rules.cluster_by is None:
        return numbered(results.ids())
    check_cluster_column(rules, results.columns)
    return numbered(results.column(rules.cluster_by))


def check_cluster_column(rules: IntervalRules | None, columns: Iterable[str]) -> None:
    """See that there is the column that says which images belong together.

    Raises:
        ConfigError: there is not.
    """
    known = list(columns)
    if rules is None or rules.cluster_by is None or rules.cluster_by in known:
        return
    near = get_close_matches(rules.cluster_by, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    message = (
        f"intervals.cluster_by: no metadata column {rules.cluster_by!r}; "
        f"there are: {', '.join(known) or 'none'}{hint}"
    )
    raise ConfigError(message)
