"""HTML and SVG as text, in which nothing from outside can become markup."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from segpipe.reports.text import encodable

EMPTY = frozenset({"meta", "wbr", "rect", "line", "path", "circle", "polyline"})
"""Elements that may be closed at once: HTML and XML read them alike."""


class Markup(str):
    """Text that is markup already. Any other string is escaped before it becomes a part of one."""

    __slots__ = ()


def plain(words: str) -> Markup:
    """Words as markup that shows them and does nothing else.

    >>> plain('<b> & "c"'), plain(Markup("<b></b>"))
    ('&lt;b&gt; &amp; &quot;c&quot;', '<b></b>')
    """
    return words if isinstance(words, Markup) else Markup(escape(encodable(words)))


def join(parts: Iterable[str]) -> Markup:
    """One after the other; what is no markup yet is escaped."""
    return Markup("".join(map(plain, parts)))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element with its attributes; None is left out, `_` in a name is a dash, and one at its end nothing.

    >>> element("p", "a<b", element("wbr"), class_="x", title=None)
    '<p class="x">a&lt;b<wbr/></p>'
    >>> element("line", stroke_width=1.0, x1=2 / 3)
    '<line stroke-width="1" x1="0.67"/>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(
        f"<{tag}{given}/>" if tag in EMPTY and not children else f"<{tag}{given}>{join(children)}</{tag}>"
    )


def _attribute(value: str | float) -> str:
    return plain(value) if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A length or a place in a drawing, with two digits at most.

    >>> number(1.0), number(0.125), number(-0.001)
    ('1', '0.12', '0')
    """
    if not math.isfinite(value):
        message = f"{value} is no place in a drawing"
        raise ValueError(message)
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
