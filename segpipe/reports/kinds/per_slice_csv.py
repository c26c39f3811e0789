"""per_slice.csv: one row per slice, with its size, what its headline stands on, and every aggregate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segpipe.metrics.scores import HEADLINE, SliceScore
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("per_slice.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; it has no rows where no slices were asked for. NaN is an empty cell."""
    names = list(given.scores.all_aggregates)
    drawn = any(one.intervals for one in given.scores.slices)
    head = ["by", "slice", "images", "pixels", f"{HEADLINE}_classes_used", f"{HEADLINE}_classes_dropped"]
    ends = [f"{HEADLINE}_low", f"{HEADLINE}_high"] if drawn else []
    write_csv(path, [*head, *names, *ends], [_row(one, names) for one in given.scores.slices])


def _row(one: SliceScore, names: list[str]) -> list[Any]:
    size = [one.title, one.name, one.images, one.pixels, one.uses[HEADLINE], len(one.dropped)]
    interval = one.intervals.get(HEADLINE)
    ends = [] if interval is None else [interval.low, interval.high]
    return [*size, *(one.values[name] for name in names), *ends]
