"""A page in HTML that needs nothing but itself: its frame, and tables, lists and figures in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segpipe.reports.markup import Markup, element, join, plain
from segpipe.reports.tables import Column, Table

MAX_ROWS = 1000
"""How many rows of a table stand on a page."""

OPEN_ROWS = 40
"""A table of more rows is folded until it is opened."""

PROSE_LETTERS, LONG_LETTERS = 28, 16
"""A cell, or a heading, of more letters is set in more than one line."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser may do on the page's behalf: nothing but show it."""

_STYLE = Path(__file__).with_name("report.css")


def page(title: str, parts: Iterable[str]) -> Markup:
    """A whole document; its style is in it, and it loads nothing."""
    style = Markup(_STYLE.read_text(encoding="utf-8"))
    head = (
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    body = element("body", element("main", *(join((part, Markup("\n"))) for part in parts)))
    return join([Markup("<!DOCTYPE html>\n"), element("html", element("head", *head), body, lang="en")])


def breakable(words: str) -> Markup:
    """Words of which a long name may be broken after an underscore.

    >>> breakable("mean_iou")
    'mean_<wbr/>iou'
    """
    return Markup("_<wbr/>".join(map(plain, words.split("_"))))


def section(name: str, title: str, parts: Iterable[str]) -> Markup:
    """A part of the page that can be linked to."""
    return element("section", element("h2", title), *parts, id=name)


def note(*words: str) -> Markup:
    """What the figures below or above mean."""
    return element("p", *words, class_="note")


def bullets(sentences: Iterable[str], class_: str | None = None) -> Markup:
    """Sentences, one below the other."""
    return element("ul", *(element("li", sentence) for sentence in sentences), class_=class_)


def figure(drawing: Markup, words: str) -> Markup:
    """A drawing and what it shows."""
    return element("figure", drawing, element("figcaption", words))


def details(title: str, *parts: str) -> Markup:
    """What is seen when its title is opened."""
    return element("details", element("summary", title), *parts)


def table_section(
    table: Table,
    marks: Mapping[str, Sequence[str]] | None = None,
    *,
    closed: bool | None = None,
    file: str = "",
) -> Markup:
    """A table under its title and caption.

    Args:
        table: its cells are escaped.
        marks: column -> what is drawn before the text of each of its cells, as markup.
        closed: it is seen when its title is opened; None: if it is long.
        file: which file of the run has all rows.
    """
    number, title = len(table.rows), table.title
    notes = [note(text) for text in (table.caption, _left_out(number, file)) if text]
    scrolled = element(
        "div", _table(table, marks or {}), class_="scroll", role="region", tabindex="0", aria_label=title
    )
    if closed or (closed is None and number > OPEN_ROWS):
        return details(f"{title} ({number:,} rows)", *notes, scrolled)
    return join([element("h3", title), *notes, scrolled])


def _left_out(number: int, file: str) -> str:
    if number <= MAX_ROWS:
        return ""
    where = f"; {file} has them all" if file else ""
    return f"The first {MAX_ROWS:,} of {number:,} rows{where}."


def _table(table: Table, marks: Mapping[str, Sequence[str]]) -> Markup:
    columns = table.columns
    drawn = [marks.get(column.name, ()) for column in columns]
    shown = table.rows[:MAX_ROWS]
    classes = [_class(column, (row[at] for row in shown)) for at, column in enumerate(columns)]
    named = next((at for at, column in enumerate(columns) if not column.number), 0)
    head = (
        element("th", breakable(column.name), scope="col", class_=_head_class(column)) for column in columns
    )
    rows = [
        element("tr", *(
            element(
                "th" if at == named else "td",
                own[row] if own else "",
                element("bdi", cell.strip() or "(empty)") if columns[at].untrusted else breakable(cell),
                class_=classes[at],
                scope="row" if at == named else None,
            )
            for at, (cell, own) in enumerate(zip(cells, drawn, strict=True))
        ))
        for row, cells in enumerate(shown)
    ]  # fmt: skip
    return element("table", element("thead", element("tr", *head)), element("tbody", *rows))


def _head_class(column: Column) -> str | None:
    words = ["number"] * column.number + ["long"] * (len(column.name) > LONG_LETTERS)
    return " ".join(words) or None


def _class(column: Column, cells: Iterable[str]) -> str | None:
    """How the cells of a column are set: numbers to the right, sentences in lines of a good length."""
    if column.number:
        return "number"
    return "prose" if any(len(cell) > PROSE_LETTERS for cell in cells) else None
