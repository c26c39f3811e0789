"""Real label maps, where they are at hand: every figure is the one that scikit-learn makes of the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
import zarr
from sklearn.metrics import confusion_matrix

from segpipe.config import make_config
from segpipe.errors import InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json

SPINE_LABELS = (0, 26, 41, 42, 43, 44, 45, 46, 47, 48, 49, 60, 61, 62, 100)

STORES: dict[str, dict[str, Any]] = {
    "ragged_deeplab2": {"classes": 7, "layout": "grouped", "missing_chunks": "are_fill_value"},
    "ragged_ade": {
        "classes": 150,
        "layout": "grouped",
        "ignore_labels": [0],
        "remap": {label: label - 1 for label in range(1, 151)},
    },
    "spine": {
        "classes": [f"label {label}" for label in SPINE_LABELS],
        "remap": {label: class_id for class_id, label in enumerate(SPINE_LABELS)},
        "missing_chunks": "are_fill_value",
    },
}


@pytest.mark.parametrize("bucket_images", [1, 64])
@pytest.mark.parametrize("name", STORES)
def test_figures_are_those_of_scikit_learn(
    shared_data: Path, tmp_path: Path, name: str, bucket_images: int
) -> None:
    """Matrix of every image, summed matrix, IoU of every class and their mean: all equal, no tolerance."""
    settings = STORES[name]
    store = shared_data / f"{name}.zarr"
    config = make_config(
        {
            "truth": f"{store}::truth",
            "pred": f"{store}::pred",
            "results": f"{tmp_path}/results",
            "cluster": "threads",
            "bucket_images": bucket_images,
            **settings,
        }
    )
    run = evaluate(config)
    num_classes = len(config.classes.names)
    expected = dict(_matrices(store, settings, num_classes))

    with xr.open_zarr(run / "results.zarr") as results:
        classes = results["confusion"].values[:num_classes, :num_classes]
        iou = results["iou"].values
        assert set(results["image"].values.tolist()) == set(expected)
        for place, image in enumerate(results["image"].values.tolist()):
            np.testing.assert_array_equal(_of_image(results, place, num_classes), expected[image])
    total = sum(expected.values())
    np.testing.assert_array_equal(classes, total)
    union = total.sum(0) + total.sum(1) - np.diag(total)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(iou, np.diag(total) / union)
    assert _mean_iou(run) == pytest.approx(np.mean((np.diag(total) / union.clip(1))[union > 0]), rel=1e-15)


def test_absent_chunks_of_the_spine_are_told(shared_data: Path, tmp_path: Path) -> None:
    """Without the declaration the run is refused, and says how many chunks are absent, in both arrays."""
    store = shared_data / "spine.zarr"
    undeclared = {key: value for key, value in STORES["spine"].items() if key != "missing_chunks"}
    values = {"truth": f"{store}::truth", "pred": f"{store}::pred", "results": str(tmp_path), **undeclared}
    with pytest.raises(InputError, match=r"found 6 of 20 chunks absent.*\n.*found 6 of 20 chunks absent"):
        evaluate(make_config(values))


def _matrices(store: Path, settings: dict[str, Any], num_classes: int) -> Iterator[tuple[str, Any]]:
    """Image id and scikit-learn's matrix of its pixels, those of ignored truth left out."""
    remap = settings.get("remap", {class_id: class_id for class_id in range(num_classes)})
    group = zarr.open_group(store, mode="r")
    for image, truth, pred in _images(group, settings.get("layout") == "grouped"):
        counted = ~np.isin(truth, settings.get("ignore_labels", []))
        pair = ([remap[label] for label in side[counted].tolist()] for side in (truth, pred))
        yield image, confusion_matrix(*pair, labels=range(num_classes))


def _images(group: zarr.Group, grouped: bool) -> Iterator[tuple[str, Any, Any]]:
    truth, pred = cast(Any, group["truth"]), cast(Any, group["pred"])
    for name in sorted(truth.array_keys()) if grouped else range(truth.shape[0]):
        yield str(name), np.asarray(truth[name]), np.asarray(pred[name])


def _of_image(results: xr.Dataset, place: int, num_classes: int) -> Any:
    """The classes of the stored sparse matrix of one image."""
    cells = slice(*results["cell_offset"].values[place : place + 2].tolist())
    codes = num_classes + 2
    matrix = np.zeros((codes, codes), np.int64)
    truth, pred = results["cell_truth"].values[cells], results["cell_pred"].values[cells]
    matrix[truth, pred] = results["cell_pixels"].values[cells]
    return matrix[:num_classes, :num_classes]


def _mean_iou(run: Path) -> float:
    return float(read_json(run / "scores.json")["aggregates"]["mean_iou"]["value"])
