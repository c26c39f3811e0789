"""Upkeep: what is removed and what is not, missing rows, and counts that are counted again."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from segpipe.counts.partials import PartialStore, StatisticPartial, encode
from segpipe.planning.plan_file import named_keys, read_buckets
from segpipe.run import maintenance, stages
from segpipe.run.evaluate import evaluate
from segpipe.run.history import read_history
from segpipe.run.maintenance import MaintenanceConfig, run_maintenance
from segpipe.statistics.base import STATISTICS
from tests.run.datasets import figures, pair_config, write_pair


@pytest.fixture(scope="module")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run of 40 images in four buckets."""
    folder = tmp_path_factory.mktemp("published")
    write_pair(folder)
    evaluate(pair_config(folder))
    return folder


@pytest.fixture
def folder(_published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, in a results folder of its own for each test; its stores are shared and not changed."""
    results = _published / "results"
    kept = _published / "kept"
    if kept.exists():
        shutil.rmtree(results)
        shutil.copytree(kept, results)
    else:
        shutil.copytree(results, kept)
    return _published


def partials(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "results/partials").glob("??/*")}


def make_old(folder: Path) -> None:
    """As if all partials were written a month ago."""
    for path in partials(folder).values():
        os.utime(path, (time.time() - 31 * 86_400,) * 2)


def maintained(folder: Path, **settings: Any) -> maintenance.Maintained:
    given = {"results": f"{folder}/results", "dry_run": False, "verify_buckets": 0, **settings}
    return run_maintenance(MaintenanceConfig.model_validate(given))


def waste(folder: Path) -> list[Path]:
    """A partial that no run names, one that was never finished, and a file that is neither."""
    made = []
    for name in ("ab" + "0" * 38, f".ab{'0' * 38}.{'1' * 32}.tmp", "notes.txt"):
        path = folder / "results/partials/ab" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1234")
        made.append(path)
    return made


def test_what_published_runs_name_is_kept_and_the_rest_removed(folder: Path) -> None:
    """Afterwards the same evaluation still finds all its counts."""
    config = pair_config(folder)
    (run,) = (folder / "results/suite/model/runs").glob("0*")
    before = set(partials(folder))
    assert before == set(named_keys(run / "plan.parquet"))
    orphan, unfinished, other = waste(folder)
    make_old(folder)
    dry = maintained(folder, dry_run=True).collected
    assert (dry.kept, dry.removed, dry.removed_bytes, dry.runs) == (4, 2, 8, 1)
    assert orphan.exists()
    done = maintained(folder).collected
    assert (done.kept, done.removed, done.young) == (4, 2, 0)
    assert set(partials(folder)) == before | {other.name}
    assert not unfinished.exists()
    again = evaluate(config)
    assert json.loads((again / "counted.json").read_text())["counted"] == 0
    assert figures(again) == figures(run)


def test_what_no_run_names_is_kept_for_some_days(folder: Path) -> None:
    """A time in the future is young."""
    orphan, unfinished, _ = waste(folder)
    os.utime(orphan, (time.time() - 13 * 86_400,) * 2)
    os.utime(unfinished, (time.time() + 1e6,) * 2)
    assert maintained(folder).collected.young == 2
    assert maintained(folder, keep_days=12).collected.removed == 1
    assert not orphan.exists()
    assert unfinished.exists()


def test_a_run_that_begins_meanwhile_keeps_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan may name what no run named when maintenance began to look."""
    evaluate(pair_config(folder, bucket_images=20))
    for path in (folder / "results/suite/model/runs").glob("*/MANIFEST.json"):
        path.unlink()
    make_old(folder)
    there = len(partials(folder))
    seen = iter(["", "a run is being planned"])
    monkeypatch.setattr(maintenance, "_unplanned", lambda results: next(seen))
    assert maintained(folder).collected.postponed == "a run is being planned"
    assert len(partials(folder)) == there > 0


def test_a_run_under_way_keeps_what_it_needs(folder: Path) -> None:
    """Without its plan nothing is removed, with it only what it does not name; until it is abandoned."""
    config = pair_config(folder, bucket_images=20)
    evaluate(config)
    assert len(partials(folder)) == 6
    for path in (folder / "results/suite/model/runs").glob("*/MANIFEST.json"):
        path.unlink()
    make_old(folder)
    run = stages.start(config)
    done = maintained(folder)
    assert "is being planned" in done.collected.postponed
    assert "nothing was removed" in done.text()
    assert len(partials(folder)) == 6
    stages.plan(run)
    assert maintained(folder, dry_run=True).collected.kept == 2
    assert maintained(folder).collected.removed == 4
    os.utime(run / "run.json", (time.time() - 3600,) * 2)
    assert maintained(folder).collected.removed == 2


def test_partials_of_further_statistics_are_named(tmp_path: Path) -> None:
    """Each has a key of its own, and one of the bucket that it was selected from."""
    more = [{"kind": "a", "key": "k2", "whole_key": "w2"}, {"kind": "b", "key": "k3", "whole_key": ""}]
    rows = [
        {"key": "k1", "whole_key": "w1", "statistics": more},
        {"key": "k4", "whole_key": "", "statistics": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plan.parquet")
    assert list(named_keys(tmp_path / "plan.parquet")) == ["k1", "w1", "k2", "w2", "k3", "k4"]


def test_missing_rows_are_written_again(folder: Path) -> None:
    (row,) = read_history(folder / "results")
    shutil.rmtree(folder / "results/suite/model/history")
    dry = maintained(folder, dry_run=True)
    assert (dry.rows, read_history(folder / "results")) == (1, [])
    assert "history: 1 missing rows would be written" in dry.text()
    assert maintained(folder).rows == 1
    assert read_history(folder / "results") == [row]
    assert maintained(folder).rows == 0


def test_a_sample_is_counted_again(folder: Path) -> None:
    """The same for the same seed; what is not as it was written is told, one bucket at a time."""
    seen = maintained(folder, verify_buckets=3, seed=1).verified
    assert (seen.runs, seen.buckets, seen.changed, seen.problems) == (1, 3, 0, [])
    whole = maintained(folder, verify_buckets=99)
    assert (whole.verified.buckets, whole.exit_code) == (4, 0)
    store = PartialStore(folder / "results/partials")
    first, second, *_ = sorted(partials(folder))
    other = store.read(second)
    assert other is not None
    store.path(first).write_bytes(encode(other, first))
    store.path(second).write_bytes(b"damaged")
    found = maintained(folder, verify_buckets=99)
    assert (found.verified.buckets, found.exit_code) == (2, 4)
    words = [problem.found for problem in found.verified.problems]
    assert sorted(words) == [
        "a damaged partial (confusion)",
        "counts that are not those of a recount (confusion)",
    ]
    assert "maintenance: problems" in found.text()


def test_statistics_are_counted_again_too(tmp_path: Path) -> None:
    """Each by its own partials: what is wrong names the one that it is, and the others are still compared."""
    write_pair(tmp_path, 12)
    kinds = ["boundary_iou", {"kind": "boundary_iou", "name": "wide", "width_px": 3}]
    evaluate(pair_config(tmp_path, bucket_images=4, statistics=kinds))
    seen = maintained(tmp_path, verify_buckets=9).verified
    assert (seen.buckets, seen.partials, seen.problems) == (1, 3, [])
    (bucket,) = read_buckets(next((tmp_path / "results/suite/model/runs").glob("0*/plan.parquet")), [0])
    store = PartialStore(tmp_path / "results/partials")
    key = bucket.statistics["boundary_iou"][0]
    counted = store.read_as(StatisticPartial, key)
    assert counted is not None
    name, sums = next(iter(counted.counts.items()))
    store.write(key, replace(counted, counts={**counted.counts, name: sums + 1}))
    store.path(bucket.statistics["boundary_iou_wide"][0]).write_bytes(b"damaged")
    found = maintained(tmp_path, verify_buckets=9)
    assert [(problem.found, problem.image) for problem in found.verified.problems] == [
        ("a damaged partial (boundary_iou_wide)", "img_000"),
        ("counts that are not those of a recount (boundary_iou)", "img_000"),
    ]
    assert (found.verified.buckets, found.verified.partials, found.exit_code) == (0, 1, 4)


def test_what_another_cpu_may_count_otherwise_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statistic that says so of itself is not compared."""
    write_pair(tmp_path, 4)
    evaluate(pair_config(tmp_path, statistics=["boundary_iou"]))
    assert maintained(tmp_path, verify_buckets=9).verified.partials == 2
    monkeypatch.setattr(STATISTICS["boundary_iou"], "exact", False)
    assert maintained(tmp_path, verify_buckets=9).verified.partials == 1


def test_a_run_whose_files_changed_is_told(folder: Path) -> None:
    (run,) = (folder / "results/suite/model/runs").glob("0*")
    text = (run / "scores.json").read_text()
    (run / "scores.json").write_text(text.replace("0", "1", 1))
    (problem,) = maintained(folder).verified.problems
    assert "scores.json: other contents" in problem.found


def test_label_maps_that_changed_since_prove_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path, 8)
    evaluate(pair_config(tmp_path))
    zarr.open_array(tmp_path / "pred.zarr/labels")[0] = 1
    seen = maintained(tmp_path, verify_buckets=9).verified
    assert (seen.buckets, seen.changed, seen.problems) == (0, 1, [])
