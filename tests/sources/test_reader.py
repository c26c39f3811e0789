"""Reading boxes of arrays, directly and through zarr-python: what both readers do about damage."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from segpipe.errors import InputError
from segpipe.sources import shards
from segpipe.sources.boxes import Box
from segpipe.sources.reader import DamagedChunkError, LabelReader, open_reader
from segpipe.sources.shards import check_index, parse_index
from segpipe.sources.zarr_reader import ZarrReader
from tests.sources.conformance import SHARDED, OpenReader, ReaderTests, sharded
from tests.sources.stores import (
    WatchedStorage,
    array_meta,
    box_of,
    expectation,
    flip_bit,
    label_maps,
    reader_of,
    view,
    write,
)


class TestChosenReader(ReaderTests):
    """The direct reader, and zarr-python where it must, do what every reader does."""


class TestZarrReader(ReaderTests):
    """The reader over zarr-python does what every reader does."""

    @pytest.fixture
    def opener(self) -> OpenReader:
        return ZarrReader


@pytest.fixture(params=[open_reader, ZarrReader], ids=["direct", "zarr-python"])
def opener(request: pytest.FixtureRequest) -> OpenReader:
    """Both readers, for arrays that the direct one reads."""
    chosen: OpenReader = request.param
    return chosen


def window(images: slice | None = None) -> Box:
    """Some images of `label_maps()`, whole."""
    return box_of(label_maps().shape, images)


def watched(opener: OpenReader, path: Path) -> tuple[WatchedStorage, LabelReader]:
    """A reader and the storage that it reads from."""
    seen = view(path)
    meta = array_meta(seen)
    storage = WatchedStorage(str(path))
    return storage, opener(meta, storage, expectation(seen, meta))


def test_no_metadata_are_read_again(opener: OpenReader, tmp_path: Path) -> None:
    """The array is built from the metadata at hand, and a window reads its own chunks only."""
    write(tmp_path, label_maps())
    storage, reader = watched(opener, tmp_path)
    reader.read(window(slice(2, 4)))
    assert sorted(storage.reads) == [f"c/1/{y}/{x}" for y in range(3) for x in range(2)]


def test_the_index_of_a_shard_is_read_once_to_find_absent_chunks(opener: OpenReader, tmp_path: Path) -> None:
    """Later windows of the same shard take it from the reader."""
    write(tmp_path, label_maps(), **SHARDED)
    storage, reader = watched(opener, tmp_path)
    reader.absent(window(slice(0, 1)))
    assert sorted(storage.reads) == [f"c/0/{y}/{x}" for y in range(2) for x in range(2)]
    reader.absent(window(slice(1, 2)))
    assert len(storage.reads) == 4


def test_a_failure_that_passes_is_no_damage(opener: OpenReader, tmp_path: Path) -> None:
    """The system refuses once: the read is repeated and the labels are right."""
    write(tmp_path, label_maps())
    storage, reader = watched(opener, tmp_path)
    storage.failures["c/1/0/0"] = [OSError(5, "Input/output error")]
    np.testing.assert_array_equal(reader.read(window()), label_maps())


def test_a_failure_that_stays_is_named_with_the_systems_words(opener: OpenReader, tmp_path: Path) -> None:
    """Every attempt is refused: the two chunks are named, with the reason."""
    write(tmp_path, label_maps())
    storage, reader = watched(opener, tmp_path)
    for key in ("c/1/0/0", "c/2/1/1"):
        storage.failures[key] = [PermissionError(13, "Permission denied") for _ in range(9)]
    with pytest.raises(DamagedChunkError, match="Permission denied") as caught:
        reader.read(window())
    problems = caught.value.problems
    assert [(problem.kind, problem.chunk) for problem in problems] == [
        ("unreadable", "c/1/0/0"),
        ("unreadable", "c/2/1/1"),
    ]
    assert caught.value.regions[1] == (slice(4, 6), slice(8, 16), slice(16, 30))


def test_the_bad_inner_chunk_of_a_shard_is_named(opener: OpenReader, tmp_path: Path) -> None:
    """Only the pixels of the inner chunk whose checksum is wrong are lost."""
    sharded(tmp_path, label_maps())
    flip_bit(tmp_path / "c/0/0/0", 3)
    with pytest.raises(DamagedChunkError, match="wrong checksum") as caught:
        reader_of(tmp_path, opener=opener).read(window(slice(0, 3)))
    assert [problem.chunk for problem in caught.value.problems] == ["c/0/0/0 (inner chunk 0, 0, 0)"]
    assert caught.value.regions == [(slice(0, 1), slice(0, 8), slice(0, 8))]


@pytest.mark.parametrize("method", ["read", "absent"])
def test_a_damaged_shard_index_is_found_by_its_checksum(
    opener: OpenReader, tmp_path: Path, method: str
) -> None:
    """One bit of the index is flipped: reading and asking for absent chunks both name the shard."""
    sharded(tmp_path, label_maps())
    flip_bit(tmp_path / "c/0/0/0", -20)
    with pytest.raises(DamagedChunkError, match="wrong checksum of the shard's index") as caught:
        getattr(reader_of(tmp_path, opener=opener), method)(window(slice(0, 2)))
    assert [(problem.kind, problem.chunk) for problem in caught.value.problems] == [("checksum", "c/0/0/0")]
    assert caught.value.regions == [(slice(0, 2), slice(0, 16), slice(0, 16))]


def test_an_index_without_checksum_must_stay_within_the_object(opener: OpenReader, tmp_path: Path) -> None:
    """An offset of 2^56 is no label, even if nothing guards the index."""
    sharded(tmp_path, label_maps(), index_codecs=[{"name": "bytes", "configuration": {"endian": "little"}}])
    flip_bit(tmp_path / "c/0/0/0", -9)
    with pytest.raises(DamagedChunkError, match="names bytes outside of the object"):
        reader_of(tmp_path, opener=opener).read(window(slice(0, 2)))


def test_an_inner_chunk_of_no_bytes_is_damage_and_not_fill_value() -> None:
    """zarr-python reads a length of 0 as fill value; both fields of an absent chunk must say so."""
    empty = np.iinfo(np.uint64).max
    check_index(np.array([[0, 4], [empty, empty], [4, 6]], np.uint64), 10, 6)
    for pair in ([3, 0], [4, 7], [11, 1], [empty, 4], [4, empty], [empty - np.uint64(1), 3]):
        with pytest.raises(ValueError, match="outside of the object"):
            check_index(np.array([pair], np.uint64), 10, 6)


def test_an_inner_chunk_may_not_take_more_than_a_chunk_can() -> None:
    """A shard may be as large as its disk; what is read of it at once may not."""
    with pytest.raises(ValueError, match="an inner chunk of more than 6 bytes"):
        check_index(np.array([[0, 7]], np.uint64), 10, 6)


def test_an_object_far_larger_than_a_chunk_is_damage_and_is_not_read(
    opener: OpenReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may claim any size and take no space: its bytes must not come into memory."""
    write(tmp_path, label_maps())
    monkeypatch.setattr(shards, "STORED_MORE_BYTES", 0)
    chunk = next(path for path in tmp_path.rglob("c/0/*/*") if path.is_file())
    os.truncate(chunk, 1 << 28)
    with pytest.raises(DamagedChunkError, match=r"268,435,456 bytes stored, and a chunk of this array"):
        reader_of(tmp_path, opener=opener).read(window(slice(0, 1)))


