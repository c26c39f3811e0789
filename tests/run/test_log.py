"""log.jsonl and the logger `segpipe`: what happened in a run, for programs that watch it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from segpipe.cli import main
from segpipe.errors import IncompleteError, InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.log import LOG_NAME, log_event
from segpipe.run.opened import open_run
from tests.run.datasets import pair_config


def events(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / LOG_NAME).read_text().splitlines()]


def newest(folder: Path) -> Path:
    return max((folder / "results" / "suite" / "model" / "runs").glob("0*"))


def test_every_stage_and_every_bucket_is_in_the_log(pair: Path) -> None:
    run = evaluate(pair_config(pair))
    told = events(run)
    stages = [one["stage"] for one in told if one["event"] == "stage ended"]
    assert stages == list(json.loads((run / "run.json").read_text())["timings"])
    counted = [one for one in told if one["event"] == "bucket counted"]
    assert sorted(one["bucket"] for one in counted) == list(range(len(counted)))
    assert sum(one["images"] for one in counted) == 40
    assert {(one["suite"], one["model"], one["run"]) for one in told} == {("suite", "model", run.name)}


def test_a_quarantined_image_is_in_the_log_with_bucket_and_reason(pair: Path) -> None:
    (pair / "pred.zarr/labels/c/2/1/0").write_bytes(b"")
    with pytest.raises(IncompleteError):
        evaluate(pair_config(pair))
    found = [one for one in events(newest(pair)) if one["event"] == "image quarantined"]
    assert {one["image"] for one in found} == {f"img_{number:03d}" for number in range(12, 18)}
    assert all(one["level"] == "warning" and "c/2/1/0" in one["reason"] for one in found)
    assert all(isinstance(one["bucket"], int) for one in found)


def test_a_run_that_fails_says_so_last(pair: Path) -> None:
    with pytest.raises(InputError):
        evaluate(pair_config(pair, ignore_labels=[]))
    last = events(newest(pair))[-1]
    assert (last["event"], last["level"]) == ("run failed", "error")
    assert "label 255" in last["error"]


def test_a_log_that_goes_on_leaves_the_run_whole(pair: Path) -> None:
    run = evaluate(pair_config(pair))
    log_event(run, "looked at")
    assert open_run(run).computed.headline.value > 0


def test_events_reach_pythons_logger(pair: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "segpipe"):
        run = evaluate(pair_config(pair))
    said = [one.getMessage() for one in caplog.records]
    assert any(text.startswith(f"suite/model {run.name}: bucket counted (bucket 0, images ") for text in said)


@pytest.fixture
def config(pair: Path) -> Path:
    path = pair / "evaluation.yaml"
    path.write_text(pair_config(pair).to_yaml())
    return path


def test_a_command_logs_json_in_place_of_progress(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGPIPE_LOG", "json")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(config)])
    assert ended.value.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"time", "level", "event", "run"} <= set(lines[0])
    assert {one["event"] for one in lines} == {"stage began", "stage ended", "bucket counted"}
    assert not logging.getLogger("segpipe").isEnabledFor(logging.INFO)


def test_another_format_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGPIPE_LOG", "xml")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(config)])
    assert ended.value.code == 1
    assert "SEGPIPE_LOG: found 'xml', expected one of text, json" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_ends_no_run(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segpipe.run.log.LOG_NAME", "no/such/folder")
    assert open_run(evaluate(pair_config(pair))).summary.coverage == 1
