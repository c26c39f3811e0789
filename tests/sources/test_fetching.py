"""Fetching in order with a bounded number of requests, and memory that is used again only when it is free."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from segpipe.errors import InputChangedError, InputError
from segpipe.sources import fetching
from segpipe.sources.buffers import SMALL_BYTES, Buffers
from segpipe.sources.fetching import Outcome, attempt, fetched
from segpipe.sources.metadata import StoreView
from segpipe.sources.reader import DamagedChunkError, open_reader
from segpipe.sources.shards import GAP_BYTES, SPAN_BYTES, joined_ranges
from segpipe.sources.storage import Blob, LocalStorage
from tests.sources.conformance import SHARDED
from tests.sources.stores import (
    WatchedStorage,
    array_meta,
    box_of,
    expectation,
    flip_bit,
    label_maps,
    view,
    write_group,
)
from tests.sources.stores import write as write_array

SHAPE = (7, 20, 30)


class DistantStorage(LocalStorage):
    """The first request below the root takes until there is a second one; the most at a time is kept."""

    requests_at_once = 4

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.most = self.now = 0
        self._lock = threading.Lock()
        self._two = threading.Event()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now > 1:
                self._two.set()
        if "/" in key:
            self._two.wait(10)
        try:
            return super().get(key, start, stop)
        finally:
            with self._lock:
                self.now -= 1


def test_documents_in_a_distant_storage_are_read_together_within_bounds(tmp_path: Path) -> None:
    """The arrays of a group are those of one document after the other; so are their problems."""
    write_group(tmp_path, {name: label_maps((4, 4)) for name in "abcdefgh"})
    storage = DistantStorage(str(tmp_path))
    arrays = StoreView(storage, storage.list()).arrays_below("")
    assert arrays == view(tmp_path).arrays_below("")
    assert [meta.path for meta in arrays] == list("abcdefgh")
    assert 2 <= storage.most <= storage.requests_at_once
    (tmp_path / "c" / "zarr.json").write_text("nonsense")
    (tmp_path / "f" / "zarr.json").write_text("[]")
    with pytest.raises(InputError) as caught:
        StoreView(storage, storage.list()).arrays_below("")
    assert [problem.array for problem in caught.value.problems] == ["c", "f"]


@pytest.mark.parametrize("settings", [{}, SHARDED], ids=["chunks", "shards"])
def test_requests_to_a_distant_storage_are_under_way_together_within_bounds(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """More than one, no more than the storage says, and the labels are those of one after the other."""
    write_array(tmp_path, label_maps(), **settings)
    seen = view(tmp_path)
    meta = array_meta(seen)
    storage = DistantStorage(str(tmp_path))
    reader = open_reader(meta, storage, expectation(seen, meta))
    np.testing.assert_array_equal(reader.read(box_of(SHAPE)), label_maps())
    assert 2 <= storage.most <= 4
    (tmp_path / "c/1/0/0").unlink()
    with pytest.raises(InputChangedError, match=r"it vanished.*chunk c/1/0/0"):
        reader.read(box_of(SHAPE))


def test_damage_found_with_many_requests_under_way_is_named_in_order(tmp_path: Path) -> None:
    """Two bad chunks: both are named, and no other."""
    write_array(tmp_path, label_maps(), compressors={"name": "crc32c"})
    for key in ("c/2/1/0", "c/0/1/1"):
        flip_bit(tmp_path / key, 0)
    seen = view(tmp_path)
    meta = array_meta(seen)
    reader = open_reader(meta, DistantStorage(str(tmp_path)), expectation(seen, meta))
    with pytest.raises(DamagedChunkError) as caught:
        reader.read(box_of(SHAPE))
    assert [problem.chunk for problem in caught.value.problems] == ["c/0/1/1", "c/2/1/0"]


def test_what_waits_to_be_decoded_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests of 10 bytes no more than three are ahead where 30 bytes may be."""
    monkeypatch.setattr(fetching, "AHEAD_BYTES", 30)
    started: list[int] = []
    answers = fetched(range(20), lambda number: started.append(number) or number, lambda _: 10, 8)
    for number, (request, outcome) in enumerate(answers):
        assert (request, outcome) == (number, Outcome(number))
        assert len(started) <= number + 4
    assert sorted(started) == list(range(20))


