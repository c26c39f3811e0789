"""Untrusted text in Markdown, CSV, JSON and a terminal; Markdown is read back by a parser."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from segpipe.reports.kinds.report_md import markdown_table
from segpipe.reports.tables import Column, Table
from segpipe.reports.text import (
    csv_cell,
    fenced,
    markdown_code,
    markdown_text,
    printable,
    score_text,
    share_text,
    write_csv,
    write_json,
)

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
HARMLESS = {"inline", "paragraph_open", "paragraph_close", "text", "code_inline"}
ATTACKS = [
    "a|b", "a\\|b", "ends in \\", "`", "``x`", "` a |", "<b>x</b>", "<script>alert(1)</script>", "&lt;",
    "[a](http://b)", "![a](http://b)", "http://evil.example", "www.evil.example", "a@b.example",
    "line\nbreak", "line\r\n\r\n# Title", "\u2028", "*bold* _thin_ ~~gone~~", "# Title", "- item", "1. item",
    "> quote", ">1", "---", "===", "$x$", "<!-- x", "\x1b[2J",
]  # fmt: skip
hostile = st.one_of(st.sampled_from(ATTACKS), st.text("|\\`<>[]()!#*_-+=\n\r a1.:/@&~$\u2028", max_size=12))


def tokens(markdown: str) -> list[Token]:
    return [inner for token in PARSER.parse(markdown) for inner in [token, *(token.children or [])]]


def shown(markdown: str) -> str:
    """The text that a reader sees."""
    return "".join(token.content for token in tokens(markdown) if token.type in ("text", "code_inline"))


@given(text=hostile)
@example("a\\")
def test_a_code_span_is_one_code_span_and_shows_the_text(text: str) -> None:
    """Nothing in it is markup; pipes are escaped for tables, and shown by their renderer."""
    found = markdown_code(text)
    line = printable(text).strip()

    assert "\n" not in found
    if line:
        (span,) = [token for token in tokens(f"x {found} y") if token.type == "code_inline"]
        assert span.content.replace("\\|", "|").replace("\u29f5", "\\").strip() == line
    else:
        assert found == "(empty)"


@given(text=hostile)
def test_a_sentence_has_no_markup_and_shows_its_words(text: str) -> None:
    """Neither links, HTML, emphasis, headings nor lists; only spaces of no width are added."""
    found = tokens(f"{markdown_text(text)}\n")

    assert {token.type for token in found} <= HARMLESS
    assert shown(markdown_text(text)).replace("\u200b", "").strip() == printable(text).strip()


@pytest.mark.parametrize(
    "text", ["http://a.example/x", "HTTPS://a.example", "www.a.example", "a@b.example", "ftp://a"]
)
def test_bare_addresses_are_broken_so_that_no_renderer_links_them(text: str) -> None:
    """GitHub links `http://`, `www.` and mail addresses without any markup."""
    words = shown(markdown_text(text))

    assert "://" not in words
    assert not words.lower().startswith("www.")
    assert "@" not in words.replace("\u200b@", "")


@given(cells=st.lists(st.tuples(hostile, hostile), min_size=1, max_size=4))
def test_hostile_cells_stay_in_their_cells(cells: list[tuple[str, str]]) -> None:
    """A table of n rows and 2 columns is read back as one, whatever is in it."""
    columns = (Column("id", number=False, untrusted=True), Column("name", number=False, untrusted=True))
    found = tokens(markdown_table(Table("T", columns, list(cells))))
    kinds = [token.type for token in found]

    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == len(cells) + 1
    assert kinds.count("td_open") == 2 * len(cells)
    assert not {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open"} & set(kinds)
    contents = [token.content for token in found if token.type == "code_inline"]
    expected = [printable(cell).strip() for row in cells for cell in row if printable(cell).strip()]
    assert [content.replace("\u29f5", "\\").strip() for content in contents] == expected


@given(text=st.text("`\n ax", max_size=20))
def test_a_code_block_cannot_be_closed_from_within(text: str) -> None:
    """One block, and after it nothing."""
    found = [token for token in PARSER.parse(fenced(text, "yaml")) if token.type != "inline"]

    assert [token.type for token in found] == ["fence"]
    assert found[0].content.rstrip() == text.rstrip()


@given(text=st.text(max_size=20))
def test_a_printable_line_holds_no_control_character(text: str) -> None:
    """No line end, no escape sequence, nothing that reverses the direction of text."""
    found = printable(text)

    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029\u202e\u2066" for c in found)
    assert len(found.splitlines()) <= 1


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n=1", "|x", "%x", "=cmd|'/c calc'!A1"]
)
def test_a_text_that_starts_like_a_formula_gets_an_apostrophe(tmp_path: Path, text: str) -> None:
    """The data behind it is whole, through quoting and line ends."""
    write_csv(tmp_path / "t.csv", ["a", "b"], [[text, 1]])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["'" + text, "1"]


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_in_csv_read_back_to_the_same_bits(value: float) -> None:
    """Negative numbers are no formulas."""
    assert float(csv_cell(value)) == value


@given(text=st.text(max_size=10))
def test_ordinary_text_in_csv_is_left_alone(text: str) -> None:
    """Nothing but an apostrophe is ever added, and only where it is needed."""
    assert csv_cell(text) in (text, "'" + text)
    assert csv_cell("car " + text) == "car " + text


def test_json_has_null_for_nan_and_infinity_and_sorted_keys(tmp_path: Path) -> None:
    """NaN is not JSON, and strict readers refuse it."""
    write_json(tmp_path / "t.json", {"b": [math.nan, math.inf, 0.1], "a": {"é": (1, None, True)}})
    text = (tmp_path / "t.json").read_text("utf-8")

    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": {"é": [1, None, True]},
        "b": [None, None, 0.1],
    }
    assert text.index('"a"') < text.index('"b"')


def test_shares_and_scores_in_words() -> None:
    """100 % means all; what is missing is a dash."""
    assert [share_text(value) for value in (1.0, 1 - 1e-9, 0.0, math.nan)] == [
        "100 %",
        "99.99 %",
        "0.00 %",
        "-",
    ]
    assert [score_text(value) for value in (1.0, 0.5, math.nan)] == ["1.0000", "0.5000", "-"]
