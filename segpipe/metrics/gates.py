"""Gates: whether figures hold what they have to. What is missing or undefined never passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from segpipe.criteria import COVERAGE, GateConfig, Limited
from segpipe.errors import ConfigError
from segpipe.metrics.base import METRICS, Metric, chosen_metrics
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Interval, Scores
from segpipe.metrics.slices import value_text
from segpipe.statistics.base import STATISTICS, Statistic, StatisticMetric

T = TypeVar("T")

SCHEMA = 1

ROUNDING = 1e-12
"""A difference of floats is rounded: 0.71 - 0.7 is more than 0.01, and still no larger drop."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a run.

    Attributes:
        value: the figure; NaN where there is none.
        basis: what it stands on, in words.
        missing: why there is none; empty if there is.
    """

    value: float
    basis: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one limit of a gate.

    Attributes:
        gate: figure and limit in words.
        passed: whether it holds.
        figure: name of the figure in words.
        limited: `min`, `max` or `max_drop`.
        limit: the number.
        value: the figure; NaN where there is none.
        baseline: the figure of the baseline; NaN where there is none or it is not needed.
        drop: by how much the figure is worse than that of the baseline, negative where it is better.
        basis: what the figure stands on.
        reason: why it failed; empty if it passed.
    """

    gate: str
    passed: bool
    figure: str
    limited: Limited
    limit: float
    value: float
    baseline: float = math.nan
    drop: float = math.nan
    basis: str = ""
    reason: str = ""


