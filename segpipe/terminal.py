"""What a person sees: progress while a run counts, and tables of its results.

Progress and warnings go to the error stream, results to the output stream, so that results can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from segpipe.reports.tables import (
    Table,
    aggregates_table,
    convention_reasons,
    conventions_table,
    counts_table,
    coverage_line,
    gates_line,
    gates_table,
    groups_tables,
    headline,
    intervals_tables,
    notes_table,
    per_class_table,
    statistics_tables,
    worst_slices_table,
)
from segpipe.reports.text import printable
from segpipe.run.log import log_format
from segpipe.run.progress import SILENT, Progress, Work
from segpipe.statistics.described import SHOWN_SIZE, described, needed

if TYPE_CHECKING:
    from segpipe.metrics.base import Metric
    from segpipe.metrics.conventions.scoring import ConventionScore
    from segpipe.metrics.gates import GateReport
    from segpipe.metrics.scores import Scores
    from segpipe.run.doctor import Finding
    from segpipe.run.opened import Run
    from segpipe.statistics.base import Statistic
    from segpipe.statistics.figures import Figure

PLAIN_EVERY_S = 5.0
"""How often a line is written where there is no terminal."""

PLAIN_WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""

NARROW_TEXT = 14
"""To how many letters a name may be cut on a narrow terminal."""

GAP = 2


def results_console() -> Console:
    """The console for results."""
    return plain_console(sys.stdout)


class PipedConsole(Console):
    """A console that leaves it to the command what happens when the reader of a pipe has gone."""

    def on_broken_pipe(self) -> None:
        """Say so, instead of ending the process."""
        raise BrokenPipeError


def plain_console(stream: IO[str]) -> Console:
    """A console that takes every text as it is: no markup, no emoji names, no guessed colours."""
    width = None if stream.isatty() else PLAIN_WIDTH
    return PipedConsole(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def quantity(value: float, unit: str) -> str:
    """A number in words: three digits and a decimal prefix.

    >>> quantity(1234567, "px"), quantity(0, "B"), quantity(950, "B"), quantity(2.5e9, "px/s")
    ('1.23 Mpx', '0 B', '950 B', '2.5 Gpx/s')
    """
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:,.0f} P{unit}" if value >= 999.5 else f"{value:.3g} P{unit}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(4.2), duration(75), duration(7384)
    ('4 s', '1:15', '2:03:04')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


class Meter:
    """How far counting is and how fast it goes; what earlier counts already held is not speed.

    Args:
        total: all work of the run.
        done: what was already counted when it began.
        clock: seconds, for example `time.monotonic`.
        verb: what is done to images, in the past.
    """

    def __init__(
        self,
        total: Work,
        done: Work,
        clock: Callable[[], float] = time.monotonic,
        verb: str = "counted",
    ) -> None:
        self.verb = verb
        self.total = total
        self.held = done
        self.counted = Work(0, 0, 0)
        self._clock = clock
        self._begun = clock()

    def advance(self, work: Work) -> None:
        """Add what was just counted."""
        self.counted += work

    @property
    def done(self) -> Work:
        """Everything that has counts, of this run or of an earlier one."""
        return self.held + self.counted

    @property
    def seconds(self) -> float:
        """Since counting began."""
        return max(self._clock() - self._begun, 1e-9)

    @property
    def pixels_per_s(self) -> float:
        """Pixels counted by this run in a second."""
        return self.counted.pixels / self.seconds

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None until there is one."""
        left = self.total.pixels - self.done.pixels
        return left / self.pixels_per_s if self.counted.pixels else None

    def describe(self) -> str:
        """Images, speed, bytes and time left.

        >>> meter = Meter(Work(40, 4_000_000, 800), Work(0, 0, 0), clock=iter([0.0, 1.0, 1.0]).__next__)
        >>> meter.advance(Work(10, 1_000_000, 200))
        >>> meter.describe()
        '10/40 images, 1 Mpx/s, 200 B/800 B, 3 s left'
        """
        parts = [f"{self.done.images:,}/{self.total.images:,} images"]
        if self.counted.pixels:
            parts.append(quantity(self.pixels_per_s, "px/s"))
        parts.append(f"{quantity(self.done.stored_bytes, 'B')}/{quantity(self.total.stored_bytes, 'B')}")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def summary(self) -> str:
        """One line when counting has ended."""
        if not self.counted.images and self.held.images:
            return f"nothing to count: all {self.held.images:,} images have counts already"
        seconds = self.seconds
        if self.done.images < self.total.images and not self.counted.images:
            return f"nothing {self.verb} in {seconds:.1f} s"
        speed = f" ({quantity(self.counted.pixels / seconds, 'px/s')})" if self.counted.pixels else ""
        held = f", {self.held.images:,} from earlier counts" if self.held.images else ""
        images = f"{self.counted.images:,} of {self.total.images - self.held.images:,} images"
        return f"{self.verb} {images}, {quantity(self.counted.pixels, 'px')} in {seconds:.1f} s{speed}{held}"


