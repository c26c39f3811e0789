"""Objects of truth that are too small to count are ignored, whatever is predicted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from segpipe.errors import ConfigError, InputError
from segpipe.run.compared import compare
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.run.record import read_json
from segpipe.run.stages import preview
from tests.run.datasets import (
    CLASSES,
    IGNORE,
    extended_matrix,
    figures,
    image_ids,
    label_maps,
    pair_config,
    write_stacked,
)
from tests.run.test_statistics import config as score_config
from tests.run.test_statistics import dataset, write_scores

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


def test_small_objects_of_the_prediction_are_ignored_too(pair: Path) -> None:
    """Each side's objects are told on its own label map; statistics see the same pixels."""
    truth, pred = label_maps()
    specks = ignored_where_small(pred, 40, 8) == IGNORE
    changed = np.where(specks, IGNORE, ignored_where_small(truth, 40, 8)).astype(np.uint8)
    assert 0 < (specks & (truth != IGNORE)).mean() < 0.9
    statistics = ["boundary_iou", "components"]
    run = evaluate(pair_config(pair, small_objects={**EIGHT, "in_pred": True}, statistics=statistics))
    np.testing.assert_array_equal(confusion(run), extended_matrix(changed, pred))
    report = (run / "report.md").read_text()
    assert "Objects of truth and objects of the prediction of fewer than 40 px (connectivity 8) are" in report
    write_stacked(pair / "changed.zarr", changed, ids=image_ids(40))
    other = evaluate(pair_config(pair, truth=f"{pair}/changed.zarr::labels", statistics=statistics))
    for name in ("boundary_iou_both_total", "components_confirmed_total", "components_pred_total"):
        with xr.open_zarr(run / "results.zarr") as one, xr.open_zarr(other / "results.zarr") as same:
            np.testing.assert_array_equal(one[name].values, same[name].values)


def test_models_counted_along_lose_their_own_specks(pair: Path) -> None:
    """What is ignored of one prediction is not ignored of another."""
    _, pred = label_maps()
    calm = np.zeros_like(pred)
    write_stacked(pair / "calm.zarr", calm, ids=image_ids(40))
    given: dict[str, Any] = {"small_objects": {**EIGHT, "in_pred": True}}
    along = evaluate_models(pair_config(pair, also={"calm": f"{pair}/calm.zarr::labels"}, **given))
    alone = evaluate(pair_config(pair, pred=f"{pair}/calm.zarr::labels", results=f"{pair}/alone", **given))
    np.testing.assert_array_equal(confusion(along[1]), confusion(alone))
    assert confusion(along[0])[-2].sum() > confusion(along[1])[-2].sum()


def test_runs_that_left_out_other_objects_are_not_compared(pair: Path) -> None:
    """With what differs."""
    runs = [evaluate(pair_config(pair)), evaluate(pair_config(pair, small_objects=EIGHT))]
    words = "small_objects: none in run A, min_object_px 40, connectivity 8, in_pred False in run B"
    with pytest.raises(InputError, match=words):
        compare(*runs)


def test_scores_cannot_be_counted_before_predicted_objects_are_known(tmp_path: Path) -> None:
    """Refused by the plan."""
    truth, scores = dataset()
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(len(truth)))
    write_scores(tmp_path / "pred.zarr", scores)
    given = {"statistics": ["soft_overlap"], "small_objects": {**EIGHT, "in_pred": True}}
    with pytest.raises(InputError, match=r"small_objects.in_pred, for soft_overlap, expected statistics of"):
        preview(score_config(tmp_path, **given))


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