def test_an_inner_chunk_of_no_bytes_is_never_read_as_background(opener: OpenReader, tmp_path: Path) -> None:
    """The same in a real shard whose index nothing guards: damage, although zarr-python would read zeros."""
    sharded(tmp_path, label_maps(), index_codecs=[{"name": "bytes", "configuration": {"endian": "little"}}])
    shard = tmp_path / "c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[-8:] = bytes(8)
    shard.write_bytes(data)
    assert (zarr.open_array(str(tmp_path), mode="r")[1, 8:16, 8:16] == 0).all()
    with pytest.raises(DamagedChunkError, match="names bytes outside of the object"):
        reader_of(tmp_path, opener=opener).read(window(slice(1, 2)))


def test_an_index_cut_short_is_truncated() -> None:
    """Fewer bytes than the inner chunks need."""
    with pytest.raises(EOFError, match="31 bytes where the index of the shard has 32"):
        parse_index(bytes(31), (2,), big_endian=False, has_crc=False)


def test_a_directory_in_place_of_a_chunk_is_an_absent_chunk(opener: OpenReader, tmp_path: Path) -> None:
    """There is no object there: the region is named as never stored."""
    write(tmp_path, label_maps())
    (tmp_path / "c/0/0/0").unlink()
    (tmp_path / "c/0/0/0").mkdir()
    reader = reader_of(tmp_path, opener=opener)
    assert reader.absent(window()) == [(slice(0, 2), slice(0, 8), slice(0, 16))]
    assert (reader.read(window(slice(0, 2)))[:, :8, :16] == 0).all()


def test_a_silent_flip_without_checksum_is_what_has_checksum_warns_of(
    opener: OpenReader, tmp_path: Path
) -> None:
    """Raw bytes: the flipped bit is another label, and the metadata say that nothing guards against it."""
    write(tmp_path / "raw", label_maps(), compressors=None)
    assert not array_meta(view(tmp_path / "raw")).has_checksum
    flip_bit(tmp_path / "raw/c/0/0/0", 0)
    assert (reader_of(tmp_path / "raw", opener=opener).read(window()) != label_maps()).sum() == 1


def test_the_error_of_a_worker_arrives_whole(opener: OpenReader, tmp_path: Path) -> None:
    """Problems and regions survive pickling."""
    write(tmp_path, label_maps())
    (tmp_path / "c/0/0/0").write_bytes(b"")
    with pytest.raises(DamagedChunkError) as caught:
        reader_of(tmp_path, opener=opener).read(window())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.problems, copy.regions) == (caught.value.problems, caught.value.regions)
    assert str(copy) == str(caught.value)


@pytest.mark.parametrize(
    "box",
    [
        (slice(0, 20),),
        (slice(0, 20), slice(0, 31)),
        (slice(-1, 20), slice(0, 30)),
        (slice(0, 20, 2), slice(0, 30)),
        (slice(0, 1), slice(0, 20), slice(0, 30)),
    ],
    ids=["a dimension less", "too long", "negative", "a step", "a dimension more"],
)
def test_a_box_that_does_not_fit_the_array_is_a_mistake_of_the_caller(
    opener: OpenReader, tmp_path: Path, box: Box
) -> None:
    """NumPy would clip or wrap it; labels of other pixels would come back."""
    write(tmp_path, label_maps((20, 30)))
    with pytest.raises(ValueError, match=r"expected a slice within the array, of shape \(20, 30\)"):
        reader_of(tmp_path, opener=opener).read(box)


def test_a_link_that_replaced_a_chunk_is_refused(opener: OpenReader, tmp_path: Path) -> None:
    """After the inventory a chunk becomes a link out of the store: it is not followed."""
    write(tmp_path / "s", label_maps())
    reader = reader_of(tmp_path / "s", opener=opener)
    (tmp_path / "s/c/0/0/0").rename(tmp_path / "moved")
    (tmp_path / "s/c/0/0/0").symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="leads out of the store"):
        reader.read(window())
