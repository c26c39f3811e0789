"""The history: a row for each published run, its days and metadata, filters, and the trend."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from segpipe.cli import commands, guarded
from segpipe.errors import ConfigError, IncompleteError, InputError
from segpipe.run import history, stages
from segpipe.run.evaluate import evaluate
from segpipe.run.history import HistoryRow, read_history, trend_of
from segpipe.run.identity import planned_identity, run_identity
from segpipe.run.latest import publish_latest
from segpipe.run.record import create_run, run_config
from segpipe.run.trend import TrendRule, find_trend
from tests.run.datasets import pair_config


def latest(run: Path) -> str:
    """The run that `latest` points to."""
    return str(json.loads((run.parent.parent / "latest.json").read_text())["run"])


def a_row(**changes: Any) -> HistoryRow:
    """A row of a complete run."""
    given: dict[str, Any] = {
        "suite": "s", "model": "m", "run": "000001-x", "number": 1, "state": "complete", "day": "2026-01-01",
        "started": "2026-01-01T00:00:00+00:00", "headline": "mean_iou", "scores": {"mean_iou": 0.5},
        "classes": {}, "inputs": {}, "coverage": 1.0, "images": 1, "pixels": 1, "metadata": {},
        "identity": "",
    }  # fmt: skip
    return HistoryRow(**{**given, **changes})


def test_a_published_run_has_a_row_with_its_scores_and_metadata(pair: Path) -> None:
    """What the prediction store says of itself, and over it what the configuration says."""
    said = {"checkpoint": "c7", "commit": "0c1", "nested": {"a": 1}, "long": "x" * 501}
    zarr.open_group(pair / "pred.zarr").attrs["segpipe"] = {"metadata": said}
    run = evaluate(pair_config(pair, date="2026-11-20", metadata={"commit": "fff", "tries": 2}))
    (row,) = read_history(pair / "results")
    scores = json.loads((run / "scores.json").read_text())
    assert (row.suite, row.model, row.run, row.number) == ("suite", "model", run.name, 1)
    assert (row.state, row.day, row.images, row.coverage) == ("complete", "2026-11-20", 40, 1.0)
    assert row.value == scores["aggregates"]["mean_iou"]["value"]
    assert row.classes["road"] == scores["classes"][0]["iou"]
    assert row.metadata == {"checkpoint": "c7", "commit": "fff", "tries": 2}
    assert row.identity == run_identity(run)
    warnings = json.loads((run / "provenance.json").read_text())["warnings"]
    assert any("'nested', 'long'" in sentence for sentence in warnings)
    before = (run.parent.parent / "history" / f"{run.name}.json").read_bytes()
    history.add_row(run, "complete")
    assert (run.parent.parent / "history" / f"{run.name}.json").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"date": 2026.5}, "date: input should be a day such as 2026-11-20"),
        ({"date": "20 Nov"}, r"date: input should be a day such as 2026-11-20 \(found '20 Nov'\)"),
        ({"metadata": {"a": [1]}}, "metadata.a: input should be a text of at most 500 letters, a number"),
        ({"metadata": {"a": "x" * 501}}, "metadata.a: input should be a text of at most 500 letters"),
        ({"metadata": {"a": float("nan")}}, "metadata.a: input should be a text"),
    ],
)
def test_what_is_no_day_and_no_metadata_is_refused(tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pair_config(tmp_path, **settings)


def test_the_identity_tells_what_decides_the_figures_from_what_does_not(pair: Path) -> None:
    """The same before and after the run; another one for other rules or other label maps."""
    config = pair_config(pair)
    expected = planned_identity(config)
    run = evaluate(config)
    assert run_identity(run) == expected
    same = pair_config(pair, date="2026-01-01", model="other", metadata={"a": 1}, results=f"{pair}/other")
    assert planned_identity(same) == expected
    assert planned_identity(pair_config(pair, absent_class="zero")) != expected
    zarr.open_array(pair / "pred.zarr/labels")[0] = 1
    assert planned_identity(config) != expected


def test_latest_never_moves_to_an_earlier_day(tmp_path: Path) -> None:
    """Reprocessing an archive makes new runs of old days."""
    runs = [create_run(pair_config(tmp_path)) for _ in range(4)]
    days = ["2026-11-20", "2026-11-19", "2026-11-20", "2026-11-21"]
    seen = []
    for run, day in zip(runs, days, strict=True):
        publish_latest(run, datetime.fromisoformat(day).date())
        seen.append(runs.index(run.parent / latest(run)))
    assert seen == [0, 0, 2, 3]


def test_at_its_deadline_a_run_ends_as_incomplete_with_what_is_counted(pair: Path) -> None:
    """The next run goes on from there, to the same figures."""
    whole = evaluate(pair_config(pair, results=f"{pair}/whole"))
    run = stages.start(pair_config(pair, cluster={"kind": "threads", "threads": 1}, max_quarantined=99))
    stages.plan(run)
    until = datetime.now(UTC) + timedelta(days=1)

    class Ends(type(stages.SILENT)):  # type: ignore[misc]
        def advance(self, work: Any) -> None:
            nonlocal until
            until = datetime.now(UTC)

    class Until(datetime):
        def __le__(self, other: Any) -> bool:
            return until <= other

    stages.count(run, Ends(), until=Until(2030, 1, 1, tzinfo=UTC))
    for stage in (stages.reduce, stages.score, stages.report):
        stage(run)
    with pytest.raises(IncompleteError, match=r"could not be counted(.|\n)*buckets not counted by 2030"):
        stages.publish(run)
    assert not (run.parent.parent / "latest.json").exists()
    (row,) = read_history(pair / "results")
    assert row.state == "incomplete"
    assert 0 < row.images < 40
    again = evaluate(pair_config(pair))
    assert json.loads((again / "counted.json").read_text())["hits"] > 0
    assert (again / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()


def test_rows_are_found_by_suite_model_and_day(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for number, day in enumerate(("2026-01-01", "2026-01-03"), start=1):
            row = a_row(model=model, run=f"00000{number}-x", number=number, day=day)
            folder = tmp_path / "s" / model / "history"
            folder.mkdir(parents=True, exist_ok=True)
            (tmp_path / "s" / model / "runs").mkdir(exist_ok=True)
            (folder / f"{row.run}.json").write_text(json.dumps({"schema": 1, **row.__dict__}))
    assert [row.model for row in read_history(tmp_path)] == ["a", "a", "b", "b"]
    since = datetime(2026, 1, 2).date()
    assert [(row.model, row.number) for row in read_history(tmp_path, model="b", since=since)] == [("b", 2)]
    assert [row.number for row in read_history(tmp_path, "s", "a", until=since)] == [1]
    first, last = datetime(2026, 1, 1).date(), datetime(2026, 1, 3).date()
    assert [row.number for row in read_history(tmp_path, "s", "a", since=last, until=last)] == [2]
    assert [row.number for row in read_history(tmp_path, "s", "a", since=first, until=first)] == [1]
    assert read_history(tmp_path, suite="other") == []
    (tmp_path / "s/a/history/000001-x.json").write_text('{"schema": 2}')
    (tmp_path / "s/b/history/000001-x.json").write_text("[")
    with pytest.raises(InputError, match=r"2 problems(.|\n)*schema 2, expected 1(.|\n)*delete the file"):
        read_history(tmp_path)


def test_the_command_shows_tables_trends_and_one_document(
    pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that would clear the terminal does not; an empty folder is said to be empty."""
    evaluate(pair_config(pair, metadata={"checkpoint": "\x1b[2Jc7"}))
    work = lambda *words: guarded(  # noqa: E731
        lambda: commands.main(["history", *words], standalone_mode=False), as_json=False
    )
    assert work(f"{pair}/results") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("suite: model ")
    assert "checkpoint= [2Jc7" in shown
    assert "too few runs for a trend" in shown
    assert work(f"{pair}/results", "--json") == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["trend"] == {"direction": "unknown", "change": None, "threshold": None}
    assert model["runs"][0]["metadata"] == {"checkpoint": "\x1b[2Jc7"}
    assert work(f"{pair}/nothing") == 1
    assert "no such folder" in capsys.readouterr().err
    (pair / "nothing").mkdir()
    assert work(f"{pair}/nothing") == 0
    assert capsys.readouterr().out == "No published runs.\n"
    assert work(f"{pair}/results", "--since", "yesterday") == 1


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=20),
    st.floats(-0.5, 0.5),
    st.integers(1, 3),
)
def test_a_trend_follows_a_shift_and_not_its_place(values: list[float], shift: float, last: int) -> None:
    """The oracle adds a shift to equal runs; moving all runs alike changes no direction."""
    rule = TrendRule(last=last, before=20, min_change=0.01)
    level = [0.5] * len(values) + [0.5 + shift] * last
    expected = "steady" if abs(shift) < 0.0099999 else "rising" if shift > 0 else "falling"
    if abs(abs(shift) - 0.01) > 1e-6:
        assert find_trend(level, rule).direction == expected
    moved = find_trend([value + 8 for value in values], rule)
    assert moved.change == pytest.approx(find_trend(values, rule).change, abs=1e-9)


