"""What scoring gives: aggregates that carry what they average, and scores per class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from segpipe.classes import ClassList
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS, FloatArray
from segpipe.metrics.conventions.scoring import ConventionScore
from segpipe.metrics.distributions import Distribution
from segpipe.metrics.rules import ScoringRules
from segpipe.statistics.base import Statistic
from segpipe.statistics.figures import Figure

if TYPE_CHECKING:
    import pandas as pd

Averaging = Literal["pooled", "per-image"]
HEADLINE = "mean_iou"
NO_VALUE_TEXT = "(no value)"
"""How the slice of the images is called that have no value in a metadata column."""

SHOWN_CLASSES = 40
"""How many classes a printed representation lists."""


@dataclass(frozen=True)
class Interval:
    """Between which values a score would lie with other images of the same kind.

    Attributes:
        low, high: the ends; NaN where there is no interval.
        level: how many of such intervals are to hold the true value.
        method: `bootstrap` or `jackknife`.
        clusters: how many images, or clusters of images, were drawn.
        note: why there is no interval, or what to know of it; empty if nothing.
    """

    low: float
    high: float
    level: float
    method: str
    clusters: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One figure for the whole, and what it is an average of.

    Attributes:
        name, title: for programs and for people.
        value: the figure; NaN where there is nothing to score.
        averaging: `pooled`, counts summed over images and then scored; or `per-image`, each image scored
            and then averaged.
        rule: what is averaged over what, in words.
        formula, best, minimum, maximum: of the metric.
        classes_used: names of the classes that are in the figure.
        classes_dropped: class name -> why it is not.
        flagged: class name -> what to know about a class that is in the figure.
        images_used, images_dropped: of a per-image mean; None for pooled figures.
        metric: the name of the metric that it comes from.
        main: it stands in the short tables of reports.
        interval: between which values it would lie with other images; None if nobody asked.
    """

    name: str
    title: str
    value: float
    averaging: Averaging
    rule: str
    formula: str
    best: float
    minimum: float
    maximum: float
    classes_used: tuple[str, ...]
    classes_dropped: Mapping[str, str]
    flagged: Mapping[str, str]
    images_used: int | None = None
    images_dropped: int | None = None
    metric: str = ""
    main: bool = True
    interval: Interval | None = None

    @property
    def basis(self) -> str:
        """How many classes and images the figure stands on.

        >>> from segpipe.metrics.scoring import score_matrix
        >>> maps = [[3, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
        >>> scores = score_matrix(maps, ClassList(("car", "bus")), ScoringRules(exclude_classes=("bus",)))
        >>> scores.headline.basis
        '1 of 2 classes'
        """
        used, dropped = len(self.classes_used), len(self.classes_dropped)
        words = f"{used} of {used + dropped} classes"
        if self.images_used is None or self.images_dropped is None:
            return words
        return f"{words}, {self.images_used} of {self.images_used + self.images_dropped} images"


@dataclass(frozen=True, eq=False, kw_only=True)
class SliceScore:
    """The scores of one slice of a dataset, without what all slices have in common.

    Attributes:
        title: what the images are cut by, in words.
        where: column -> value that all images of the slice have, None for no value; or `has_class` or
            `without_class` -> a class.
        images, pixels: how many are in it.
        values: name of an aggregate -> its value.
        uses: name of an aggregate -> how many classes are in it.
        dropped: names of the classes that are not in the headline.
        per_class: metric name -> float64 (K,).
        intervals: name of an aggregate -> its interval; of the headline and pixel accuracy, if intervals are
            asked for.
    """

    title: str
    where: Mapping[str, str | None]
    images: int
    pixels: int | float
    values: Mapping[str, float]
    uses: Mapping[str, int]
    dropped: tuple[str, ...]
    per_class: Mapping[str, FloatArray]
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def rank(self) -> float:
        """What slices are ranked by: the lower end of the headline's interval, else the headline itself."""
        one = self.intervals.get(HEADLINE)
        return self.values[HEADLINE] if one is None or math.isnan(one.low) else one.low

    @property
    def name(self) -> str:
        """The slice in words; what follows from the title is left out."""
        return slice_name(self.where)


def slice_name(where: Mapping[str, str | None]) -> str:
    """What the images of a slice have in common, in words that go with its title.

    >>> slice_name({"weather": "rain", "time": None}), slice_name({"without_class": "rider"})
    ('rain, (no value)', 'without it')
    """
    words = {"has_class": "with it", "without_class": "without it"}
    return ", ".join(
        words.get(key, NO_VALUE_TEXT if value is None else value) for key, value in where.items()
    )


