"""Pictures of statistics that a table does not show well: reliability, precision and recall, objects by size.

A statistic that is not named in `PICTURES` has its tables, and that is all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from segpipe.classes import ClassList
from segpipe.metrics.base import FloatArray
from segpipe.metrics.scores import StatisticScores
from segpipe.reports.markup import Markup, element
from segpipe.reports.page import figure, table_section
from segpipe.reports.svg import Axes, bar
from segpipe.reports.tables import Column, Rows, Table
from segpipe.reports.text import printable, score_text, share_text
from segpipe.statistics.defined.components import SIZES
from segpipe.statistics.defined.threshold_sweep import at_thresholds, average_precision
from segpipe.statistics.figures import ratio

SHOWN_CURVES = 12
"""How many classes have a curve of their own: those of the lowest average precision."""

CURVE_POINTS = 65
"""From how many thresholds a curve is drawn, at most."""


def pictures(one: StatisticScores, classes: ClassList) -> Iterator[Markup]:
    """What there is to be seen of a statistic beside its tables."""
    if one.statistic.kind in PICTURES:
        yield from PICTURES[one.statistic.kind](one, classes)


def _reliability(one: StatisticScores, classes: ClassList) -> Iterator[Markup]:
    """How often a model is right, by how sure it says it is; and how many pixels are how sure."""
    pixels, right = one.sums["pixels"], one.sums["right"]
    accuracy, confidence = ratio(right, pixels), ratio(one.sums["confidence"], pixels)
    share, bins = ratio(pixels, pixels.sum()), len(pixels)
    axes = Axes(360, 300, "confidence", "accuracy")
    below = Axes(360, 160, "confidence", "share of pixels", y_ticks=_share_ticks(share))
    columns, dots, shares, rows = [], [], [], []
    for at in np.flatnonzero(pixels).tolist():
        start, end = at / bins, (at + 1) / bins
        told = (
            f"confidence {confidence[at]:.4f}, accuracy {accuracy[at]:.4f}, {share_text(share[at])} of pixels"
        )
        columns.append(axes.column(start, end, accuracy[at], told))
        dots.append(axes.dot(confidence[at], accuracy[at], told))
        shares.append(below.column(start, end, share[at], told))
        figures = (confidence[at], accuracy[at], accuracy[at] - confidence[at])
        rows.append((f"{start:.4g} to {end:.4g}", f"{pixels[at]:,.0f}", *map(score_text, figures)))
    ideal = axes.line([(0, 0), (1, 1)], "ideal")
    drawings = (
        axes.drawing("Reliability diagram: accuracy by confidence", *columns, ideal, *dots),
        below.drawing("Share of the pixels by confidence", *shares),
    )
    yield figure(
        element("div", *drawings, class_="side"),
        "Reliability: of the pixels of one confidence, how many are right. On the dashed line a model is as "
        "often right as it says; below it, it is too sure of itself.",
    )
    heads = map(Column, ("pixels", "confidence", "accuracy", "difference"))
    yield table_section(Table("Reliability", (Column("bin", number=False), *heads), rows), closed=True)


def _share_ticks(share: FloatArray) -> list[float]:
    """The least of some round ends of an axis that all shares fit below."""
    largest = float(np.nan_to_num(share).max())
    end = next(end for end in (0.1, 0.2, 0.5, 1.0) if largest <= end)
    return [end * step / 5 for step in range(6)]


def _curves(one: StatisticScores, classes: ClassList) -> Iterator[Markup]:
    """Precision over recall at all thresholds, class by class."""
    average = average_precision(one.sums)
    order = np.argsort(average, kind="stable")
    shown = [int(at) for at in order if not np.isnan(average[at])][:SHOWN_CURVES]
    if not shown:
        return
    hits, alarms = at_thresholds(one.sums)
    truth = one.sums["positive"].sum(axis=-1)
    drawings = [
        _curve(printable(classes.names[at]), average[at], hits[at], alarms[at], truth[at]) for at in shown
    ]
    known = int((~np.isnan(average)).sum())
    lowest = f" Shown are the {len(shown)} of {known} classes of the lowest average precision."
    yield figure(
        element("div", *drawings, class_="side"),
        "Precision over recall, one point for each threshold; the dot is the threshold of the largest F1."
        + lowest * (len(shown) < known),
    )


def _curve(name: str, average: float, hits: FloatArray, alarms: FloatArray, truth: float) -> Markup:
    recall, precision = hits / truth, ratio(hits, hits + alarms)
    there = np.flatnonzero(~np.isnan(precision))
    chosen = there[np.unique(np.linspace(0, len(there) - 1, CURVE_POINTS).round().astype(np.int64))]
    best = int(np.argmax(ratio(2 * hits, truth + hits + alarms)))
    axes = Axes(220, 210, "recall", "precision")
    told = f"threshold {best / len(hits):g}: recall {recall[best]:.4f}, precision {precision[best]:.4f}"
    title = f"{name}: average precision {score_text(average)}"
    points = zip(recall[chosen].tolist(), precision[chosen].tolist(), strict=True)
    drawing = axes.drawing(title, axes.line(points), axes.dot(recall[best], precision[best], told))
    words = element("figcaption", element("bdi", name), f" {score_text(average)}")
    return element("figure", words, drawing, class_="small")


def _objects(one: StatisticScores, classes: ClassList) -> Iterator[Markup]:
    """Objects by size, of all classes together."""
    sums = {name: values.sum(axis=0) for name, values in one.sums.items()}
    found, confirmed = ratio(sums["found"], sums["truth"]), ratio(sums["confirmed"], sums["pred"])
    rows: Rows = [
        (
            size, f"{sums['truth'][at]:,.0f}", f"{sums['found'][at]:,.0f}", score_text(found[at]),
            f"{sums['pred'][at]:,.0f}", f"{sums['confirmed'][at]:,.0f}", score_text(confirmed[at]),
        )
        for at, size in enumerate(SIZES)
    ]  # fmt: skip
    heads = map(Column, ("in truth", "found", "recall", "predicted", "confirmed", "precision"))
    table = Table("Components by size, all classes together", (Column("size", number=False), *heads), rows)
    yield table_section(table, {"recall": list(map(bar, found)), "precision": list(map(bar, confirmed))})


Picture = Callable[[StatisticScores, ClassList], Iterator[Markup]]

PICTURES: Mapping[str, Picture] = {
    "calibration": _reliability,
    "threshold_sweep": _curves,
    "components": _objects,
}
"""Kind of statistic -> what draws it."""
