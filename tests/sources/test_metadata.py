"""Zarr metadata of both formats: what they say, how few documents are read, and what is refused in words."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from segpipe.errors import InputChangedError, InputError
from segpipe.sources import documents, metadata
from segpipe.sources.metadata import GroupMeta, StoreView, view_store
from tests.sources.conformance import SHARD_SETTINGS, SHARDED, STORES, sharded
from tests.sources.stores import (
    WatchedStorage,
    array_meta,
    consolidate,
    edit_json,
    label_maps,
    view,
    write,
    write_group,
)


def watched(path: Path) -> tuple[WatchedStorage, StoreView]:
    """A view of a store, and the storage that tells what was read."""
    storage = WatchedStorage(str(path))
    return storage, view_store(storage)


def as_old(path: Path, seconds: float = 100.0) -> None:
    """Give everything in a store an earlier time in the eyes of the listing."""
    for file in path.rglob("*"):
        os.utime(file, (time.time() - seconds,) * 2)


class TestArrays:
    """What is known of an array before a chunk is read."""

    @pytest.mark.parametrize("name", STORES)
    def test_chunk_keys_are_those_that_zarr_writes(self, tmp_path: Path, name: str) -> None:
        settings = dict(STORES[name])
        write(tmp_path, label_maps(dtype=settings.pop("dtype", "uint8")), "labels", **settings)
        meta = array_meta(view(tmp_path), "labels")
        files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
        chunks = {file for file in files if not file.endswith(metadata.DOCUMENTS)}
        assert {meta.object_key(coords) for coords in meta.units()} == chunks

    def test_the_storage_unit_is_the_shard(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps(), **SHARDED)
        meta = array_meta(view(tmp_path))
        assert (meta.chunks, meta.inner_chunks, meta.grid) == ((2, 16, 16), (1, 8, 8), (4, 2, 2))

    def test_units_of_a_run_of_images_are_those_that_hold_them(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps(), chunks=(2, 20, 30))
        meta = array_meta(view(tmp_path))
        assert list(meta.units(slice(3, 5))) == [(1, 0, 0), (2, 0, 0)]
        assert list(meta.units(slice(6, 7))) == [(3, 0, 0)]

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_names_attributes_and_fill_value_are_read(self, tmp_path: Path, zarr_format: int) -> None:
        array = write(tmp_path, label_maps(), zarr_format=zarr_format, fill_value=255)
        array.update_attributes({"sensor": "left"})
        if zarr_format == 2:
            array.update_attributes({"_ARRAY_DIMENSIONS": ["image", "y", "x"]})
        else:
            edit_json(tmp_path / "zarr.json", lambda raw: raw.update(dimension_names=["image", "y", "x"]))
        meta = array_meta(view(tmp_path))
        assert meta.dimension_names == ("image", "y", "x")
        assert meta.attributes["sensor"] == "left"
        assert meta.fill_value == 255
        assert type(meta.fill_value) is int
        assert (meta.zarr_format, meta.shape, meta.dtype) == (zarr_format, (7, 20, 30), np.dtype("uint8"))

    def test_an_undefined_fill_value_of_format_2_is_what_zarr_reads(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps(), zarr_format=2)
        edit_json(tmp_path / ".zarray", lambda raw: raw.update(fill_value=None))
        meta = array_meta(view(tmp_path))
        assert meta.fill_value == 0
        assert meta.decoding()["fill_value"] is None

    def test_empty_filters_of_format_2_are_none(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps(), zarr_format=2)
        edit_json(tmp_path / ".zarray", lambda raw: raw.update(filters=[]))
        assert array_meta(view(tmp_path)).shape == (7, 20, 30)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"compressors": None}, False),
            ({"compressors": BloscCodec(typesize=1)}, False),
            ({"compressors": ZstdCodec(level=1)}, False),
            ({"compressors": ZstdCodec(level=1, checksum=True)}, True),
            ({"compressors": [ZstdCodec(level=1), Crc32cCodec()]}, True),
            ({"compressors": GzipCodec(level=1)}, True),
            ({"compressors": {"name": "numcodecs.zlib", "configuration": {"level": 1}}}, True),
            ({**SHARDED, "compressors": GzipCodec(level=1)}, True),
            ({**SHARDED, "compressors": ZstdCodec(level=1)}, False),
            ({"zarr_format": 2, "compressors": numcodecs.Zlib()}, True),
            ({"zarr_format": 2, "compressors": numcodecs.Blosc()}, False),
            ({"zarr_format": 2, "compressors": None, "filters": [numcodecs.Adler32()]}, True),
        ],
    )
    def test_a_checksum_is_known_from_the_codecs(self, tmp_path: Path, settings: Any, expected: bool) -> None:
        write(tmp_path, label_maps(), **settings)
        assert array_meta(view(tmp_path)).has_checksum is expected

    def test_a_shard_index_without_checksum_leaves_the_array_without_one(self, tmp_path: Path) -> None:
        sharded(tmp_path / "with", label_maps())
        sharded(tmp_path / "without", label_maps(), **SHARD_SETTINGS["index without checksum"])
        assert array_meta(view(tmp_path / "with")).has_checksum
        assert not array_meta(view(tmp_path / "without")).has_checksum

    def test_metadata_travel_to_workers(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps(), **SHARDED)
        meta = array_meta(view(tmp_path))
        copy = pickle.loads(pickle.dumps(meta))
        assert copy == meta
        assert copy.chunk_key((1, 0, 0)) == "c/1/0/0"


class TestDecoding:
    """All that decides how bytes become labels, and nothing else, enters the key of partial counts."""

    def decoding(self, path: Path, **settings: Any) -> str:
        data = label_maps(settings.pop("shape", (7, 20, 30)), settings.pop("dtype", "uint8"))
        array = write(path, data, **settings)
        array.update_attributes({"written": str(path)})
        return json.dumps(array_meta(view(path)).decoding(), sort_keys=True)

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_shape_and_attributes_are_not_in_it(self, tmp_path: Path, zarr_format: int) -> None:
        first = self.decoding(tmp_path / "a", zarr_format=zarr_format)
        assert first == self.decoding(tmp_path / "b", zarr_format=zarr_format, shape=(9, 20, 30))

    def test_each_of_its_parts_changes_it(self, tmp_path: Path) -> None:
        variants: list[dict[str, Any]] = [
            {},
            {"dtype": "int8"},
            {"chunks": (1, 8, 16)},
            {"fill_value": 1},
            {"compressors": GzipCodec(level=1)},
            {"chunk_key_encoding": {"name": "default", "separator": "."}},
            SHARDED,
            {**SHARDED, "chunks": (2, 8, 8)},
            {"zarr_format": 2},
            {"zarr_format": 2, "order": "F"},
            {"zarr_format": 2, "fill_value": 1},
            {"zarr_format": 2, "filters": [numcodecs.Delta(dtype="<u1")]},
        ]
        seen = [self.decoding(tmp_path / str(number), **settings) for number, settings in enumerate(variants)]
        assert len(set(seen)) == len(variants)


class TestConsolidated:
    """One document for many arrays, as long as it is not older than what it stands for."""

    @pytest.fixture(params=[2, 3])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        zarr_format = request.param
        zarr.create_group(str(tmp_path), zarr_format=zarr_format)
        maps = {name: label_maps((8, 9), seed=number) for number, name in enumerate("abc")}
        write_group(tmp_path / "truth", maps, zarr_format=zarr_format)
        consolidate(tmp_path)
        return tmp_path

    def document(self, store: Path, name: str) -> Path:
        folder = store / "truth" / name
        return folder / ("zarr.json" if (folder / "zarr.json").exists() else ".zarray")

    def test_no_array_is_opened(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metadata, "COMPARED", 0)
        storage, seen = watched(store)
        assert [meta.path for meta in seen.arrays_below("truth")] == ["truth/a", "truth/b", "truth/c"]
        assert [meta.shape for meta in seen.arrays_below("truth")] == [(8, 9)] * 3
        assert not [key for key in storage.reads if key.startswith(("truth/a", "truth/b", "truth/c"))]

    def test_a_newer_document_of_an_array_is_read_itself(
        self, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metadata, "COMPARED", 0)
        edit_json(self.document(store, "b"), lambda raw: raw.update(shape=[5, 9]))
        storage, seen = watched(store)
        assert [meta.shape for meta in seen.arrays_below("truth")] == [(8, 9), (5, 9), (8, 9)]
        assert [key for key in storage.reads if key.startswith("truth/") and "b/" in key] == [
            str(self.document(store, "b").relative_to(store))
        ]

    def test_a_newer_document_with_an_old_date_is_read_itself(self, store: Path) -> None:
        """A copying tool that restores dates does not hide that the document was replaced."""
        edit_json(self.document(store, "b"), lambda raw: raw.update(shape=[5, 9]))
        os.utime(self.document(store, "b"), (1e9, 1e9))
        assert [meta.shape for meta in view(store).arrays_below("truth")] == [(8, 9), (5, 9), (8, 9)]

    def test_an_array_that_was_added_later_is_found(self, store: Path) -> None:
        zarr_format = 3 if (store / "zarr.json").exists() else 2
        write(store / "truth", label_maps((3, 4)), "d", zarr_format=zarr_format)
        assert [meta.shape for meta in view(store).arrays_below("truth")] == [(8, 9)] * 3 + [(3, 4)]

    def test_an_array_that_was_deleted_is_gone(self, store: Path) -> None:
        self.document(store, "b").unlink()
        assert [meta.path for meta in view(store).arrays_below("truth")] == ["truth/a", "truth/c"]
        with pytest.raises(InputError, match="no array or group at 'truth/b'"):
            view(store).node("truth/b")

    def test_the_first_documents_are_held_against_the_arrays_own(
        self, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rest is believed; what contradicts is named with what either says."""
        monkeypatch.setattr(metadata, "COMPARED", 2)
        storage, seen = watched(store)
        seen.arrays_below("truth")
        assert len([key for key in storage.reads if key.startswith(("truth/a", "truth/b", "truth/c"))]) <= 2
        for name in "abc":
            edit_json(self.document(store, name), lambda raw: raw.update(shape=[5, 9]))
            os.utime(self.document(store, name), (1e9, 1e9))
        document = store / ("zarr.json" if (store / "zarr.json").exists() else ".zmetadata")
        document.write_bytes(document.read_bytes())
        words = r"shape \[8, 9\] in consolidated metadata and \[5, 9\] in its own document.*array truth/a"
        with pytest.raises(InputError, match=words):
            view(store).node("truth/a")

    def test_metadata_of_the_group_itself_serve_as_well(
        self, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metadata, "COMPARED", 0)
        consolidate(store / "truth")
        storage, seen = watched(store / "truth")
        assert len(seen.arrays_below("")) == 3
        assert len(storage.reads) <= 1

    def test_broken_consolidated_metadata_are_named(self, store: Path) -> None:
        name = "zarr.json" if (store / "zarr.json").exists() else ".zmetadata"
        (store / name).write_text("{")
        with pytest.raises(InputError, match=f"no JSON .* in {name}"):
            view(store).node("truth/a")


