"""The history of a model: one row for each published run, kept as objects of their own beside the runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from segpipe.config import PARTIALS_FOLDER
from segpipe.errors import InputError, Problem
from segpipe.run.identity import run_identity
from segpipe.run.manifest import MANIFEST_NAME
from segpipe.run.provenance import fingerprints
from segpipe.run.record import PLANNED_NAME, read_json, read_state, run_config, write_json
from segpipe.run.trend import Trend, TrendRule, find_trend

HISTORY_FOLDER = "history"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """A published run in brief.

    Attributes:
        suite, model, run: whose it is, and the name of the run's folder.
        number: of the run; a later run has a higher one.
        state: `complete`, or why `latest` did not move to it.
        day: the day that its predictions belong to (`date` of the configuration), else that of its start.
        started: when, in UTC.
        headline: the name of the aggregate that stands for the run.
        scores: aggregate -> value; None where there is nothing to score.
        classes: class -> IoU.
        coverage, images, pixels: of what was counted.
        metadata: of the prediction store and of the configuration.
        inputs: hashes of what was read of each store.
        identity: evaluations with the same one give the same bytes.
    """

    suite: str
    model: str
    run: str
    number: int
    state: str
    day: str
    started: str
    headline: str
    scores: dict[str, float | None]
    classes: dict[str, float | None]
    coverage: float | None
    images: int
    pixels: int
    metadata: dict[str, Any]
    inputs: dict[str, str]
    identity: str

    @property
    def value(self) -> float | None:
        """The headline."""
        return self.scores.get(self.headline)


def add_row(run: Path, state: str) -> HistoryRow:
    """Add a published run to the history of its model; to do it again changes nothing."""
    row = make_row(run, state)
    write_json(_path(run), {"schema": SCHEMA, **asdict(row)})
    return row


def make_row(run: Path, state: str) -> HistoryRow:
    """The row of a run whose files are all there."""
    config, record, scores = run_config(run), read_state(run), read_json(run / "scores.json")
    return HistoryRow(
        suite=config.suite,
        model=config.model,
        run=run.name,
        number=record["number"],
        state=state,
        day=config.date.isoformat() if config.date else record["started"][:10],
        started=record["started"],
        headline=scores["headline"],
        scores={name: one["value"] for name, one in scores["aggregates"].items()},
        classes={row["class_name"]: row.get("iou") for row in scores["classes"]},
        coverage=scores["coverage"],
        images=scores["images"]["counted"],
        pixels=scores["pixels"]["counted"],
        metadata=read_json(run / PLANNED_NAME)["metadata"],
        inputs=fingerprints(run),
        identity=run_identity(run),
    )


def read_history(
    results: Path,
    suite: str | None = None,
    model: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> list[HistoryRow]:
    """The rows of a results folder by suite, model, day and number, of those asked for.

    Args:
        results: the folder of the results.
        suite, model: only theirs.
        since, until: only of these days, both included.

    Raises:
        InputError: a row cannot be read; all such rows are listed.
    """
    rows, problems = [], []
    for folder in model_folders(results, suite, model):
        for path in sorted((folder / HISTORY_FOLDER).glob("[!.]*.json")):
            try:
                rows.append(_read_row(path))
            except (OSError, ValueError, TypeError, KeyError) as error:
                problems.append(_damaged(path, error))
    if problems:
        raise InputError(problems)
    first, last = since.isoformat() if since else "", until.isoformat() if until else "9"
    rows = [row for row in rows if first <= row.day <= last]
    return sorted(rows, key=lambda row: (row.suite, row.model, row.day, row.number))


def by_model(rows: Iterable[HistoryRow]) -> dict[tuple[str, str], list[HistoryRow]]:
    """The rows of each model, by suite and model."""
    grouped: dict[tuple[str, str], list[HistoryRow]] = {}
    for row in rows:
        grouped.setdefault((row.suite, row.model), []).append(row)
    return grouped


def trend_of(rows: Iterable[HistoryRow], rule: TrendRule | None = None) -> Trend:
    """The trend of the headline of a model's complete runs; of the runs of one day the last one counts."""
    values = {row.day: row.value for row in rows if row.state == "complete"}
    return find_trend(list(values.values()), rule)


def history_document(rows: Iterable[HistoryRow]) -> dict[str, Any]:
    """The history as plain data: each model with its trend and its runs."""
    models = [
        {
            "suite": suite,
            "model": model,
            "trend": asdict(trend_of(of_model)),
            "runs": [asdict(row) for row in of_model],
        }
        for (suite, model), of_model in by_model(rows).items()
    ]
    return {"models": models}


def model_folders(results: Path, suite: str | None = None, model: str | None = None) -> Iterator[Path]:
    """The folders <results>/<suite>/<model> that hold runs."""
    for folder in sorted(Path(results).glob("*/*/runs")):
        there = folder.parent
        if there.parent.name == PARTIALS_FOLDER:
            continue
        if (suite is None or there.parent.name == suite) and (model is None or there.name == model):
            yield there


def published_runs(folder: Path) -> list[Path]:
    """The published runs of a model, the oldest first, complete or not."""
    return sorted(path.parent for path in (folder / "runs").glob(f"*/{MANIFEST_NAME}"))


def _path(run: Path) -> Path:
    return run.parent.parent / HISTORY_FOLDER / f"{run.name}.json"


def has_row(run: Path) -> bool:
    """Whether a run has its row."""
    return _path(run).is_file()


def _read_row(path: Path) -> HistoryRow:
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        message = f"schema {document['schema']!r}, expected {SCHEMA}"
        raise ValueError(message)
    known = {field.name for field in fields(HistoryRow)}
    row = HistoryRow(**{name: value for name, value in document.items() if name in known})
    if row.run != path.stem or not isinstance(row.scores, dict) or not isinstance(row.day, str):
        message = f"the row of {row.run!r}"
        raise ValueError(message)
    return row


def _damaged(path: Path, error: Exception) -> Problem:
    return Problem(
        kind="history",
        found=f"a row that cannot be read ({type(error).__name__}: {error})",
        expected="what segpipe wrote",
        store=str(path),
        advice="delete the file: `python -m flows.maintenance` writes the row of a published run again",
    )