def slice_score(title: str, where: Mapping[str, str | None], scores: Scores) -> SliceScore:
    """What is kept of the scores of a slice."""
    return SliceScore(
        title=title, where=where, images=scores.images or 0, pixels=scores.counts["pixels"],
        values={name: one.value for name, one in scores.aggregates.items()},
        uses={name: len(one.classes_used) for name, one in scores.aggregates.items()},
        dropped=tuple(scores.headline.classes_dropped),
        per_class=scores.per_class,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class StatisticScores:
    """What the sums of a statistic give, beside the confusion matrix.

    Attributes:
        statistic: with its parameters.
        num_classes: K.
        sums: field -> float64 (*shape), in real units, over all images; times their weights, if any.
        per_class: name of each per-class metric -> float64 (K,); NaN where there is nothing to score.
        aggregates: name -> aggregate; of every metric the pooled one, then that over images.
        per_image: pooled name of every metric -> float64 (image,), each image scored by itself; empty where
            images were not scored one by one.
        class_intervals: metric name -> the interval of each class; empty if nobody asked.
        masked: pixels have weights, which statistics take for a mask (`WEIGHTS_OF_PIXELS`).
    """

    statistic: Statistic
    num_classes: int
    sums: Mapping[str, FloatArray]
    per_class: Mapping[str, FloatArray]
    aggregates: Mapping[str, Aggregate]
    per_image: Mapping[str, FloatArray] = field(default_factory=dict)
    class_intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)
    masked: bool = False