def test_a_trend_is_held_against_the_error_of_two_means_and_the_runs_just_before() -> None:
    """By hand: s of 0.6 and 0.8 is 0.1 sqrt 2, and so is the error of two and two runs."""
    rule = TrendRule(last=2, before=2, min_change=0, errors=2)
    trend = find_trend([0.0, 0.0, 0.6, 0.8, 0.9, 0.9], rule)
    assert trend.change == pytest.approx(0.2)
    assert trend.threshold == pytest.approx(2 * 0.1 * math.sqrt(2))
    assert trend.direction == "steady"


def test_incomplete_runs_and_earlier_runs_of_a_day_are_not_in_the_trend() -> None:
    days = [f"2026-01-{day:02d}" for day in range(1, 11)]
    rows = [a_row(day=day, number=at, scores={"mean_iou": 0.7}) for at, day in enumerate(days)]
    assert trend_of(rows).direction == "steady"
    bad = [a_row(day=day, number=99, scores={"mean_iou": 0.1}) for day in days[-3:]]
    unfinished = [a_row(**{**one.__dict__, "state": "incomplete"}) for one in bad]
    assert trend_of([*rows, *unfinished]) == trend_of(rows)
    assert trend_of([*rows, *bad]).direction == "falling"
    assert trend_of([*bad, *rows]).direction == "steady"
    assert trend_of(rows[:4]).direction == "unknown"


def test_a_run_knows_the_configuration_it_was_started_with(pair: Path) -> None:
    """Day and metadata come back from config.resolved.yaml as they were."""
    config = pair_config(pair, date="2026-11-20", metadata={"sha": "12e4", "steps": 3, "best": True})
    assert run_config(create_run(config.absolute())).metadata == config.metadata
