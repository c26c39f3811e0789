"""The damage table: what a user or a disk can do to a store, each row done to a real one.

Every row ends in the right number, or in an error that names the store, the array and the chunk and has the
right exit code. Each is done to both sides of one dataset in six encodings (`tests/run/encodings.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from segpipe.errors import IncompleteError, InputChangedError, InputError, Problem
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from segpipe.run.stages import preview
from segpipe.run.validated import validate
from segpipe.sources import storage
from tests.run.datasets import extended_matrix, image_ids, label_maps, pair_config, write_stacked
from tests.run.encodings import (
    ENCODINGS,
    SIDES,
    Encoding,
    Store,
    background,
    config_of,
    write_sides,
)

IMAGES, FEW = 48, 8
TRUTH, PRED = label_maps(IMAGES)
FIRST = {"truth": 0, "pred": 2}
"""Row r of the table of objects damages image 4 r of truth and image 4 r + 2 of pred."""


def matrix(run: Path) -> Any:
    """The summed extended matrix of a run."""
    with xr.open_zarr(run / "results.zarr") as results:
        return results["confusion"].values


def last_run(folder: Path) -> Path:
    """The run that was started last."""
    return max((folder / "results/suite/model/runs").glob("0*"))


@pytest.fixture(scope="module", params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    """Every encoding in turn."""
    return ENCODINGS[request.param]


def copied(written: Path, folder: Path, encoding: Encoding) -> dict[str, Store]:
    """A copy of both stores that may be damaged."""
    stores = {}
    for side in SIDES:
        shutil.copytree(written / f"{side}.zarr", folder / f"{side}.zarr")
        stores[side] = Store(folder / f"{side}.zarr", encoding)
    return stores


Few = Callable[[Encoding], Path]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Few:
    """The first images of the dataset in an encoding, written once; to be copied."""
    written: dict[Encoding, Path] = {}

    def folder_of(encoding: Encoding) -> Path:
        if encoding not in written:
            written[encoding] = tmp_path_factory.mktemp("few")
            write_sides(written[encoding], TRUTH[:FEW], PRED[:FEW], encoding)
        return written[encoding]

    return folder_of


@pytest.fixture
def stores(few: Few, tmp_path: Path, encoding: Encoding) -> dict[str, Store]:
    """Both stores of few images in the folder of the test, to be damaged."""
    return copied(few(encoding), tmp_path, encoding)


# ---- objects that are there and cannot be read


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _index_outside(path: Path) -> None:
    """The index of a shard names bytes after its end, under a checksum that is right."""
    data = path.read_bytes()
    count = next(
        n for n in (4, 2) if google_crc32c.value(data[-4 - 16 * n : -4]).to_bytes(4, "little") == data[-4:]
    )
    index = np.frombuffer(data[-4 - 16 * count : -4], "<u8").copy()
    index[0] = len(data) * 2
    path.write_bytes(
        data[: -4 - 16 * count] + index.tobytes() + google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    )


def _encoded(pixels: int) -> bytes:
    """A chunk of one row of pixels, as format 2 and 3 store it."""
    import numcodecs

    return bytes(numcodecs.Zstd(level=1, checksum=True).encode(np.ones(pixels, np.uint8)))


OBJECTS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: _rewrite(path, lambda data: data[:-9]),
    "cut to one byte": lambda path: _rewrite(path, lambda data: data[:1]),
    "emptied": lambda path: path.write_bytes(b""),
    "zero bytes": lambda path: _rewrite(path, lambda data: bytes(len(data))),
    "one bit flipped": lambda path: _flip(path, path.stat().st_size // 3),
    "first byte changed": lambda path: _flip(path, 0),
    "a page of words": lambda path: path.write_bytes(b"<html><body>403 Forbidden</body></html>" * 4),
    "noise": lambda path: path.write_bytes(np.random.default_rng(1).bytes(500)),
    "a chunk of fewer pixels": lambda path: path.write_bytes(_encoded(5)),
    "a chunk of far more pixels": lambda path: path.write_bytes(_encoded(1 << 22)),
}
INDEXES: dict[str, Callable[[Path], object]] = {
    "shard index: one bit flipped": lambda path: _flip(path, -9),
    "shard index: bytes outside of the object": _index_outside,
}
"""Rows that only shards have."""

ROWS = [*OBJECTS, *INDEXES]


@dataclass(frozen=True)
class Outcome:
    """What an evaluation of the dataset with all rows of objects said and wrote."""

    folder: Path
    stores: dict[str, Store]
    error: IncompleteError
    run: Path

    def of(self, row: str, side: str) -> list[Problem]:
        """What was told of a row."""
        store, image = self.stores[side], damaged_image(row, side)
        return [
            problem
            for problem in self.error.problems
            if problem.side == side
            and problem.array == store.array(image)
            and problem.chunk.split(" ")[0] == store.key(image)
        ]


def damaged_image(row: str, side: str) -> int:
    """The image that a row damages."""
    return 4 * ROWS.index(row) + FIRST[side]


def rows_of(encoding: Encoding) -> dict[str, Callable[[Path], object]]:
    """The rows that an encoding can suffer."""
    return OBJECTS | INDEXES if encoding.sharded else OBJECTS


@pytest.fixture(scope="module")
def outcome(encoding: Encoding, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """The dataset with every row done to both sides, evaluated once."""
    folder = tmp_path_factory.mktemp("damaged")
    stores = write_sides(folder, TRUTH, PRED, encoding)
    for row, damage in rows_of(encoding).items():
        for side, store in stores.items():
            damage(store.chunk(damaged_image(row, side)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "RACY_S", 0.02)
        with pytest.raises(IncompleteError) as caught:
            evaluate(config_of(folder, encoding))
        yield Outcome(folder, stores, caught.value, last_run(folder))


def test_a_damaged_object_quarantines_its_images_by_name(outcome: Outcome, encoding: Encoding) -> None:
    """Side, store, array, chunk and image are named; of a shard only what cannot be read is lost."""
    for row in rows_of(encoding):
        for side, store in outcome.stores.items():
            problems = outcome.of(row, side)
            assert problems, (row, side)
            assert {problem.store for problem in problems} == {str(store.path)}
            assert {problem.image for problem in problems} <= store.sharing(damaged_image(row, side))
            kinds = {problem.kind for problem in problems}
            assert kinds <= {"truncated", "decode", "checksum", "unreadable"}, (row, side)
            assert all("write the chunk again" in problem.advice for problem in problems)


def test_all_other_images_are_counted_right_and_the_coverage_tells(
    outcome: Outcome, encoding: Encoding
) -> None:
    """Exit 3 with every damaged chunk at once; the report counts images and pixels that are not in it."""
    lost = {problem.image for problem in outcome.error.problems}
    kept = [at for at, name in enumerate(image_ids(IMAGES)) if name not in lost]
    assert len(lost) >= 2 * len(rows_of(encoding))
    np.testing.assert_array_equal(extended_matrix(TRUTH[kept], PRED[kept]), matrix(outcome.run))

    assert outcome.error.exit_code == 3
    line = f"{len(kept)} counted of 48 planned, 0 skipped, {len(lost)} quarantined images; "
    line += (
        f"{len(kept) * 768:,} counted of 36,864 planned, 0 skipped, {len(lost) * 768:,} quarantined pixels"
    )
    assert line in (outcome.run / "report.md").read_text()
    scores = json.loads((outcome.run / "scores.json").read_text())
    pixels = {"planned": 36864, "counted": 768 * len(kept), "skipped": 0, "quarantined": 768 * len(lost)}
    assert scores["pixels"] == pixels | {"coverage": len(kept) / 48}
    assert scores["coverage"] == len(kept) / 48
    assert not (outcome.folder / "results/suite/model/latest.json").exists()


def test_validate_deep_finds_the_same_before_the_night(outcome: Outcome, encoding: Encoding) -> None:
    """The same images, chunks and reasons, the same exit code, and nothing in the results folder."""
    with pytest.raises(IncompleteError) as caught:
        validate(config_of(outcome.folder, encoding, results=f"{outcome.folder}/fresh"), deep=True)

    def told(error: IncompleteError) -> set[tuple[str, ...]]:
        return {(each.kind, each.side, each.array, each.chunk, each.image) for each in error.problems}

    assert told(caught.value) == told(outcome.error)
    assert caught.value.exit_code == 3
    assert not (outcome.folder / "fresh").exists()


# ---- objects that are not there


def _directory(store: Store, image: int) -> None:
    store.chunk(image).unlink()
    store.chunk(image).mkdir()


def _grown(store: Store, image: int) -> None:
    """The metadata name one more row of chunks than was ever written."""

    def grow(document: dict[str, Any]) -> None:
        document["shape"][-2] += 24

    store.edit(grow, image)


def _other_separator(store: Store, image: int) -> None:
    """The metadata look for every chunk at another key."""

    def change(document: dict[str, Any]) -> None:
        if store.encoding.zarr_format == 2:
            document["dimension_separator"] = "/"
        else:
            document["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "."}}

    store.edit(change, image)


def _all_lost(store: Store, image: int) -> None:
    for path in (store.path / store.array(image)).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name[0].isdigit():
            path.unlink()


ABSENT: dict[str, Callable[[Store, int], object]] = {
    "deleted": lambda store, image: store.chunk(image).unlink(),
    "a directory in place of the chunk": _directory,
    "all chunks of the array lost": _all_lost,
    "keys of another separator in the metadata": _other_separator,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("row", ABSENT)
def test_an_absent_chunk_is_an_error_before_anything_is_read(
    stores: dict[str, Store], encoding: Encoding, tmp_path: Path, row: str, side: str
) -> None:
    """Zarr would read background; the message names the chunk and the line that would declare it."""
    image, store = 4, stores[side]
    ABSENT[row](store, image)
    with pytest.raises(InputError, match="absent, to be read as the fill value 0") as caught:
        preview(config_of(tmp_path, encoding))
    (problem,) = caught.value.problems
    assert (problem.kind, problem.side, problem.store) == ("missing chunk", side, str(store.path))
    assert problem.array == store.array(image)
    assert problem.chunk
    if "keys" not in row and "all" not in row:
        assert problem.chunk == store.key(image)
    assert "missing_chunks: are_fill_value" in problem.advice
    assert caught.value.exit_code == 1


def test_a_shape_that_grew_in_the_metadata_only_is_no_background(
    stores: dict[str, Store], encoding: Encoding, tmp_path: Path
) -> None:
    """On one side the sizes differ; on both the chunks that were never written are named."""
    _grown(stores["pred"], 4)
    with pytest.raises(InputError, match="found 48 x 32 pixels, expected 24 x 32 as in truth"):
        preview(config_of(tmp_path, encoding))
    _grown(stores["truth"], 4)
    with pytest.raises(InputError, match=r"chunks absent, to be read as the fill value 0") as caught:
        preview(config_of(tmp_path, encoding))
    assert [problem.side for problem in caught.value.problems] == list(SIDES)


def test_legally_unwritten_background_passes_once_declared(encoding: Encoding, tmp_path: Path) -> None:
    """Chunks and inner chunks of shards that hold only background, left out on either side or on both."""
    truth, pred = background(TRUTH[:12], [2, 3, 5, 8]), background(PRED[:12], [5, 8, 9])
    pred[6, 12:] = 0
    config: dict[str, Any] = {"write_empty_chunks": False}
    write_sides(tmp_path, truth, pred, encoding, config=config)

    with pytest.raises(InputError, match="missing_chunks: are_fill_value"):
        evaluate(config_of(tmp_path, encoding))
    run = evaluate(config_of(tmp_path, encoding, missing_chunks="are_fill_value"))
    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(run))
    report = (run / "report.md").read_text()
    assert "which are declared to be the fill value" in report
    assert "12 counted of 12 planned" in report


# ---- metadata


def _v3(**changes: Any) -> Callable[[Store], None]:
    """Change entries of a document of format 3; other formats are left alone."""
    return lambda store: store.edit(lambda document: document.update(changes)) if _is_v3(store) else None


def _is_v3(store: Store) -> bool:
    return store.encoding.zarr_format == 3


def _raw(data: bytes) -> Callable[[Store], None]:
    def write(store: Store) -> None:
        store.document().write_bytes(data)

    return write


def _metadata_directory(store: Store) -> None:
    store.document().unlink()
    store.document().mkdir()


def _of_both(v2: dict[str, Any], v3: dict[str, Any]) -> Callable[[Store], None]:
    """Change entries of the document of either format."""
    return lambda store: store.edit(lambda document: document.update(v3 if _is_v3(store) else v2))


def _grid(side: int, ndim: int) -> dict[str, Any]:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [side] * ndim}}}


def _petabyte_chunk(store: Store) -> None:
    """One chunk of a hundred thousand pixels in each direction, and an array as large."""

    def claim(document: dict[str, Any]) -> None:
        ndim = len(document["shape"])
        side = 10 ** (16 // ndim)
        document["shape"] = [side] * ndim
        document.update(_grid(side, ndim) if _is_v3(store) else {"chunks": [side] * ndim})

    store.edit(claim)


def _petabyte_shape(store: Store) -> None:
    """As many images (grouped: rows) of small chunks as no disk holds."""
    store.edit(lambda document: document["shape"].__setitem__(0, 10**13))


def _petabyte_rows(store: Store) -> None:
    store.edit(lambda document: document["shape"].__setitem__(-2, 10**13))


METADATA: dict[str, tuple[Callable[[Store], object], str]] = {
    "no JSON": (_raw(b"{"), "no JSON"),
    "nothing in it": (_raw(b""), "no JSON"),
    "NUL bytes": (_raw(bytes(300)), "no JSON"),
    "a list": (_raw(b"[]"), "a JSON list"),
    "too deep": (_raw(b"[" * 100_000), "no JSON"),
    "no shape": (_raw(b'{"zarr_format": 3, "node_type": "array"}'), "shape|zarr_format 3"),
    "another format": (_of_both({"zarr_format": 1}, {"zarr_format": 4}), "zarr_format"),
    "unknown codec": (
        _of_both({"compressor": {"id": "nosuch"}}, {"codecs": [{"name": "bytes"}, {"name": "nosuch"}]}),
        "a codec that is not installed",
    ),
    "pickled": (
        _of_both(
            {"filters": [{"id": "pickle"}]}, {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}
        ),
        "the codec pickle",
    ),
    "unknown dtype": (_of_both({"dtype": "<q9"}, {"data_type": "int9"}), "zarr-python does not accept"),
    "negative shape": (lambda store: store.edit(lambda d: d["shape"].__setitem__(0, -1)), "shape"),
    "chunks of no pixels": (_of_both({"chunks": [0, 0, 0]}, _grid(0, 3)), "chunks of shape"),
    "petabyte chunk": (_petabyte_chunk, "GiB each"),
    "petabyte of images": (_petabyte_shape, "10,000,000,000,000 images|chunks, and"),
    "petabyte of rows": (_petabyte_rows, "chunks, and"),
}
MEMORY_BYTES = 48 << 20


@pytest.mark.parametrize("name", ["format 2", "format 3, sharded", "format 3, grouped"])
@pytest.mark.parametrize("row", METADATA)
def test_metadata_that_cannot_be_used_name_store_and_array(
    few: Few, tmp_path: Path, row: str, name: str
) -> None:
    """Both sides at once, exit 1, and no memory taken for what was claimed, declared background or not."""
    damage, words = METADATA[row]
    encoding = ENCODINGS[name]
    stores = copied(few(encoding), tmp_path, encoding)
    for store in stores.values():
        damage(store)
    tracemalloc.start()
    with pytest.raises(InputError, match=words) as caught:
        preview(config_of(tmp_path, encoding, missing_chunks="are_fill_value"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < MEMORY_BYTES
    places = {(problem.side, problem.store, problem.array) for problem in caught.value.problems}
    assert places == {(side, str(store.path), store.array(0)) for side, store in stores.items()}
    assert caught.value.exit_code == 1


def test_billions_of_images_in_one_small_chunk_are_refused(pair: Path) -> None:
    """The chunk has eight gigabytes of one pixel each, so that nothing but their number is wrong."""
    for side in SIDES:
        path = pair / f"{side}.zarr/labels/zarr.json"
        document = json.loads(path.read_text())
        document["shape"] = document["chunk_grid"]["configuration"]["chunk_shape"] = [8 << 30, 1, 1]
        path.write_text(json.dumps(document))
    with pytest.raises(
        InputError, match=r"8,589,934,592 images, expected at most 100,000,000 \(truth"
    ) as caught:
        preview(pair_config(pair, missing_chunks="are_fill_value"))
    assert [problem.side for problem in caught.value.problems] == list(SIDES)


def test_ids_that_claim_a_billion_chunks_are_refused(pair: Path) -> None:
    """The same for the arrays beside label maps: no key is made up for what nobody wrote."""
    path = pair / "truth.zarr/image/zarr.json"
    document = json.loads(path.read_text())
    document |= {"data_type": "int8", "fill_value": 0, "codecs": [{"name": "bytes"}], "shape": [10**9]}
    document["chunk_grid"]["configuration"]["chunk_shape"] = [1]
    document["attributes"] = {"segpipe": {"missing_chunks": "are_fill_value"}}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"1,000,000,000 chunks.*truth, store .*array image"):
        preview(pair_config(pair))


# ---- what changes between the plan and the reading of it


def test_objects_that_change_after_the_plan_are_all_named(
    stores: dict[str, Store], encoding: Encoding, tmp_path: Path
) -> None:
    """Written again, deleted, appeared: exit 1, nothing of their buckets is kept, all other buckets are."""
    stores["pred"].chunk(0).unlink()
    run = stages.start(config_of(tmp_path, encoding, missing_chunks="are_fill_value", bucket_images=1))
    stages.plan(run)
    shutil.copy(stores["pred"].chunk(2), stores["pred"].chunk(0))
    _rewrite(stores["truth"].chunk(2), lambda data: data)
    stores["pred"].chunk(4).unlink()

    with pytest.raises(InputChangedError) as caught:
        stages.count(run)
    told = {
        (problem.side, problem.array, problem.chunk, problem.found)
        for problem in caught.value.problems
        if problem.store == str(stores[problem.side].path)
    }
    assert told == {
        (side, stores[side].array(image), stores[side].key(image), found)
        for side, image, found in (
            ("pred", 0, "an object that was not there"),
            ("truth", 2, "it was written again"),
            ("pred", 4, "it vanished"),
        )
    }
    assert caught.value.exit_code == 1
    kept = len(list((tmp_path / "results/partials").rglob("[0-9a-f]" * 40)))
    assert kept == read_json(run / "planned.json")["summary"]["buckets"] - 3


def test_a_store_that_is_gone_when_it_is_read_is_an_error(pair: Path) -> None:
    """Moved away after the plan: exit 1, and the store by name."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    (pair / "pred.zarr").rename(pair / "elsewhere.zarr")
    with pytest.raises(InputError, match=r"no such folder.*pred.zarr"):
        stages.count(run)


