"""A comparison of two runs as sentences, as tables, as plain data, and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from segpipe.metrics.base import METRICS
from segpipe.metrics.comparison import Comparison, Difference
from segpipe.metrics.scores import HEADLINE
from segpipe.reports.kinds.report_md import markdown_table
from segpipe.reports.tables import Column, Rows, Table
from segpipe.reports.text import markdown_text, printable, score_text

SHOWN = 20
"""How many images, and how many slices of one kind, a table lists; the JSON document has them all."""

SCHEMA = 1


def comparison_words(comparison: Comparison) -> list[str]:
    """The headline, and what to know of the comparison, in sentences."""
    one, images = comparison.differences.aggregates[HEADLINE], comparison.images
    same = len(images.ids) - images.better - images.worse
    note = one.interval.note
    return [
        f"Mean IoU {score_text(one.a)} (A) to {score_text(one.b)} (B): {_signed(one.value)}, "
        f"{100 * one.interval.level:g} % interval {_interval(one)}, p {_p(one.p)}.",
        f"A: {comparison.a}. B: {comparison.b}. A difference is that of B less that of A.",
        f"Of {len(images.ids):,} images {images.better:,} got better, {images.worse:,} worse, "
        f"{same:,} neither.",
        comparison.intervals.in_words(),
        f"p: {comparison.intervals.drawn} of A and B swapped. Adjusted p, of the classes of a metric and of "
        "the slices of a cut: at most this share of what is called a difference at it is none (Benjamini and "
        "Hochberg 1995).",
        *([f"Intervals: {note}."] if note else []),
        *(f"Not compared: {sentence}." for sentence in comparison.left_out),
    ]


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Scores, classes, slices, images."""
    yield _differences_table("Scores", "score", _shown_aggregates(comparison))
    yield from class_tables(comparison).values()
    yield from _groups_tables(comparison)
    yield from _statistics_tables(comparison)
    for title in dict.fromkeys(one.title for one in comparison.slices):
        slices = [one for one in comparison.slices if one.title == title]
        first = f", the first {SHOWN} of {len(slices)}" if len(slices) > SHOWN else ""
        own = ((printable(one.name), one.differences.aggregates[HEADLINE]) for one in slices[:SHOWN])
        yield _differences_table(f"Mean IoU of slices by {title}{first}", "slice", own)
    yield from image_tables(comparison).values()


def class_tables(comparison: Comparison) -> dict[str, Table]:
    """A row for each class: a table for each metric, by its name."""
    names = list(map(printable, comparison.classes.names))
    return {
        name: _differences_table(
            f"{METRICS[name].title} of the classes", "class", zip(names, differences, strict=True)
        )
        for name, differences in comparison.differences.per_class.items()
        if name in METRICS and METRICS[name].by_image
    }


def image_tables(comparison: Comparison) -> dict[str, Table]:
    """The images that moved most: `gained` and `lost`, as far as there are any."""
    columns = (Column("image", number=False, untrusted=True), *map(Column, ("A", "B", "difference")))
    tables = {}
    for word, better in (("gained", True), ("lost", False)):
        rows: Rows = [
            (printable(name), score_text(a), score_text(b), _signed(b - a))
            for name, a, b in comparison.images.most(SHOWN, better=better)
        ]
        if rows:
            tables[word] = Table(f"Images that {word} most (mean IoU of the image)", columns, rows)
    return tables


def _shown_aggregates(comparison: Comparison) -> Iterator[tuple[str, Difference]]:
    """The pooled figures, the headline first, and the means over images of those that are kept by image."""
    every = comparison.differences.aggregates
    yield HEADLINE, every[HEADLINE]
    records = {name: one for one in METRICS.values() for name in one.averages}
    for name, one in every.items():
        if name not in records:
            continue
        of_images = records[name].by_image and not name.endswith("_worst")
        if name != HEADLINE and (name == records[name].pooled_name or of_images):
            yield name, one


def _statistics_tables(comparison: Comparison) -> Iterator[Table]:
    """Of each statistic its pooled figures, and the first one that classes have."""
    found, names = comparison.differences, list(map(printable, comparison.classes.names))
    for one in comparison.statistics:
        rows = ((each.pooled_name, found.aggregates[each.pooled_name]) for each in one.records)
        yield _differences_table(one.full_title, "score", rows)
        for each in [each for each in one.records if each.per_class][:1]:
            of_classes = zip(names, found.per_class[each.name], strict=True)
            yield _differences_table(f"{each.title} of the classes", "class", of_classes)


def _groups_tables(comparison: Comparison) -> Iterator[Table]:
    if comparison.groups is None:
        return
    names = [printable(name) for name in comparison.group_names]
    for name, differences in comparison.groups.per_class.items():
        if METRICS[name].by_image:
            rows = zip(names, differences, strict=True)
            yield _differences_table(f"{METRICS[name].title} of groups of classes", "group", rows)


_FIGURES = tuple(map(Column, ("A", "B", "difference", "interval", "p")))


def _differences_table(title: str, head: str, named: Iterable[tuple[str, Difference]]) -> Table:
    many = [Column("adjusted p")] if head != "score" else []
    rows: Rows = [
        (
            name,
            score_text(one.a),
            score_text(one.b),
            _signed(one.value),
            _interval(one),
            _p(one.p),
            *([_p(one.adjusted_p)] if many else []),
            one.verdict or "",
        )
        for name, one in named
    ]
    first = Column(head, number=False, untrusted=head != "score")
    return Table(title, (first, *_FIGURES, *many, Column("B is", number=False)), rows)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _interval(one: Difference) -> str:
    """The interval with signs; a dash where there is none."""
    low, high = one.interval.low, one.interval.high
    return "-" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data; NaN where there is nothing to say (null in a file)."""
    images = comparison.images
    changes = zip(images.ids, images.a.tolist(), images.b.tolist(), strict=True)
    return {
        "schema": SCHEMA,
        "a": comparison.a,
        "b": comparison.b,
        "rules": comparison.rules.document(),
        "intervals": comparison.intervals.model_dump(mode="json"),
        "left_out": list(comparison.left_out),
        "aggregates": [one.document() for one in comparison.differences.aggregates.values()],
        "classes": [
            {"class_name": name, **one.document()}
            for differences in comparison.differences.per_class.values()
            for name, one in zip(comparison.classes.names, differences, strict=True)
        ],
        "groups": _groups_document(comparison),
        "statistics": [one.document() for one in comparison.statistics],
        "slices": [
            {
                "by": one.title,
                "where": dict(one.where),
                "images": one.images,
                "aggregates": [each.document() for each in one.differences.aggregates.values()],
            }
            for one in comparison.slices
        ],
        "images": {
            "score": images.name,
            "better": images.better,
            "worse": images.worse,
            "each": [{"image": name, "a": a, "b": b, "difference": b - a} for name, a, b in changes],
        },
    }


def _groups_document(comparison: Comparison) -> dict[str, Any] | None:
    """The groups of classes, None where there are none."""
    if comparison.groups is None:
        return None
    return {
        "aggregates": [one.document() for one in comparison.groups.aggregates.values()],
        "groups": [
            {"group_name": name, **one.document()}
            for differences in comparison.groups.per_class.values()
            for name, one in zip(comparison.group_names, differences, strict=True)
        ],
    }


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison for people; ids, names and metadata are escaped."""
    headline, *words = (markdown_text(sentence) for sentence in comparison_words(comparison))
    tables = map(markdown_table, comparison_tables(comparison))
    return "\n\n".join(["# Comparison of two runs", f"**{headline}**", *words, *tables]) + "\n"
