"""The tables of a report as plain rows: the terminal renders them, and so does Markdown.

Cells are one printable line each, and are not escaped: who renders them escapes for the place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.counts.results import NO_CLASS_NAMES, ResultsReader
from segpipe.metrics.base import METRICS
from segpipe.metrics.conventions.base import WORDS
from segpipe.metrics.conventions.scoring import ConventionScore
from segpipe.metrics.distributions import FIGURES, quantile
from segpipe.metrics.gates import GateReport, told
from segpipe.metrics.scores import HEADLINE, Aggregate, Interval, Scores, SliceScore, StatisticScores
from segpipe.reports.summary import RunSummary, Tally
from segpipe.reports.text import pixels_text, printable, score_text, share_text

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Column:
    """A heading; numbers stand to the right; `untrusted` cells hold names or ids from outside."""

    name: str
    number: bool = True
    untrusted: bool = False


@dataclass(frozen=True)
class Table:
    """A title, columns, rows of printable text, and a sentence on what they mean, if they need one."""

    title: str
    columns: tuple[Column, ...]
    rows: Rows
    caption: str = ""


_NAME = Column("class", number=False, untrusted=True)


def headline(scores: Scores) -> str:
    """The main figure and what it is an average of, in one sentence.

    >>> from segpipe.classes import ClassList
    >>> from segpipe.metrics.rules import ScoringRules
    >>> from segpipe.metrics.scoring import score_matrix
    >>> matrix = [[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> headline(score_matrix(matrix, ClassList.numbered(2), ScoringRules()))
    'Mean IoU 0.7750: mean over 2 of 2 classes, of counts summed over all images (pooled)'
    """
    one = scores.headline
    images = "all images" if scores.images is None else f"{scores.images:,} images"
    return (
        f"{one.title} {score_text(one.value)}: mean over {one.basis}, of counts summed over {images} (pooled)"
    )


def coverage_line(summary: RunSummary) -> str:
    """Coverage, and planned, counted, skipped and quarantined images and pixels, in one line."""
    parts = [
        f"{_tally(tally)} {name}" for name, tally in (("images", summary.images), ("pixels", summary.pixels))
    ]
    return f"Coverage {share_text(summary.coverage)}: {'; '.join(parts)}"


def _tally(tally: Tally) -> str:
    return (
        f"{tally.counted:,} counted of {tally.planned:,} planned, {tally.skipped:,} skipped, "
        f"{tally.quarantined:,} quarantined"
    )


def counts_table(scores: Scores) -> Table:
    """Pixels by what the rules made of them."""
    pixels = scores.counts["pixels"]
    rows: Rows = [
        (name.replace("_", " "), f"{number:,}", share_text(number / pixels if pixels else float("nan")))
        for name, number in scores.counts.items()
    ]
    return Table("Pixels", (_words("pixels"), Column("number"), Column("share")), rows)


def aggregates_table(scores: Scores) -> Table:
    """The main aggregates with their value, what they average, and how many classes and images are in it."""
    rows: Rows = [
        (one.name, score_text(one.value), *_interval_cells(scores, one), one.averaging, one.basis, one.rule)
        for one in scores.main_aggregates()
    ]
    columns = (_words("score"), Column("value"), *interval_columns(scores), *_ABOUT)
    return Table("Scores", columns, rows)


def interval_columns(scores: Scores) -> list[Column]:
    """The heading of intervals, if there are any."""
    rules = scores.rules.intervals
    return [Column(f"{100 * rules.level:g} % interval")] if rules and scores.headline.interval else []


def _interval_cells(scores: Scores, one: Aggregate) -> list[str]:
    if not interval_columns(scores):
        return []
    return [interval_text(one.interval) if one.interval else ""]


def interval_text(one: Interval) -> str:
    """An interval with four digits; a dash where there is none.

    >>> interval_text(Interval(0.61, 0.66, 0.95, "bootstrap", 40))
    '0.6100 to 0.6600'
    """
    return "-" if math.isnan(one.low) else f"{one.low:.4f} to {one.high:.4f}"


def intervals_tables(scores: Scores) -> list[Table]:
    """The interval of every score, and of main scores of classes and groups if they were asked for."""
    tables = [_intervals_table("Intervals", scores, scores.all_aggregates)]
    names = [name for name in scores.main_metrics() if name in scores.class_intervals]
    if names:
        tables.append(_class_intervals_table("Intervals of the classes", scores, names))
    for one in scores.statistics:
        if one.class_intervals:
            title = f"Intervals of the classes: {one.statistic.full_title}"
            tables.append(_class_intervals_table(title, scores, list(one.class_intervals)))
    if scores.groups is not None:
        tables.append(_intervals_table("Intervals of groups together", scores, scores.groups.aggregates))
        names = [name for name in scores.groups.main_metrics() if name in scores.groups.class_intervals]
        if names:
            tables.append(_class_intervals_table("Intervals of the groups", scores.groups, names, "group"))
    return tables


def _intervals_table(title: str, scores: Scores, aggregates: Mapping[str, Aggregate]) -> Table:
    rows: Rows = [
        (name, score_text(one.value), interval_text(one.interval), one.interval.note)
        for name, one in aggregates.items()
        if one.interval
    ]
    columns = (_words("score"), Column("value"), *interval_columns(scores), _words("note"))
    return Table(title, columns, rows)


def _class_intervals_table(title: str, scores: Scores, metrics: Sequence[str], head: str = "class") -> Table:
    """The intervals of every class, or of every group of classes."""
    intervals = scores.all_class_intervals
    rows: Rows = [
        (printable(name), *(interval_text(intervals[metric][at]) for metric in metrics))
        for at, name in enumerate(scores.classes.names)
    ]
    return Table(title, (_outside(head), *map(Column, metrics)), rows)


def interval_warnings(scores: Scores) -> list[str]:
    """What is to be known of the intervals of the main scores, in sentences."""
    notes = _together(
        (one.interval.note if one.interval else "", one.name) for one in scores.main_aggregates()
    )
    return [f"Intervals of {names}: {note}." for note, names in notes.items()]


def distribution_tables(scores: Scores) -> list[Table]:
    """How the scores of the images that have a class are spread, one table for each metric."""
    worst = f"worst {scores.rules.worst_percent:g} %"
    heads = {"lower_quartile": "25 %", "upper_quartile": "75 %", "worst": worst}
    tables = []
    for one in scores.distributions:
        rows: Rows = [
            (printable(row["class_name"]), f"{row['images']:,}", *(score_text(row[name]) for name in FIGURES))
            for row in one.rows(scores.classes)
        ]
        columns = (_NAME, Column("images"), *(Column(heads.get(name, name)) for name in FIGURES))
        tables.append(Table(f"{METRICS[one.metric].title} of the images that have the class", columns, rows))
    return tables


def notes_table(scores: Scores) -> Table:
    """Classes that a main aggregate leaves out, or keeps although there is something to know, and why."""
    means: dict[tuple[str, str, str], list[str]] = {}
    for one in scores.main_aggregates():
        for word, classes in (("left out", one.classes_dropped), ("kept", one.flagged)):
            for name, why in classes.items():
                means.setdefault((name, word, why), []).append(one.name)
    names: dict[tuple[str, ...], list[str]] = {}
    for (name, word, why), within in means.items():
        names.setdefault((word, why, ", ".join(within)), []).append(name)
    rows: Rows = [(printable(_listed(classes)), *reason) for reason, classes in names.items()]
    heads = (Column("classes", number=False, untrusted=True), *map(_words, ("are", "because", "in")))
    return Table("Classes to know of", heads, rows)


def _listed(names: list[str], shown: int = 30) -> str:
    more = [f"and {len(names) - shown} more"] if len(names) > shown else []
    return ", ".join(names[:shown] + more)


SHOWN_SLICES = 100
"""How many slices of one kind a report lists; per_slice.csv has them all."""


def worst_slices(scores: Scores, number: int = 10) -> list[SliceScore]:
    """The slices of the lowest rank, of all ways to cut; equal ones in the order of the slices."""
    known = [one for one in scores.slices if not math.isnan(one.rank)]
    return sorted(known, key=lambda one: one.rank)[:number]


def worst_slices_table(scores: Scores, number: int = 10) -> Table:
    """The slices of the lowest mean IoU.

    Where there are intervals, their lower end counts: a slice of few images may be worse than it looks.
    """
    rows: Rows = [(printable(one.title), *_slice_cells(one, scores)) for one in worst_slices(scores, number)]
    title = "The slice" if len(rows) == 1 else f"The {len(rows)} slices"
    end = "lower end of the interval of the " if _slice_intervals(scores) else ""
    return Table(f"{title} of the lowest {end}mean IoU", (_outside("by"), *_slice_columns(scores)), rows)


def slices_tables(scores: Scores) -> list[Table]:
    """The slices of each way to cut the images, in the order of their values."""
    tables = []
    for title, ways in slice_ways(scores).items():
        first = f", the first {SHOWN_SLICES} of {len(ways)}" if len(ways) > SHOWN_SLICES else ""
        rows: Rows = [_slice_cells(one, scores) for one in ways[:SHOWN_SLICES]]
        tables.append(Table(f"Slices by {title}{first}", _slice_columns(scores), rows))
    return tables


def slice_ways(scores: Scores) -> dict[str, list[SliceScore]]:
    """What the images are cut by -> the slices."""
    ways: dict[str, list[SliceScore]] = {}
    for one in scores.slices:
        ways.setdefault(one.title, []).append(one)
    return ways


def _slice_columns(scores: Scores) -> tuple[Column, ...]:
    figure = (Column("mean IoU"), *interval_columns(scores)[: _slice_intervals(scores)])
    return (_outside("slice"), Column("images"), *figure, _words("stands on"), Column("pixel accuracy"))


def _slice_cells(one: SliceScore, scores: Scores) -> tuple[str, ...]:
    drawn = [interval_text(one.intervals[HEADLINE])] if _slice_intervals(scores) else []
    return (
        printable(one.name),
        f"{one.images:,}",
        score_text(one.values[HEADLINE]),
        *drawn,
        f"{one.uses[HEADLINE]} of {len(scores.classes)} classes",
        score_text(one.values["pixel_accuracy"]),
    )


def _slice_intervals(scores: Scores) -> bool:
    return any(one.intervals for one in scores.slices)


def gates_table(report: GateReport) -> Table:
    """What every gate asks for, and what it found."""
    rows: Rows = [
        (printable(one.gate), "passed" if one.passed else "FAILED", printable(told(one)), one.basis)
        for one in report.verdicts
    ]
    columns = (_outside("gate"), _words("verdict"), _outside("found"), _words("stands on"))
    return Table(f"Gates: {gates_line(report)}", columns, rows)


def gates_line(report: GateReport) -> str:
    """How many gates failed, in words."""
    number = len(report.verdicts)
    return f"{len(report.failed)} of {number} failed" if report.failed else f"all {number} passed"


def _outside(name: str) -> Column:
    """A column of names or values from outside."""
    return Column(name, number=False, untrusted=True)


def _words(name: str) -> Column:
    return Column(name, number=False)


def meanings_table(scores: Scores) -> Table:
    """What every metric is: its formula, its good end, and what it is where there is nothing to score."""
    metrics = dict.fromkeys(one.metric for one in scores.all_aggregates.values())
    rows: Rows = [
        (one.name, one.title, one.formula, one.direction, one.nothing) for one in map(scores.metric, metrics)
    ]
    heads = ("metric", "what it is", "formula", "good end", "nothing to score")
    return Table("Metrics", tuple(map(_words, heads)), rows)


def per_class_table(scores: Scores) -> Table:
    """Every class: its areas in pixels and its main scores."""
    names = scores.main_metrics()
    rows: Rows = [
        (
            str(row["class_id"]),
            printable(row["class_name"]),
            pixels_text(row["truth_pixels"]),
            pixels_text(row["pred_pixels"]),
            *(score_text(row[name]) for name in names),
        )
        for row in scores.class_rows()
    ]
    columns = (Column("id"), _NAME, Column("truth px"), Column("pred px"), *map(Column, names))
    return Table("Classes", columns, rows)


def all_scores_table(scores: Scores) -> Table:
    """Every metric: pooled, and every mean over images that there is of it."""
    worst = f"worst {scores.rules.worst_percent:g} %"
    ends = {
        "pooled": "",
        "per image": "_per_image",
        "per image and class": "_per_image_class",
        f"{worst} of images": "_per_image_worst",
        f"{worst} of each class": "_per_image_class_worst",
    }
    pooled = [one for one in scores.aggregates.values() if one.averaging == "pooled"]
    rows: Rows = [
        (one.name, f"{one.best:g}", *(_value(scores, one.name + end) for end in ends.values()))
        for one in pooled
    ]
    return Table("All scores", (_words("score"), *map(Column, ("best", *ends))), rows)


def _value(scores: Scores, name: str) -> str:
    """The value of an aggregate, nothing where there is no such one."""
    return score_text(scores[name]) if name in scores.aggregates else ""


def other_class_scores_table(scores: Scores) -> Table:
    """Every class: the scores that are not in the table of the main ones; no rows if there are none."""
    names = [name for name in scores.per_class if name not in scores.main_metrics()]
    rows: Rows = [
        (
            str(row["class_id"]),
            printable(row["class_name"]),
            *(score_text(row[name]) for name in names),
        )
        for row in scores.class_rows()
    ]
    columns = (Column("id"), _NAME, *map(Column, names))
    return Table("Other scores of the classes", columns, rows if names else [])


def groups_tables(scores: Scores) -> list[Table]:
    """Every group of classes with its areas and scores, and what they average to; none without groups."""
    if scores.groups is None:
        return []
    names = scores.groups.main_metrics()
    rows: Rows = [
        (
            printable(row["group_name"]),
            printable(_listed(row["classes"])),
            pixels_text(row["truth_pixels"]),
            pixels_text(row["pred_pixels"]),
            *(score_text(row[name]) for name in names),
        )
        for row in scores.group_rows()
    ]
    texts = [Column(name, number=False, untrusted=True) for name in ("group", "classes")]
    columns = (*texts, Column("truth px"), Column("pred px"), *map(Column, names))
    overlap = " (they overlap)" if scores.classes.groups_overlap else ""
    return [
        Table(f"Groups of classes{overlap}", columns, rows),
        replace(aggregates_table(scores.groups), title="Scores of groups"),
    ]


_ABOUT = tuple(Column(name, number=False) for name in ("averaging", "stands on", "what it is"))


def statistics_tables(scores: Scores) -> list[Table]:
    """Every statistic that was asked for: its figures, and those of each class."""
    return [table for one in scores.statistics for table in statistic_tables(one, scores)]


def statistic_tables(one: StatisticScores, scores: Scores) -> Iterator[Table]:
    """The figures of a statistic; then those of each class, if there are any."""
    title = one.statistic.full_title
    figures: Rows = [
        (
            each.name,
            score_text(each.value),
            *_interval_cells(scores, each),
            each.averaging,
            each.basis,
            each.rule,
        )
        for each in one.aggregates.values()
    ]
    yield Table(title, (_words("score"), Column("value"), *interval_columns(scores), *_ABOUT), figures)
    if one.per_class:
        rows: Rows = [
            (str(index), printable(name), *(score_text(values[index]) for values in one.per_class.values()))
            for index, name in enumerate(scores.classes.names)
        ]
        yield Table(f"{title} of the classes", (Column("id"), _NAME, *map(Column, one.per_class)), rows)


def conventions_table(scores: Sequence[ConventionScore]) -> Table:
    """What other tools would print of the same label maps, our own figure first."""
    ours = scores[0].value
    rows: Rows = [
        (
            one.name,
            score_text(one.value),
            "" if one is scores[0] else _change(one.value - ours),
            "raises an error" if one.refused else "",
            one.call,
        )
        for one in scores
    ]
    heads = (_words("convention"), Column("figure"), Column("difference"))
    return Table("What other tools would print", (*heads, *map(_words, ("", "of"))), rows)


def convention_reasons(scores: Sequence[ConventionScore]) -> list[str]:
    """Why conventions differ from our own figure: each rule once, what it touches, what it adds to whom."""
    others, order = scores[1:], list(WORDS)
    steps = [(order.index(step.rule), step, one.name) for one in others for step in one.telling]
    told: dict[str, list[str]] = {}
    for _, step, name in sorted(steps, key=lambda item: item[0]):
        touched = f" ({step.because})" if step.because else ""
        told.setdefault(f"{step.words[0].upper()}{step.words[1:]}{touched}", []).append(
            f"{name} {_change(step.change)}"
        )
    same = [one.name for one in others if not one.telling]
    lines = [f"{words}: {', '.join(names)}." for words, names in told.items()]
    if same:
        lines.append(f"No rule makes a difference here: {', '.join(same)}.")
    for words, names in _together((one.refused, one.name) for one in others).items():
        lines.append(f"Stop with an error, and the figure is that without such pixels ({words}): {names}.")
    notes = _together((one.note, one.name) for one in others)
    return lines + [f"{names}: {note}." for note, names in notes.items()]


def _together(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Text -> the names that have it, one after the other; those without a text are left out."""
    names: dict[str, list[str]] = {}
    for text, name in pairs:
        if text:
            names.setdefault(text, []).append(name)
    return {text: ", ".join(own) for text, own in names.items()}


def _change(value: float) -> str:
    return "undefined" if value != value else f"{value:+.4f}"


def image_spread(results: ResultsReader) -> list[float]:
    """Lowest, quartiles and highest of the mean IoU of the images that have one; empty if none has."""
    values = results.read("image_mean_iou")
    ascending = np.sort(values[~np.isnan(values)])
    return [quantile(ascending, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] if len(ascending) else []


def image_spread_table(results: ResultsReader) -> Table:
    """How the mean IoU of single images is spread, every image alike; no rows if none has one."""
    heads = ("lowest", "25 %", "median", "75 %", "highest")
    spread = tuple(map(score_text, image_spread(results)))
    return Table("Mean IoU of the single images", tuple(map(Column, heads)), [spread] if spread else [])


def worst_images_table(results: ResultsReader, number: int = 10) -> Table:
    """The images of the lowest mean IoU over their classes; equal ones in the order of the dataset."""
    scores = results.read("image_mean_iou")
    # A stable sort puts NaN last, and keeps the order of equal images.
    order = np.argsort(scores, kind="stable")[:number]
    worst = order[~np.isnan(scores[order])]
    names = results.take("image", worst)
    accuracies = results.take("image_pixel_accuracy", worst)
    sizes = [results.take(name, worst) for name in ("image_pixels", "image_ignored")]
    rows: Rows = [
        (printable(name), score_text(score), score_text(accuracy), f"{pixels:,}", f"{ignored:,}")
        for name, score, accuracy, pixels, ignored in zip(
            names, scores[worst], accuracies, *sizes, strict=True
        )
    ]
    columns = (Column("image", number=False, untrusted=True), Column("mean IoU"), Column("pixel accuracy"),
               Column("pixels"), Column("ignored px"))  # fmt: skip
    return Table(f"The {len(rows)} images of the lowest mean IoU", columns, rows)


def confusions_table(results: ResultsReader, number: int = 10, caption: str = "") -> Table:
    """The most frequent mistakes: truth class, prediction, pixels, share of the truth class."""
    total = results.total()
    predicted = (*results.classes.names, *NO_CLASS_NAMES["pred"])
    rows: Rows = [
        (
            printable(results.classes.names[truth]),
            printable(predicted[pred]),
            f"{total[truth, pred]:,}",
            share_text(total[truth, pred] / total[truth].sum()),
        )
        for truth, pred in _largest_mistakes(total, number)
    ]
    names = [Column(name, number=False, untrusted=True) for name in ("truth", "predicted as")]
    columns = (*names, Column("pixels"), Column("of truth"))
    return Table("The most frequent confusions", columns, rows, caption)


def _largest_mistakes(total: NDArray[np.int64], number: int) -> list[tuple[int, int]]:
    mistakes = total[:-2].copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:number]
    pairs = [divmod(int(cell), mistakes.shape[1]) for cell in order]
    return [pair for pair in pairs if mistakes[pair] > 0]
