"""What runs with damaged chunks or invalid labels leave behind; the damage itself: test_damage_table.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from segpipe.errors import IncompleteError, InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.run.datasets import extended_matrix, figures, image_ids, label_maps, pair_config


@pytest.mark.parametrize("cluster", ["threads", {"kind": "local", "workers": 1}], ids=["threads", "dask"])
def test_a_repaired_chunk_needs_one_bucket(pair: Path, cluster: Any) -> None:
    """Exit 3 on threads and on Dask; all others are counted right, and are not counted again afterwards."""
    chunk = pair / "pred.zarr" / "labels" / "c" / "2" / "1" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-9])
    with pytest.raises(IncompleteError, match=r"6 of 40 images could not be counted(.|\n)*c/2/1/0") as caught:
        evaluate(pair_config(pair, cluster=cluster))

    assert {problem.image for problem in caught.value.problems} == set(image_ids(40)[12:18])
    run = max((pair / "results" / "suite" / "model" / "runs").glob("0*"))
    truth, pred = label_maps()
    kept = np.r_[0:12, 18:40]
    with xr.open_zarr(run / "results.zarr") as results:
        np.testing.assert_array_equal(extended_matrix(truth[kept], pred[kept]), results["confusion"].values)

    chunk.write_bytes(whole)
    repaired = evaluate(pair_config(pair))
    assert read_json(repaired / "counted.json")["counted"] == 1
    assert figures(repaired) == figures(evaluate(pair_config(pair, results=f"{pair}/fresh")))


def test_allowed_quarantine_is_complete(pair: Path) -> None:
    """`max_quarantined` lets a run be complete, and the report still tells what is not in it."""
    (pair / "pred.zarr/labels/c/2/1/0").write_bytes(b"")
    run = evaluate(pair_config(pair, max_quarantined=6))

    assert "34 counted of 40 planned, 0 skipped, 6 quarantined" in (run / "report.md").read_text()
    assert (pair / "results" / "suite" / "model" / "latest.json").exists()


def test_invalid_labels_are_listed_with_places_and_values(pair: Path, reads: list[str]) -> None:
    """All images with labels that no rule names are told at the end; another policy reads no pixel."""
    truth, pred = label_maps()
    pred[3, 5, 7], pred[30, 1, 0], truth[9, 20, 3] = 200, 255, 77
    for name, labels in (("truth", truth), ("pred", pred)):
        _rewrite(pair, name, labels)
    with pytest.raises(InputError) as caught:
        evaluate(pair_config(pair))

    text = str(caught.value)
    assert "label 200 in 1 pixels, first at (y, x) = (5, 7)" in text
    assert "label 77 in 1 pixels, first at (y, x) = (20, 3)" in text
    assert "say void_labels: [255]" in text
    assert [problem.image for problem in caught.value.problems] == ["img_003", "img_009", "img_030"]
    reads.clear()

    run = evaluate(pair_config(pair, invalid_truth="ignore", invalid_pred="count_as_miss"))
    assert reads == []
    with xr.open_zarr(run / "results.zarr") as results:
        np.testing.assert_array_equal(extended_matrix(truth, pred), results["confusion"].values)
    assert "2 images hold labels in pred that no rule names: 2 pixels" in (run / "report.md").read_text()


def _rewrite(pair: Path, name: str, labels: Any) -> None:
    zarr.open_group(pair / f"{name}.zarr")["labels"][...] = labels