def with_statistics(one: SliceScore, statistics: Iterable[StatisticScores]) -> SliceScore:
    """A slice with what statistics of its images score."""
    further = {name: each for own in statistics for name, each in own.aggregates.items()}
    return replace(
        one,
        values={**one.values, **{name: each.value for name, each in further.items()}},
        uses={**one.uses, **{name: len(each.classes_used) for name, each in further.items()}},
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """The scores of summed counts.

    Attributes:
        classes: the K classes.
        rules: how the counts were scored.
        images: how many images were summed; None where that is not known (one summed matrix).
        counts: pixel counts by the names of `segpipe.metrics.areas.COUNT_NAMES`; times the weights of pixels,
            if they have any, but never those of images.
        areas: the areas of the classes, each (K,).
        per_class: metric name -> float64 (K,), after the rule for absent classes.
        aggregates: name -> aggregate, the headline `mean_iou` first.
        per_image: name -> float64 (image,), the scores of each image by itself in the order in which the
            images came; empty where images were not scored one by one.
        units_per_pixel: what a pixel of weight 1 counts as in `areas`; 1 without weights.
        groups: the scores of the groups of classes, with the groups in place of the classes; None where
            there are no groups, or where no summed matrix was scored.
        conventions: what other tools would print, our own figure first; empty if nobody asked.
        slices: the scores of slices of the dataset, in the order in which they were asked for.
        class_intervals: metric name -> the interval of each class; empty if nobody asked.
        distributions: how the scores of the images that have a class are spread; empty where images were not
            scored one by one.
        statistics: the scores of what was counted beside the confusion matrix.
    """

    classes: ClassList
    rules: ScoringRules
    images: int | None
    counts: Mapping[str, int | float]
    areas: ClassAreas
    per_class: Mapping[str, FloatArray]
    aggregates: Mapping[str, Aggregate]
    per_image: Mapping[str, FloatArray] = field(default_factory=dict)
    units_per_pixel: float = 1
    groups: Scores | None = None
    conventions: tuple[ConventionScore, ...] = ()
    slices: tuple[SliceScore, ...] = ()
    class_intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)
    distributions: tuple[Distribution, ...] = ()
    statistics: tuple[StatisticScores, ...] = ()

    def __getitem__(self, name: str) -> float:
        """The value of one aggregate, of a metric or of a statistic."""
        return self.all_aggregates[name].value

    @property
    def all_aggregates(self) -> dict[str, Aggregate]:
        """The aggregates of metrics, then those of statistics."""
        further = {name: one for each in self.statistics for name, one in each.aggregates.items()}
        return {**self.aggregates, **further}

    @property
    def all_per_class(self) -> dict[str, FloatArray]:
        """The scores of every class, of metrics and then of statistics, each (K,)."""
        further = {name: values for each in self.statistics for name, values in each.per_class.items()}
        return {**self.per_class, **further}

    @property
    def all_class_intervals(self) -> dict[str, tuple[Interval, ...]]:
        """The intervals of every class, of metrics and then of statistics."""
        further = {name: own for each in self.statistics for name, own in each.class_intervals.items()}
        return {**self.class_intervals, **further}

    def metric(self, name: str) -> Figure:
        """The record of a metric, or of one of a statistic."""
        further = {one.name: one for each in self.statistics for one in each.statistic.records}
        return further[name] if name in further else METRICS[name]

    @property
    def headline(self) -> Aggregate:
        """The pooled mean IoU."""
        return self.aggregates[HEADLINE]

    def main_aggregates(self) -> list[Aggregate]:
        """The aggregates of short tables, the headline first."""
        return [one for one in self.aggregates.values() if one.main]

    def main_metrics(self) -> list[str]:
        """The per-class metrics of short tables."""
        return [name for name in self.per_class if METRICS[name].main]

    def class_rows(self) -> list[dict[str, Any]]:
        """One row per class: id, name, areas in pixels (times their weights, if they have any), scores."""
        return [
            {
                "class_id": index,
                "class_name": name,
                "truth_pixels": pixels_of(self.areas.truth[index], self.units_per_pixel),
                "pred_pixels": pixels_of(self.areas.pred[index], self.units_per_pixel),
                "hit_pixels": pixels_of(self.areas.hit[index], self.units_per_pixel),
                **{metric: float(values[index]) for metric, values in self.all_per_class.items()},
                **self._interval_cells(index),
            }
            for index, name in enumerate(self.classes.names)
        ]

    def _interval_cells(self, class_id: int) -> dict[str, float]:
        """The ends of the intervals of a class, after the names of the metrics."""
        intervals = {metric: own[class_id] for metric, own in self.all_class_intervals.items()}
        return {
            f"{metric}_{end}": getattr(one, end)
            for metric, one in intervals.items()
            for end in ("low", "high")
        }

    def group_rows(self) -> list[dict[str, Any]]:
        """One row per group of classes: name, its classes, areas and scores."""
        if self.groups is None:
            return []
        rows = []
        for group, row in zip(self.classes.groups, self.groups.class_rows(), strict=True):
            names = [self.classes.names[class_id] for class_id in group.members]
            figures = {key: value for key, value in row.items() if not key.startswith("class_")}
            rows.append({"group_name": group.name, "classes": names, **figures})
        return rows

    def aggregate_rows(self) -> list[dict[str, Any]]:
        """One row per aggregate: name, value, what it averages, what it stands on."""
        return [
            {
                "name": one.name,
                "value": one.value,
                "low": one.interval.low if one.interval else None,
                "high": one.interval.high if one.interval else None,
                "averaging": one.averaging,
                "classes_used": len(one.classes_used),
                "classes_dropped": len(one.classes_dropped),
                "images_used": one.images_used,
                "rule": one.rule,
            }
            for one in self.all_aggregates.values()
        ]

    def to_pandas(self, table: Literal["per_class", "scores"] = "per_class") -> pd.DataFrame:
        """The classes (`per_class`) or the aggregates (`scores`) as a data frame."""
        # The one place in metrics that touches pandas, and only when a data frame is asked for.
        import pandas as pd

        if table == "per_class":
            return pd.DataFrame(self.class_rows()).set_index("class_name")
        return pd.DataFrame(self.aggregate_rows()).set_index("name")

    def __repr__(self) -> str:
        lines = [f"Scores of {self._extent()}"]
        for one in self.main_aggregates():
            lines.append(f"  {one.name:<26}{one.value:8.4f}  {one.averaging}, {one.basis}")
        names = self.main_metrics()
        lines.append("  " + f"{'class':<26}" + "".join(f"{name:>11}" for name in names))
        for row in self.class_rows()[:SHOWN_CLASSES]:
            lines.append(
                "  " + f"{row['class_name'][:25]!r:<26}" + "".join(f"{row[name]:11.4f}" for name in names)
            )
        return "\n".join(lines + self._unshown())

    def _repr_html_(self) -> str:
        """The same as tables for a notebook; names are escaped, for they may come from anywhere."""
        names = self.main_metrics()
        aggregates = [
            (one.name, f"{one.value:.4f}", one.averaging, one.basis) for one in self.main_aggregates()
        ]
        classes = [
            (row["class_name"], *(f"{row[name]:.4f}" for name in names))
            for row in self.class_rows()[:SHOWN_CLASSES]
        ]
        rest = "".join(f"<p>{escape(line)}</p>" for line in self._unshown())
        return (
            f"<div><p><b>Scores</b> of {escape(self._extent())}</p>"
            f"{html_table(('aggregate', 'value', 'averaging', 'basis'), aggregates)}"
            f"{html_table(('class', *names), classes)}{rest}</div>"
        )

    def _extent(self) -> str:
        images = "" if self.images is None else f"{self.images:,} images, "
        pixels = self.counts["pixels"]
        words = f"{pixels:,} pixels" if isinstance(pixels, int) else f"{pixels:,.6g} weighted pixels"
        return f"{images}{words}, {len(self.classes)} classes"

    def _unshown(self) -> list[str]:
        more = len(self.classes) - SHOWN_CLASSES
        return [f"  ... and {more} more classes"] if more > 0 else []


def pixels_of(units: int, units_per_pixel: float) -> int | float:
    """A number of pixels from fixed-point units; a whole number where there are no weights."""
    return int(units) if units_per_pixel == 1 else int(units) / units_per_pixel


def html_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in HTML; every cell is escaped.

    >>> html_table(("a",), [("<b>",)])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
