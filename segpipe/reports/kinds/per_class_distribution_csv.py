"""per_class_distribution.csv: how the scores of images are spread, one row per metric and class."""

from __future__ import annotations

from pathlib import Path

from segpipe.metrics.distributions import FIGURES
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("per_class_distribution.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; what is not defined (a class of no image, sd of one image) is an empty cell."""
    rows = [row for one in given.scores.distributions for row in one.rows(given.scores.classes)]
    write_csv(
        path, ("metric", "class_id", "class_name", "images", *FIGURES), [list(row.values()) for row in rows]
    )
