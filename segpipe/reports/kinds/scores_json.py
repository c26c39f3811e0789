"""scores.json: every score with what it averages, for programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from segpipe.metrics.scores import Aggregate, Scores, SliceScore, StatisticScores
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.summary import RunSummary, Tally
from segpipe.reports.text import write_json
from segpipe.statistics.base import WEIGHTS_OF_PIXELS

SCHEMA = 1


@REPORTS.register("scores.json")
def write(given: ReportInput, path: Path) -> None:
    """Write the document; times, hosts, paths and versions are not in it."""
    write_json(path, scores_document(given.scores, given.summary))


def scores_document(scores: Scores, summary: RunSummary) -> dict[str, Any]:
    """The document as plain data; NaN where there is nothing to score (null in the file)."""
    return {
        "schema": SCHEMA,
        "suite": summary.suite,
        "model": summary.model,
        "alignment": summary.alignment,
        "coverage": summary.coverage,
        "images": _tally(summary.images),
        "pixels": _tally(summary.pixels),
        "counts": dict(scores.counts),
        "rules": scores.rules.document(),
        "headline": scores.headline.name,
        "aggregates": {name: _aggregate(one) for name, one in scores.aggregates.items()},
        "classes": scores.class_rows(),
        "groups": _groups(scores),
        "conventions": [one.document() for one in scores.conventions],
        "distributions": [row for one in scores.distributions for row in one.rows(scores.classes)],
        "statistics": [_statistic(one) for one in scores.statistics],
        "slices": [_slice(one, scores.main_metrics()) for one in scores.slices],
    }


def _groups(scores: Scores) -> dict[str, Any] | None:
    """The groups of classes, None where there are none."""
    if scores.groups is None:
        return None
    return {
        "overlap": scores.classes.groups_overlap,
        "aggregates": {name: _aggregate(one) for name, one in scores.groups.aggregates.items()},
        "groups": scores.group_rows(),
    }


def _statistic(one: StatisticScores) -> dict[str, Any]:
    """A statistic; what it scores for each class stands with the classes, its sums are in results.zarr."""
    return {
        **one.statistic.document(),
        "title": one.statistic.full_title,
        "weights_of_pixels": WEIGHTS_OF_PIXELS if one.masked else None,
        "aggregates": {name: _aggregate(each) for name, each in one.aggregates.items()},
    }


def _slice(one: SliceScore, metrics: list[str]) -> dict[str, Any]:
    """A slice; of its classes only the main scores, in the order of `classes`."""
    return {
        "by": one.title,
        "where": dict(one.where),
        "images": one.images,
        "pixels": one.pixels,
        "aggregates": {
            name: {"value": value, "classes_used": one.uses[name]} for name, value in one.values.items()
        },
        "headline_drops": list(one.dropped),
        "intervals": {name: asdict(interval) for name, interval in one.intervals.items()},
        "classes": {name: one.per_class[name].tolist() for name in metrics},
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {**asdict(tally), "coverage": tally.coverage}


def _aggregate(one: Aggregate) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key != "name"}
