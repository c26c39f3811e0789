"""per_class.csv: one row per class, areas in pixels and scores."""

from __future__ import annotations

from pathlib import Path

from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("per_class.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; a class without a score has an empty cell."""
    rows = given.scores.class_rows()
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])
