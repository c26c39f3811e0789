"""The record of runs: numbers that are taken once, `latest` that only moves forward, retries that go on."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, tzinfo
from pathlib import Path

import pytest

from segpipe.counts.partials import Partial, PartialStore
from segpipe.errors import InfrastructureError, InputError
from segpipe.run import latest, record, stages
from segpipe.run.evaluate import evaluate
from segpipe.run.latest import publish_latest
from segpipe.run.record import create_run, read_json, read_state
from tests.run.datasets import figures, pair_config, write_pair
from tests.warm import Warm

SCRIPT = """
import sys
from segpipe.config import load_config
from segpipe.run.evaluate import evaluate
print(evaluate(load_config(sys.argv[1])))
"""


def latest_run(runs: Path) -> str:
    """What `latest` points to."""
    return str(json.loads((runs.parent / "latest.json").read_text())["run"])


def test_runs_that_start_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    """Twelve at a time: twelve folders, numbered without a gap."""
    config = pair_config(tmp_path)
    with ThreadPoolExecutor(12) as pool:
        runs = list(pool.map(lambda _: create_run(config), range(12)))

    assert sorted(run.name[:6] for run in runs) == [f"{number:06d}" for number in range(1, 13)]


def test_latest_never_goes_back(tmp_path: Path) -> None:
    """A run that started earlier and ends later does not take the place of the later one."""
    first, second = (create_run(pair_config(tmp_path)) for _ in range(2))
    publish_latest(second)
    publish_latest(first)
    assert latest_run(first.parent) == second.name

    third = create_run(pair_config(tmp_path))
    publish_latest(third)
    assert latest_run(first.parent) == third.name


def test_a_clock_that_goes_back_does_not_hold_latest_back(tmp_path: Path) -> None:
    """Without days the number of the run decides; beside a day the start of a run stands for its day."""
    today, yesterday = tmp_path / "runs/000001-20261121T020000Z", tmp_path / "runs/000002-20261120T020000Z"
    for run in (today, yesterday):
        run.mkdir(parents=True)
        publish_latest(run)
    assert latest_run(yesterday.parent) == yesterday.name
    third = tmp_path / "runs/000003-20261122T020000Z"
    publish_latest(third, date(2026, 11, 19))
    assert latest_run(yesterday.parent) == yesterday.name
    publish_latest(third, date(2026, 11, 20))
    assert latest_run(yesterday.parent) == third.name


def test_a_damaged_latest_is_told_with_its_folder(tmp_path: Path) -> None:
    """Nothing is moved on top of what cannot be read, and the message says what to delete."""
    run = create_run(pair_config(tmp_path))
    (run.parent.parent / "latest.json").write_text('{"run": "0000')
    with pytest.raises(InputError, match=r"latest.json that names the run None(.|\n)*delete latest.json"):
        publish_latest(run)


def test_lock_of_a_killed_process_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old lock does not stop a run; a fresh one that stays makes it say so."""
    run = create_run(pair_config(tmp_path))
    lock = run.parent.parent / "latest.lock"
    lock.touch()
    monkeypatch.setattr(latest, "LOCK_S", 0.2)
    os.utime(lock, (time.time() - 60,) * 2)
    publish_latest(run)
    assert latest_run(run.parent) == run.name
    assert not lock.exists()

    monkeypatch.setattr(latest, "_break_if_old", lambda path: None)
    lock.touch()
    with pytest.raises(InfrastructureError, match=r"latest\.lock is held by another run"):
        publish_latest(run)


def test_two_runs_at_once_on_one_folder(pair: Path, warm: Warm) -> None:
    """Two processes: both end, with the same bytes, whoever wrote which partial."""
    (pair / "config.yaml").write_text(pair_config(pair).to_yaml())
    started = [warm.start(SCRIPT, [pair / "config.yaml"]) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    one, two = (Path(process.stdout.strip()) for process in started)

    assert one != two
    assert figures(one) == figures(two)
    assert latest_run(one.parent) == max(one.name, two.name)


def test_another_truth_under_the_same_names_is_counted_anew(pair: Path, tmp_path: Path) -> None:
    """Suite and model are names: the counts of another dataset are not taken for these."""
    first = evaluate(pair_config(pair))
    other = tmp_path / "other"
    write_pair(other, seed=1)
    second = evaluate(pair_config(other, results=f"{pair}/results"))

    assert read_json(second / "counted.json")["counted"] == 4
    assert second.parent == first.parent
    assert figures(second) == figures(evaluate(pair_config(other, results=f"{pair}/fresh")))


def test_a_run_under_the_name_of_a_deleted_one_is_not_taken_for_it(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that are deleted and made again within a second, in one process, as in a notebook."""

    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Still:
            return cls(2026, 11, 29, tzinfo=tz)

    monkeypatch.setattr(record, "datetime", Still)
    first = evaluate(pair_config(pair))
    shutil.rmtree(pair / "results")
    excluded = {"exclude_classes": ["sky"]}
    second = evaluate(pair_config(pair, **excluded))
    assert second == first
    fresh = evaluate(pair_config(pair, results=f"{pair}/fresh", **excluded))
    assert figures(second) == figures(fresh)


def test_retried_stage_counts_only_what_is_left(pair: Path, reads: list[str]) -> None:
    """The count stage that is called again in the same run finds what it had kept."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    stages.count(run)
    partials = sorted((pair / "results" / "partials").rglob("[0-9a-f]" * 40))
    partials[1].unlink()
    reads.clear()

    assert stages.count(run).counted == 1
    assert 0 < len(reads) < 24


def test_interrupted_between_stages_leaves_nothing_to_open(pair: Path) -> None:
    """Until the manifest is there a run is no result, and `latest` does not know it."""
    run = stages.start(pair_config(pair))
    for stage in (stages.plan, stages.count, stages.reduce, stages.score, stages.report):
        stage(run)
        assert not (run / "MANIFEST.json").exists()
        assert not (run.parent.parent / "latest.json").exists()
        assert read_state(run)["state"] == stage.__name__
    os.utime(run / "run.json", (0, 0))
    assert read_state(run)["state"] == "abandoned"
    stages.publish(run)
    assert read_state(run)["state"] == "complete"


def test_partial_with_other_pixels_is_not_scored(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reduction holds the pixels of every image against the plan."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    stages.count(run)
    read = PartialStore.read_as
    keys: list[str] = []

    def swapped(self: PartialStore, kind: type[Partial], key: str) -> object:
        keys.append(key)
        partial = read(self, kind, key)
        assert partial is not None
        partial.counts.cells.__dict__["counts"] = partial.counts.cells.counts * 2
        return partial

    monkeypatch.setattr(PartialStore, "read_as", swapped)
    with pytest.raises(AssertionError, match="not those planned"):
        stages.reduce(run)
