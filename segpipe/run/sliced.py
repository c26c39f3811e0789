"""Slices of a run: checked against the metadata before anything is counted, scored from the counts later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from segpipe.counts.columns import column_kind, plain_column
from segpipe.counts.results import ResultsReader
from segpipe.criteria import GateConfig
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import slice_name
from segpipe.metrics.slices import (
    WITH,
    WITHOUT,
    Slices,
    check_slices,
    class_presence,
    cut_images,
    needed_columns,
    untold,
    value_text,
)
from segpipe.planning.plan import Plan

Where = Mapping[str, str | None]


def slice_warnings(plan: Plan) -> list[str]:
    """What is to be known of the slices that a plan's configuration asks for.

    Raises:
        ConfigError: there is no such column, it has no numbers for bins, or too many different values.
    """
    config = plan.config
    rules = ScoringRules(slices=config.slicings(), min_slice_images=config.min_slice_images)
    names = needed_columns(rules.slices, plan.columns)
    columns = {
        name: plain_column(name, plan.columns[name], column_kind(plan.columns[name])) for name in names
    }
    cut = check_slices(rules, columns, len(config.classes.names))
    return [*untold(columns), *_nowhere(config.named_gates(), cut)]


def _nowhere(gates: Sequence[GateConfig], cut: Sequence[Slices]) -> Iterator[str]:
    """Sentences on gates whose slice has no image."""
    there = [where for one in cut for where in one.where]
    for number, one in enumerate(gates, start=1):
        where = {name: value_text(value) for name, value in one.slice.items()}
        if where and where not in there and not {WITH, WITHOUT} & set(where):
            yield (
                f"Gate {number} will fail: there is no such slice, or it has too few images "
                f"({slice_name(where)}){_near(where, there)}"
            )


def _near(where: Where, there: Sequence[Where]) -> str:
    """What may have been meant by a value that there is not."""
    for name, text in where.items():
        known = {str(other[name]) for other in there if name in other}
        near = get_close_matches(str(text), sorted(known), n=1)
        if near and near[0] != text:
            return f"; did you mean {near[0]!r}?"
    return "."


def cut_slices(results: ResultsReader, rules: ScoringRules, key: str = "slices") -> list[Slices]:
    """The images of a run, cut into the slices that the rules ask for; no label map is read.

    `key` is what a mistake names.

    Raises:
        ConfigError: the run has no such column, it has no numbers for bins, or too many different values.
    """
    if not rules.slices:
        return []
    columns = {name: results.column(name) for name in needed_columns(rules.slices, results.columns, key)}
    names = dict.fromkeys(str(one.has_class) for one in rules.slices if one.has_class is not None)
    present = class_presence(results.cells(), results.classes, list(names))
    return cut_images(rules, len(results.classes), columns, present)
