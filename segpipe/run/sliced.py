"""Slices of a run: checked against the metadata before anything is counted, scored from the counts later."""

from __future__ import annotations

from segpipe.counts.columns import column_kind, plain_column
from segpipe.counts.results import ResultsReader
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.slices import Slices, check_slices, class_presence, cut_images, needed_columns
from segpipe.planning.plan import Plan


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
    return check_slices(rules, columns, len(config.classes.names))


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