class PlainProgress:
    """Progress as lines: one for every stage, and one every few seconds while pixels are counted."""

    def __init__(
        self,
        stream: IO[str],
        *,
        every_s: float = PLAIN_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        verb: str = "counted",
    ) -> None:
        self._stream = stream
        self._verb = verb
        self._every_s = every_s
        self._clock = clock
        self._meter: Meter | None = None
        self._said = clock()

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._say(f"{name} ...")

    def begin(self, total: Work, done: Work) -> None:
        """Counting begins."""
        self._meter = Meter(total, done, self._clock, self._verb)
        self._said = self._clock()

    def advance(self, work: Work) -> None:
        """Some images were counted."""
        if self._meter is None:
            return
        self._meter.advance(work)
        if self._clock() - self._said >= self._every_s:
            self._said = self._clock()
            self._say(self._meter.describe())

    def end(self) -> None:
        """Counting is over."""
        if self._meter is not None:
            self._say(self._meter.summary())
        self._meter = None

    def note(self, text: str) -> None:
        """A warning."""
        self._say(f"warning: {printable(text)}")

    def remark(self, text: str) -> None:
        """Nothing to worry about."""
        self._say(printable(text))

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveProgress:
    """Progress as one line that is redrawn on a terminal."""

    def __init__(self, console: Console, verb: str = "counted") -> None:
        self._verb = verb
        figures = TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=12), figures]
        self._bars = Bars(*columns, console=console, transient=True, refresh_per_second=5)
        self._task: TaskID = self._bars.add_task("", total=None, figures="")
        self._meter: Meter | None = None

    def start(self) -> None:
        """Begin to draw."""
        self._bars.start()

    def stop(self) -> None:
        """Take the line away; what was printed above it stays."""
        self._bars.stop()

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._bars.reset(self._task, total=None, description=name, figures="")

    def begin(self, total: Work, done: Work) -> None:
        """Counting begins."""
        self._meter = Meter(total, done, verb=self._verb)
        self._bars.update(self._task, total=max(total.pixels, 1), completed=done.pixels)
        self._show()

    def advance(self, work: Work) -> None:
        """Some images were counted."""
        if self._meter is not None:
            self._meter.advance(work)
            self._show()

    def _show(self) -> None:
        if self._meter is not None:
            figures = self._meter.describe()
            self._bars.update(self._task, completed=self._meter.done.pixels, figures=figures)

    def end(self) -> None:
        """Counting is over."""
        if self._meter is not None:
            self._bars.console.print(self._meter.summary())
        self._meter = None

    def note(self, text: str) -> None:
        """A warning."""
        self._bars.console.print(Text(f"warning: {printable(text)}", style="yellow"))

    def remark(self, text: str) -> None:
        """Nothing to worry about."""
        self._bars.console.print(Text(printable(text)))


