"""Two runs over the same images, compared: first what they were made of, then their scores, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from segpipe.classes import ClassList
from segpipe.config import interval_rules, slice_config
from segpipe.counts.results import ResultsReader
from segpipe.criteria import GateConfig, IntervalRules, SliceConfig
from segpipe.errors import InputError, Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import chosen_metrics
from segpipe.metrics.comparison import (
    Comparison,
    Difference,
    Differences,
    ImageDifferences,
    SliceDifferences,
    adjusted,
    paired_differences,
)
from segpipe.metrics.group_replicates import GroupTable
from segpipe.metrics.replicates import ImageTable
from segpipe.metrics.resampling import numbered
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE
from segpipe.metrics.statistic_replicates import StatisticTable
from segpipe.metrics.weights import ImageWeights
from segpipe.run.differing import CommonStatistics, Obstacles, groups_left_out
from segpipe.run.drawn import check_cluster_column
from segpipe.run.notify import NotifyConfig
from segpipe.run.opened import Run, metrics_of, open_run
from segpipe.run.sliced import cut_slices
from segpipe.statistics.base import Statistic
from segpipe.values import Frozen


class CompareConfig(Frozen):
    """Which runs are compared, and how.

    Attributes:
        a, b: folders of runs, or RESULTS/SUITE/MODEL for the latest one.
        metrics, by, intervals, common: see `compare`.
        notify: who is told if B is worse, or cannot be compared with A.
    """

    a: str = Field(min_length=1)
    b: str = Field(min_length=1)
    metrics: tuple[str, ...] | None = None
    by: SliceConfig | None = None
    intervals: IntervalRules | None = None
    common: bool = False
    notify: NotifyConfig = NotifyConfig()


def compare_configured(config: CompareConfig) -> Comparison:
    """Compare two runs as a configuration says; see `compare`."""
    asked = {name: getattr(config, name) for name in ("metrics", "by", "intervals", "common")}
    return compare(config.a, config.b, **asked)


def compare(
    a: Run | str | Path,
    b: Run | str | Path,
    *,
    metrics: Sequence[str] | None = None,
    by: Any = None,
    intervals: IntervalRules | Mapping[str, Any] | str | None = None,
    common: bool = False,
) -> Comparison:
    """Compare run B with run A, image by image; no label map is read.

    Args:
        a, b: runs, or their folders.
        metrics: names of metrics or aggregates, those of statistics too; None: the main ones that run A
            has, and all statistics that both runs counted alike.
        by: how images are cut into slices, as in `Run.score`; None: as the configuration of run A says.
        intervals: as the key `intervals` of a configuration; None: as run A says, or bootstrap.
        common: compare the images (of unchanged truth) and the classes that both have, under the rules of
            A; else runs that differ in any of these are refused.

    Raises:
        InputError: what differs: images, classes, rules, truth; all of it at once. Or nothing is left.
        ConfigError: an unknown metric or column.
    """
    pair = (a if isinstance(a, Run) else open_run(a), b if isinstance(b, Run) else open_run(b))
    rules, drawn = _rules(pair[0], metrics, by), _interval_rules(pair[0], intervals)
    asked = None if metrics is None else set(metrics)
    obstacles = Obstacles.of(*pair)
    if obstacles.fatal or (obstacles.avoidable and not common):
        raise InputError([*obstacles.fatal, *obstacles.avoidable])
    if not obstacles.ids or not len(obstacles.classes):
        found = f"no {'class' if obstacles.ids else 'image, with the same truth,'} that both runs have"
        raise InputError([*obstacles.avoidable, Problem(kind="comparison", found=found)])
    return _compared(pair, obstacles, rules, drawn, asked)


def difference_of(
    gate: GateConfig, baseline: Run, run: Run, ids: set[str], rules: ScoringRules
) -> Difference:
    """How much the figure of a gate differs from that of a baseline with the same images, truth and classes.

    Args:
        gate: with classes by name.
        baseline, run: the difference is that of the run less that of the baseline.
        ids: the images that the figure is of.
        rules: how both are scored, with `intervals`.
    """
    drawn = rules.intervals or IntervalRules()
    known, classes = _known((run, baseline), ids, rules, drawn), run.results.classes
    pair = baseline, run
    one = next((one for one in run.results.statistics if gate.metric in one.figures), None)
    own = replace(rules, metrics=None if one is not None else metrics_of([gate.metric]))
    if one is not None:
        before, after = (_statistic_table(each.results, known, one, own) for each in pair)
        found = paired_differences(before, after, drawn)
    elif gate.group is not None:
        group = tuple(one for one in classes.groups if one.name == gate.group)
        found = _group_differences(pair, replace(classes, groups=group), known, own, drawn)
        return found.per_class[gate.metric][0]
    else:
        a, b = (_side(each.results, known, classes, own).table for each in pair)
        found = paired_differences(a, b, drawn)
    if gate.of_class is None:
        return found.aggregates[gate.metric]
    return found.per_class[gate.metric][classes.names.index(str(gate.of_class))]


def _rules(run: Run, metrics: Sequence[str] | None, by: Any) -> ScoringRules:
    """The rules of run A, with what was asked for."""
    own = run.results.rules
    slices = own.slices if by is None else (slice_config(by, run.results.classes.names),)
    main = (one.name for one in chosen_metrics(own.metrics) if one.main)
    further = {name: metric for one in run.results.statistics for name, metric in one.figures.items()}
    chosen = tuple(main) if metrics is None else metrics_of(metrics, further)
    return replace(own, metrics=chosen, slices=slices)


def _interval_rules(run: Run, asked: IntervalRules | Mapping[str, Any] | str | None) -> IntervalRules:
    if asked is None:
        asked = run.results.rules.intervals or IntervalRules()
    drawn = asked if isinstance(asked, IntervalRules) else interval_rules(asked)
    check_cluster_column(drawn, run.results.columns)
    return drawn


def _compared(
    pair: tuple[Run, Run],
    obstacles: Obstacles,
    rules: ScoringRules,
    drawn: IntervalRules,
    asked: set[str] | None,
) -> Comparison:
    """The comparison of what the runs have in common; of statistics those that are asked for."""
    classes = obstacles.classes
    excluded = tuple(name for name in rules.exclude_classes if name in classes.names)
    rules = replace(rules, exclude_classes=excluded)
    known = _known(pair, obstacles.ids, rules, drawn)
    sides = [_side(run.results, known, classes, rules) for run in pair]
    a, b = (side.table for side in sides)
    further = CommonStatistics.of(*pair, asked)
    differences = paired_differences(a, b, drawn)
    for one in further.statistics:
        ours, theirs = (_statistic_table(run.results, known, one, rules) for run in pair)
        differences |= paired_differences(ours, theirs, drawn)
    own, other_groups = pair[0].results.classes, groups_left_out(*pair)
    return Comparison(
        a=_called(pair[0]),
        b=_called(pair[1]),
        classes=classes,
        rules=rules,
        intervals=drawn,
        differences=differences,
        images=_images(sides),
        slices=tuple(_slices(pair[0], sides, rules, drawn)),
        left_out=(*(problem.found for problem in obstacles.avoidable), *further.left_out, *other_groups),
        statistics=further.statistics,
        groups=_group_differences(pair, own, known, rules, drawn)
        if own.groups and not other_groups
        else None,
        group_names=tuple(group.name for group in own.groups),
    )


def _group_differences(
    pair: tuple[Run, Run], classes: ClassList, known: _Known, rules: ScoringRules, drawn: IntervalRules
) -> Differences:
    """The differences of groups; both runs have these classes."""
    tables = []
    for run in pair:
        ids = [name for name in run.results.ids() if name in known.clusters]
        clusters = np.array([known.clusters[name] for name in ids], np.int64)
        blocks = partial(_cells, run.results, known, classes)
        tables.append(GroupTable.of(blocks, classes, rules, clusters, _weights(known, ids)))
    return paired_differences(tables[0], tables[1], drawn)


def _statistic_table(
    results: ResultsReader, known: _Known, one: Statistic, rules: ScoringRules
) -> StatisticTable:
    """What the images that are compared have of a statistic."""
    ids = results.ids()
    clusters = np.array([known.clusters.get(name, -1) for name in ids], np.int64)
    weights = None
    if known.weights is not None:
        weights = np.array([known.weights.get(name, 0.0) for name in ids])
    return StatisticTable.of(one, partial(results.sums, one), results.classes, rules, clusters, weights)


def _called(run: Run) -> str:
    return f"{run.summary.suite}/{run.summary.model} {run.summary.run}"


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of the images that are compared, by id.

    Attributes:
        clusters: which are drawn together.
        weights: None: all weigh alike.
        pixels: of all images of the run that has more.
        weight: the sum of the weights of all pixels, None where they have none.
    """

    clusters: Mapping[str, int]
    weights: Mapping[str, float] | None
    pixels: int
    weight: float | None


