"""The benchmark itself: that its parts run and agree, on next to nothing. No time is judged here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segpipe.sources import storage
from segpipe.statistics.base import STATISTICS
from tests.bench import (
    document,
    engine,
    intervals,
    kernel,
    layouts,
    logits,
    loops,
    reading,
    remote,
    statistics,
    stores,
)
from tests.bench.scale import SMALL
from tests.bench.stores import Form, label_maps, write_copied, write_stacked
from tests.bench.timing import Timing, take_turns


def test_kernel_table_has_a_row_for_each_case() -> None:
    """One case is measured and its target judged."""
    rows = kernel.section(SMALL).splitlines()
    assert rows[-1].startswith("| smooth | 19 | uint8 | uint8 |")
    assert rows[-1].count("|") == rows[-3].count("|")


def test_argmax_table_has_a_row_for_each_case() -> None:
    """Ours and NumPy count the same, which the section asserts."""
    rows = logits.section(SMALL).splitlines()
    assert rows[-1].startswith("| 19 | float32 | last |")
    assert rows[-1].count("|") == rows[-3].count("|")


def test_statistics_table_has_a_row_for_each_statistic() -> None:
    """All that are registered, label maps and scores."""
    rows = statistics.section(SMALL).splitlines()[-len(STATISTICS) :]
    assert {row.split(" | ")[0] for row in rows} == {f"| {kind}" for kind in STATISTICS}


def test_intervals_are_measured_and_simulated() -> None:
    """A row for each size, and one for each case of the simulation."""
    text = intervals.section(SMALL)
    assert "| bootstrap, 20 images of 3 classes, 3 in each |" in text
    assert text.splitlines()[-1].startswith("| 10 images | images | bootstrap |")


def test_layouts_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels as images and as a scene; the section asserts that the matrices are equal."""
    monkeypatch.setattr(stores, "RACY_S", 0.0)
    monkeypatch.setattr(storage, "RACY_S", 0.0)
    table = layouts.section(replace(SMALL, images=8))
    assert all(words in table for words in ("| grouped,", "| raster, one", "| raster, tiled", "1.00 |"))


def test_all_ways_of_reading_give_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way that label maps are stored is measured, on next to nothing; the section asserts equality."""
    monkeypatch.setattr(stores, "RACY_S", 0.0)
    monkeypatch.setattr(storage, "RACY_S", 0.0)
    rows = reading.section(replace(SMALL, size=(64, 128))).splitlines()
    for case in reading.CASES:
        assert any(row.startswith(f"| {case.name} | segpipe, direct |") for row in rows)


@pytest.mark.parametrize("form", [Form(), Form(shard=2), Form(chunk=2)], ids=Form.words)
def test_all_loops_count_the_same(tmp_path: Path, form: Form) -> None:
    """By hand, with scikit-learn and with the kernel, over stores of every form."""
    write_stacked(tmp_path, 2, (32, 32), form)
    read = loops.zarr_reader(tmp_path)
    ways = [loops.with_bincount, loops.with_kernel, loops.with_sklearn]
    first, *others = [loops.in_threads(read, way, 2) for way in ways]
    assert first.sum() == sum(int((label_maps(number, (32, 32))[0] < 19).sum()) for number in range(2))
    assert all(np.array_equal(first, other) for other in others)


def test_direct_reader_reads_what_zarr_reads(tmp_path: Path) -> None:
    """The reader that sets the limit decodes the same label maps."""
    write_stacked(tmp_path, 2, (32, 32))
    direct, through_zarr = loops.direct_reader(tmp_path), loops.zarr_reader(tmp_path)
    for image in range(2):
        assert all(np.array_equal(*sides) for sides in zip(direct(image), through_zarr(image), strict=True))


def test_ways_take_turns() -> None:
    """Every way is called once in a turn, the first turn is not counted, the last result is kept."""
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    timings = take_turns(ways, 2, clock=lambda: float(len(calls)))
    assert calls == list("ababab")
    assert {name: timing.seconds for name, timing in timings.items()} == {"a": 1.0, "b": 1.0}
    assert timings["b"].result == 6
    assert isinstance(timings["a"], Timing)


def test_sections_that_are_not_measured_stay(tmp_path: Path) -> None:
    """Measuring one part replaces its section and no other; the order is that of the parts."""
    path = tmp_path / "docs" / "benchmarks.md"
    document.write(path, {"Second": "old\n\n### more\n\n| a |"}, ["First", "Second"])
    document.write(path, {"First": "new"}, ["First", "Second"])
    text = path.read_text()
    assert text.startswith("# Benchmarks\n")
    assert text.endswith("## First\n\nnew\n\n## Second\n\nold\n\n### more\n\n| a |\n")
    document.write(path, {"Second": "newer"}, ["First", "Second"])
    assert path.read_text().endswith("## First\n\nnew\n\n## Second\n\nnewer\n")


def test_copied_chunks_make_a_store_of_many_objects(tmp_path: Path) -> None:
    """What is planned in the millions is a store that zarr-python reads."""
    write_copied(tmp_path, 7, Form(chunk=3), 8)
    truth, _ = loops.zarr_reader(tmp_path)(5)
    assert np.array_equal(truth, loops.zarr_reader(tmp_path)(2)[0])
    assert len([path for path in (tmp_path / "truth.zarr/labels/c").rglob("0") if path.is_file()]) == 3


def test_counting_from_a_service_gives_the_same_counts() -> None:
    """The stores are uploaded to a real server, and what is counted from there is compared."""
    rows = remote.section(SMALL).splitlines()[-3:]
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {name}" for name in (remote.LOCAL, remote.REMOTE, remote.FETCHING)
    ]


def test_ways_that_count_otherwise_are_noticed() -> None:
    """Times are worth nothing where the counts differ: the way is named."""
    one, other = np.eye(2, dtype=np.int64), np.zeros((2, 2), np.int64)
    engine._same({"a": one, "b": lambda: one})
    with pytest.raises(AssertionError, match="other counts than a: c"):
        engine._same({"a": one, "b": one, "c": lambda: other})
