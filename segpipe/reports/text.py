"""Text and figures as they are printed. Ids, names and metadata come from stores that nobody vouches for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Control characters, line ends, and the marks that turn the direction of text around."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""


def score_text(value: float) -> str:
    """A score with four digits; a dash where there is none.

    >>> score_text(0.61234), score_text(float("nan"))
    ('0.6123', '-')
    """
    return "-" if math.isnan(value) else f"{value:.4f}"


def share_text(value: float) -> str:
    """A share in percent; 100 % only if nothing is missing.

    >>> share_text(1.0), share_text(0.99999), share_text(2 / 3)
    ('100 %', '99.99 %', '66.67 %')
    """
    if math.isnan(value):
        return "-"
    return "100 %" if value == 1 else f"{min(100 * value, 99.99):.2f} %"


def pixels_text(pixels: int | float) -> str:
    """A number of pixels; those that were multiplied by weights with one decimal.

    >>> pixels_text(1234), pixels_text(1234.56)
    ('1,234', '1,234.6')
    """
    return f"{pixels:,}" if isinstance(pixels, int) else f"{pixels:,.1f}"


def printable(text: str) -> str:
    """One line without control characters, which could clear a terminal or hide what follows.

    >>> printable("a\\n\\x1b[2Jb")
    'a [2Jb'
    """
    return _CONTROL.sub(" ", text)


def printable_lines(text: str) -> str:
    """A text from outside as it may stand on a terminal: its lines stay, no other control character does.

    >>> printable_lines("one\\n\\x1b[2Jtwo")
    'one\\n [2Jtwo'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


def encodable(text: str) -> str:
    """One printable line that HTML and XML can hold; a character that they cannot is a question mark.

    >>> encodable("a\\nb\\ud800")
    'a b?'
    """
    return _NO_XML.sub("?", printable(text))


def markdown_code(text: str) -> str:
    """Untrusted text as a Markdown code span, in which no link, HTML or emphasis is read.

    >>> print(markdown_code("a|b"), markdown_code("x`y"), markdown_code(" "))
    `a\\|b` ``x`y`` (empty)
    """
    line = printable(text).strip()
    if not line:
        return "(empty)"
    # A pipe ends the cell of a table even in a code span, and so does an escaped one after a backslash.
    line = re.sub(r"\\+(?=\||$)", lambda run: run.group().replace("\\", "\u29f5"), line).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    inner = f" {line} " if line.startswith("`") or line.endswith("`") else line
    return f"{fence}{inner}{fence}"


def markdown_text(text: str) -> str:
    """A sentence that may hold untrusted words, as Markdown without markup and without links.

    >>> print(markdown_text("*a* <b> http://c"))
    \\*a\\* &lt;b> http:&#8203;//c
    """
    line = printable(text).strip().replace("&", "&amp;").replace("<", "&lt;")
    line = re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))", r"\\\1", line)
    # Many renderers make links of bare addresses; a space of no width stops them.
    line = re.sub(r"(?i)(\w:)(?=//)|(www)(?=\.)", r"\1\2&#8203;", line)
    line = line.replace("@", "&#8203;@")
    return re.sub(r"^(>|[-+=#]+(?=\s|$)|\d+[.)](?=\s|$))", r"&#8203;\1", line)


def fenced(text: str, language: str = "") -> str:
    """Lines as a Markdown code block that they cannot close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    Numbers stay numbers (written so that they read back to the same bits); NaN is an empty cell.

    >>> csv_cell("=1+1"), csv_cell("-car"), csv_cell(-1), csv_cell(0.1), csv_cell(float("nan"))
    ("'=1+1", "'-car", -1, '0.1', '')
    """
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, str):
        # Some spreadsheets trim what is in front, so the first visible character decides.
        return f"'{value}" if value.lstrip()[:1] in tuple("=+-@|%") or value[:1] in tuple("\t\r\n") else value
    return value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file in UTF-8 with Unix line ends."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in (header, *rows):
            file.write(",".join(_quoted(str(csv_cell(value))) for value in row) + "\n")


def _quoted(cell: str) -> str:
    # Python's own writer does not quote a lone carriage return, and a reader takes it for the end of a row.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def write_json(path: Path, document: Any) -> None:
    """A JSON file with sorted keys; what is no finite number is null, for NaN is not JSON."""
    text = json.dumps(finite(document), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def finite(document: Any) -> Any:
    """The same plain data with null for NaN and infinity.

    >>> finite({"a": [1.5, float("nan")]})
    {'a': [1.5, None]}
    """
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, dict):
        return {str(key): finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    return document