def _known(pair: tuple[Run, Run], ids: set[str], rules: ScoringRules, drawn: IntervalRules) -> _Known:
    """What run A says of the images; both runs are weighed and drawn alike."""
    results = pair[0].results
    every = results.ids()
    chosen = np.flatnonzero([name in ids for name in every])
    names = [every[at] for at in chosen]
    values = names if drawn.cluster_by is None else results.column(drawn.cluster_by)[chosen]
    weights = None
    if rules.image_weights is not None:
        weights = dict(zip(names, results.column(rules.image_weights)[chosen].astype(float), strict=True))
    return _Known(
        clusters=dict(zip(names, numbered(values).tolist(), strict=True)),
        weights=weights,
        pixels=max(int(run.results.total().sum()) for run in pair),
        weight=max(run.results.pixel_weight() for run in pair) if results.weighted else None,
    )


@dataclass(frozen=True, eq=False)
class _Side:
    """One run.

    Attributes:
        table: its images.
        ids: (image,), in the order of the table.
    """

    table: ImageTable
    ids: list[str]


def _side(results: ResultsReader, known: _Known, classes: ClassList, rules: ScoringRules) -> _Side:
    ids = [name for name in results.ids() if name in known.clusters]
    clusters = np.array([known.clusters[name] for name in ids], np.int64)
    weights = _weights(known, ids)
    table = ImageTable.of(_cells(results, known, classes), classes, rules, clusters, weights)
    return _Side(table, [ids[at] for at in np.argsort(clusters, kind="stable")])


