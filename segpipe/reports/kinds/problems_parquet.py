"""problems.parquet: everything that was found wrong with the data, one row each."""

from __future__ import annotations

from pathlib import Path

from segpipe.counts.columns import clean_text
from segpipe.errors import PROBLEM_FIELDS
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.parquet import write_parquet


@REPORTS.register("problems.parquet")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; it has no rows where nothing was found."""
    rows = [problem.as_row() for problem in given.problems]
    columns = {name: [clean_text(row[name]) for row in rows] for name in PROBLEM_FIELDS}
    write_parquet(path, dict.fromkeys(PROBLEM_FIELDS, "str"), [columns])
