"""confusion.csv: the extended confusion matrix of the whole dataset in pixels, with names."""

from __future__ import annotations

from pathlib import Path

from segpipe.counts.results import NO_CLASS_NAMES
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_csv


@REPORTS.register("confusion.csv")
def write(given: ReportInput, path: Path) -> None:
    """Write K + 2 rows (truth; last ignored, invalid) and columns (prediction; last void, invalid)."""
    names = given.results.classes.names
    total = given.results.total()
    rows = zip((*names, *NO_CLASS_NAMES["truth"]), total.tolist(), strict=True)
    header = ("truth \\ pred", *names, *NO_CLASS_NAMES["pred"])
    write_csv(path, header, ([name, *pixels] for name, pixels in rows))
