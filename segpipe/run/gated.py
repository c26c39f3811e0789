"""Gates of a run: its figures, and where a gate asks for it those of a baseline, judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig, make_config
from segpipe.counts.results import ResultsReader
from segpipe.criteria import LATEST, GateConfig, IntervalRules
from segpipe.errors import ConfigError, GateError, SegpipeError
from segpipe.metrics.base import METRICS
from segpipe.metrics.gates import Figure, GateReport, bound_of, check_gates, figure_of, judge
from segpipe.metrics.intervals import ScoreIntervals, score_intervals
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Interval, Scores
from segpipe.metrics.slices import value_text
from segpipe.reports.tables import gates_line
from segpipe.run.compared import difference_of
from segpipe.run.differing import CommonStatistics, Obstacles
from segpipe.run.drawn import group_intervals, run_clusters, statistic_intervals
from segpipe.run.latest import read_latest
from segpipe.run.manifest import MANIFEST_NAME
from segpipe.run.opened import Run, open_run
from segpipe.run.record import read_state, run_config
from segpipe.run.reduced import RESULTS_NAME
from segpipe.run.scored import score_run
from segpipe.run.sliced import cut_slices
from segpipe.yaml_files import read_yaml

JUDGED = ("gates", "slices", "min_slice_images", "intervals")
"""The keys of a configuration that can be put to a run that is there already."""


def gate(run: str | Path, config: Mapping[str, Any] | str | Path | None = None) -> GateReport:
    """Judge a published run under gates; nothing of it changes, and no label map is read.

    Args:
        run: the folder of a run, or <results>/<suite>/<model>, whose latest run is judged.
        config: a configuration or the path of one, of which `gates`, `slices`, `min_slice_images` and
            `intervals` are taken; None: the run is judged under its own.

    Raises:
        ConfigError: there are no gates, or gates on figures that there are not.
        InputError: there is no such run.
    """
    opened = open_run(run)
    asked = _asked(run_config(opened.path), config)
    rules = replace(
        opened.results.rules,
        slices=asked.slicings(),
        min_slice_images=asked.min_slice_images,
        intervals=asked.intervals,
    )
    check_gates(asked.named_gates(), rules, opened.results.statistics)
    scores = score_run(opened.path / RESULTS_NAME, rules)
    return judge_gates(
        asked.named_gates(), opened.results, scores, opened.summary.coverage, Baselines(opened.path, scores)
    )


def _asked(own: EvaluationConfig, config: Mapping[str, Any] | str | Path | None) -> EvaluationConfig:
    """The configuration of a run with the gates of another."""
    values = read_yaml(Path(config)) if isinstance(config, (str, Path)) else config
    source = str(config) if isinstance(config, (str, Path)) else "gates"
    if values is not None and (not isinstance(values, Mapping) or "gates" not in values):
        message = f"{source}: holds no `gates`; write them as in the configuration of an evaluation"
        raise ConfigError(message)
    changed = {key: values[key] for key in JUDGED if key in values} if values else {}
    asked = make_config({**own.model_dump(), **changed}, source=source)
    if not asked.gates:
        message = "gates: the configuration of the run has none; name a file that has"
        raise ConfigError(message)
    return asked


def judge_gates(
    gates: tuple[GateConfig, ...],
    results: ResultsReader,
    scores: Scores,
    coverage: float,
    baselines: Baselines,
) -> GateReport:
    """The verdicts on a run.

    Args:
        gates: classes by name.
        results: of the run.
        scores: of the run, with the slices that the gates need.
        coverage: of the run.
        baselines: where the figures of its baselines come from.
    """
    verdicts = [
        verdict
        for one in gates
        for verdict in judge(
            one,
            _figure(one, results, scores, coverage),
            partial(baselines.figure, one),
            results.statistics,
            partial(baselines.difference, one),
        )
    ]
    return GateReport(coverage, tuple(verdicts))


def _figure(gate: GateConfig, results: ResultsReader, scores: Scores, coverage: float) -> Figure:
    """The figure that a gate is about, or the end of its interval."""
    figure = figure_of(gate, scores, coverage)
    if gate.bound is None or gate.max_drop is not None or figure.missing:
        return figure
    return bound_of(gate, figure, _interval(gate, results, scores.rules))


def _interval(gate: GateConfig, results: ResultsReader, rules: ScoringRules) -> Interval:
    """The interval of the figure of a gate, made as the rules say, or as intervals are made by default."""
    single = gate.of_class is not None or gate.group is not None
    drawn = (rules.intervals or IntervalRules()).model_copy(update={"per_class": single})
    found = _intervals(gate, results, rules, drawn)
    if not single:
        return found.aggregates[gate.metric]
    at = 0 if gate.group is not None else results.classes.names.index(str(gate.of_class))
    return found.per_class[gate.metric][at]


def _intervals(
    gate: GateConfig, results: ResultsReader, rules: ScoringRules, drawn: IntervalRules
) -> ScoreIntervals:
    """The intervals of what the figure of a gate comes from: a statistic, a group of classes, a metric."""
    outside = _outside(gate, results, rules)
    for one in results.statistics:
        if gate.metric in one.figures:
            chosen = None if outside is None else outside == 0
            return statistic_intervals(results, one, rules, drawn, chosen)
    record = next(one for one in METRICS.values() if gate.metric in (one.name, *one.averages))
    own = replace(rules, metrics=(record.name,))
    if gate.group is not None:
        groups = tuple(one for one in results.classes.groups if one.name == gate.group)
        return group_intervals(results, replace(results.classes, groups=groups), own, drawn)
    (found,) = score_intervals(
        results.cells(), results.classes, own, drawn, run_clusters(results, drawn), outside, 1,
        results.image_weights(rules),
    )  # fmt: skip
    return found


def _outside(gate: GateConfig, results: ResultsReader, rules: ScoringRules) -> NDArray[np.int64] | None:
    """0 for the images of the slice of a gate, 1 for the others, int64 (image,); None without a slice."""
    if not gate.slice:
        return None
    where = {name: value_text(value) for name, value in gate.slice.items()}
    cut = next(one for one in cut_slices(results, rules) if where in one.where)
    return np.asarray(cut.slice_of != cut.where.index(where), np.int64)


class Baselines:
    """The runs that a run is held against, each opened and scored once, under the rules of the run.

    Attributes:
        used: name of a baseline as configured -> the folder of the run that was taken.

    Args:
        run: the folder of the run.
        scores: of the run.
    """

    def __init__(self, run: Path, scores: Scores) -> None:
        self._run, self._scores = run, scores
        self._known: dict[str, Scores | str] = {}
        self._runs: dict[str, Run] = {}
        self.used: dict[str, str] = {}

    def figure(self, gate: GateConfig) -> Figure:
        """The figure of the baseline of a gate."""
        name = gate.baseline or LATEST
        if name not in self._known:
            self._known[name] = self._scored(name)
        found = self._known[name]
        missing = found if isinstance(found, str) else self._otherwise(gate, self._runs[name])
        if isinstance(found, str) or missing:
            return Figure(value=math.nan, missing=missing)
        figure = figure_of(gate, found, math.nan)
        return replace(figure, missing=f"in the baseline: {figure.missing}" if figure.missing else "")

    def difference(self, gate: GateConfig) -> Interval:
        """The interval of the figure of a gate less that of its baseline, over images that are drawn of both.

        There is a baseline, and it has the figure (`figure`).
        """
        run, baseline = Run(self._run), self._runs[gate.baseline or LATEST]
        rules = replace(self._scores.rules, intervals=self._scores.rules.intervals or IntervalRules())
        outside, ids = _outside(gate, run.results, rules), run.results.ids()
        chosen = set(ids) if outside is None else {ids[at] for at in np.flatnonzero(outside == 0)}
        return difference_of(gate, baseline, run, chosen, rules).interval

    def _otherwise(self, gate: GateConfig, baseline: Run) -> str:
        """Why the figure of a gate is not the same thing in the baseline; empty if it is."""
        run = Run(self._run)
        alike = CommonStatistics.of(baseline, run, {gate.metric})
        if alike.left_out:
            return f"cannot be compared with its baseline (run A; this is run B): {alike.left_out[0]}"
        groups = [{one.name: one.members for one in each.results.classes.groups} for each in (baseline, run)]
        if gate.group is not None and groups[0].get(gate.group) != groups[1].get(gate.group):
            return f"in the baseline the group {gate.group!r} is not there, or has other classes"
        return ""

    def _scored(self, name: str) -> Scores | str:
        """The scores of a baseline, or why there are none."""
        try:
            found = run_before(self._run) if name == LATEST else Path(name)
            if found is None:
                return (
                    "there is no baseline: no complete run before this one (evaluate once with "
                    "--set gates=[] to have one)"
                )
            baseline = open_run(found)
            self.used[name], self._runs[name] = str(baseline.path), baseline
            rules = replace(self._scores.rules, intervals=None)
            return self._differences(baseline) or score_run(baseline.path / RESULTS_NAME, rules)
        except SegpipeError as error:
            return f"the baseline cannot be used: {' '.join(str(error).split())}"

    def _differences(self, baseline: Run) -> str:
        """Why figures of the baseline cannot be held against those of the run; empty if they can."""
        obstacles = Obstacles.of(baseline, Run(self._run))
        # Rules of scoring may differ: the baseline is scored under those of the run.
        found = [one for one in (*obstacles.fatal, *obstacles.avoidable) if one.kind != "rules"]
        words = "; ".join(f"{one.kind}: {one.found}" for one in found)
        return f"cannot be compared with its baseline (run A; this is run B): {words}" if found else ""


def run_before(run: Path) -> Path | None:
    """The complete run that `latest` pointed to before a run; None if there was none.

    While a run is judged for the first time, that is the one that `latest` points to. Judged again, it may
    be what `latest` points to itself: then it is the complete run of the next lower number.
    """
    latest = read_latest(run.parent.parent)
    if latest is not None and latest["run"] < run.name:
        return run.parent / str(latest["run"])
    names = sorted((path.name for path in run.parent.glob("[!.]*") if path.name < run.name), reverse=True)
    return next((run.parent / name for name in names if _complete(run.parent / name)), None)


def _complete(run: Path) -> bool:
    return (run / MANIFEST_NAME).is_file() and read_state(run).get("state") == "complete"


def gate_error(report: GateReport, run: Path) -> GateError:
    """The error that tells of failed gates."""
    lines = [f"{one.gate}: {one.reason}" for one in report.failed]
    return GateError(f"gates: {gates_line(report)} ({run})\n" + "\n".join(lines), str(run))
