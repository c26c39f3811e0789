"""per_group.csv: one row per group of classes, areas in pixels and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("per_group.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; it has no rows where there are no groups."""
    # The columns of groups are those of classes; statistics are not scored of groups.
    plain = replace(given.scores, statistics=())
    figures = [key for key in plain.class_rows()[0] if not key.startswith("class_")]
    rows = [
        [", ".join(value) if key == "classes" else value for key, value in row.items()]
        for row in given.scores.group_rows()
    ]
    write_csv(path, ["group_name", "classes", *figures], rows)
