"""What every storage, reader and layout must do; the tests of one are a subclass and its fixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numcodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from segpipe.config import LayoutConfig
from segpipe.errors import ConfigError, InputChangedError, InputError
from segpipe.sources import storage as storage_module
from segpipe.sources.boxes import Box
from segpipe.sources.layouts import LAYOUTS, ImageSet, find_images
from segpipe.sources.reader import DamagedChunkError, LabelReader, open_reader
from segpipe.sources.storage import Storage, content_hash, content_hashed, open_storage
from tests.sources.stores import (
    OpenReader,
    array_meta,
    box_of,
    expectation,
    flip_bit,
    label_maps,
    rewrite_quietly,
    view,
    write,
    write_group,
)

# A fixture is made once for all examples: they only read.
READ_ONLY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


class Writer(Protocol):
    """How a test writes behind the back of a storage."""

    def put(self, key: str, data: bytes) -> None: ...

    def remove(self, key: str) -> None: ...


class StorageTests:
    """Fixtures: `storage`, empty, and `writer`, which writes to it."""

    def test_an_empty_store_lists_nothing(self, storage: Storage) -> None:
        assert storage.list() == {}

    def test_listing_finds_every_object_with_its_size(self, storage: Storage, writer: Writer) -> None:
        for key, size in (("a", 1), ("b/c", 2), ("b/d/e.0", 3), ("b/empty", 0)):
            writer.put(key, b"x" * size)
        assert {key: info.size for key, info in storage.list().items()} == {
            "a": 1,
            "b/c": 2,
            "b/d/e.0": 3,
            "b/empty": 0,
        }

    def test_a_prefix_is_a_folder_and_keys_stay_relative_to_the_root(
        self, storage: Storage, writer: Writer
    ) -> None:
        for key in ("b/c", "b/d/e", "bc", "a"):
            writer.put(key, b"x")
        assert sorted(storage.list("b")) == ["b/c", "b/d/e"]
        assert sorted(storage.list("b/")) == ["b/c", "b/d/e"]
        assert storage.list("nowhere") == {}

    def test_what_is_read_carries_the_info_that_was_listed(self, storage: Storage, writer: Writer) -> None:
        writer.put("a/b", b"12345")
        blob = storage.get("a/b")
        assert blob is not None
        assert (blob.data, blob.info) == (b"12345", storage.list()["a/b"])

    @READ_ONLY
    @given(start=st.integers(-12, 12), stop=st.none() | st.integers(0, 12))
    def test_a_part_is_what_a_slice_would_be(
        self, storage: Storage, writer: Writer, start: int, stop: int | None
    ) -> None:
        writer.put("key", b"0123456789")
        blob = storage.get("key", start, stop)
        assert blob is not None
        assert blob.data == b"0123456789"[start:stop]
        assert blob.info.size == 10

    def test_there_is_no_object_where_there_is_none(self, storage: Storage, writer: Writer) -> None:
        writer.put("folder/key", b"x")
        assert storage.get("folder") is None
        assert storage.get("other") is None
        assert storage.get("folder/key/deeper") is None

    def test_an_object_written_again_has_another_fingerprint(self, storage: Storage, writer: Writer) -> None:
        writer.put("key", b"one")
        before = storage.list()["key"]
        writer.put("key", b"two")
        assert storage.list()["key"].fingerprint != before.fingerprint

    def test_a_store_that_rests_keeps_its_fingerprints(self, storage: Storage, writer: Writer) -> None:
        writer.put("a", b"one")
        writer.put("b/c", b"two")
        assert storage.list() == storage.list()

    def test_content_is_the_hash_of_the_bytes_and_survives_copying(
        self, storage: Storage, writer: Writer
    ) -> None:
        writer.put("a", b"same")
        writer.put("b", b"same")
        writer.put("c", b"same")
        hashed = content_hashed(storage, storage.list(), ["a", "b"])
        assert hashed["a"].fingerprint == hashed["b"].fingerprint == f"content:{content_hash(b'same')}"
        assert hashed["c"] == storage.list()["c"]

    def test_large_objects_are_hashed_in_pieces(
        self, storage: Storage, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage_module, "HASHED_AT_ONCE_BYTES", 3)
        writer.put("a", b"abcdefgh")
        writer.put("b", b"abcdef")
        hashed = content_hashed(storage, storage.list(), ["a", "b"])
        assert [hashed[key].content for key in "ab"] == [content_hash(b"abcdefgh"), content_hash(b"abcdef")]

    def test_hashing_an_object_that_vanished_is_an_error(self, storage: Storage, writer: Writer) -> None:
        writer.put("a", b"x")
        listing = storage.list()
        writer.remove("a")
        with pytest.raises(InputChangedError, match=r"it vanished.*chunk a"):
            content_hashed(storage, listing, ["a"])

    @pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "", ".", "a/.", "a\0b"])
    def test_a_key_that_could_lead_elsewhere_is_refused(self, storage: Storage, key: str) -> None:
        with pytest.raises(InputError, match="names joined by single slashes"):
            storage.get(key)

    def test_its_url_opens_the_same_store(self, storage: Storage, writer: Writer) -> None:
        writer.put("a", b"x")
        assert open_storage(storage.url).list() == storage.list()


SHARDED: dict[str, Any] = {"chunks": (1, 8, 8), "shards": (2, 16, 16)}

STORES: dict[str, dict[str, Any]] = {
    "format 3": {},
    "format 3, one chunk": {"chunks": (7, 20, 30)},
    "format 3, separator .": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "format 3, keys of format 2": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "format 3, no compression": {"compressors": None},
    "format 3, big-endian": {"dtype": "int32", "serializer": BytesCodec(endian="big")},
    "format 3, blosc": {"compressors": BloscCodec(typesize=1, shuffle="bitshuffle")},
    "format 3, gzip": {"compressors": GzipCodec(level=1)},
    "format 3, crc32c": {"compressors": [ZstdCodec(level=1), Crc32cCodec()]},
    "format 3, transpose": {"filters": TransposeCodec(order=(2, 0, 1))},
    "format 3, numcodecs lz4": {
        "compressors": {"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}
    },
    "format 3, bool": {"dtype": "bool"},
    "format 3, sharded": SHARDED,
    "format 3, sharded, one inner chunk": {"chunks": (2, 8, 8), "shards": (2, 8, 8)},
    "format 3, sharded, gzip": {**SHARDED, "compressors": GzipCodec(level=1)},
    "format 2": {"zarr_format": 2},
    "format 2, separator /": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "format 2, big-endian": {"zarr_format": 2, "dtype": ">u2"},
    "format 2, F order": {"zarr_format": 2, "dtype": "<i8", "order": "F"},
    "format 2, no compression": {"zarr_format": 2, "compressors": None},
    "format 2, zlib": {"zarr_format": 2, "compressors": numcodecs.Zlib(level=1)},
    "format 2, blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
    "format 2, delta": {"zarr_format": 2, "dtype": "<i2", "filters": [numcodecs.Delta(dtype="<i2")]},
}

SHARD_SETTINGS: dict[str, dict[str, Any]] = {
    "index at the end": {},
    "index at the start": {"index_location": "start"},
    "big-endian index": {"index_codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
    "index without checksum": {"index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]},
}

BOXES: list[Box] = [
    *(box_of((7, 20, 30), slice(first, last)) for first, last in [(0, 7), (0, 1), (1, 4), (6, 7), (4, 4)]),
    (slice(2, 3), slice(8, 16), slice(16, 30)),
    (slice(1, 6), slice(3, 19), slice(7, 21)),
    (slice(3, 4), slice(19, 20), slice(0, 1)),
]
"""Whole images, one chunk, parts of chunks, one pixel, nothing."""


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """Any box of an array, empty ones too."""
    ends = [sorted((draw(st.integers(0, size)), draw(st.integers(0, size)))) for size in shape]
    return tuple(slice(first, last) for first, last in ends)


def sharded(path: Path, data: NDArray[Any], **changes: Any) -> None:
    """Write an array whose shards have an index of another form than zarr-python's default."""
    inner = [{"name": "bytes"}, {"name": "crc32c"}]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    settings = {"chunk_shape": [1, 8, 8], "codecs": inner, "index_codecs": index} | changes
    write(
        path,
        data,
        chunks=(2, 16, 16),
        serializer={"name": "sharding_indexed", "configuration": settings},
        compressors=None,
    )


