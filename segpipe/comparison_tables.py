"""What `segpipe compare` shows."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from segpipe.metrics.comparison import Comparison
from segpipe.reports.comparison import comparison_tables, comparison_words
from segpipe.reports.text import printable
from segpipe.terminal import rich_table


def show_comparison(console: Console, comparison: Comparison, output: str | None) -> None:
    """The tables of a comparison, the headline first, and where the report was written."""
    first, *words = comparison_words(comparison)
    console.print(Text(printable(first), style="bold"))
    for sentence in words:
        console.print(Text(printable(sentence)))
    for table in comparison_tables(comparison):
        console.print()
        console.print(rich_table(table, console.width))
    if output is not None:
        console.print()
        console.print(Text(f"Report: {printable(output)}"), soft_wrap=True)