@contextmanager
def shown_progress(stream: IO[str], verb: str = "counted") -> Iterator[Progress]:
    """Progress on a stream: a live line on a terminal, plain lines elsewhere, none beside a log."""
    if log_format() is not None:
        yield SILENT
        return
    if not stream.isatty():
        yield PlainProgress(stream, verb=verb)
        return
    live = LiveProgress(plain_console(stream), verb)
    live.start()
    try:
        yield live
    finally:
        live.stop()


def rich_table(table: Table, width: int) -> RichTable:
    """A table of a report for a terminal: names may be cut, figures never; what does not fit is left out.

    Args:
        table: plain rows of printable text.
        width: columns of the terminal. The widest columns of figures go first.
    """
    kept = fitting_columns(table, width)
    made = RichTable(
        title=Text(printable(table.title)), title_justify="left", title_style="bold", box=None,
        pad_edge=False, caption=Text(printable(table.caption)) if table.caption else None,
        caption_justify="left",
    )  # fmt: skip
    for position in kept:
        column = table.columns[position]
        side: JustifyMethod = "right" if column.number else "left"
        made.add_column(Text(column.name), justify=side, no_wrap=column.number, overflow="ellipsis")
    for row in table.rows:
        made.add_row(*(Text(printable(row[position])) for position in kept))
    return made


def fitting_columns(table: Table, width: int) -> list[int]:
    """The columns of a table that fit side by side: texts may be narrowed to some letters, figures not."""
    needed = [
        max(len(text) for text in (column.name, *(row[position] for row in table.rows)))
        for position, column in enumerate(table.columns)
    ]
    needed = [
        size if column.number else min(size, NARROW_TEXT)
        for size, column in zip(needed, table.columns, strict=True)
    ]
    kept = list(range(len(needed)))
    while sum(needed[position] + GAP for position in kept) - GAP > width and len(kept) > 2:
        kept.remove(max(kept[1:], key=needed.__getitem__))
    return kept


