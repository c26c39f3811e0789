"""What a worker does with a task: memory, pixels that must add up, buckets that were cut in parts."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from segpipe.counts import counting, windows
from segpipe.counts.counting import BucketPart, count_task
from segpipe.errors import InfrastructureError
from segpipe.planning import buckets
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json, write_json
from segpipe.statistics.confusion import ImageCounts, LabelMaps
from tests.run.datasets import figures, label_maps, pair_config, write_stacked

ONE_THREAD = {"kind": "threads", "threads": 1}


def partials(folder: Path) -> dict[str, bytes]:
    """The bytes of all partials by key."""
    return {path.name: path.read_bytes() for path in (folder / "partials").rglob("[0-9a-f]" * 40)}


def test_label_maps_are_let_go_once_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many windows a bucket has: one is counted, one is read, one is handed over."""
    truth, pred = label_maps(40)
    for name, labels in (("truth", truth), ("pred", pred)):
        write_stacked(tmp_path / f"{name}.zarr", labels, chunks=(2, 24, 32))
    held: list[weakref.ref[Any]] = []
    most: list[int] = []
    read, count = windows.SideReader.read, counting.count_images

    def watched_read(self: Any, *given: Any) -> LabelMaps:
        maps = read(self, *given)
        held.append(weakref.ref(maps.values))
        return maps

    def watched_count(*given: Any) -> ImageCounts:
        most.append(sum(array() is not None for array in held))
        return count(*given)

    monkeypatch.setattr(windows.SideReader, "read", watched_read)
    monkeypatch.setattr(counting, "count_images", watched_count)
    monkeypatch.setattr(buckets, "WINDOW_BYTES", 1)
    evaluate(pair_config(tmp_path, bucket_images=40, cluster=ONE_THREAD))

    assert len(most) == 20
    assert max(most) <= 6


def test_one_thread_reads_for_all_tasks_of_a_counting_thread(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the memory that it reads into is used again from task to task; another thread has its own."""
    run = stages.start(pair_config(pair, cache={"use": False}))
    stages.plan(run)
    readers: set[int] = set()
    read = windows.SideReader.read

    def watched(self: Any, *given: Any) -> LabelMaps:
        readers.add(threading.get_ident())
        return read(self, *given)

    monkeypatch.setattr(windows.SideReader, "read", watched)
    kept: list[int] = []
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for pool in (one, one, other):
            assert pool.submit(count_task, str(run), [BucketPart(0), BucketPart(1)]).result()
            kept.append(len(readers))
    assert kept == [1, 1, 2]


def test_counts_that_do_not_add_up_are_not_kept(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that lost a pixel would be noticed before anything is written."""
    count = counting.count_images

    def lossy(*given: Any) -> ImageCounts:
        counts = count(*given)
        fewer = counts.cells.counts.copy()
        fewer[0] -= 1
        return replace(counts, cells=replace(counts.cells, counts=fewer))

    monkeypatch.setattr(counting, "count_images", lossy)
    with pytest.raises(InfrastructureError, match=r"counting failed in buckets .*counted \[767, 768"):
        evaluate(pair_config(pair))
    assert partials(pair / "results") == {}


@pytest.mark.parametrize(("module", "name"), [(counting, "count_images"), (stages, "score_run")])
def test_memory_that_ran_out_is_told_with_what_to_do(
    pair: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """Python's own error says nothing, NumPy's how much it asked for; in a worker and between the workers."""

    def too_much(*given: Any, **named: Any) -> None:
        message = "Unable to allocate 9.77 TiB"
        raise MemoryError(message)

    monkeypatch.setattr(module, name, too_much)
    words = r"^memory ran out \(Unable to allocate 9.77 TiB\); what was counted is kept. Use fewer workers"
    with pytest.raises(InfrastructureError, match=words):
        evaluate(pair_config(pair))


def test_bucket_cut_in_parts_is_joined_without_reading(pair: Path, reads: list[str]) -> None:
    """A task whose worker was lost by chance and whose halves were counted then: the same bytes."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    for part in ([BucketPart(0, 0, 5)], [BucketPart(0, 5)], [BucketPart(1), BucketPart(2), BucketPart(3)]):
        count_task(str(run), part)
    write_json(run / stages.COUNTED_NAME, asdict(stages.CountSummary(4, 0)))
    reads.clear()
    for stage in (stages.reduce, stages.score, stages.report, stages.publish):
        stage(run)

    assert reads == []
    fresh = evaluate(pair_config(pair, results=f"{pair}/fresh"))
    assert figures(run) == figures(fresh)
    assert partials(pair / "results") == partials(pair / "fresh")


def test_parts_of_an_earlier_try_are_forgotten(pair: Path) -> None:
    """The count stage that is called again in the same run counts no image twice."""
    (pair / "pred.zarr/labels/c/2/1/0").write_bytes(b"")
    run = stages.start(pair_config(pair, max_quarantined=6))
    stages.plan(run)
    stages.count(run)
    (part, *_) = sorted((run / counting.PARTS_NAME).iterdir())
    count_task(str(run), [BucketPart(int(part.name[:9]), 1)])
    assert len(list((run / counting.PARTS_NAME).glob(f"{part.name[:9]}*"))) == 2

    stages.count(run)
    stages.reduce(run)
    assert read_json(run / "reduced.json")["images"] == 34


@pytest.mark.parametrize("rule", ["skip", "count_as_void", "are_fill_value"])
def test_absent_regions_belong_to_their_images(
    tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks absent on both sides, overlapping in part, in windows that begin within a bucket."""
    truth, pred = label_maps(12)
    write_stacked(tmp_path / "truth.zarr", truth, chunks=(3, 12, 32), fill_value=1)
    write_stacked(tmp_path / "pred.zarr", pred, chunks=(2, 24, 16), fill_value=2)
    lost = [np.zeros(truth.shape, bool) for _ in range(2)]
    for side, name, (keys, size) in (
        (0, "truth", (((1, 0, 0), (3, 1, 0)), (3, 12, 32))),
        (1, "pred", (((2, 0, 0), (2, 0, 1), (5, 0, 1)), (2, 24, 16))),
    ):
        for key in keys:
            (tmp_path / f"{name}.zarr/labels/c" / "/".join(map(str, key))).unlink()
            lost[side][tuple(slice(at * n, at * n + n) for at, n in zip(key, size, strict=True))] = True
    monkeypatch.setattr(buckets, "WINDOW_BYTES", 1)
    run = evaluate(pair_config(tmp_path, missing_chunks=rule, bucket_images=12, cluster=ONE_THREAD))

    codes = [np.where(truth == 255, 5, truth).astype(int), pred.astype(int)]
    for side, fill in enumerate((1, 2)):
        codes[side][lost[side]] = fill if rule == "are_fill_value" else 5
    kept = ~(lost[0] | lost[1]).any(axis=(1, 2)) if rule == "skip" else np.ones(12, bool)
    expected = np.bincount((codes[0] * 7 + codes[1])[kept].ravel(), minlength=49).reshape(7, 7)
    np.testing.assert_array_equal(_matrix(run), expected)


def _matrix(run: Path) -> Any:
    with xr.open_zarr(run / "results.zarr") as results:
        return results["confusion"].values
