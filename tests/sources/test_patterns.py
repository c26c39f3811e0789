"""Addresses with {model} and {date}: what they find, what they leave, and mistakes in them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.errors import ConfigError, InputError
from segpipe.sources.completeness import declared_complete
from segpipe.sources.patterns import FoundStore, Pattern
from segpipe.sources.storage import open_storage


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).mkdir(parents=True)


def names(pattern: str) -> list[tuple[str | None, str | None]]:
    """Model and day of what a pattern finds."""
    return [(one.model, one.day.isoformat() if one.day else None) for one in Pattern(pattern).find()]


def test_stores_are_found_by_day_and_model(tmp_path: Path) -> None:
    """What does not fit is left: other names, impossible days, links that lead out."""
    make(tmp_path, "p/2026-11-19/b.zarr", "p/2026-11-20/a.zarr", "p/2026-11-19/a.zarr", "p/2026-13-01/a.zarr")
    make(tmp_path, "p/latest/a.zarr", "p/2026-11-20/-x.zarr", "p/2026-11-20/a.tmp", "out/a.zarr")
    (tmp_path / "p/2026-11-21").symlink_to(tmp_path / "out")
    found = Pattern(f"{tmp_path}/p/{{date}}/{{model}}.zarr").find()
    assert found == [
        FoundStore(f"{tmp_path}/p/2026-11-19/a.zarr", "a", date(2026, 11, 19)),
        FoundStore(f"{tmp_path}/p/2026-11-19/b.zarr", "b", date(2026, 11, 19)),
        FoundStore(f"{tmp_path}/p/2026-11-20/a.zarr", "a", date(2026, 11, 20)),
    ]


def test_a_date_may_stand_in_parts_and_more_than_once(tmp_path: Path) -> None:
    """All of them must agree, and so must models."""
    make(
        tmp_path,
        "2026/11/a_20261120_a",
        "2026/11/a_20261020_a",
        "2026/11/a_20261120_b",
        "2025/11/a_20261120_a",
    )
    pattern = f"{tmp_path}/{{date:%Y}}/{{date:%m}}/{{model}}_{{date:%Y%m%d}}_{{model}}"
    assert names(pattern) == [("a", "2026-11-20")]


def test_a_pattern_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.zarr", "b.zarr")
    monkeypatch.chdir(tmp_path)
    assert [one.store for one in Pattern("{model}.zarr").find()] == ["a.zarr", "b.zarr"]
    assert Pattern("a.zarr").find() == [FoundStore("a.zarr", None, None)]


@given(
    st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    st.sampled_from(["{date}", "{date:%d.%m.%Y}", "{date:%Y}/{date:%j}"]),
)
def test_what_is_filled_in_is_found_again(day: date, text: str) -> None:
    """The regular expression undoes `fill`; a date without its parts is refused."""
    if "%j" in text:
        with pytest.raises(ConfigError, match="known are"):
            Pattern(text)
        return
    pattern = Pattern(f"x/{text}/{{model}}.zarr")
    path = pattern.fill("net", day)
    found = pattern._found(path.removeprefix("x/"))
    assert found == FoundStore(path, "net", day)
    assert pattern.fill("net", day + timedelta(days=1)) != path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{mdoel}.zarr", r"found \{mdoel\}; known are \{model\}, \{date\}"),
        ("{date:%Y-%m}", "needs its year, month and day, %Y, %m and %d; found %Y, %m"),
        ("{date:%H}", "known are"),
        ("{date:%Y}/{date:%j}", "known are"),
        ("{date:}", "known are"),
        ("{model", "a lone brace"),
        ("model}", "a lone brace"),
    ],
)
def test_mistakes_in_a_pattern(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Pattern(text)


def test_a_folder_that_is_missing_or_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """A mistyped folder would be a night without stores for ever."""
    with pytest.raises(InputError, match="no such folder"):
        Pattern(f"{tmp_path}/nosuch/{{model}}").find()
    with pytest.raises(InputError, match="a place that cannot be listed"):
        Pattern("http://127.0.0.1:1/{model}").find()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("zarr.json", '{"attributes": {"segpipe": {"complete": false}}}', False),
        ("zarr.json", '{"attributes": {"segpipe": {"complete": true}}}', True),
        ("labels/zarr.json", '{"attributes": {"segpipe": {"complete": true}}}', True),
        (".zattrs", '{"segpipe": {"complete": true}}', True),
        ("zarr.json", '{"attributes": {"segpipe": {"complete": 1}}}', None),
        ("zarr.json", '{"attributes": []}', None),
        ("zarr.json", "[" * 100_000, None),
        ("other", "", None),
    ],
)
def test_a_store_says_whether_it_is_complete(tmp_path: Path, name: str, text: str, said: bool | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert declared_complete(open_storage(str(tmp_path)), "labels") is said
