"""The demo dataset: the figures of both models are those that scikit-learn makes of the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
import zarr
from sklearn.metrics import confusion_matrix

from segpipe.config import make_config
from segpipe.run.evaluate import evaluate


@pytest.mark.parametrize("model", ["model_a", "model_b"])
def test_figures_are_those_of_scikit_learn(demo_small: Path, tmp_path: Path, model: str) -> None:
    """The summed matrix, and the IoU of every class that occurs, with no tolerance."""
    run = evaluate(
        make_config(
            {
                "truth": f"{demo_small}/truth.zarr::labels",
                "pred": f"{demo_small}/{model}.zarr::labels",
                "classes": "cityscapes",
                "ignore_labels": [255],
                "results": str(tmp_path),
                "cluster": "threads",
            }
        )
    )
    truth, pred = (_labels(demo_small / name) for name in ("truth.zarr", f"{model}.zarr"))
    counted = truth != 255
    expected = confusion_matrix(truth[counted], pred[counted], labels=range(19))

    with xr.open_zarr(run / "results.zarr") as results:
        np.testing.assert_array_equal(results["confusion"].values[:19, :19], expected)
        union = expected.sum(0) + expected.sum(1) - np.diag(expected)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(results["iou"].values, np.diag(expected) / union)


def _labels(store: Path) -> Any:
    return np.asarray(cast(Any, zarr.open_group(store, mode="r")["labels"]))
