"""What `segpipe history` shows: the runs of each model, the curve of their score, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from segpipe.reports.sparkline import sparkline
from segpipe.reports.tables import Column, Rows, Table
from segpipe.reports.text import printable, score_text, share_text
from segpipe.run.history import HistoryRow, by_model, trend_of
from segpipe.run.trend import Trend
from segpipe.terminal import rich_table

HISTORY_CURVE = 40
"""The sparkline of a model shows so many of its last runs."""

TEXTS = {"run", "day", "state", "metadata"}
"""The columns that hold no numbers."""


def show_history(console: Console, rows: Sequence[HistoryRow]) -> None:
    """The runs of each model, and below them their curve and where it goes."""
    if not rows:
        console.print(Text("No published runs."))
    for number, ((suite, model), of_model) in enumerate(by_model(rows).items()):
        if number:
            console.print()
        console.print(rich_table(history_table(f"{suite}: {model}", of_model), console.width))
        values = [row.value for row in of_model if row.state == "complete"][-HISTORY_CURVE:]
        console.print(Text(f"{sparkline(values)}  {trend_words(trend_of(of_model))}"))


def history_table(title: str, rows: Sequence[HistoryRow]) -> Table:
    """One line for each run; the change is that from the complete run before."""
    heads = ("run", "day", "state", "coverage", rows[0].headline, "change", "metadata")
    columns = tuple(Column(head, number=head not in TEXTS) for head in heads)
    cells: Rows = []
    before: float | None = None
    for row in rows:
        change = "" if before is None or row.value is None else f"{row.value - before:+.4f}"
        metadata = ", ".join(f"{name}={value}" for name, value in sorted(row.metadata.items()))
        coverage = share_text(row.coverage) if row.coverage is not None else "-"
        score = score_text(row.value) if row.value is not None else "-"
        words = (f"{row.number:06d}", row.day, row.state, coverage, score, change, metadata)
        cells.append(tuple(map(printable, words)))
        before = row.value if row.state == "complete" else before
    return Table(title, columns, cells)


def trend_words(trend: Trend) -> str:
    """A trend in words.

    >>> from segpipe.run.trend import Trend
    >>> trend_words(Trend("falling", -0.0512, 0.005)), trend_words(Trend("unknown"))
    ('falling: -0.0512 (counts from 0.0050 on)', 'too few runs for a trend')
    """
    if trend.direction == "unknown":
        return "too few runs for a trend"
    return f"{trend.direction}: {trend.change:+.4f} (counts from {trend.threshold:.4f} on)"
