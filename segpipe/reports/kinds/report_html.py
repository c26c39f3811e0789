"""report.html: the run for people, with plots; one file that loads nothing and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np

from segpipe.metrics.base import FloatArray
from segpipe.metrics.scores import HEADLINE, Aggregate, Interval, Scores, SliceScore, StatisticScores
from segpipe.reports import tables, words
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.heat import heat_map
from segpipe.reports.markup import Markup, element, join, plain
from segpipe.reports.page import OPEN_ROWS, bullets, details, figure, note, page, section, table_section
from segpipe.reports.statistic_plots import pictures
from segpipe.reports.svg import bar, histogram, ranks, swatch
from segpipe.reports.tables import Table
from segpipe.reports.words import HEAD, HEAD_END

IMAGE_BINS = 40
WORST_CLASSES = 20
SHOWN_PROBLEMS = 20

Section = tuple[str, str, list[Markup]]
"""Its name in links, its title, and what stands in it."""


@REPORTS.register("report.html")
def write(given: ReportInput, path: Path) -> None:
    """Write the report, in the words and tables of report.md; whatever comes from outside is escaped."""
    summary = given.summary
    found = [one for one in _sections(given) if one[2]]
    parts = [*_top(given), _contents(found), *(section(*one) for one in found), _provenance(given)]
    path.write_text(page(f"{summary.suite}: {summary.model}", parts) + "\n", encoding="utf-8")


def _differing(*parts: str) -> Markup:
    """What differs between runs of the same counts."""
    return join([Markup(HEAD), *parts, Markup(HEAD_END)])


def _top(given: ReportInput) -> Iterator[Markup]:
    summary = given.summary
    yield element("h1", element("bdi", summary.suite), ": ", element("bdi", summary.model))
    yield _differing(element("p", f"Run {summary.run}", class_="run"))
    yield from _alert(given)
    yield element("div", *_cards(given), class_="cards")


def _alert(given: ReportInput) -> Iterator[Markup]:
    """What is wrong, before any figure."""
    failed = [] if given.gates is None else [f"{one.gate}: {one.reason}" for one in given.gates.failed]
    if failed:
        yield _box("alert", "Gates failed", bullets(failed))
    if given.summary.coverage != 1:
        line = element("p", f"{tables.coverage_line(given.summary)}.")
        yield _box("alert", "Not everything was counted", line)
    if told := words.warnings(given):
        yield _box("alert warn", "Warnings", bullets(told), *_problems(given))


def _box(class_: str, title: str, *parts: str) -> Markup:
    return element("section", element("h2", title), *parts, class_=class_)


def _problems(given: ReportInput) -> Iterator[Markup]:
    """The first problems. Their order and the paths in them differ between runs."""
    if given.problems:
        shown = sorted(problem.sentence() for problem in given.problems)[:SHOWN_PROBLEMS]
        title = f"Problems, {len(shown)} of {len(given.problems):,}"
        yield _differing(details(title, bullets(shown)))


def _cards(given: ReportInput) -> Iterator[Markup]:
    scores, gates = given.scores, given.gates
    one = scores.headline
    first, _, rest = tables.headline(scores).partition(": ")
    parts = [element("b", first), *_headline_interval(scores, one), element("p", rest)]
    yield element("div", *parts, class_="card")
    first, _, rest = words.coverage(given.summary).partition(": ")
    class_ = "card" if given.summary.coverage == 1 else "card bad"
    yield element("div", element("b", first), element("p", rest), class_=class_)
    if gates is not None and gates.verdicts:
        state = "bad" if gates.failed else "good"
        number = element("b", f"Gates: {tables.gates_line(gates)}")
        yield element("div", number, element("p", "Each with what it found, below."), class_=f"card {state}")


def _headline_interval(scores: Scores, one: Aggregate) -> Iterator[Markup]:
    low, high = _ends(one.interval)
    yield bar(one.value, low=low, high=high)
    if one.interval is not None:
        head = tables.interval_columns(scores)[0].name
        yield element("p", f"{head} {tables.interval_text(one.interval)}")


def _contents(found: Sequence[Section]) -> Markup:
    links = [element("a", title, href=f"#{name}") for name, title, _ in [*found, _PROVENANCE]]
    return element("nav", bullets(links), aria_label="Contents")


_PROVENANCE: Section = ("provenance", "Provenance", [])


def _sections(given: ReportInput) -> Iterator[Section]:
    yield "gates", "Gates", list(_gates(given))
    yield "scores", "Scores", list(_scores(given.scores))
    yield "classes", "Classes", list(_classes(given.scores))
    yield "confusions", "Confusions", list(_confusions(given))
    yield "images", "Images", list(_images(given))
    yield "slices", "Slices", list(_slices(given.scores))
    yield "statistics", "Statistics", list(_statistics(given.scores))
    yield "conventions", "What other tools would print", list(_conventions(given.scores))
    yield "figures", "All figures", list(_all_figures(given.scores))
    yield "rules", "Rules", [bullets(words.rules(given))]


def _gates(given: ReportInput) -> Iterator[Markup]:
    if given.gates is not None and given.gates.verdicts:
        signs = [
            element("span", "\u2713 ", class_="passed")
            if one.passed
            else element("span", "\u2717 ", class_="failed")
            for one in given.gates.verdicts
        ]
        yield table_section(tables.gates_table(given.gates), {"verdict": signs}, closed=False)


def _scores(scores: Scores) -> Iterator[Markup]:
    yield note(
        "Pooled: the counts of all images are summed and then scored. Per-image: each image is scored, and "
        "then they are averaged. Every mean says what it stands on. Bars run from 0 to 1.",
        _whiskers(scores, bool(scores.headline.interval)),
    )
    table = tables.aggregates_table(scores)
    yield table_section(replace(table, title="Main scores"), {"value": _bars(scores.main_aggregates())})
    yield from _if_any(tables.notes_table(scores))


def _whiskers(scores: Scores, drawn: bool) -> str:
    rules = scores.rules.intervals
    return f" Whiskers are {100 * rules.level:g} % intervals." if drawn and rules else ""


def _bars(aggregates: Sequence[Aggregate]) -> list[Markup]:
    """A bar for each figure that runs from 0 to 1."""
    return [
        bar(one.value, low=_ends(one.interval)[0], high=_ends(one.interval)[1])
        if (one.minimum, one.maximum) == (0, 1)
        else Markup()
        for one in aggregates
    ]


def _ends(interval: Interval | None) -> tuple[float, float]:
    return (math.nan, math.nan) if interval is None else (interval.low, interval.high)


def _if_any(table: Table, file: str = "") -> list[Markup]:
    return [table_section(table, file=file)] if table.rows else []


def _classes(scores: Scores) -> Iterator[Markup]:
    yield note(
        "IoU: pixels of the class that were predicted as the class, over all pixels that are of the class in "
        "truth or in the prediction. Dice, precision and recall share its hits.",
        _whiskers(scores, "iou" in scores.class_intervals),
    )
    table, marks = tables.per_class_table(scores), _class_marks(scores)
    if len(scores.classes) > OPEN_ROWS:
        yield _ranked(scores)
        order = _lowest(scores.per_class["iou"], WORST_CLASSES)
        worst = replace(
            table, title=f"The {len(order)} classes of the lowest IoU", rows=[table.rows[at] for at in order]
        )
        yield table_section(worst, {name: [own[at] for at in order] for name, own in marks.items()})
    yield table_section(replace(table, title="All classes"), marks, file="per_class.csv")
    if scores.groups is not None:
        of_groups, of_scores = tables.groups_tables(scores)
        bars = _bars_of(scores.groups.per_class["iou"], scores.groups.class_intervals.get("iou"))
        yield table_section(of_groups, {"iou": bars}, file="per_group.csv")
        yield table_section(of_scores, {"value": _bars(scores.groups.main_aggregates())})


def _class_marks(scores: Scores) -> dict[str, list[Markup]]:
    """The colour of each class, and its IoU as a bar with its interval."""
    bars = _bars_of(scores.per_class["iou"], scores.class_intervals.get("iou"))
    return {"class": list(map(swatch, scores.classes.colors)), "iou": bars}


def _bars_of(values: FloatArray, intervals: Sequence[Interval] | None) -> list[Markup]:
    """A bar for each class, or group of classes, with its interval if there are any."""
    own: Iterable[Interval | None] = intervals or repeat(None, len(values))
    ends = map(_ends, own)
    return [bar(value, low=low, high=high) for value, (low, high) in zip(values.tolist(), ends, strict=True)]


def _lowest(values: FloatArray, number: int) -> list[int]:
    """The places of the lowest values; equal ones in their order, NaN left out."""
    return [int(at) for at in np.argsort(values, kind="stable")[:number] if not np.isnan(values[at])]


def _ranked(scores: Scores) -> Markup:
    values = scores.per_class["iou"]
    known = np.sort(values[~np.isnan(values)])[::-1].tolist()
    without = len(values) - len(known)
    told = f"The IoU of {len(known):,} classes, the best first."
    none = f" {without:,} are in neither truth nor prediction and have none." if without else ""
    return figure(ranks(known, told, "classes, the best first", "IoU"), told + none)


def _confusions(given: ReportInput) -> Iterator[Markup]:
    told = words.unweighted(given)
    yield heat_map(given.results, told)
    yield from _if_any(tables.confusions_table(given.results, caption=told))


def _images(given: ReportInput) -> Iterator[Markup]:
    values = given.results.read("image_mean_iou")
    known = values[~np.isnan(values)]
    if not len(known):
        return
    yield note("Every image scored by itself: the mean IoU over the classes present in it.")
    counts = np.bincount(
        np.minimum((known * IMAGE_BINS).astype(np.int64), IMAGE_BINS - 1), minlength=IMAGE_BINS
    )
    told = f"How many of {len(known):,} images have which mean IoU."
    drawing = histogram(
        counts.tolist(), told, "mean IoU of the image", "images", *tables.image_spread(given.results)
    )
    yield figure(drawing, f"{told} Above: the lowest, the quartiles (box), the median and the highest.")
    yield table_section(tables.image_spread_table(given.results))
    worst = tables.worst_images_table(given.results)
    order = _lowest(values, len(worst.rows))
    yield table_section(worst, {"mean IoU": [bar(float(values[at])) for at in order]})


def _slices(scores: Scores) -> Iterator[Markup]:
    if not scores.slices:
        return
    yield note(
        "Every slice is scored as a dataset of its own. The dashed line is the mean IoU of all images.",
        _whiskers(scores, any(one.intervals for one in scores.slices)),
    )
    whole = scores.headline.value
    for table in _if_rows(tables.worst_slices_table(scores)):
        yield table_section(table, {"mean IoU": _slice_bars(tables.worst_slices(scores), whole)})
    for table, slices in zip(tables.slices_tables(scores), tables.slice_ways(scores).values(), strict=True):
        marks = {"mean IoU": _slice_bars(slices[: len(table.rows)], whole)}
        left_out = [note("per_slice.csv has them all.")] if len(slices) > len(table.rows) else []
        yield join([table_section(table, marks), *left_out])


def _if_rows(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _slice_bars(slices: Sequence[SliceScore], whole: float) -> list[Markup]:
    ends = [_ends(one.intervals.get(HEADLINE)) for one in slices]
    return [
        bar(one.values[HEADLINE], low=low, high=high, whole=whole)
        for one, (low, high) in zip(slices, ends, strict=True)
    ]


def _statistics(scores: Scores) -> Iterator[Markup]:
    for one in scores.statistics:
        figures, *of_classes = tables.statistic_tables(one, scores)
        yield table_section(figures, {"value": _bars(list(one.aggregates.values()))})
        yield from pictures(one, scores.classes)
        for table in of_classes:
            yield table_section(table, _first_bars(scores, one), file="per_class.csv")


def _first_bars(scores: Scores, one: StatisticScores) -> dict[str, list[Markup]]:
    """Bars for the first metric of the classes that runs from 0 to 1, and their colours."""
    swatches = {"class": list(map(swatch, scores.classes.colors))}
    for name, values in one.per_class.items():
        if (scores.metric(name).minimum, scores.metric(name).maximum) == (0, 1):
            return swatches | {name: _bars_of(values, one.class_intervals.get(name))}
    return swatches


def _conventions(scores: Scores) -> Iterator[Markup]:
    if scores.conventions:
        yield table_section(replace(tables.conventions_table(scores.conventions), title="Figures"))
        yield element("h3", "Why they differ")
        yield bullets(tables.convention_reasons(scores.conventions))


def _all_figures(scores: Scores) -> Iterator[Markup]:
    yield table_section(tables.all_scores_table(scores), closed=True)
    for table in tables.distribution_tables(scores):
        yield table_section(table, closed=True, file="per_class_distribution.csv")
    if scores.headline.interval:
        for table in tables.intervals_tables(scores):
            yield table_section(table, closed=True, file="per_class.csv")
    for table in _if_rows(tables.other_class_scores_table(scores)):
        yield table_section(table, closed=True, file="per_class.csv")
    yield table_section(tables.counts_table(scores), closed=True)
    yield table_section(tables.meanings_table(scores), closed=True)


def _provenance(given: ReportInput) -> Markup:
    facts = [
        part
        for key, value in words.provenance(given.summary).items()
        for part in (element("dt", key), element("dd", element("bdi", value)))
    ]
    lines = "\n".join(map(plain, given.summary.config.split("\n")))
    config = [details("Configuration", element("pre", Markup(lines)))] if given.summary.config else []
    name, title, _ = _PROVENANCE
    return _differing(section(name, title, [element("dl", *facts), *config]))
