"""A comparison of two runs as a file: Markdown, JSON, or a page on which differences are drawn."""

from __future__ import annotations

import math
from pathlib import Path

from segpipe.errors import ConfigError, InfrastructureError
from segpipe.metrics.comparison import Comparison
from segpipe.reports.comparison import (
    comparison_document,
    comparison_markdown,
    comparison_tables,
    comparison_words,
)
from segpipe.reports.markup import Markup, element
from segpipe.reports.page import bullets, note, page, section, table_section
from segpipe.reports.svg import change
from segpipe.reports.tables import Table
from segpipe.reports.text import write_json

KINDS = (".md", ".html", ".json")


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write a comparison as the end of the file's name says.

    Raises:
        ConfigError: another kind of file.
        InfrastructureError: it cannot be written.
    """
    if path.suffix not in KINDS:
        message = f"output: {path} ends in none of {', '.join(KINDS)}"
        raise ConfigError(message)
    try:
        if path.suffix == ".json":
            write_json(path, comparison_document(comparison))
            return
        write = comparison_page if path.suffix == ".html" else comparison_markdown
        path.write_text(write(comparison), encoding="utf-8")
    except OSError as error:
        message = f"output: {path} cannot be written ({error.strerror or error})"
        raise InfrastructureError(message) from None


def comparison_page(comparison: Comparison) -> str:
    """A comparison for people, with plots; ids, names and metadata are escaped."""
    headline, *words = comparison_words(comparison)
    first, _, rest = headline.partition(": ")
    card = element("div", element("b", first), element("p", rest), class_="card")
    drawn = [
        note(
            "Bars run from the middle: to the right B is higher, to the left lower. Whiskers are intervals."
        ),
        *(_drawn(table) for table in comparison_tables(comparison)),
    ]
    title = "Comparison of two runs"
    parts = [element("h1", title), element("div", card, class_="cards"), bullets(words)]
    return page(title, [*parts, section("differences", "Differences", drawn)]) + "\n"


def _drawn(table: Table) -> Markup:
    """A table with its differences as bars, all in one scale; drawn as exactly as they are printed."""
    heads = [column.name for column in table.columns]
    at, within = heads.index("difference"), heads.index("interval") if "interval" in heads else None
    values = [_number(row[at]) for row in table.rows]
    ends = [(math.nan, math.nan) if within is None else _ends(row[within]) for row in table.rows]
    known = [abs(value) for value in (*values, *(end for pair in ends for end in pair)) if value == value]
    span = max(known, default=0.0) or 1.0
    marks = [
        change(value, span, low=low, high=high)
        for value, (low, high) in zip(values, ends, strict=True)
    ]  # fmt: skip
    return table_section(table, {"difference": marks})


def _number(cell: str) -> float:
    """What can be drawn of a printed number; NaN if nothing.

    >>> _number("+0.5000"), _number("-"), _number("+inf")
    (0.5, nan, nan)
    """
    value = math.nan if cell == "-" else float(cell)
    return value if math.isfinite(value) else math.nan


def _ends(cell: str) -> tuple[float, float]:
    low, _, high = cell.partition(" to ")
    return _number(low), _number(high or low)