def test_metadata_that_change_after_the_plan_change_nothing(pair: Path) -> None:
    """What was planned is counted as it was planned."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    (pair / "pred.zarr/labels/zarr.json").write_text("{")
    for stage in (stages.count, stages.reduce):
        stage(run)
    truth, pred = label_maps()
    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(run))


# ---- the rest of what happens to stores


def test_a_flipped_bit_without_checksum_is_warned_of(tmp_path: Path) -> None:
    """Nobody can see it: the report says so of the side that has no checksum, and of no other."""
    truth, pred = label_maps(8)
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "pred.zarr", pred, compressors=None)
    _flip(tmp_path / "pred.zarr/labels/c/1/0/0", -1)
    report = (evaluate(pair_config(tmp_path, invalid_pred="count_as_miss")) / "report.md").read_text()
    assert "The chunks of pred carry no checksum (labels): a damaged bit would be read as other" in report
    assert "The chunks of truth carry no checksum" not in report


def test_a_dataset_that_is_damaged_everywhere_is_incomplete_and_no_crash(tmp_path: Path) -> None:
    """No image can be counted: exit 3, coverage 0, and no score that could be taken for one."""
    truth, pred = label_maps(8)
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "pred.zarr", pred)
    for path in (tmp_path / "pred.zarr/labels/c").rglob("0"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(IncompleteError, match="8 of 8 images could not be counted"):
        evaluate(pair_config(tmp_path))
    scores = json.loads((last_run(tmp_path) / "scores.json").read_text())
    assert scores["coverage"] == 0
    assert scores["aggregates"]["mean_iou"]["value"] is None


@pytest.mark.parametrize("name", ["format 3", "format 2, grouped"])
def test_what_does_not_belong_to_the_label_maps_does_no_harm(tmp_path: Path, name: str) -> None:
    """Files that tools leave behind, another store within the store, and an array beside the label maps."""
    encoding = ENCODINGS[name]
    truth, pred = TRUTH[:FEW], PRED[:FEW]
    stores = write_sides(tmp_path, truth, pred, encoding)
    whole = shutil.copytree(stores["truth"].path / "labels", tmp_path / "whole")
    for store in stores.values():
        for left in (".DS_Store", "labels/.nfs000000000001", "labels/c/0/0/0.tmp-1234", "zarr.json~"):
            path = store.path / left
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"left behind")
        for inside in ("copy", "labels/inner"):
            shutil.copytree(whole, store.path / inside / "labels")
            (store.path / inside / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
        shutil.copytree(whole, store.path / "labels/c/9/whole.zarr")
    run = evaluate(config_of(tmp_path, encoding))
    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(run))


@pytest.mark.parametrize("target", ["outside", "nowhere"])
def test_a_chunk_that_is_a_link_out_of_the_store_is_refused(pair: Path, target: str) -> None:
    """No store makes us read another folder of the machine."""
    chunk = pair / "pred.zarr/labels/c/1/0/0"
    (pair / "outside").write_bytes(chunk.read_bytes())
    chunk.unlink()
    os.symlink(pair / target, chunk)
    with pytest.raises(InputError, match=r"a symbolic link at 'labels/c/1/0/0' .*\(pred, store .*pred.zarr"):
        preview(pair_config(pair))


def test_a_pipe_in_place_of_a_chunk_is_an_absent_chunk(pair: Path) -> None:
    """Nobody waits for a writer that never comes."""
    chunk = pair / "pred.zarr/labels/c/1/0/0"
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(InputError, match=r"1 of 14 chunks absent.*chunk c/1/0/0"):
        preview(pair_config(pair))


IDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda chunk: _rewrite(chunk, lambda data: data[:-5]), "values that cannot be read"),
    "one bit flipped": (lambda chunk: _flip(chunk, 20), "values that cannot be read"),
    "emptied": (lambda chunk: chunk.write_bytes(b""), "values that cannot be read"),
    "deleted": (lambda chunk: chunk.unlink(), "1 of its 1 chunks were never stored"),
}


@pytest.mark.parametrize("row", IDS)
def test_damaged_ids_are_an_error_and_never_a_match_by_position(pair: Path, row: str) -> None:
    """The store, the array, and what is wrong with it."""
    damage, words = IDS[row]
    array = zarr.open_group(pair / "pred.zarr")["image"]
    assert isinstance(array, zarr.Array)
    stored = np.asarray(array[:])
    del zarr.open_group(pair / "pred.zarr")["image"]
    checked = zarr.open_group(pair / "pred.zarr").create_array(
        "image",
        shape=stored.shape,
        dtype=str,
        dimension_names=("image",),
        compressors=ZstdCodec(checksum=True),
    )
    checked[...] = stored.astype(object)
    damage(pair / "pred.zarr/image/c/0")
    with pytest.raises(InputError, match=words) as caught:
        preview(pair_config(pair))
    (problem,) = caught.value.problems
    assert (problem.side, problem.store, problem.array) == ("pred", f"{pair}/pred.zarr", "image")


# ---- consolidated metadata that contradict the arrays' own


DECLARED = {"missing_chunks": "are_fill_value"}
CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "fewer images": lambda document: document["shape"].__setitem__(-2, 12),
    "another fill value": lambda document: document.update(fill_value=1),
    "other attributes": lambda document: document.setdefault("attributes", {}).update(segpipe=DECLARED),
}


def consolidated(path: Path) -> Path:
    """Write consolidated metadata of a store; the document that holds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))
    found = path / ".zmetadata"
    return found if found.exists() else path / "zarr.json"


@pytest.mark.parametrize("row", CONTRADICTIONS)
def test_consolidated_metadata_that_contradict_the_arrays_are_an_error(
    stores: dict[str, Store], encoding: Encoding, tmp_path: Path, row: str
) -> None:
    """Copying loses the times by which the newer one would be known: neither is believed."""
    for store in stores.values():
        consolidated(store.path)
    assert preview(config_of(tmp_path, encoding))[1].images == FEW
    for store in stores.values():
        if encoding.zarr_format == 2 and "attributes" in row:
            path = store.document().with_name(".zattrs")
            path.write_text(json.dumps({"segpipe": DECLARED}))
        else:
            store.edit(CONTRADICTIONS[row])
        # As after a copy: the consolidated document is not older.
        document = store.path / (".zmetadata" if encoding.zarr_format == 2 else "zarr.json")
        document.write_bytes(document.read_bytes())
    with pytest.raises(InputError, match="consolidated metadata") as caught:
        preview(config_of(tmp_path, encoding))
    places = {(problem.side, problem.store, problem.array) for problem in caught.value.problems}
    assert places == {(side, str(store.path), store.array(0)) for side, store in stores.items()}
    assert caught.value.exit_code == 1
