"""provenance.json: the whole summary of the run, with times, versions, timings and configuration."""

from __future__ import annotations

from pathlib import Path

from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import write_json


@REPORTS.register("provenance.json")
def write(given: ReportInput, path: Path) -> None:
    """Write the summary; `RunSummary.from_document` reads it back."""
    write_json(path, given.summary.document())