@dataclass(frozen=True)
class GateReport:
    """The verdicts of all gates of a run.

    Attributes:
        coverage: the smaller of the shares of images and pixels that were counted.
        verdicts: in the order of the gates.
    """

    coverage: float
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(one.passed for one in self.verdicts)

    @property
    def failed(self) -> list[Verdict]:
        """Those that do not hold."""
        return [one for one in self.verdicts if not one.passed]

    def document(self) -> dict[str, Any]:
        """The report as plain data; NaN where there is no figure."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "coverage": self.coverage,
            "gates": [asdict(one) for one in self.verdicts],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> GateReport:
        """The report that `document` was made from; null is NaN."""
        numbers = ("limit", "value", "baseline", "drop")
        rows = [
            {**row, **{name: math.nan if row[name] is None else row[name] for name in numbers}}
            for row in document["gates"]
        ]
        coverage = document["coverage"]
        return cls(math.nan if coverage is None else coverage, tuple(Verdict(**row) for row in rows))

    def __str__(self) -> str:
        lines = [f"{'passed' if one.passed else 'FAILED'}  {one.gate}: {told(one)}" for one in self.verdicts]
        return "\n".join(lines)


def check_gates(
    gates: Sequence[GateConfig], rules: ScoringRules, statistics: Sequence[Statistic] = ()
) -> None:
    """Refuse gates on figures that there will not be.

    Args:
        gates: with classes by name.
        rules: which metrics are computed.
        statistics: what is counted beside the confusion matrix.

    Raises:
        ConfigError: all such gates are listed.
    """
    further = [record for one in statistics for record in one.records]
    problems = [
        f"gates.{number}.metric: {problem}"
        for number, gate in enumerate(gates)
        if (problem := _unknown(gate, rules, further))
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _unknown(gate: GateConfig, rules: ScoringRules, further: Sequence[StatisticMetric]) -> str:
    """What is wrong with the metric of a gate; empty if nothing is."""
    of_statistics = {name for one in further for name in (one.name, *one.averages)}
    if gate.metric in of_statistics and gate.group is not None:
        return f"{gate.metric} has no figures of groups: it is a statistic's"
    records: list[Metric | StatisticMetric] = [*chosen_metrics(rules.metrics), *further]
    of_one = [one.name for one in records if one.per_class]
    of_all = [COVERAGE, *(name for one in records for name in one.averages)]
    single = gate.of_class is not None or gate.group is not None
    known, others = (of_one, of_all) if single else (of_all, of_one)
    if gate.metric in known:
        return _between(gate, records)
    if gate.metric in others:
        more = "is of all classes together" if single else "needs a class or a group"
        instead = "" if single else f"; the mean over classes is mean_{gate.metric}"
        return f"{gate.metric} {more}{instead}"
    if any(gate.metric in (one.name, *one.averages) for one in _records()):
        return f"{gate.metric} is not computed; add its metric to `metrics`, or its kind to `statistics`"
    near = get_close_matches(gate.metric, known, n=1)
    return f"no figure {gate.metric!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
    )


def _between(gate: GateConfig, records: Sequence[Metric | StatisticMetric]) -> str:
    """That a drop has no interval where the good end lies within the range; empty if it does not."""
    for one in records:
        if gate.metric in (one.name, *one.averages) and one.minimum < one.best < one.maximum:
            if gate.bound is not None and gate.max_drop is not None:
                return (
                    f"{gate.metric} is better {one.direction.removesuffix(' is better')}: no bound of a drop"
                )
    return ""


def _records(statistics: Sequence[Statistic] = ()) -> Iterator[Metric | StatisticMetric]:
    """All metrics, of the confusion matrix, of these statistics and of every kind."""
    yield from METRICS.values()
    for one in statistics:
        yield from one.records
    for kind in STATISTICS.values():
        yield from kind.metrics


def figure_of(gate: GateConfig, scores: Scores, coverage: float) -> Figure:
    """The figure that a gate is about.

    Args:
        gate: with classes by name.
        scores: of the run, with the slices that the gate needs.
        coverage: of the run.
    """
    if gate.metric == COVERAGE:
        return _defined(coverage, "", "coverage is not known")
    if gate.slice:
        return _of_slice(gate, scores)
    if gate.group is not None:
        if scores.groups is None or gate.group not in scores.groups.classes.names:
            return _none(f"there is no group of classes {gate.group!r}")
        return _of_one(gate.metric, gate.group, scores.groups.classes.names, scores.groups.per_class)
    if gate.of_class is not None:
        per_class = _merged(scores.per_class, *(one.per_class for one in scores.statistics))
        return _of_one(gate.metric, str(gate.of_class), scores.classes.names, per_class)
    aggregates = _merged(scores.aggregates, *(one.aggregates for one in scores.statistics))
    if gate.metric not in aggregates:
        return _none(f"{gate.metric} was not computed")
    one = aggregates[gate.metric]
    return _defined(one.value, one.basis, "is not defined: no class or image has a value")


def _merged(*parts: Mapping[str, T]) -> dict[str, T]:
    return {name: value for part in parts for name, value in part.items()}


def _of_slice(gate: GateConfig, scores: Scores) -> Figure:
    where = {name: value_text(value) for name, value in gate.slice.items()}
    one = next((one for one in scores.slices if one.where == where), None)
    if one is None:
        least = scores.rules.min_slice_images
        few = f", or fewer than {least} (min_slice_images)" if least > 1 else ""
        return _none(f"there is no such slice: no image is in it{few}")
    if gate.of_class is not None:
        figure = _of_one(gate.metric, str(gate.of_class), scores.classes.names, one.per_class)
        return Figure(value=figure.value, basis=f"{one.images:,} images", missing=figure.missing)
    if gate.metric not in one.values:
        return _none(f"{gate.metric} was not computed")
    basis = f"{one.uses[gate.metric]} of {len(scores.classes)} classes, {one.images:,} images"
    return _defined(one.values[gate.metric], basis, "is not defined: no class or image has a value")


def _of_one(metric: str, name: str, names: Sequence[str], scored: Mapping[str, Any]) -> Figure:
    if metric not in scored:
        return _none(f"{metric} was not computed")
    if name not in names:
        return _none(f"there is no class {name!r}")
    return _defined(float(scored[metric][names.index(name)]), "", "is not defined: there is nothing to score")


def bound_of(gate: GateConfig, figure: Figure, interval: Interval) -> Figure:
    """The end of the interval of a figure that a gate is about."""
    end = interval.low if gate.bound == "lower" else interval.high
    found = f"{interval.level:.0%} interval of {figure.value:.4f}"
    basis = ", ".join(filter(None, (figure.basis, found, interval.note)))
    return _defined(end, basis, f"has no interval: {interval.note or 'nothing to draw from'}")


def _none(why: str) -> Figure:
    return Figure(value=math.nan, missing=why)


def _defined(value: float, basis: str, otherwise: str) -> Figure:
    return Figure(value=value, basis=basis) if math.isfinite(value) else _none(otherwise)


def judge(
    gate: GateConfig,
    figure: Figure,
    baseline: Callable[[], Figure],
    statistics: Sequence[Statistic] = (),
    difference: Callable[[], Interval] | None = None,
) -> list[Verdict]:
    """The verdict on each limit of a gate.

    Args:
        gate: with classes by name.
        figure: of the run.
        baseline: gives the figure of the baseline; called only where it is needed.
        statistics: of the run.
        difference: gives the interval of the figure less that of the baseline, where a gate is about the
            bound of a drop.
    """
    return [
        _drop(gate, figure, baseline(), statistics, difference)
        if limited == "max_drop"
        else _bounded(gate, limited, figure)
        for limited in gate.limits
    ]


def _bounded(gate: GateConfig, limited: Limited, figure: Figure) -> Verdict:
    limit = gate.limits[limited]
    # NaN compares false, so it never holds.
    holds = figure.value >= limit if limited == "min" else figure.value <= limit
    side = "below" if limited == "min" else "above"
    reason = figure.missing or f"{apart(figure.value, limit)} is {side} {limit:.12g}"
    return _verdict(gate, limited, figure, holds, reason)


def _drop(
    gate: GateConfig,
    figure: Figure,
    before: Figure,
    statistics: Sequence[Statistic],
    difference: Callable[[], Interval] | None,
) -> Verdict:
    if figure.missing or before.missing:
        return _verdict(gate, "max_drop", figure, False, figure.missing or before.missing, before.value)
    if gate.bound is not None and difference is not None:
        return _bound_of_drop(gate, figure, before, _record(gate, statistics), difference())
    worse = worse_by(gate, figure.value, before.value, statistics)
    limit = gate.limits["max_drop"]
    share = " of it" if gate.relative else ""
    reason = (
        f"{apart(figure.value, before.value)} is worse than {apart(before.value, figure.value)} by "
        f"{apart(worse, limit)}{share}, more than {limit:.12g}"
    )
    return _verdict(gate, "max_drop", figure, worse <= limit + ROUNDING, reason, before.value, worse)


def _bound_of_drop(
    gate: GateConfig, figure: Figure, before: Figure, record: Metric | StatisticMetric, difference: Interval
) -> Verdict:
    """The verdict on the end of the interval of a drop."""
    ends = difference.low, difference.high
    if record.best > record.minimum:
        ends = -difference.high, -difference.low
    end, limit = ends[gate.bound == "upper"], gate.limits["max_drop"]
    words = f"{difference.level:.0%} interval of the drop: {ends[0]:.4f} to {ends[1]:.4f}"
    basis = ", ".join(filter(None, (figure.basis, words, difference.note)))
    if math.isnan(end):
        reason = f"its drop has no interval: {difference.note or 'nothing to draw from'}"
    else:
        reason = f"its drop may be {apart(end, limit)}" if gate.bound == "upper" else ""
        reason = reason or f"its drop is {apart(end, limit)} at least"
        reason += f", more than {limit:.12g}"
    # NaN compares false, so it never holds.
    holds = end <= limit + ROUNDING
    return _verdict(gate, "max_drop", replace(figure, basis=basis), holds, reason, before.value, end)


def _record(gate: GateConfig, statistics: Sequence[Statistic]) -> Metric | StatisticMetric:
    """The metric that the figure of a gate comes from."""
    return next(one for one in _records(statistics) if gate.metric in (one.name, *one.averages))


def worse_by(gate: GateConfig, value: float, before: float, statistics: Sequence[Statistic] = ()) -> float:
    """By how much a figure is worse than before: nearer to the good end is better; negative if it is better.

    >>> gate = GateConfig(metric="mean_iou", max_drop=0.1)
    >>> worse_by(gate, 0.5, 0.75)
    0.25
    >>> worse_by(gate.model_copy(update={"relative": True}), 0.5, 0.75)
    0.3333333333333333
    """
    record = _record(gate, statistics)
    if record.minimum < record.best < record.maximum:
        # Where the good end lies between, what counts is how far away it is.
        value, before = abs(value - record.best), abs(before - record.best)
    rises = record.best > record.minimum and not record.minimum < record.best < record.maximum
    worse = before - value if rises else value - before
    if not gate.relative or worse == 0:
        return worse
    return worse / abs(before) if before else math.copysign(math.inf, worse)


def _verdict(
    gate: GateConfig, limited: Limited, figure: Figure, passed: bool, reason: str,
    baseline: float = math.nan, drop: float = math.nan,
) -> Verdict:  # fmt: skip
    return Verdict(
        gate=gate.words(limited), passed=passed, figure=gate.figure, limited=limited,
        limit=gate.limits[limited], value=figure.value, baseline=baseline, drop=drop,
        basis=figure.basis, reason="" if passed else reason,
    )  # fmt: skip


def told(one: Verdict) -> str:
    """The numbers of a verdict in words."""
    if not one.passed:
        return one.reason
    if one.limited != "max_drop":
        return apart(one.value, one.limit)
    change = f"{abs(one.drop):.4f} {'worse' if one.drop > 0 else 'better'}" if one.drop else "the same"
    return f"{one.value:.4f}, {change}"


def apart(value: float, limit: float) -> str:
    """A number with four digits, or as many as it takes to see on which side of a limit it lies.

    >>> apart(0.69999, 0.7), apart(0.8, 0.7)
    ('0.69999', '0.8000')
    """
    for digits in range(4, 17):
        text = f"{value:.{digits}f}"
        if (float(text) > limit) == (value > limit) and (float(text) < limit) == (value < limit):
            return text
    return repr(value)