def show_pairs(
    console: Console, title: str, rows: Sequence[tuple[str, str]], warnings: Sequence[str] = ()
) -> None:
    """Names, and what is to be said of each; long texts go on in the next line. Below them warnings."""
    made = RichTable(box=None, pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(Text(printable(name), style="dim"), Text(printable(value)))
    console.print(Text(title, style="bold"))
    console.print(made)
    _show_warnings(console, warnings)


def _show_warnings(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(Text(f"warning: {printable(warning)}", style="yellow"))


STATE_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def findings_table(findings: Sequence[Finding]) -> RichTable:
    """What the doctor found, one line each, and below it what to do."""
    made = RichTable(box=None, pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=STATE_STYLES[finding.state])
        made.add_row(state, Text(finding.name), Text(printable(finding.found)))
        if finding.state != "ok":
            made.add_row("", "", Text(printable(f"-> {finding.advice}")))
    return made


def print_metrics(console: Console, metrics: Sequence[Metric], kinds: Sequence[type[Statistic]]) -> None:
    """All metrics, then every statistic with what it needs, its parameters and sums, and its figures."""
    console.print(metrics_table(metrics))
    console.print()
    console.print(Text("Statistics, counted beside the confusion matrix if they are asked for", style="bold"))
    for kind in kinds:
        console.print()
        console.print(_statistic_facts(kind))
        console.print(metrics_table(kind.metrics))


def _statistic_facts(kind: type[Statistic]) -> RichTable:
    """What is summed of a kind of statistic, what must be read for it, and its parameters."""
    found = described(kind)
    halo = found["halo_px"]
    size = " x ".join(map(str, SHOWN_SIZE))
    around = f" ({halo} px of an image of {size} px, by default)" if halo is not None else ""
    rows = [("", found["summary"]), ("needs", f"{needed(kind) or 'label maps'}{around}")]
    rows += [
        (
            "parameter",
            f"{name}: {one['expected']}"
            + (f" (default {one['default']})" if one.get("default") is not None else ""),
        )
        for name, one in found["parameters"].items()
    ]
    for one in found["sums"]:
        per = f" of each {' and '.join(one['dims'])}" if one["dims"] else ""
        unit = f", in {one['unit']}" if one["unit"] != "1" else ""
        rows.append(("sum", f"{one['name']}{per}{unit}: {one['meaning']}"))
    rows.append(("source", found["source"]))
    made = RichTable(box=None, pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for number, (head, text) in enumerate(rows):
        name = Text(kind.kind, style="bold") if number == 0 else Text(head, style="dim")
        made.add_row(name, Text(printable(text)))
    return made


def metrics_table(metrics: Sequence[Figure]) -> RichTable:
    """The metrics: name, formula, range and good end, of each class or of all; below each when it is NaN."""
    made = RichTable(box=None, pad_edge=False)
    for head in ("metric", "formula", "range", "best", "of"):
        made.add_column(Text(head), no_wrap=head != "formula", overflow="fold")
    for one in metrics:
        ends = f"{one.minimum:g} to {one.maximum:g}".replace("to inf", "up")
        of = "each class" if one.per_class else "all classes"
        made.add_row(*map(Text, (one.name, one.formula, ends, f"{one.best:g}", of)))
        made.add_row("", Text(one.nothing, style="dim"))
    return made


def show_results(console: Console, run: Run) -> None:
    """The tables of a run, the headline first, and at the end where the reports are."""
    scores, summary = run.computed, run.summary
    console.print(Text(f"{printable(summary.suite)}: {printable(summary.model)}", style="bold"))
    console.print(Text(headline(scores), style="bold"))
    console.print(Text(coverage_line(summary)))
    _show_warnings(console, summary.warnings)
    if run.gates is not None and run.gates.verdicts:
        console.print()
        print_gates(console, run.gates)
    for table in _result_tables(run):
        console.print()
        console.print(rich_table(table, console.width))
    console.print()
    for words, name in (("Report", "report.html"), ("As text", "report.md")):
        console.print(Text(f"{words}: {run.path / name}"), soft_wrap=True)


def print_gates(console: Console, report: GateReport) -> None:
    """The verdict of every gate, one below the other: sentences are not cut."""
    style = "bold red" if report.failed else "bold green"
    console.print(Text(f"Gates: {gates_line(report)}", style=style))
    made = RichTable(box=None, pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for gate, verdict, found, _ in gates_table(report).rows:
        made.add_row(
            Text(verdict, style="green" if verdict == "passed" else "bold red"), Text(f"{gate}: {found}")
        )
    console.print(made)


def print_conventions(console: Console, scores: Sequence[ConventionScore]) -> None:
    """What other tools would print, and below it why that differs."""
    console.print(rich_table(without(conventions_table(scores), "of"), console.width))
    console.print()
    console.print(Text("Why they differ", style="bold"))
    for sentence in convention_reasons(scores):
        console.print(Text(f"- {printable(sentence)}"))


def print_intervals(console: Console, scores: Scores) -> None:
    """Between which values each score lies, and how that was found."""
    for table in intervals_tables(scores):
        console.print(rich_table(table, console.width))
        console.print()
    if scores.rules.intervals:
        console.print(Text(scores.rules.intervals.in_words()))


def _result_tables(run: Run) -> Iterator[Table]:
    yield without(aggregates_table(run.computed), "what it is")
    yield per_class_table(run.computed)
    for tables in (groups_tables(run.computed), statistics_tables(run.computed)):
        yield from (without(table, "what it is") for table in tables)
    for table in (worst_slices_table(run.computed), notes_table(run.computed)):
        if table.rows:
            yield table
    yield counts_table(run.computed)


def without(table: Table, name: str) -> Table:
    """A table without one of its columns."""
    kept = [position for position, column in enumerate(table.columns) if column.name != name]
    return replace(
        table,
        columns=tuple(table.columns[position] for position in kept),
        rows=[tuple(row[position] for position in kept) for row in table.rows],
    )
