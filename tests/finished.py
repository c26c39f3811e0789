"""Small results datasets and finished runs, made from random matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.counts.columns import ColumnKind, column_kind
from segpipe.counts.results import ResultsReader, ResultsWriter, write_scores
from segpipe.errors import Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.conventions.scoring import score_conventions
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts
from segpipe.reports.base import ReportInput, write_reports
from segpipe.reports.summary import RunSummary, Tally
from segpipe.run.manifest import write_manifest

CLASSES = ClassList(("road", "car", "never", "ghost"), ((1, 2, 3), None, None, (4, 5, 6)))
"""`never` is absent, `ghost` is predicted only."""


def random_matrices(images: int, seed: int = 0) -> NDArray[np.int64]:
    """Extended matrices of `CLASSES`; the fifth image is empty."""
    matrices = np.random.default_rng(seed).integers(0, 4, (images, 6, 6))
    matrices[:, 2] = matrices[:, :, 2] = matrices[:, 3] = 0
    matrices[4:5] = 0
    return matrices


def columns_of(images: int) -> dict[str, NDArray[Any]]:
    """One column of each kind."""
    at = np.arange(images)
    return {
        "sequence": np.array([f"s{index % 3}" for index in at], object),
        "frame": at * 10,
        "speed": at / 4,
        "night": at % 2 == 0,
    }


def kinds_of(columns: dict[str, NDArray[Any]]) -> dict[str, ColumnKind]:
    return {name: column_kind(values) for name, values in columns.items()}


def write_results(
    path: Path,
    matrices: NDArray[np.int64],
    *,
    classes: ClassList = CLASSES,
    columns: dict[str, NDArray[Any]] | None = None,
    ids: Sequence[str] | None = None,
    cuts: Sequence[int] = (),
) -> ResultsReader:
    """A results dataset without scores; `cuts` are the images at which appends are cut."""
    columns = columns_of(len(matrices)) if columns is None else columns
    names = [f"image-{index:04d}" for index in range(len(matrices))] if ids is None else list(ids)
    cells = ConfusionCells.from_dense(matrices) if len(matrices) else ConfusionCells.empty(len(classes))
    edges = [0, *cuts, len(matrices)]
    with ResultsWriter(path, classes, kinds_of(columns)) as writer:
        for start, stop in pairwise(edges):
            part = {name: values[start:stop] for name, values in columns.items()}
            writer.append(names[start:stop], cells.take(np.arange(start, stop)), part)
    return ResultsReader(path)


def score_results(results: ResultsReader, rules: ScoringRules | None = None) -> Scores:
    """Scores of a results dataset."""
    return score_counts(results.cells(), results.total(), results.classes, rules or ScoringRules())


def summary_of(images: int, **changes: Any) -> RunSummary:
    """A summary that says that everything was counted."""
    given: dict[str, Any] = {
        "suite": "streets",
        "model": "net",
        "run": "000001-20260101T000000Z",
        "images": Tally(planned=images, counted=images),
        "pixels": Tally(planned=10, counted=10),
        "alignment": "id",
        "versions": {"zarr": "3"},
        "timings": {"count": 1.25},
        "provenance": {"host": "somewhere", "started": "2026-01-01"},
        "config": "classes: 4\n",
    }
    return RunSummary(**{**given, **changes})


def finish_run(
    folder: Path,
    matrices: NDArray[np.int64],
    *,
    summary: RunSummary | None = None,
    problems: Sequence[Problem] = (),
    rules: ScoringRules | None = None,
    conventions: Any = (),
    **settings: Any,
) -> Path:
    """A published run in `folder`: results, scores, reports, manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    results = write_results(folder / "results.zarr", matrices, **settings)
    scores = score_results(results, rules)
    if conventions:
        blocks = ((block.ids, block.cells) for block in results.blocks())
        scores = replace(scores, conventions=score_conventions(blocks, results.classes, conventions))
    write_scores(results.path, scores)
    given = ReportInput(ResultsReader(results.path), scores, summary or summary_of(len(matrices)), problems)
    write_reports(folder, given)
    (folder / "run.json").write_text('{"state": "complete", "ended": "now"}')
    write_manifest(folder)
    return folder


def file_hashes(folder: Path) -> dict[str, str]:
    """Relative path -> hash, of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
