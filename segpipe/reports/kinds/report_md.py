"""report.md: the run for people, headline first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from segpipe.metrics.scores import Scores
from segpipe.reports import tables, words
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.summary import RunSummary
from segpipe.reports.tables import Table
from segpipe.reports.text import fenced, markdown_code, markdown_text
from segpipe.reports.words import HEAD, HEAD_END


@REPORTS.register("report.md")
def write(given: ReportInput, path: Path) -> None:
    """Write the report; ids, names and metadata are escaped."""
    path.write_text("\n\n".join(_sections(given)) + "\n", encoding="utf-8")


def _sections(given: ReportInput) -> Iterator[str]:
    scores, summary = given.scores, given.summary
    yield f"# {markdown_code(summary.suite)}: {markdown_code(summary.model)}"
    yield f"{HEAD}\nRun {markdown_code(summary.run)}\n{HEAD_END}"
    yield f"**{markdown_text(tables.headline(scores))}**"
    yield markdown_text(words.coverage(summary))
    if given.gates is not None and given.gates.verdicts:
        yield markdown_table(tables.gates_table(given.gates))
    if warnings := words.warnings(given):
        yield "## Warnings\n\n" + _bullets(warnings)
    for table in _score_tables(given):
        yield markdown_table(table)
    yield from _conventions(scores)
    yield "## Rules\n\n" + _bullets(words.rules(given))
    yield f"{HEAD}\n" + "\n\n".join(_provenance(summary)) + f"\n{HEAD_END}"


def _conventions(scores: Scores) -> Iterator[str]:
    """What other tools would print, and why; nothing if nobody asked."""
    if scores.conventions:
        yield markdown_table(tables.conventions_table(scores.conventions))
        yield "### Why they differ\n\n" + _bullets(tables.convention_reasons(scores.conventions))


def _score_tables(given: ReportInput) -> Iterator[Table]:
    yield tables.aggregates_table(given.scores)
    yield from _if_any(tables.notes_table(given.scores))
    yield tables.per_class_table(given.scores)
    yield from tables.groups_tables(given.scores)
    yield from tables.statistics_tables(given.scores)
    yield from _if_any(tables.worst_slices_table(given.scores))
    yield from tables.slices_tables(given.scores)
    yield from tables.distribution_tables(given.scores)
    yield from _if_any(tables.image_spread_table(given.results))
    yield from _if_any(tables.worst_images_table(given.results))
    yield from _if_any(tables.confusions_table(given.results, caption=words.unweighted(given)))
    yield tables.all_scores_table(given.scores)
    if given.scores.headline.interval:
        yield from tables.intervals_tables(given.scores)
    yield from _if_any(tables.other_class_scores_table(given.scores))
    yield tables.counts_table(given.scores)


def _if_any(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {markdown_text(sentence)}" for sentence in sentences)


def markdown_table(table: Table) -> str:
    """A table in Markdown under its title and caption; cells that hold names from outside are code spans.

    >>> from segpipe.reports.tables import Column
    >>> table = Table("T", (Column("image", number=False, untrusted=True), Column("px")), [("a|b", "1")])
    >>> print(markdown_table(table))
    ## T
    <BLANKLINE>
    | image | px |
    |---|---:|
    | `a\\|b` | 1 |
    """
    head = [
        "| " + " | ".join(column.name for column in table.columns) + " |",
        "|" + "|".join("---:" if column.number else "---" for column in table.columns) + "|",
    ]
    rows = [
        "| "
        + " | ".join(
            markdown_code(cell) if column.untrusted else cell
            for column, cell in zip(table.columns, row, strict=True)
        )
        + " |"
        for row in table.rows
    ]
    caption = [markdown_text(table.caption)] if table.caption else []
    return "\n\n".join([f"## {markdown_text(table.title)}", *caption, "\n".join(head + rows)])


def _provenance(summary: RunSummary) -> Iterator[str]:
    yield "## Provenance"
    lines = [
        f"- {markdown_text(key)}: {markdown_code(value)}" for key, value in words.provenance(summary).items()
    ]
    if lines:
        yield "\n".join(lines)
    if summary.config:
        yield fenced(summary.config, "yaml")
