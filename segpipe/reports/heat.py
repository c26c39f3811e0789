"""The confusion matrix as a table whose cells are shaded by the share of the true class."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segpipe.counts.results import NO_CLASS_NAMES, ResultsReader
from segpipe.metrics.shares import confusion_shares
from segpipe.reports.markup import Markup, element, join
from segpipe.reports.text import printable, share_text

SHOWN = 32
"""How many classes the heat map shows; of more classes, those with the most mistakes."""

EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares at which the shade of a mistake becomes darker."""


class Matrix(NamedTuple):
    """A part of the confusion matrix on truth that counts.

    Attributes:
        rows: class ids (row,).
        columns: names (column,), untrusted: those of the rows, then other classes together, void, invalid.
        pixels: int64 (row, column).
        shares: float64 (row, column), of the pixels of the row's class; NaN where it has none.
        classes: K.
    """

    rows: NDArray[np.int64]
    columns: list[str]
    pixels: NDArray[np.int64]
    shares: NDArray[np.float64]
    classes: int


def matrix(results: ResultsReader, shown: int = SHOWN) -> Matrix:
    """The rows and columns of the classes with the most mistaken pixels, in the order of the classes.

    Columns without any pixel that stand for no class are left out.
    """
    names, total = results.classes.names, results.total()[:-2]
    rows = _most_mistaken(total, shown)
    others = np.ones(len(names), np.bool_)
    others[rows] = False
    further = [total[rows][:, : len(names)][:, others].sum(axis=1), *total[rows, len(names) :].T]
    kept = [at for at, column in enumerate(further) if column.any()]
    ends = ["(other classes)", *NO_CLASS_NAMES["pred"]]
    pixels = np.column_stack([total[np.ix_(rows, rows)], *(further[at] for at in kept)])
    columns = [*(names[row] for row in rows), *(ends[at] for at in kept)]
    return Matrix(rows, columns, pixels, confusion_shares(pixels), len(names))


def _most_mistaken(total: NDArray[np.int64], shown: int) -> NDArray[np.int64]:
    """Class ids, in order: all, or of many those that take part in a mistake; `total` is int64 (K, K + 2)."""
    number = len(total)
    if number <= shown:
        return np.arange(number)
    square = total[:, :number]
    mistakes = total.sum(axis=1) + square.sum(axis=0) - 2 * square.diagonal()
    first = np.argsort(-mistakes, kind="stable")[:shown]
    return np.sort(first[mistakes[first] > 0])


def heat_map(results: ResultsReader, told: str = "") -> Markup:
    """The matrix as a table: right ones framed, mistakes shaded, every number to be read; and its legend.

    Args:
        results: of the run.
        told: what else its caption says.
    """
    found = matrix(results)
    names = [printable(name) for name in results.classes.names]
    head = element("tr", element("td", "truth \\ predicted as"), *map(_column_head, found.columns))
    rows = [
        element("tr", element("th", _outside(names[row]), scope="row"), *_cells(found, at, names[row]))
        for at, row in enumerate(found.rows.tolist())
    ]
    table = element("table", element("thead", head), element("tbody", *rows), class_="heat")
    return join([element("p", f"{_told(found)} {told}".rstrip(), class_="note"), _scrolled(table), _legend()])


def _scrolled(table: Markup) -> Markup:
    words = "Confusion matrix in percent of the true class"
    return element("div", table, class_="scroll", role="region", tabindex="0", aria_label=words)


def _outside(name: str) -> Markup:
    return element("bdi", name, title=name)


def _column_head(name: str) -> Markup:
    return element("th", element("span", _outside(printable(name))), scope="col")


def _cells(found: Matrix, row: int, name: str) -> Iterator[Markup]:
    for column, (pixels, share) in enumerate(
        zip(found.pixels[row].tolist(), found.shares[row].tolist(), strict=True)
    ):
        right = column == row
        if not pixels:
            yield element("td", class_="right" if right else None)
            continue
        told = f"{name} as {printable(found.columns[column])}: {pixels:,} px, {share_text(share)}"
        shade = "right" if right else f"m{bisect_right(EDGES, share) - 1}"
        yield element("td", _percent(share), class_=shade, title=told)


def _percent(share: float) -> str:
    """A share in whole percent; a dot for less than half of one, and 100 only for all.

    >>> _percent(0.004), _percent(0.126), _percent(0.999), _percent(1.0)
    ('·', '13', '99', '100')
    """
    return "·" if share < 0.005 else f"{min(round(100 * share), 99 if share < 1 else 100)}"


def _told(found: Matrix) -> str:
    words = (
        "Rows are true classes, columns what was predicted, in percent of the pixels of the true class. "
        "Framed cells are right, shaded ones mistakes; a dot is less than half a percent."
    )
    if len(found.rows) == found.classes:
        return words
    return (
        f"{words} Shown are the {len(found.rows)} of {found.classes} classes with the most mistaken pixels; "
        "confusion.csv has all."
    )


def _legend() -> Markup:
    """What the shades mean."""
    ends = [f"{100 * edge:g}" for edge in (*EDGES, 1.0)]
    shades = [
        element("span", f"{start} to {end} %", class_=f"m{at}")
        for at, (start, end) in enumerate(pairwise(ends))
    ]
    return element("p", element("span", "right", class_="right"), *shades, class_="legend")
