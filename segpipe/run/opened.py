"""A finished run, opened: its scores and tables, and new scores from its counts without one pixel read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from html import escape
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.config import interval_rules, slice_config
from segpipe.counts.results import ResultsReader
from segpipe.criteria import IntervalRules
from segpipe.errors import ConfigError, InputError, Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import METRICS, chosen_metrics
from segpipe.metrics.conventions.scoring import ConventionScore, score_conventions
from segpipe.metrics.gates import GateReport
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE, NO_VALUE_TEXT, Scores, html_table, slice_name
from segpipe.metrics.scoring import score_groups
from segpipe.metrics.shares import By, confusion_shares
from segpipe.metrics.statistic_scores import score_statistic_groups
from segpipe.reports.summary import RunSummary
from segpipe.reports.tables import (
    Table,
    aggregates_table,
    coverage_line,
    groups_tables,
    headline,
    per_class_table,
    statistics_tables,
)
from segpipe.run.judged import stored_gates
from segpipe.run.latest import read_latest
from segpipe.run.manifest import MANIFEST_NAME, check_manifest
from segpipe.run.record import RUN_NAME, read_state
from segpipe.run.reduced import RESULTS_NAME
from segpipe.run.scored import score_run
from segpipe.run.sliced import cut_slices

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

TableName = Literal["per_class", "per_image", "scores", "confusion"]

MAX_GROUP_CLASSES = 1_000_000
"""Groups times classes that `Run.score` holds in memory: some half a gigabyte."""


def open_run(path: str | Path) -> Run:
    """Open a published run.

    Args:
        path: the folder of a run, or <results>/<suite>/<model>, whose latest run is opened.

    Raises:
        InputError: there is no run, it is half-written, or files of it are missing or have another size.
    """
    folder = _run_folder(Path(path))
    check_manifest(folder)
    return Run(folder)


class Run:
    """A published run (`open_run`).

    Attributes:
        path: the folder of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def results(self) -> ResultsReader:
        """The counts of every image, some images at a time."""
        return ResultsReader(self.path / RESULTS_NAME)

    @cached_property
    def summary(self) -> RunSummary:
        """What was planned, counted and left out, warnings, versions, timings."""
        try:
            return RunSummary.from_document(json.loads((self.path / "provenance.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            found = f"provenance.json that cannot be read ({type(error).__name__}: {error})"
            raise InputError(Problem(kind="run", found=found, store=str(self.path))) from None

    @cached_property
    def gates(self) -> GateReport | None:
        """The verdicts that the run was published with; None if it was not judged."""
        return stored_gates(self.path)

    @cached_property
    def _dataset(self) -> xr.Dataset:
        from segpipe.run.frames import open_results

        return open_results(self.path / RESULTS_NAME)

    @property
    def scores(self) -> xr.Dataset:
        """Every aggregate as a scalar; its attributes say what it averages and which classes are in it."""
        return self._of(())

    @property
    def per_class(self) -> xr.Dataset:
        """Areas in pixels and scores of every class, over `class_name`."""
        return self._of(("class_name",))

    @property
    def per_group(self) -> xr.Dataset:
        """Areas in pixels and scores of every group of classes, over `group_name`; empty without groups."""
        found = self._of(("group_name",))
        return found.rename({str(name): str(name).removeprefix("group_") for name in found.data_vars})

    @property
    def per_image(self) -> xr.Dataset:
        """Pixel counts and scores of every image, over `image`, with the metadata columns as coordinates."""
        found = self._of(("image",))
        return found.rename({str(name): str(name).removeprefix("image_") for name in found.data_vars})

    @property
    def confusion(self) -> xr.DataArray:
        """Pixels of every pair of classes, (truth, pred), K + 2 each: also ignored, void and invalid."""
        return self._dataset["confusion"]

    def _of(self, dims: tuple[str, ...]) -> xr.Dataset:
        names = [name for name, variable in self._dataset.data_vars.items() if variable.dims == dims]
        return self._dataset[names].drop_attrs(deep=False)

    @cached_property
    def computed(self) -> Scores:
        """All scores under the run's own rules, computed from its counts."""
        return score_run(self.path / RESULTS_NAME, self.results.rules)

    def score(
        self,
        metrics: Sequence[str] | None = None,
        by: str | Sequence[str] | Mapping[str, Any] | None = None,
        *,
        rules: ScoringRules | None = None,
    ) -> xr.Dataset:
        """Score the counts anew; no label map is read.

        Args:
            metrics: names of metrics or aggregates, such as `dice`, `mean_iou`, `mean_iou_per_image`; a
                per-class metric comes with its mean over classes. None: all.
            by: a metadata column; every value of it is scored as a dataset of its own. Or how images are
                cut into slices, as in the configuration: two columns, `{"by": "speed", "bins": [0, 30, 60]}`,
                `{"has_class": "rider"}`.
            rules: how counts are scored; None: as the run was.

        Returns:
            One variable per metric, over `by` (if given) and `class_name` (per-class metrics). Beside each
            aggregate stands `<name>_uses` over `class_name`: whether the class is in it. Slices that are not
            the values of one column lie along `slice`, with what each is in words beside it.

        Raises:
            ConfigError: an unknown metric or column, or more groups than fit in memory.
        """
        from segpipe.run.frames import grouped, score_dataset

        rules = rules or self.results.rules
        asked = rules if metrics is None else replace(rules, metrics=self._metrics_of(metrics))
        if by is None:
            (one,) = self._scores(np.zeros(len(self.results), np.int64), 1, asked, metrics)
            one = replace(one, rules=rules)
            return score_dataset(one, _chosen(one, metrics))
        values, groups, axes = self._cut(by)
        scored = [replace(one, rules=rules) for one in self._scores(groups, len(values), asked, metrics)]
        if not scored:
            message = f"by: the run has no images, so {by!r} has no values"
            raise ConfigError(message)
        names = _chosen(scored[0], metrics)
        made = [score_dataset(one, names) for one in scored]
        if isinstance(by, str):
            return grouped(made, values, self.results.names[by])
        beside = {self.results.names.get(name, name): ("slice", texts) for name, texts in axes.items()}
        return grouped(made, values, "slice").assign_coords(beside)

    def conventions(self, names: Sequence[str] | Literal["all"] = "all") -> tuple[ConventionScore, ...]:
        """What other tools would print of the same label maps, and why it differs; no label map is read.

        They take all images, and all pixels of a weight above 0, alike; but `cityscapes-iiou` takes pixels
        with their weights.

        Args:
            names: of conventions.

        Raises:
            ConfigError: there is no such convention, or it needs groups, classes with instances or weights of
                pixels, and there are none.
        """
        results = self.results
        blocks = ((block.ids, block.cells) for block in results.blocks())
        return score_conventions(blocks, results.classes, names, weighted=results.weighted)

    def intervals(self, rules: IntervalRules | Mapping[str, Any] | str | None = None) -> Scores:
        """The scores of the run with intervals of every figure; no label map is read.

        Args:
            rules: as the key `intervals` of a configuration, such as `{"cluster_by": "sequence"}`; None: as
                the run was, or bootstrap.

        Returns:
            Scores of which every aggregate has its `interval`, and the classes theirs (`class_intervals`) if
            `per_class` says so.

        Raises:
            ConfigError: rules that cannot be, or a metadata column that the run does not have.
        """
        own = self.results.rules
        if rules is None:
            rules = own.intervals or IntervalRules()
        chosen = rules if isinstance(rules, IntervalRules) else interval_rules(rules)
        return score_run(self.path / RESULTS_NAME, replace(own, intervals=chosen))

    def confusion_shares(self, by: By = "truth") -> xr.DataArray:
        """The confusion matrix in shares of a row (`truth`), of a column (`pred`), or of all; NaN for 0/0."""
        found = self.confusion.copy(data=confusion_shares(self.confusion.values, by))
        return found.assign_attrs(long_name=f"share of the pixels, by {by}", units="1")

    def _cut(
        self, by: str | Sequence[str] | Mapping[str, Any]
    ) -> tuple[list[Any], NDArray[np.int64], dict[str, list[str]]]:
        """Slices by name, the number of the slice of each image; column -> value of each slice in words."""
        if isinstance(by, str):
            return *self._groups(by), {}
        slicing = slice_config(by, self.results.classes.names)
        cut = cut_slices(self.results, ScoringRules(slices=(slicing,)), "by")[0]
        texts = {
            name: [NO_VALUE_TEXT if where[name] is None else str(where[name]) for where in cut.where]
            for name in slicing.by
        }
        return [slice_name(where) for where in cut.where], cut.slice_of, texts

    def _groups(self, by: str) -> tuple[list[Any], NDArray[np.int64]]:
        """The values of a column, sorted, and the number of the value of each image."""
        if by not in self.results.columns:
            columns, hint = ", ".join(self.results.columns) or "none", _hint(by, self.results.columns)
            message = f"by: the run has no metadata column {by!r}; it has: {columns}{hint}"
            raise ConfigError(message)
        values, groups = np.unique(self.results.column(by), return_inverse=True)
        most = MAX_GROUP_CLASSES // len(self.results.classes)
        if len(values) > most:
            message = (
                f"by: {by!r} has {len(values):,} different values; at most {most:,} can be scored at once"
            )
            raise ConfigError(message)
        return values.tolist(), groups.astype(np.int64)

    def _metrics_of(self, names: Sequence[str]) -> tuple[str, ...]:
        further = {name: metric for one in self.results.statistics for name, metric in one.figures.items()}
        return metrics_of(names, further)

    def _scores(
        self, groups: NDArray[np.int64], number: int, rules: ScoringRules, metrics: Sequence[str] | None
    ) -> list[Scores]:
        """The scores of groups of images; of statistics those that `metrics` names a figure of."""
        weights, classes = self.results.image_weights(rules), self.results.classes
        plain = self.results.plain_weights(rules)
        scored = score_groups(self._grouped(groups), number, classes, rules, weights)
        further = [
            score_statistic_groups(one, self.results.sums(one), groups, number, classes, rules, plain)
            for one in self.results.statistics
            if metrics is None or not set(metrics).isdisjoint(one.figures)
        ]
        return [
            replace(one, statistics=own)
            for one, own in zip(scored, zip(*further, strict=True) if further else repeat(()), strict=False)
        ]

    def _grouped(self, groups: NDArray[np.int64]) -> Iterator[tuple[ConfusionCells, NDArray[np.int64]]]:
        start = 0
        for cells in self.results.cells():
            yield cells, groups[start : start + len(cells)]
            start += len(cells)

    def to_pandas(self, table: TableName = "per_class") -> pd.DataFrame:
        """One of the run's tables as a data frame.

        Args:
            table: `per_class`, `per_image`, `scores` (the aggregates), or `confusion` (truth by pred).

        Raises:
            ConfigError: there is no such table.
        """
        from segpipe.run.frames import frame, matrix_frame

        makers: dict[str, Callable[[], pd.DataFrame]] = {
            "per_class": lambda: frame(self.per_class),
            "per_image": lambda: frame(self.per_image),
            "scores": lambda: self.computed.to_pandas("scores"),
            "confusion": lambda: matrix_frame(self.confusion),
        }
        if table not in makers:
            message = f"no table {table!r}; known: {', '.join(makers)}{_hint(table, makers)}"
            raise ConfigError(message)
        return makers[table]()

    def __repr__(self) -> str:
        return f"Run {self.path}\n{coverage_line(self.summary)}\n{self.computed!r}"

    def _repr_html_(self) -> str:
        """Headline, coverage and tables for a notebook; whatever comes from outside is escaped."""
        warnings = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.summary.warnings)
        tables = (
            aggregates_table(self.computed),
            per_class_table(self.computed),
            *groups_tables(self.computed),
            *statistics_tables(self.computed),
        )
        return (
            f"<div><p><b>{escape(self.summary.suite)}: {escape(self.summary.model)}</b> "
            f"({escape(self.summary.run)})</p><p>{escape(headline(self.computed))}</p>"
            f"<p>{escape(coverage_line(self.summary))}</p><ul>{warnings}</ul>"
            f"{''.join(_table_html(table) for table in tables)}</div>"
        )


def _table_html(table: Table) -> str:
    return f"<p>{escape(table.title)}</p>" + html_table(
        tuple(column.name for column in table.columns), table.rows
    )


def metrics_of(names: Sequence[str], further: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
    """The metrics that names of metrics or of aggregates come from; `further` are those of statistics."""
    known = {name: one.name for one in METRICS.values() for name in (one.name, *one.averages)}
    unknown = [name for name in names if name not in known and name not in further]
    if unknown:
        metrics = dict.fromkeys([*(one.name for one in chosen_metrics(None)), *further.values()])
        hint = _hint(unknown[0], [*known, *further])
        message = f"no metric {unknown[0]!r}; known: {', '.join(metrics)}, and their means{hint}"
        raise ConfigError(message)
    return tuple(dict.fromkeys(known[name] for name in names if name in known))


def _chosen(scores: Scores, metrics: Sequence[str] | None) -> list[str]:
    """The names asked for, each per-class metric followed by its mean; the headline first where all are."""
    if metrics is None:
        every = (*scores.all_aggregates, *scores.all_per_class)
        return [HEADLINE, *(name for name in every if name != HEADLINE)]
    names = [[name, f"mean_{name}"] if name in scores.all_per_class else [name] for name in metrics]
    return list(dict.fromkeys(name for pair in names for name in pair))


def _hint(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _run_folder(path: Path) -> Path:
    """The folder of the run that a path means."""
    if (path / MANIFEST_NAME).is_file():
        return path
    latest = read_latest(path)
    if latest is not None:
        folder = path / "runs" / latest["run"]
        return folder if (folder / MANIFEST_NAME).is_file() else _refuse(folder)
    return _refuse(path)


def _refuse(path: Path) -> Path:
    expected = "the folder of a published run, or <results>/<suite>/<model>"
    advice = "give the path that `segpipe evaluate` printed"
    if not path.is_dir():
        found = "no such folder"
    elif (path / RUN_NAME).is_file():
        state = read_state(path).get("state", "unknown")
        found = f"a half-written run: it has no {MANIFEST_NAME} (state: {state})"
        expected = "a published run"
        advice = "wait until it is finished, or run the same command again: what was counted is kept"
    elif (path / "runs").is_dir():
        found, advice = "no published run yet", "see runs/ for runs that are going on or have failed"
    else:
        found = "a folder that is no run"
    raise InputError(Problem(kind="run", found=found, expected=expected, store=str(path), advice=advice))
