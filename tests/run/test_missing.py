"""Chunks and images that are not there: an error that says what to do, or the rule that the config names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from segpipe.errors import InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.run.datasets import CLASSES, extended_matrix, image_ids, label_maps, pair_config, write_stacked

K = len(CLASSES)


def matrix(run: Path) -> Any:
    """The summed extended matrix of a run."""
    with xr.open_zarr(run / "results.zarr") as results:
        return results["confusion"].values


def lose(pair: Path, side: str = "pred", *keys: str) -> None:
    """Delete chunks of a store."""
    for key in keys or ("1/0/0", "1/1/0"):
        (pair / f"{side}.zarr" / "labels" / "c" / key).unlink()


def test_lost_chunks_are_an_error_that_tells_the_one_line(pair: Path) -> None:
    """The message says how many chunks, where, what they would be read as, and the line to add."""
    lose(pair)
    with pytest.raises(InputError) as caught:
        evaluate(pair_config(pair))

    text = str(caught.value)
    assert "found 2 of 14 chunks absent, to be read as the fill value 0 (class road)" in text
    assert "pred" in text
    assert "pred.zarr, array labels, chunk c/1/0/0, c/1/1/0" in text
    assert "missing_chunks: are_fill_value" in text
    assert caught.value.exit_code == 1
    assert not list((pair / "results").rglob("MANIFEST.json"))


def test_fill_value_that_is_no_class_is_named(tmp_path: Path) -> None:
    """A lost chunk whose fill value names no class is told as what it would be."""
    truth, pred = label_maps(8)
    write_stacked(tmp_path / "truth.zarr", truth, fill_value=255)
    write_stacked(tmp_path / "pred.zarr", pred, fill_value=99)
    (tmp_path / "truth.zarr/labels/c/0/0/0").unlink()
    (tmp_path / "pred.zarr/labels/c/1/0/0").unlink()

    with pytest.raises(InputError, match=r"fill value 255 \(ignored\)") as caught:
        evaluate(pair_config(tmp_path))
    assert "fill value 99 (an invalid label)" in str(caught.value)


def test_empty_inner_chunks_of_a_shard_are_found_when_counting(tmp_path: Path, reads: list[str]) -> None:
    """A shard that lacks an inner chunk is judged by the same rule, and another rule reads nothing."""
    truth, pred = label_maps(8)
    pred[2:4] = 0
    write_stacked(tmp_path / "truth.zarr", truth)
    options = {"chunks": (2, 24, 32), "shards": (8, 24, 32), "config": {"write_empty_chunks": False}}
    write_stacked(tmp_path / "pred.zarr", pred, **options)

    with pytest.raises(InputError) as caught:
        evaluate(pair_config(tmp_path))
    assert [problem.image for problem in caught.value.problems] == ["2", "3"]
    assert "missing_chunks: are_fill_value" in str(caught.value)
    reads.clear()
    run = evaluate(pair_config(tmp_path, missing_chunks="are_fill_value"))
    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(run))
    assert reads == []


def test_absent_predictions_can_count_as_void(pair: Path, reads: list[str]) -> None:
    """`count_as_void`: pixels under lost chunks of pred are misses, of truth they are ignored."""
    truth, pred = label_maps()
    lose(pair)
    lose(pair, "truth", "2/0/0")
    run = evaluate(pair_config(pair, missing_chunks="count_as_void"))

    there = np.ones_like(truth, bool)
    there[6:12] = False
    seen = truth.copy()
    seen[8:12] = 255
    expected = extended_matrix(seen[there], pred[there])
    values, counts = np.unique(seen[~there], return_counts=True)
    for value, count in zip(values, counts, strict=True):
        expected[value if value < K else K, K] += count
    np.testing.assert_array_equal(expected, matrix(run))


def test_images_with_absent_chunks_can_be_skipped(pair: Path, reads: list[str]) -> None:
    """`skip` leaves the images out, lowers the coverage, and reads nothing again."""
    truth, pred = label_maps()
    lose(pair)
    evaluate(pair_config(pair, missing_chunks="count_as_void"))
    reads.clear()
    run = evaluate(pair_config(pair, missing_chunks="skip"))

    kept = np.r_[0:6, 12:40]
    np.testing.assert_array_equal(extended_matrix(truth[kept], pred[kept]), matrix(run))
    assert reads == []
    assert "34 counted of 40 planned, 6 skipped" in (run / "report.md").read_text()


def test_store_may_declare_its_absent_chunks(pair: Path) -> None:
    """A store's attribute `segpipe: {missing_chunks: are_fill_value}` stands for the line of the config."""
    lose(pair)
    zarr.open_group(pair / "pred.zarr")["labels"].attrs["segpipe"] = {"missing_chunks": "are_fill_value"}
    truth, pred = label_maps()
    pred[6:12] = 0

    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(evaluate(pair_config(pair))))


def test_missing_predictions_are_all_listed(tmp_path: Path) -> None:
    """Images without a prediction are an error that lists them all; by setting they are skipped or void."""
    truth, pred = label_maps(12)
    ids = image_ids(12)
    write_stacked(tmp_path / "truth.zarr", truth, ids=ids)
    write_stacked(tmp_path / "pred.zarr", pred[:9][::-1], ids=ids[:9][::-1])

    with pytest.raises(InputError) as caught:
        evaluate(pair_config(tmp_path))
    assert [problem.image for problem in caught.value.problems] == ids[9:]
    assert "on_missing_pred: skip" in str(caught.value)

    skipped = evaluate(pair_config(tmp_path, on_missing_pred="skip"))
    np.testing.assert_array_equal(extended_matrix(truth[:9], pred[:9]), matrix(skipped))
    assert "9 counted of 12 planned, 3 skipped" in (skipped / "report.md").read_text()

    void = evaluate(pair_config(tmp_path, on_missing_pred="count_as_void"))
    expected = extended_matrix(truth[:9], pred[:9])
    values, counts = np.unique(truth[9:], return_counts=True)
    for value, count in zip(values, counts, strict=True):
        expected[value if value < K else K, K] += count
    np.testing.assert_array_equal(expected, matrix(void))
    assert read_json(void / "counted.json")["counted"] == 1


def test_images_are_matched_by_id_not_by_position(tmp_path: Path, reads: list[str]) -> None:
    """Predictions in another order give the same counts, and the report tells what that costs."""
    truth, pred = label_maps(40)
    order = np.random.default_rng(5).permutation(40)
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(40))
    write_stacked(tmp_path / "pred.zarr", pred[order], ids=[image_ids(40)[index] for index in order])
    run = evaluate(pair_config(tmp_path, max_read_amplification=8, bucket_images=4))

    np.testing.assert_array_equal(extended_matrix(truth, pred), matrix(run))
    assert "chunked or ordered differently" in (run / "report.md").read_text()
