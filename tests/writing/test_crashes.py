"""Writers that are killed, that run against each other, or that meet a full disk: the record stays true."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segpipe
from segpipe.writing import durable, locks, record
from segpipe.writing.locks import StoreLocks
from segpipe.writing.writer import content_of
from tests.writing.predictions import (
    IMAGES,
    begin,
    image_ids,
    label_maps,
    new_store,
    objects,
    stored,
    writing_process,
)

WRITTEN = Path("image/.segpipe/written")


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_a_writer_that_is_killed_leaves_what_it_said(tmp_path: Path, images_per_chunk: int) -> None:
    """`kill -9` after the fifth image: five are kept, the rest is written by the next one."""
    store, maps = tmp_path / "pred.zarr", label_maps()
    new_store(tmp_path, images_per_chunk)
    process = writing_process(store)
    begin(process)
    assert process.stdout is not None
    told = {process.stdout.readline().strip() for _ in range(5)}
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    writer = segpipe.PredictionWriter.open(store)
    missing = writer.missing()
    assert told.isdisjoint(missing)
    writer.write(missing, [maps[image_ids().index(name)] for name in missing])
    writer.finish()
    np.testing.assert_array_equal(stored(store), maps)


class Crash(BaseException):
    """The end of a process, as far as its files see it."""


STEPS: tuple[tuple[Any, str], ...] = (
    (durable, "write_all"),
    (record, "write_all"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
)


def crash_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> list[int]:
    """Let everything that touches the disk end the process after so many steps; the list counts them."""
    done = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            done[0] += 1
            if done[0] > steps:
                raise Crash
            return function(*given, **named)

        return step

    for place, name in STEPS:
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return done


@pytest.mark.parametrize("images_per_chunk", [1, 3])
def test_a_crash_at_any_step_leaves_no_image_that_is_trusted_wrongly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images_per_chunk: int
) -> None:
    """Two images are written, one of them is replaced: whatever is recorded has the pixels of its hash."""
    maps = label_maps()
    old = (maps + 1) % 5
    begun = new_store(tmp_path, images_per_chunk, name="begun.zarr")
    begun.write(image_ids()[2:], maps[2:])
    for steps in range(200):
        shutil.copytree(begun.path, tmp_path / f"{steps}.zarr")
        writer = segpipe.PredictionWriter.open(tmp_path / f"{steps}.zarr", overwrite=True)
        with monkeypatch.context() as patched:
            done = crash_after(patched, steps)
            try:
                writer.write("img_1", maps[1])
                writer.write("img_0", old[0])
                writer.write("img_0", maps[0])
            except Crash:
                pass
        fresh = segpipe.PredictionWriter.open(writer.path, overwrite=True)
        said = set(image_ids()) - set(fresh.missing())
        now = stored(writer.path)
        for at, name in enumerate(image_ids()):
            if name in said and (fresh.path / "labels/c" / str(at // images_per_chunk) / "0/0").exists():
                hashed = content_of(now[at].astype(np.uint8))
                entry = fresh._record[name]
                assert not entry.content or entry.content == hashed, (steps, name)
        fresh.write(image_ids(), maps)
        fresh.finish()
        np.testing.assert_array_equal(stored(writer.path), maps)
        if done[0] <= steps:
            assert steps > 10
            return
    pytest.fail("it never ended")


def test_two_processes_that_write_the_same_do_not_disturb_each_other(tmp_path: Path) -> None:
    """All images from both, in different orders, four to a chunk: the store is that of one writer."""
    store, maps = tmp_path / "pred.zarr", label_maps()
    new_store(tmp_path, 4)
    processes = [writing_process(store, order=order) for order in (1, 2)]
    for process in processes:
        begin(process)
    told = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(names) for names in told] == [IMAGES, IMAGES]
    segpipe.PredictionWriter.open(store).finish()
    np.testing.assert_array_equal(stored(store), maps)
    alone = new_store(tmp_path, 4, name="alone.zarr")
    alone.write(image_ids(), maps)
    assert objects(store) == objects(tmp_path / "alone.zarr")


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_of_two_processes_with_other_pixels_one_wins_each_image(
    tmp_path: Path, images_per_chunk: int
) -> None:
    """The other is told; no image is a mixture of both, and none is told twice as written."""
    store = tmp_path / "pred.zarr"
    new_store(tmp_path, images_per_chunk)
    processes = [writing_process(store, seed=seed, order=3) for seed in (0, 1)]
    for process in processes:
        begin(process)
    told = [set(process.communicate()[0].split()) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert told[0] | told[1] == set(image_ids())
    assert not told[0] & told[1]
    segpipe.PredictionWriter.open(store).finish()
    for at, name in enumerate(image_ids()):
        seed = 0 if name in told[0] else 1
        np.testing.assert_array_equal(stored(store)[at], label_maps(seed)[at])


def test_a_full_disk_is_told_and_the_batch_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that was cut off in the middle of a line does not spoil the lines of others."""
    writer, maps = new_store(tmp_path), label_maps()
    writer.write("img_0", maps[0])

    def cut_off(handle: int, data: bytes) -> None:
        os.write(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in (durable, record):
        with monkeypatch.context() as patched:
            patched.setattr(place, "write_all", cut_off)
            with pytest.raises(segpipe.InfrastructureError, match=r"cannot be written \(No space"):
                writer.write("img_1", maps[1])
    assert "img_1" in segpipe.PredictionWriter.open(tmp_path / "pred.zarr").missing()
    writer.write(image_ids()[1:], maps[1:])
    writer.finish()
    assert len(list((tmp_path / "pred.zarr" / WRITTEN).iterdir())) == 2
    np.testing.assert_array_equal(stored(tmp_path / "pred.zarr"), maps)


def test_a_record_that_is_none_is_an_error_for_writer_and_evaluation(tmp_path: Path) -> None:
    """Nothing is guessed."""
    writer = new_store(tmp_path)
    writer.write("img_0", label_maps()[0])
    (tmp_path / "pred.zarr" / WRITTEN / "other.jsonl").write_bytes(b'{"image": "img_1"}\n')
    with pytest.raises(segpipe.InputError, match=r"record of completeness: found .*is no record"):
        segpipe.PredictionWriter.open(tmp_path / "pred.zarr").missing()
    with pytest.raises(segpipe.InputError, match=r"record of completeness: found image/.*is no record"):
        segpipe.create_store(tmp_path / "b.zarr", like=f"{tmp_path}/pred.zarr::labels", classes=5)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    writer = new_store(tmp_path)

    def no_locks(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(segpipe.InfrastructureError, match="this file system has no locks"):
        writer.write("img_0", label_maps()[0])
    assert objects(tmp_path / "pred.zarr") == {}


def test_threads_are_locked_out_where_the_file_system_only_knows_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on network file systems that make one kind of lock of another."""
    monkeypatch.setattr(locks.fcntl, "flock", lambda handle, kind: None)
    inside = threading.Event()
    with StoreLocks(tmp_path).row(3):
        other = threading.Thread(target=lambda: _enter(tmp_path, inside))
        other.start()
        assert not inside.wait(0.1)
    other.join()
    assert inside.is_set()


def _enter(folder: Path, inside: threading.Event) -> None:
    with StoreLocks(folder).row(3):
        inside.set()
