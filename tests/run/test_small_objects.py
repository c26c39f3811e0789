"""Objects of truth that are too small to count are ignored, whatever is predicted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from segpipe.errors import ConfigError, InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.run.datasets import CLASSES, IGNORE, extended_matrix, figures, label_maps, pair_config

EIGHT = {"min_object_px": 40, "connectivity": 8}


def ignored_where_small(truth: Any, min_object_px: int, connectivity: int) -> Any:
    """Truth with small objects given the ignored label, by SciPy, class by class."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    changed = truth.copy()
    for image, labels in enumerate(truth):
        for class_id in range(len(CLASSES)):
            numbers, count = ndimage.label(labels == class_id, structure)
            sizes = ndimage.sum_labels(labels == class_id, numbers, np.arange(count + 1))
            small = (sizes < min_object_px) & (np.arange(count + 1) > 0)
            changed[image][small[numbers]] = IGNORE
    return changed


def confusion(run: Path) -> Any:
    with xr.open_zarr(run / "results.zarr") as results:
        return results["confusion"].values


@pytest.mark.parametrize("connectivity", [4, 8])
def test_small_objects_are_as_if_truth_were_ignored_there(pair: Path, connectivity: int) -> None:
    truth, pred = label_maps()
    changed = ignored_where_small(truth, 40, connectivity)
    assert 0 < (changed != truth).mean() < 0.9
    small = {"min_object_px": 40, "connectivity": connectivity}
    run = evaluate(pair_config(pair, small_objects=small))
    np.testing.assert_array_equal(confusion(run), extended_matrix(changed, pred))
    assert f"fewer than 40 px (connectivity {connectivity}) are ignored" in (run / "report.md").read_text()


def test_another_size_counts_again_and_none_finds_its_old_counts(pair: Path, reads: list[str]) -> None:
    plain = evaluate(pair_config(pair))
    first = evaluate(pair_config(pair, small_objects=EIGHT))
    other = evaluate(pair_config(pair, small_objects={**EIGHT, "min_object_px": 41}))
    assert [read_json(run / "counted.json")["hits"] for run in (plain, first, other)] == [0, 0, 0]
    reads.clear()
    assert figures(evaluate(pair_config(pair))) == figures(plain)
    assert figures(evaluate(pair_config(pair, small_objects=EIGHT))) == figures(first)
    assert reads == []


def test_buckets_and_workers_do_not_show(pair: Path) -> None:
    given: dict[str, Any] = {"small_objects": EIGHT, "statistics": ["boundary_iou"]}
    one = evaluate(pair_config(pair, results=f"{pair}/one", bucket_images=1, cluster="threads", **given))
    many = evaluate(pair_config(pair, results=f"{pair}/many", bucket_images=40, **given))
    np.testing.assert_array_equal(confusion(one), confusion(many))
    assert (one / "scores.json").read_bytes() == (many / "scores.json").read_bytes()


def test_a_connectivity_of_volumes_is_refused_for_images(pair: Path) -> None:
    words = r"connectivity 6 in 2 dimensions(.|\n)*expected 4 or 8 in images(.|\n)*small_objects.connectivity"
    with pytest.raises(InputError, match=words):
        evaluate(pair_config(pair, small_objects={"min_object_px": 40, "connectivity": 6}))


def test_a_size_that_drops_nothing_is_a_mistake(pair: Path) -> None:
    with pytest.raises(ConfigError, match=r"small_objects.min_object_px: .*greater than or equal to 2"):
        pair_config(pair, small_objects={"min_object_px": 1, "connectivity": 8})
