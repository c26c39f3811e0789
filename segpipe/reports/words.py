"""What a report says beside its tables: the same sentences in Markdown and in HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from segpipe.metrics.scores import Scores
from segpipe.reports import tables
from segpipe.reports.base import ReportInput
from segpipe.reports.summary import RunSummary
from segpipe.statistics.base import WEIGHTS_OF_PIXELS

HEAD, HEAD_END = "<!-- differs between runs -->", "<!-- same for the same counts -->"
"""Between these marks stand times, hosts and paths; all other bytes are a function of the counts."""

_ALIGNMENT = {
    "id": "Images are matched by id.",
    "index": "Images are matched by index: neither side has ids, so order alone pairs them.",
}


def same_for_same_counts(report: str) -> str:
    """A report in Markdown or HTML without what differs between runs of the same counts.

    >>> same_for_same_counts(f"a{HEAD}b{HEAD_END}c")
    'ac'
    """
    return re.sub(f"{re.escape(HEAD)}.*?{re.escape(HEAD_END)}", "", report, flags=re.DOTALL)


def coverage(summary: RunSummary) -> str:
    """How much was counted, and how the images of both sides were paired."""
    return f"{tables.coverage_line(summary)}. {_ALIGNMENT[summary.alignment]}"


def warnings(given: ReportInput) -> list[str]:
    """What a reader must know before the figures, in sentences."""
    flagged = ", ".join(given.scores.headline.flagged)
    number = len(given.problems)
    return [
        *given.summary.warnings,
        *([f"Predicted, but nowhere in truth, so each scores 0 in the mean IoU: {flagged}."] * bool(flagged)),
        *tables.interval_warnings(given.scores),
        *([f"{number} problems were found in the data; problems.parquet lists them."] * bool(number)),
    ]


def rules(given: ReportInput) -> list[str]:
    """How pixels were read, counted and scored, in sentences."""
    return [*given.scores.rules.in_words(), *given.summary.rules, *_statistics(given.scores)]


def _statistics(scores: Scores) -> Iterator[str]:
    """What was counted beside the confusion matrix, and how."""
    for one in scores.statistics:
        statistic = one.statistic
        given = ", ".join(f"{name} {value}" for name, value in statistic.model_dump(mode="json").items())
        masked = f"; {WEIGHTS_OF_PIXELS}" if one.masked else ""
        digits = "" if statistic.exact else "; its last digits may differ between kinds of CPU"
        words = f"{statistic.full_title} ({statistic.kind}{given and ': '}{given}): {statistic.source}"
        yield f"{words}{digits}{masked}."


def unweighted(given: ReportInput) -> str:
    """What tables of plain pixels say where the scores beside them are weighted; empty where they are not."""
    weighted = [given.results.weighted, given.scores.rules.image_weights is not None]
    kinds = [name for name, there in zip(("pixels", "images"), weighted, strict=True) if there]
    if not kinds:
        return ""
    return (
        f"Numbers of pixels, without the weights of {' and '.join(kinds)}: a share of a true class is not "
        "its recall in the scores, which counts weights."
    )


def provenance(summary: RunSummary) -> dict[str, str]:
    """Times, hosts, stores, versions and timings, each in one line; they differ between runs."""
    facts = {**summary.provenance, **{f"{name} version": text for name, text in summary.versions.items()}}
    plain = {key: str(value) for key, value in facts.items() if isinstance(value, str | int | float)}
    return plain | {f"{stage}, seconds": f"{seconds:.2f}" for stage, seconds in summary.timings.items()}
