"""What a report is, and the registry that finds every kind."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.counts.results import ResultsReader
from segpipe.errors import InfrastructureError, Problem
from segpipe.metrics.gates import GateReport
from segpipe.metrics.scores import Scores
from segpipe.registry import Registry
from segpipe.reports.summary import RunSummary


@dataclass(frozen=True)
class ReportInput:
    """What reports are made from.

    Attributes:
        results: counts and scores of every image.
        scores: the scores of all of them.
        summary: the run.
        problems: everything that was found wrong with the data and allowed by the settings.
        gates: the verdicts of the gates; None where none were asked.
    """

    results: ResultsReader
    scores: Scores
    summary: RunSummary
    problems: Sequence[Problem] = ()
    gates: GateReport | None = None


ReportWriter = Callable[[ReportInput, Path], None]


def _modules() -> tuple[str, ...]:
    folder = Path(__file__).parent / "kinds"
    return tuple(f"segpipe.reports.kinds.{module.name}" for module in pkgutil.iter_modules([str(folder)]))


REPORTS: Registry[ReportWriter] = Registry("report", _modules())
"""File name -> the function that writes the file. A new one is a new file in `segpipe/reports/kinds/`."""


def write_reports(folder: str | Path, given: ReportInput) -> list[Path]:
    """Write every registered report into a folder that exists.

    The bytes are a function of the counts and the rules, except for what `segpipe.reports.words`
    marks as the head of report.md and report.html, and for provenance.json.

    Raises:
        InfrastructureError: a file cannot be written.
    """
    paths = []
    for name in sorted(REPORTS):
        path = Path(folder) / name
        try:
            REPORTS[name](given, path)
        except OSError as error:
            message = f"{path} cannot be written: {error}; free some space or choose another output folder"
            raise InfrastructureError(message) from error
        paths.append(path)
    return paths
