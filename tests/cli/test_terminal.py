"""Progress and tables as they stand on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from segpipe.reports.tables import Column, Table
from segpipe.run.progress import Work
from segpipe.terminal import (
    LiveProgress,
    Meter,
    PlainProgress,
    duration,
    fitting_columns,
    plain_console,
    quantity,
    rich_table,
    shown_progress,
)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


TOTAL = Work(images=100, pixels=100_000_000, stored_bytes=4_000_000)
HALF = Work(images=50, pixels=50_000_000, stored_bytes=2_000_000)
TENTH = Work(images=10, pixels=10_000_000, stored_bytes=400_000)


def test_speed_and_time_left_are_those_of_this_run() -> None:
    """Counts of an earlier run are progress, but not speed."""
    clock = Clock()
    meter = Meter(TOTAL, HALF, clock)
    assert meter.seconds_left is None
    meter.advance(TENTH)
    clock.now += 2
    assert meter.pixels_per_s == pytest.approx(5e6)
    assert meter.seconds_left == pytest.approx(8)
    assert meter.describe() == "60/100 images, 5 Mpx/s, 2.4 MB/4 MB, 8 s left"
    assert meter.summary() == "counted 10 of 50 images, 10 Mpx in 2.0 s (5 Mpx/s), 50 from earlier counts"


def test_the_last_word_tells_apart_nothing_to_do_and_nothing_done() -> None:
    """Zero images counted is fine in one case and not in the other."""
    assert Meter(TOTAL, TOTAL, Clock()).summary() == "nothing to count: all 100 images have counts already"
    assert Meter(TOTAL, Work(), Clock()).summary() == "nothing counted in 0.0 s"


def test_plain_lines_come_every_few_seconds() -> None:
    """Not one for each task: a log stays readable."""
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, every_s=5, clock=clock)
    progress.stage("count")
    progress.begin(TOTAL, Work())
    for _ in range(10):
        clock.now += 1
        progress.advance(TENTH)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "count ...",
        "50/100 images, 10 Mpx/s, 2 MB/4 MB, 5 s left",
        "100/100 images, 10 Mpx/s, 4 MB/4 MB, 0 s left",
        "counted 100 of 100 images, 100 Mpx in 10.0 s (10 Mpx/s)",
    ]


def test_without_a_terminal_progress_is_plain_and_with_one_it_is_live() -> None:
    """A pipe gets no control characters."""
    stream = io.StringIO()
    with shown_progress(stream) as progress:
        assert isinstance(progress, PlainProgress)
        progress.note("a\x1b[2Jb\nc")
        progress.remark("compiling\x1b[2J")
    assert stream.getvalue() == "warning: a [2Jb c\ncompiling [2J\n"
    with shown_progress(Terminal()) as progress:
        assert isinstance(progress, LiveProgress)


def test_the_live_line_fits_80_columns() -> None:
    """Images, speed, bytes and time left, beside the bar."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, markup=False)
    progress = LiveProgress(console)
    progress.start()
    progress.stage("count")
    progress.begin(Work(1_000_000, 2 * 10**12, 88 * 10**9), Work())
    progress.advance(Work(500_000, 10**12, 44 * 10**9))
    progress.stop()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = [line for line in re.split(r"[\r\n]", drawn) if "500,000" in line]
    assert lines
    assert max(map(len, lines)) <= 80
    assert "500,000/1,000,000 images" in lines[-1]
    assert "44 GB/88 GB" in lines[-1]


CLASSES = Table(
    "Classes",
    (Column("id"), Column("class", number=False, untrusted=True), Column("truth px"), Column("iou")),
    [("0", "a class with quite a long name indeed", "1,234,567,890,123", "0.1234"), ("1", "b", "7", "-")],
)


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
def test_figures_are_never_cut(width: int) -> None:
    """A narrow terminal shows fewer columns, or shorter names, and all digits of what it shows."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(rich_table(CLASSES, width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "0.1234" in text
    assert ("1,234,567,890,123" in text) == (2 in fitting_columns(CLASSES, width))
    assert "1,234,567,890\u2026" not in text


def test_what_does_not_fit_goes_widest_first() -> None:
    """The areas go before the scores."""
    assert fitting_columns(CLASSES, 30) == [0, 1, 3]
    assert fitting_columns(CLASSES, 80) == [0, 1, 2, 3]


def test_markup_in_a_name_is_text() -> None:
    """A class called [red] is printed as that."""
    stream = io.StringIO()
    table = Table("[b]T[/b]", (Column("class", number=False),), [("[red]x[/red] :smile:",)])
    console = plain_console(stream)
    console.print(rich_table(table, console.width))
    assert "[red]x[/red] :smile:" in stream.getvalue()
    assert "[b]T[/b]" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all programs on a terminal should."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert plain_console(Terminal()).color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert plain_console(Terminal()).no_color


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 px"),
        (999, "999 px"),
        (999.7, "1 kpx"),
        (1e6, "1 Mpx"),
        (1.5e15, "1.5 Ppx"),
        (2e18, "2,000 Ppx"),
    ],
)
def test_quantities_have_three_digits(value: float, said: str) -> None:
    """Never 1e+03."""
    assert quantity(value, "px") == said


def test_durations_have_the_units_of_a_clock() -> None:
    """Seconds alone only below a minute."""
    assert [duration(seconds) for seconds in (0, 59.4, 59.6, 3599.6)] == ["0 s", "59 s", "1:00", "1:00:00"]