class TestViews:
    """Finding arrays and groups in a store."""

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_groups_and_arrays_are_told_apart(self, tmp_path: Path, zarr_format: int) -> None:
        write_group(tmp_path, {"a": label_maps((4, 4))}, {"note": "x"}, zarr_format=zarr_format)
        zarr.create_group(str(tmp_path / "g"), zarr_format=zarr_format)
        seen = view(tmp_path)
        assert seen.children("") == ["a", "g"]
        assert [meta.path for meta in seen.arrays_below("")] == ["a"]
        root = seen.node("/")
        assert isinstance(root, GroupMeta)
        assert root.attributes == {"note": "x"}
        assert isinstance(seen.node("g"), GroupMeta)

    def test_a_store_is_listed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_group(tmp_path, {"a": label_maps((4, 4)), "b": label_maps((4, 4))})
        storage = WatchedStorage(str(tmp_path))
        listed: list[str] = []
        listing = storage.list
        monkeypatch.setattr(storage, "list", lambda prefix="": listed.append(prefix) or listing(prefix))
        seen = view_store(storage)
        seen.arrays_below("")
        seen.node("a")
        assert listed == [""]

    def test_documents_that_differ_in_sizes_only_are_parsed_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maps = {f"image{size}": label_maps((size, size + 1)) for size in range(4, 12)}
        zarr.create_group(str(tmp_path))
        for name, data in maps.items():
            write(tmp_path, data, name, chunks=data.shape, fill_value=77)
        parsed: list[Any] = []
        parse = documents.zarr_metadata
        monkeypatch.setattr(documents, "zarr_metadata", lambda *given: parsed.append(given) or parse(*given))
        documents._decoding.cache_clear()
        assert len(view(tmp_path).arrays_below("")) == 8
        assert len(parsed) == 1

    def test_arrays_share_what_is_written_alike_to_the_letter(self, tmp_path: Path) -> None:
        """A fill value of 0.0 is not that of 0, which would be another key of counts."""
        zarr.create_group(str(tmp_path))
        for name in "abc":
            write(tmp_path, label_maps((4, 5)), name, fill_value=0, attributes={"name": name})
            edit_json(tmp_path / name / "zarr.json", lambda raw: raw.update(data_type="float32"))
        edit_json(tmp_path / "c" / "zarr.json", lambda raw: raw.update(fill_value=0.0))
        one, two, three = view(tmp_path).arrays_below("")
        assert (one.path, two.path, two.attributes) == ("a", "b", {"name": "b"})
        assert two.document_text is one.document_text
        assert '"fill_value":0,' in two.document_text
        assert '"fill_value":0.0,' in three.document_text
        alone = [view(tmp_path).node(name) for name in "abc"]
        assert [meta.document for meta in alone] == [meta.document for meta in (one, two, three)]

    def test_the_same_document_is_parsed_once_and_each_array_keeps_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_group(tmp_path, {name: label_maps((4, 5)) for name in "abcd"})
        edit_json(tmp_path / "c" / "zarr.json", lambda raw: raw.update(attributes={"x": 1}))
        parsed: list[str] = []
        parse = metadata.parse_array
        monkeypatch.setattr(
            metadata,
            "parse_array",
            lambda path, *more, **named: parsed.append(path) or parse(path, *more, **named),
        )
        arrays = view(tmp_path).arrays_below("")
        assert parsed == ["a", "c", "d"]
        assert [(meta.path, meta.attributes) for meta in arrays] == [
            ("a", {}), ("b", {}), ("c", {"x": 1}), ("d", {}),
        ]  # fmt: skip

    def test_a_folder_without_metadata_is_not_zarr(self, tmp_path: Path) -> None:
        (tmp_path / "image.png").write_bytes(b"x")
        with pytest.raises(InputError, match=r"(?s)no Zarr metadata anywhere.*zarr\.json .format 3."):
            view(tmp_path).node("")

    def test_metadata_that_change_after_the_listing_are_an_error(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps())
        seen = view(tmp_path)
        edit_json(tmp_path / "zarr.json", lambda raw: raw.update(shape=[8, 20, 30]))
        with pytest.raises(InputChangedError, match=r"written again.*zarr\.json"):
            seen.node("")

    def test_all_broken_arrays_of_a_group_are_named(self, tmp_path: Path) -> None:
        write_group(tmp_path, {name: label_maps((4, 4)) for name in "abc"})
        (tmp_path / "a/zarr.json").write_text("[]")
        (tmp_path / "c/zarr.json").write_text("nonsense")
        with pytest.raises(
            InputError, match=r"(?s)a JSON list in a/zarr.json.*no JSON .* in c/zarr.json"
        ) as caught:
            view(tmp_path).arrays_below("")
        assert [problem.array for problem in caught.value.problems] == ["a", "c"]

    def test_a_document_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        write(tmp_path, label_maps())
        storage, seen = watched(tmp_path)
        storage.failures["zarr.json"] = [PermissionError(13, "Permission denied")]
        with pytest.raises(InputError, match=r"zarr\.json cannot be read \(Permission denied\)"):
            seen.node("")

    def test_huge_documents_are_refused_unread(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, label_maps(), zarr_format=2)
        monkeypatch.setattr(metadata, "MAX_DOCUMENT_BYTES", 16)
        storage, seen = watched(tmp_path)
        with pytest.raises(InputError, match=r"\.zarray of 0 MiB, expected at most 0 MiB"):
            seen.node("")
        assert storage.reads == []

    def test_a_huge_document_is_no_consolidated_one_for_its_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_group(tmp_path, {"image": label_maps((4, 4))})
        monkeypatch.setattr(metadata, "MAX_DOCUMENT_BYTES", 1 << 20)
        os.truncate(tmp_path / "image/zarr.json", 1 << 24)
        storage, seen = watched(tmp_path)
        with pytest.raises(InputError, match=r"zarr\.json of 16 MiB, expected at most 1 MiB"):
            seen.node("image")
        assert "image/zarr.json" not in storage.reads

    def test_consolidated_metadata_may_be_as_large_as_what_they_stand_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_group(tmp_path, {f"image{number}": label_maps((4, 4)) for number in range(20)})
        consolidate(tmp_path)
        monkeypatch.setattr(metadata, "MAX_DOCUMENT_BYTES", 2000)
        assert (tmp_path / "zarr.json").stat().st_size > 10_000
        assert len(view(tmp_path).arrays_below("")) == 20


