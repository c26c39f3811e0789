"""`segpipe inspect`: what lies in a store, what to know of it, and lines that evaluate it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from segpipe.sources import storage
from tests.cli.conftest import Segpipe
from tests.run.datasets import image_ids, label_maps, write_stacked
from tests.run.encodings import ENCODINGS, write_store

TRUTH, PRED = label_maps(12)


@pytest.fixture(autouse=True)
def _young_files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RACY_S", 0.02)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_described_and_the_lines_evaluate_it(
    segpipe: Segpipe, tmp_path: Path, name: str
) -> None:
    """Metadata, objects and labels are those that were written; the configuration validates as it stands."""
    encoding = ENCODINGS[name]
    write_store(tmp_path / "truth.zarr", TRUTH, encoding)
    write_store(tmp_path / "PREDICTIONS.zarr", PRED, encoding)
    done = segpipe("inspect", "truth.zarr", "--json")
    assert done.code == 0
    found = done.document
    array = next(each for each in found["arrays"] if each["path"].startswith("labels"))
    assert array["zarr_format"] == encoding.zarr_format
    assert array["shape"] == ([24, 32] if encoding.grouped else [12, 24, 32])
    assert (array["dtype"], array["checksum"], array["fill_value"]) == ("uint8", True, 0)
    assert (array["shards"] is not None) == encoding.sharded
    assert "zstd (checksum)" in array["codecs"]
    assert (array["absent"], array["stored"]) == (0, array["grid"])
    files = [path for path in (tmp_path / "truth.zarr" / array["path"]).rglob("*") if path.name[-1].isdigit()]
    assert array["stored_bytes"] == sum(path.stat().st_size for path in files if path.is_file())
    assert set(array["sample"]["values"]) == {"0", "1", "2", "3", "4", "255"}
    assert (found["images"], found["ids"]) == (12, image_ids(5))

    assert yaml.safe_load(found["config"])["layout"] == ("grouped" if encoding.grouped else "stacked")
    (tmp_path / "config.yaml").write_text(found["config"])
    assert segpipe("validate", "config.yaml", "--deep").code == 0


def test_the_label_histogram_is_that_of_the_chunks_it_names(segpipe: Segpipe, tmp_path: Path) -> None:
    """Eight chunks from the first to the last, the same ones each time."""
    maps = np.zeros((100, 8, 8), np.uint8)
    maps[[0, 14, 28, 42, 56, 70, 84, 99]] = np.arange(1, 9)[:, None, None]
    write_stacked(tmp_path / "many.zarr", maps, chunks=(1, 8, 8))
    answers = [segpipe("inspect", "many.zarr::labels", "--json").document for _ in range(2)]
    assert answers[0] == answers[1]
    sample = answers[0]["arrays"][0]["sample"]
    assert (sample["chunks"], sample["pixels"]) == (8, 512)
    assert sample["values"] == {str(value): 64 for value in range(1, 9)}


def test_only_a_few_chunks_are_read(
    segpipe: Segpipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    write_stacked(tmp_path / "many.zarr", np.ones((300, 4, 4), np.uint8), chunks=(1, 4, 4))
    keys: set[str] = set()
    get = storage.LocalStorage.get

    def logged(self: storage.LocalStorage, key: str, *where: int) -> storage.Blob | None:
        keys.add(key)
        return get(self, key, *where)

    monkeypatch.setattr(storage.LocalStorage, "get", logged)
    assert segpipe("inspect", "many.zarr").code == 0
    assert len([key for key in keys if "/c/" in key]) == 8


def test_absent_and_empty_chunks_are_told_with_the_line_that_declares_them(
    segpipe: Segpipe, tmp_path: Path
) -> None:
    """Objects are counted, chunks in shards are seen in the index of those that were read."""
    maps = TRUTH.copy()
    maps[2], maps[4:8] = 0, 0
    options: dict[str, Any] = {
        "chunks": (1, 24, 32),
        "shards": (4, 24, 32),
        "config": {"write_empty_chunks": False},
    }
    write_stacked(tmp_path / "gaps.zarr", maps, **options)
    done = segpipe("inspect", "gaps.zarr::labels")
    assert done.code == 0
    assert "2 of 3 objects, 1 absent" in done.out
    assert "1 empty chunks in 2 shards" in done.out
    assert "they were lost; Zarr" in done.out
    assert "# missing_chunks: are_fill_value" in done.out


def _store(path: Path, **changes: Any) -> None:
    write_stacked(path, **{"labels": TRUTH, **changes})


WARNINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no checksum": (lambda path: _store(path, compressors=None), "no checksum: a damaged bit"),
    "whole floats": (
        lambda path: _store(path, labels=TRUTH.astype(np.float32)),
        "float32, whole numbers: integers that xarray has made floats?",
    ),
    "scores": (lambda path: _store(path, labels=TRUTH.astype(np.float32) / 4), "float32, no labels"),
    "cut images": (lambda path: _store(path, chunks=(6, 12, 16)), "a part of 6 images"),
}


@pytest.mark.parametrize("row", WARNINGS)
def test_what_to_know_before_an_evaluation_is_warned_of(segpipe: Segpipe, tmp_path: Path, row: str) -> None:
    """A warning in words; of floats no lines are suggested."""
    write, words = WARNINGS[row]
    write(tmp_path / "odd.zarr")
    done = segpipe("inspect", "odd.zarr::labels", "--json")
    assert done.code == 0
    (array,) = done.document["arrays"]
    assert any(words in warning for warning in array["warnings"]), array["warnings"]
    assert (done.document["config"] == "") == (array["dtype"] == "float32")


def test_a_whole_store_has_no_warnings(segpipe: Segpipe, tmp_path: Path) -> None:
    """Nothing is said where there is nothing to say."""
    _store(tmp_path / "fine.zarr", chunks=(4, 24, 32))
    document = segpipe("inspect", "fine.zarr::labels", "--json").document
    assert document["arrays"][0]["warnings"] == document["warnings"] == []


def test_damage_in_the_sample_is_told_and_the_rest_is_shown(segpipe: Segpipe, tmp_path: Path) -> None:
    """One bad chunk, one array without readable metadata: the others are described."""
    _store(tmp_path / "hurt.zarr")
    zarr.open_group(tmp_path / "hurt.zarr").create_array("other", shape=(2, 2), dtype="u1")
    (tmp_path / "hurt.zarr/labels/c/0/0/0").write_bytes(b"x")
    (tmp_path / "hurt.zarr/other/zarr.json").write_text(
        (tmp_path / "hurt.zarr/other/zarr.json").read_text().replace("bytes", "nosuch")
    )
    done = segpipe("inspect", "hurt.zarr")
    assert done.code == 0
    assert "chunk c/0/0/0" in done.out
    assert "a codec that is not installed" in " ".join(done.out.split())
    assert "2 chunks, 6,144 pixels" in done.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ('{"zarr_format": 3, "node_type": "array", "shape": [-1, 4, 4]}', "shape [-1, 4, 4]"),
        ('{"zarr_format": 3, "node_type": "grp"}', "node_type 'grp'"),
    ],
)
def test_an_array_whose_metadata_cannot_be_read_is_told(
    segpipe: Segpipe, tmp_path: Path, content: str, words: str
) -> None:
    """It is what one looks for, and not to be left out in silence."""
    _store(tmp_path / "truth.zarr")
    (tmp_path / "truth.zarr/labels/zarr.json").write_text(content)
    done = segpipe("inspect", "truth.zarr")
    assert done.code == 0
    assert words in " ".join(done.out.split())
    assert "array labels" in " ".join(done.out.split())


HOSTILE = "evil\x1b[2J\x9b31m\u202e"


def test_hostile_stores_take_no_memory_and_obey_no_terminal(segpipe: Segpipe, tmp_path: Path) -> None:
    """Names with control characters, and shapes and chunks that no machine holds."""
    group = zarr.create_group(tmp_path / "odd.zarr")
    for name in (HOSTILE, "chunk", "shape", "wide"):
        group.create_array(
            name, shape=(4, 8, 8), dtype="u1", chunks=(1, 8, 8), dimension_names=["image", HOSTILE, "x"]
        )
        group[name][...] = 1  # type: ignore[index]
    for name, change in (
        (
            "chunk",
            {
                "shape": [10**6] * 3,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6] * 3}},
            },
        ),
        ("shape", {"shape": [10**15, 8, 8]}),
        ("wide", {"attributes": {"note": "x" * (1 << 20)}}),
    ):
        path = tmp_path / "odd.zarr" / name / "zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    tracemalloc.start()
    done = segpipe("inspect", "odd.zarr")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.code == 0
    assert peak < 48 << 20
    assert not {"\x1b", "\x9b", "\u202e"} & set(done.out + done.err)
    assert "GiB each" in done.out
    assert "images, expected at most 100,000,000" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere.zarr", "no such folder"),
        ("truth.zarr::lables", "the arrays of the store are: labels"),
        ("s3://user:secret@host/x", "credentials do not belong"),
        ("", "the address cannot be used"),
    ],
)
def test_addresses_that_lead_nowhere_are_exit_code_1(
    segpipe: Segpipe, tmp_path: Path, address: str, words: str
) -> None:
    """In words, and without repeating what may be a password."""
    _store(tmp_path / "truth.zarr")
    done = segpipe("inspect", address)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert "secret" not in done.err