def test_errors_that_explain_themselves_are_no_outcome() -> None:
    """What the system refuses is told; a changed input and too little memory stop everything."""

    def fail(error: Exception) -> None:
        raise error

    refused = OSError(5, "Input/output error")
    assert attempt(fail, refused) == Outcome(None, refused)
    for error in (InputChangedError([]), MemoryError()):
        with pytest.raises(type(error)):
            attempt(fail, error)
        with pytest.raises(type(error)):
            list(fetched([error, error], fail, lambda _: 0, 2))


def test_a_shard_is_read_in_few_requests(tmp_path: Path) -> None:
    """The index and one range for all inner chunks of a shard, and nothing but the range afterwards."""
    write_array(tmp_path, label_maps(), **SHARDED)
    seen = view(tmp_path)
    meta = array_meta(seen)
    storage = WatchedStorage(str(tmp_path))
    reader = open_reader(meta, storage, expectation(seen, meta))
    shards = [meta.chunk_key(coords) for coords in meta.units()]
    reader.read(box_of(SHAPE))
    assert sorted(storage.reads) == sorted(2 * shards)
    storage.reads.clear()
    reader.read(box_of(SHAPE, slice(0, 2)))
    assert sorted(storage.reads) == sorted(key for key in shards if key.startswith("c/0/"))


def test_ranges_are_joined_where_that_saves_a_request() -> None:
    """Not over a wide gap, not beyond a size; ranges that overlap are one."""
    assert list(joined_ranges([(0, 10), (10 + GAP_BYTES, 20 + GAP_BYTES)])) == [(0, 20 + GAP_BYTES, [0, 1])]
    far = 11 + GAP_BYTES
    assert list(joined_ranges([(far, far + 1), (0, 10)])) == [(0, 10, [1]), (far, far + 1, [0])]
    assert list(joined_ranges([(0, 10), (2, 5), (4, 12)])) == [(0, 12, [0, 1, 2])]
    assert list(joined_ranges([(0, SPAN_BYTES), (SPAN_BYTES, SPAN_BYTES + 1)])) == [
        (0, SPAN_BYTES, [0]),
        (SPAN_BYTES, SPAN_BYTES + 1, [1]),
    ]
    assert list(joined_ranges([])) == []


def test_memory_is_used_again_only_when_no_view_of_it_is_left() -> None:
    """A slice of a slice keeps all of it; then the next array lies where the first one was."""
    buffers = Buffers()
    first = buffers.empty((4, SMALL_BYTES), np.uint8)
    place = first.ctypes.data
    rest = first[1:].view(np.int16).reshape(-1)[5:]
    del first
    second = buffers.empty((4, SMALL_BYTES), np.uint8)
    assert second.ctypes.data != place
    del rest
    third = buffers.empty((2, SMALL_BYTES), np.int16)
    assert third.ctypes.data == place
    assert third.flags.c_contiguous
    assert third.flags.writeable


def test_no_more_memory_is_held_than_was_in_use_at_once() -> None:
    """Growing arrays, one at a time: the smaller memory is let go."""
    buffers = Buffers()
    for rows in range(1, 20):
        array = buffers.empty((rows, SMALL_BYTES), np.uint8)
        array[...] = rows
        del array
    assert [buffer.nbytes for buffer, _ in buffers._held] == [19 * SMALL_BYTES]


def test_what_is_read_stays_as_it_is_when_more_is_read(tmp_path: Path) -> None:
    """Windows that are held keep their labels, also those of which only a part is held."""
    data = np.random.default_rng(3).integers(1, 200, (6, 300, 400)).astype(np.uint8)
    write_array(tmp_path, data, chunks=(1, 300, 400))
    seen = view(tmp_path)
    meta = array_meta(seen)
    reader = open_reader(meta, seen.storage, expectation(seen, meta))
    held = [reader.read(box_of(data.shape, slice(image, image + 1)))[0, 100:] for image in range(6)]
    for image, part in enumerate(held):
        np.testing.assert_array_equal(part, data[image, 100:])