Change = Callable[[dict[str, Any]], Any]


def put(**changes: Any) -> Change:
    """A change of some entries of a document."""
    return lambda raw: raw.update(changes)


def put_chunks(*sizes: int) -> Change:
    """Another shape of the chunks, in format 3."""
    return lambda raw: raw["chunk_grid"]["configuration"].update(chunk_shape=list(sizes))


def put_shards(*after: Any, **changes: Any) -> Change:
    """Shards whose codec has other settings, and codecs after it."""
    plain = {"chunk_shape": [1, 8, 8], "codecs": [{"name": "bytes"}], "index_codecs": [{"name": "bytes"}]}
    return put(codecs=[{"name": "sharding_indexed", "configuration": plain | changes}, *after])


BYTES = {"name": "bytes"}
INNER_SHARDS = {"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 8, 8], "codecs": [BYTES]}}

FAULTS_V3: dict[str, tuple[str, Change]] = {
    "unknown codec": ("codec that is not installed .*'snappy'", put(codecs=[BYTES, {"name": "snappy"}])),
    "pickle": (r"the codec pickle.*\s.*run code", put(codecs=[BYTES, {"name": "numcodecs.pickle"}])),
    "codec without name": (r"the codec \{\}", put(codecs=[{}])),
    "no codecs": ("the codecs None", put(codecs=None)),
    "no codec to bytes": ("does not accept .*ArrayBytesCodec", put(codecs=[{"name": "crc32c"}])),
    "unknown dtype": ("zarr-python does not accept .*uint7", put(data_type="uint7")),
    "fill value of another kind": ("zarr-python does not accept .*blue", put(fill_value="blue")),
    "shape that is a word": ("shape 'big', expected a list of whole numbers", put(shape="big")),
    "negative shape": (r"shape \[-1, 20, 30\]", put(shape=[-1, 20, 30])),
    "bool in the shape": (r"shape \[True, 20, 30\]", put(shape=[True, 20, 30])),
    "chunks of other dimensions": (r"chunks of shape \(2, 8\)", put_chunks(2, 8)),
    "empty chunks": (r"chunks of shape \(0, 8, 8\)", put_chunks(0, 8, 8)),
    "petabyte chunk": (r"1\.049e\+06 GiB each, expected at most 8 GiB", put_chunks(1, 1 << 25, 1 << 25)),
    "irregular grid": ("the chunk grid .*expected a regular grid", put(chunk_grid={"name": "rectilinear"})),
    "unknown key encoding": ("the chunk key encoding .*fancy", put(chunk_key_encoding={"name": "fancy"})),
    "storage transformers": ("found storage transformers", put(storage_transformers=[{"name": "x"}])),
    "unknown entry": ("the unknown entry 'surprise'", put(surprise={"must_understand": True})),
    "other format": ("zarr_format 4", put(zarr_format=4)),
    "other node": ("node_type 'table'", put(node_type="table")),
    "attributes that are a list": ("attributes .*expected a JSON object", put(attributes=["x"])),
    "too few dimension names": ("dimension names .*expected 3 names", put(dimension_names=["y", "x"])),
    "codec after shards": ("sharding_indexed as the only codec", put_shards({"name": "crc32c"})),
    "shards in shards": ("sharding_indexed as the only codec", put_shards(codecs=[INNER_SHARDS])),
    "compressed index": (
        "a shard index with the codecs bytes, zstd",
        put_shards(index_codecs=[BYTES, {"name": "zstd"}]),
    ),
    "index in the middle": ("a shard index at 'middle'", put_shards(index_location="middle")),
    "inner chunks that do not divide": (
        r"inner chunks of shape \(1, 3, 8\), expected parts of a shard of shape \(2, 8, 16\)",
        put_shards(chunk_shape=[1, 3, 8]),
    ),
    "inner chunks of other dimensions": (r"inner chunks of shape \(8, 8\)", put_shards(chunk_shape=[8, 8])),
    "empty inner chunks": (r"inner chunks of shape \(1, 0, 8\)", put_shards(chunk_shape=[1, 0, 8])),
}

FAULTS_V2: dict[str, tuple[str, Change]] = {
    "pickle as filter": ("the codec pickle", put(filters=[{"id": "pickle", "protocol": 5}])),
    "pickle as compressor": ("the codec pickle", put(compressor={"id": "pickle"})),
    "pickled objects": ("the codec pickle", put(dtype="|O", filters=[{"id": "pickle"}], fill_value=None)),
    "bytes objects": ("Python objects", put(dtype="|O", filters=[{"id": "vlen-bytes"}], fill_value="")),
    "json objects": ("does not accept", put(dtype="|O", filters=[{"id": "json2"}], fill_value=None)),
    "objects": ("does not accept", put(dtype="|O", filters=None, fill_value=None)),
    "unknown codec": ("codec that is not installed .*snappy", put(compressor={"id": "snappy"})),
    "unknown dtype": ("does not accept .*<q9", put(dtype="<q9")),
    "no chunks": ("chunks None", put(chunks=None)),
    "other format": ("zarr_format 1 in .zarray", put(zarr_format=1)),
    "unknown order": ("does not accept .*Z", put(order="Z")),
}


class TestFaults:
    """Metadata that cannot be used, or must not be: one sentence each, and no traceback."""

    @pytest.mark.parametrize("name", FAULTS_V3)
    def test_faults_of_format_3(self, tmp_path: Path, name: str) -> None:
        words, change = FAULTS_V3[name]
        write(tmp_path, label_maps(), compressors=None)
        edit_json(tmp_path / "zarr.json", change)
        with pytest.raises(InputError, match=words) as caught:
            view(tmp_path).node("")
        assert str(tmp_path) in str(caught.value)

    @pytest.mark.parametrize("name", FAULTS_V2)
    def test_faults_of_format_2(self, tmp_path: Path, name: str) -> None:
        words, change = FAULTS_V2[name]
        write(tmp_path, label_maps(), zarr_format=2)
        edit_json(tmp_path / ".zarray", change)
        with pytest.raises(InputError, match=words):
            view(tmp_path).node("")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"", "no JSON"),
            (b"{", "no JSON"),
            (b"\xff", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"3", "a JSON int"),
        ],
        ids=["empty", "cut short", "no text", "nested without end", "a number"],
    )
    def test_documents_that_are_no_json_objects(self, tmp_path: Path, text: bytes, words: str) -> None:
        write(tmp_path, label_maps())
        (tmp_path / "zarr.json").write_bytes(text)
        with pytest.raises(InputError, match=rf"{words}.* in zarr\.json, expected a JSON"):
            view(tmp_path).node("")

    def test_pickled_data_are_never_decoded(self, tmp_path: Path) -> None:
        """A store that would write a file when it is read: it is refused, and the file is not there."""
        trap = tmp_path / "trap"
        write(tmp_path / "s", label_maps(), zarr_format=2)
        edit_json(tmp_path / "s/.zarray", lambda raw: raw.update(dtype="|O", filters=[{"id": "pickle"}]))
        code = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
        for chunk in (tmp_path / "s").glob("*.*.*"):
            chunk.write_bytes(code)
        with pytest.raises(InputError, match="pickle"):
            view(tmp_path / "s").node("")
        assert not trap.exists()
