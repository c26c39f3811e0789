"""per_slice.csv: one row per slice, with its size, what its headline stands on, and every aggregate."""

from __future__ import annotations

from pathlib import Path

from segpipe.metrics.scores import HEADLINE
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("per_slice.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; it has no rows where no slices were asked for. NaN is an empty cell."""
    scores = given.scores
    names, classes = list(scores.aggregates), len(scores.classes)
    rows = [
        [
            one.title, one.name, one.images, one.pixels, one.uses[HEADLINE], classes - one.uses[HEADLINE],
            *(one.values[name] for name in names),
        ]
        for one in scores.slices
    ]  # fmt: skip
    head = ("by", "slice", "images", "pixels", f"{HEADLINE}_classes_used", f"{HEADLINE}_classes_dropped")
    write_csv(path, (*head, *names), rows)