def _weights(known: _Known, ids: Sequence[str]) -> ImageWeights | None:
    values = None if known.weights is None else np.array([known.weights[name] for name in ids])
    if known.weight is not None:
        return ImageWeights.of_weighted_pixels(values, len(ids), known.weight)
    return None if values is None else ImageWeights.of(values, pixels=known.pixels)


def _cells(results: ResultsReader, known: _Known, classes: ClassList) -> Iterator[ConfusionCells]:
    """The matrices of the images that are compared, over the classes that are."""
    own = results.classes.names
    for block in results.blocks():
        chosen = block.cells.take([at for at, name in enumerate(block.ids) if name in known.clusters])
        same = own == classes.names
        yield chosen if same else chosen.of_classes([own.index(name) for name in classes.names])


def _images(sides: Sequence[_Side]) -> ImageDifferences:
    """The mean IoU of every image under both, by id."""
    values = []
    for side in sides:
        row = [one.averages[0] for one in side.table.records].index(HEADLINE)
        values.append(side.table.per_image[row, np.argsort(side.ids, kind="stable")])
    return ImageDifferences(HEADLINE, sorted(sides[0].ids), values[0], values[1])


def _slices(
    run: Run, sides: Sequence[_Side], rules: ScoringRules, drawn: IntervalRules
) -> Iterator[SliceDifferences]:
    """The differences in each slice, as run A cuts its images."""
    for cut in cut_slices(run.results, rules):
        found = []
        slice_of = dict(zip(run.results.ids(), cut.slice_of.tolist(), strict=True))
        for number, where in enumerate(cut.where):
            a, b = (
                side.table.group(np.array([slice_of[name] == number for name in side.ids], np.bool_))
                for side in sides
            )
            if len(a.weights):
                differences = paired_differences(a, b, drawn)
                found.append(
                    SliceDifferences(
                        title=cut.title, where=where, images=len(a.weights), differences=differences
                    )
                )
        yield from _adjusted(found)


def _adjusted(slices: Sequence[SliceDifferences]) -> Iterator[SliceDifferences]:
    """The slices of one cut, whose differences are looked at together, with adjusted p."""
    names = slices[0].differences.aggregates if slices else {}
    columns = {name: adjusted([one.differences.aggregates[name] for one in slices]) for name in names}
    for at, one in enumerate(slices):
        aggregates = {name: column[at] for name, column in columns.items()}
        yield replace(one, differences=replace(one.differences, aggregates=aggregates))