class ReaderTests:
    """Fixture: `opener`, a function like `open_reader`."""

    @pytest.fixture
    def opener(self) -> OpenReader:
        return open_reader

    def reader(self, opener: OpenReader, path: Path) -> LabelReader:
        seen = view(path)
        meta = array_meta(seen)
        return opener(meta, seen.storage, expectation(seen, meta))

    @pytest.mark.parametrize("name", STORES)
    def test_labels_are_read_as_they_were_written(
        self, opener: OpenReader, tmp_path: Path, name: str
    ) -> None:
        settings = dict(STORES[name])
        data = label_maps(dtype=settings.pop("dtype", "uint8"))
        write(tmp_path, data, **settings)
        reader = self.reader(opener, tmp_path)
        for box in BOXES:
            labels = reader.read(box)
            np.testing.assert_array_equal(labels, data[box])
            assert labels.dtype.kind in "iu"
            assert labels.dtype.isnative
            assert labels.flags.c_contiguous
            assert reader.absent(box) == []

    @pytest.mark.parametrize(
        "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
    )
    def test_every_integer_keeps_its_extremes(self, opener: OpenReader, tmp_path: Path, dtype: str) -> None:
        bounds = np.iinfo(dtype)
        data = np.resize(np.array([bounds.min, bounds.max, 1], dtype), (3, 4, 5))
        write(tmp_path, data, chunks=(2, 3, 4))
        labels = self.reader(opener, tmp_path).read(box_of(data.shape))
        assert labels.dtype == data.dtype
        np.testing.assert_array_equal(labels, data)

    @pytest.mark.parametrize("shape", [(), (23,), (20, 30), (3, 2, 9, 11), (2, 3, 2, 4, 5)])
    def test_arrays_of_any_number_of_dimensions_are_read(
        self, opener: OpenReader, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        data = label_maps(shape)
        write(tmp_path, data, chunks=tuple(-(-size // 2) for size in shape))
        reader = self.reader(opener, tmp_path)
        for box in (box_of(shape), tuple(slice(size // 3, size) for size in shape)):
            np.testing.assert_array_equal(reader.read(box), data[box])
            assert reader.absent(box) == []

    @pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
    def test_real_numbers_keep_every_bit(self, opener: OpenReader, tmp_path: Path, dtype: str) -> None:
        data = np.resize(np.array([np.nan, np.inf, -0.0, 1e-7, 3.5], dtype), (3, 4, 5))
        write(tmp_path, data, chunks=(2, 3, 4), zarr_format=2)
        values = self.reader(opener, tmp_path).read(box_of(data.shape))
        assert values.dtype == data.dtype.newbyteorder("=")
        assert values.tobytes() == data.astype(values.dtype).tobytes()

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_chunks_without_an_object_are_found_and_read_as_fill_value(
        self, opener: OpenReader, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        """Any chunks are removed: what `absent` names is fill value, and all else is as written."""
        path = tmp_path_factory.mktemp("store")
        labels = label_maps()
        settings = data.draw(st.sampled_from([{}, {"zarr_format": 2}, SHARDED]))
        write(path, labels, fill_value=99, **settings)
        seen = view(path)
        meta = array_meta(seen)
        units = list(meta.units())
        for coords in data.draw(st.lists(st.sampled_from(units), unique=True)):
            (path / meta.object_key(coords)).unlink()
            unit = tuple(
                slice(at * size, (at + 1) * size) for at, size in zip(coords, meta.chunks, strict=True)
            )
            labels[unit] = 99
        box = data.draw(boxes(labels.shape))
        reader = self.reader(opener, path)
        np.testing.assert_array_equal(reader.read(box), labels[box])
        self.assert_absent_where(reader, box, labels[box] == 99)

    @pytest.mark.parametrize("index", SHARD_SETTINGS)
    def test_empty_inner_chunks_are_found_in_the_index(
        self, opener: OpenReader, tmp_path: Path, index: str
    ) -> None:
        labels = label_maps()
        labels[1, 0:8, 8:16] = 0
        labels[2:4, 8:16] = 0
        labels[6, 16:20, 24:30] = 0
        sharded(tmp_path, labels, **SHARD_SETTINGS[index])
        reader = self.reader(opener, tmp_path)
        for box in BOXES:
            np.testing.assert_array_equal(reader.read(box), labels[box])
            self.assert_absent_where(reader, box, labels[box] == 0)

    @pytest.mark.parametrize(
        ("damage", "kind", "words"),
        [
            (lambda path: path.write_bytes(b""), "truncated", "ends too early"),
            (lambda path: path.write_bytes(path.read_bytes()[:-5]), "checksum|truncated|decode", "found"),
            (lambda path: flip_bit(path, 30), "checksum", "wrong checksum"),
            (lambda path: path.write_bytes(b"\0" * path.stat().st_size), "checksum|decode", "found"),
        ],
        ids=["emptied", "cut short", "bit flipped", "zeroed"],
    )
    @pytest.mark.parametrize("settings", [{}, SHARDED], ids=["chunks", "shards"])
    def test_a_damaged_chunk_is_named_and_no_other(
        self, opener: OpenReader, tmp_path: Path, settings: Any, damage: Any, kind: str, words: str
    ) -> None:
        data = label_maps()
        write(tmp_path, data, compressors=Crc32cCodec(), **settings)
        damage(tmp_path / "c/1/0/1")
        reader = self.reader(opener, tmp_path)
        with pytest.raises(DamagedChunkError, match=words) as caught:
            reader.read(box_of((7, 20, 30)))
        assert {problem.chunk.split(" ")[0] for problem in caught.value.problems} == {"c/1/0/1"}
        assert {problem.kind for problem in caught.value.problems} <= set(kind.split("|"))
        assert str(tmp_path) in str(caught.value)
        sound = np.ones(data.shape, bool)
        for region in caught.value.regions:
            sound[region] = False
        assert not sound[2:4].all()
        assert sound[0:2].all()
        assert sound[4:].all()
        np.testing.assert_array_equal(reader.read(box_of((7, 20, 30), slice(0, 2))), data[0:2])
        np.testing.assert_array_equal(reader.read(box_of((7, 20, 30), slice(4, 7))), data[4:7])

    @pytest.mark.parametrize("settings", [{}, SHARDED], ids=["chunks", "shards"])
    @pytest.mark.parametrize("hashed", [False, True], ids=["by tag", "by content"])
    def test_a_changed_object_is_an_error_and_no_label(
        self, opener: OpenReader, tmp_path: Path, settings: Any, hashed: bool
    ) -> None:
        """Written again with the same size and the time of the last change restored: the hardest case."""
        write(tmp_path, label_maps(), **settings)
        seen = view(tmp_path)
        meta = array_meta(seen)
        expected = expectation(seen, meta)
        if hashed:
            known = {key: info for key, info in expected.items() if info}
            expected |= content_hashed(seen.storage, known, known)
        reader = opener(meta, seen.storage, expected)
        path = tmp_path / "c/1/0/1"
        rewrite_quietly(path, path.read_bytes()[::-1])
        np.testing.assert_array_equal(reader.read(box_of((7, 20, 30), slice(0, 2))), label_maps()[0:2])
        with pytest.raises(InputChangedError, match=r"it was written again.*chunk c/1/0/1"):
            reader.read(box_of((7, 20, 30), slice(2, 4)))

    @pytest.mark.parametrize("settings", [{}, SHARDED], ids=["chunks", "shards"])
    def test_a_change_after_the_content_was_verified_is_an_error(
        self, opener: OpenReader, tmp_path: Path, settings: Any
    ) -> None:
        write(tmp_path, label_maps(), **settings)
        seen = view(tmp_path)
        meta = array_meta(seen)
        known = {key: info for key, info in expectation(seen, meta).items() if info}
        reader = opener(meta, seen.storage, content_hashed(seen.storage, known, known))
        np.testing.assert_array_equal(reader.read(box_of((7, 20, 30), slice(2, 3))), label_maps()[2:3])
        path = tmp_path / "c/1/0/1"
        rewrite_quietly(path, path.read_bytes()[::-1])
        with pytest.raises(InputChangedError, match=r"it was written again.*chunk c/1/0/1"):
            reader.read(box_of((7, 20, 30), slice(3, 4)))

    @pytest.mark.parametrize("settings", [{}, SHARDED], ids=["chunks", "shards"])
    def test_an_object_touched_but_equal_is_the_same_by_content(
        self, opener: OpenReader, tmp_path: Path, settings: Any
    ) -> None:
        write(tmp_path, label_maps(), **settings)
        seen = view(tmp_path)
        meta = array_meta(seen)
        known = {key: info for key, info in expectation(seen, meta).items() if info}
        reader = opener(meta, seen.storage, content_hashed(seen.storage, known, known))
        for path in tmp_path.rglob("c/*/*/*"):
            path.write_bytes(path.read_bytes())
        for box in BOXES:
            np.testing.assert_array_equal(reader.read(box), label_maps()[box])

    def test_an_object_that_vanished_or_appeared_is_an_error(
        self, opener: OpenReader, tmp_path: Path
    ) -> None:
        write(tmp_path, label_maps())
        path = tmp_path / "c/1/0/1"
        data = path.read_bytes()
        there = self.reader(opener, tmp_path)
        path.unlink()
        with pytest.raises(InputChangedError, match=r"it vanished.*chunk c/1/0/1"):
            there.read(box_of((7, 20, 30)))
        gone = self.reader(opener, tmp_path)
        path.write_bytes(data)
        with pytest.raises(InputChangedError, match=r"an object that was not there.*chunk c/1/0/1"):
            gone.read(box_of((7, 20, 30)))

    def test_a_window_that_was_not_announced_is_a_mistake_of_the_caller(
        self, opener: OpenReader, tmp_path: Path
    ) -> None:
        write(tmp_path, label_maps())
        seen = view(tmp_path)
        meta = array_meta(seen)
        keys = [meta.chunk_key(coords) for coords in meta.units(slice(0, 2))]
        reader = opener(meta, seen.storage, {key: seen.objects[key] for key in keys})
        assert reader.read(box_of((7, 20, 30), slice(0, 2))).shape == (2, 20, 30)
        with pytest.raises(ValueError, match="not told what to expect"):
            reader.read(box_of((7, 20, 30), slice(0, 3)))

    def assert_absent_where(self, reader: LabelReader, box: Box, truth: NDArray[Any]) -> None:
        """The regions of `absent` cover exactly the pixels that are fill value, each once."""
        times = np.zeros(truth.shape, int)
        for region in reader.absent(box):
            assert all(part.start < part.stop for part in region)
            times[region] += 1
        np.testing.assert_array_equal(times, truth)


@dataclass
class Sample:
    """Images to write: ids, label maps of one size, and a column."""

    ids: list[str]
    maps: NDArray[Any]
    weather: list[str]


SAMPLE = Sample(["a", "b", "c"], label_maps((3, 20, 30)), ["sun", "rain", "fog"])


class LayoutTests:
    """Fixture: `write`, a function (folder, sample) that writes the sample and returns the path.

    Attributes: `name`; `options` of the layout; and, where they are others than those of `SAMPLE`: `ids`,
    `size` of each image, and the columns that the layout adds.
    """

    name: str
    ids: ClassVar[list[str]] = SAMPLE.ids
    size: ClassVar[list[int]] = [20, 30]
    own_columns: ClassVar[set[str]] = set()

    def options(self, folder: Path) -> dict[str, Any]:
        return {}

    def find(self, folder: Path, path: str) -> ImageSet:
        return LAYOUTS[self.name](view(folder), path, **self.options(folder))

    def images(self, write: Callable[[Path, Sample], str], folder: Path, sample: Sample = SAMPLE) -> ImageSet:
        return self.find(folder, write(folder, sample))

    def test_it_is_registered(self) -> None:
        assert self.name in LAYOUTS

    def test_ids_and_sizes_are_those_of_the_sample(self, write: Any, tmp_path: Path) -> None:
        images = self.images(write, tmp_path)
        assert images.ids == self.ids
        assert len(images) == 3
        assert images.sizes.tolist() == [self.size] * 3
        assert images.pixels.tolist() == [600] * 3
        assert images.store == str(tmp_path)
        for vector in (images.array_of_image, images.index_in_array, images.sizes, images.corners):
            assert (vector.dtype, len(vector)) == (np.int64, 3)

    def test_every_image_is_where_the_set_says(self, write: Any, tmp_path: Path) -> None:
        images = self.images(write, tmp_path)
        seen = view(tmp_path)
        for number, (array, index) in enumerate(
            zip(images.array_of_image, images.index_in_array, strict=True)
        ):
            meta = images.arrays[array]
            reader = open_reader(meta, seen.storage, expectation(seen, meta))
            corner, size = images.corners[number].tolist(), images.sizes[number].tolist()
            pixels = [slice(first, first + length) for first, length in zip(corner, size, strict=True)]
            labels = reader.read((*([] if index < 0 else [slice(index, index + 1)]), *pixels))
            np.testing.assert_array_equal(labels.reshape(20, 30), SAMPLE.maps[number])

    def test_metadata_columns_are_in_the_order_of_the_images(self, write: Any, tmp_path: Path) -> None:
        images = self.images(write, tmp_path)
        assert images.columns["weather"].tolist() == SAMPLE.weather
        assert images.columns.keys() - {"weather"} == self.own_columns
        assert images.left_out == {}

    def test_an_option_that_it_does_not_have_is_refused(self, write: Any, tmp_path: Path) -> None:
        layout = LayoutConfig(kind=self.name, colour=3)
        with pytest.raises(ConfigError, match=rf"layout.colour: the layout {self.name} has no such option"):
            find_images(layout, view(tmp_path), write(tmp_path, SAMPLE))

    def test_it_knows_the_objects_of_the_store(self, write: Any, tmp_path: Path) -> None:
        images = self.images(write, tmp_path)
        for meta in images.arrays:
            assert all(meta.object_key(coords) in images.objects for coords in meta.units())

    def test_float_label_maps_are_refused_with_advice(self, write: Any, tmp_path: Path) -> None:
        sample = Sample(SAMPLE.ids, SAMPLE.maps.astype("float32"), SAMPLE.weather)
        with pytest.raises(InputError, match=r"(?s)found float32, expected an integer dtype.*mask_and_scale"):
            self.images(write, tmp_path, sample)

    def test_a_wrong_path_lists_the_arrays_that_there_are(self, write: Any, tmp_path: Path) -> None:
        write(tmp_path, SAMPLE)
        write_group(tmp_path / "other", {"x": label_maps((4, 4))})
        with pytest.raises(InputError, match=r"(?s)no array or group at 'nowhere'.*other/x"):
            self.find(tmp_path, "nowhere")
