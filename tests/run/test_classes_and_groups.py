"""Groups, raw ids and many classes through a whole run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segpipe.errors import InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import open_run
from tests.run.datasets import CLASSES, label_maps, pair_config, write_stacked
from tests.run.test_recount import counted

GROUPS = {"moving": ["car", "person"], "alive": ["person", "tree"], "ground": ["road"]}


def scores_of(run: Path) -> Any:
    return json.loads((run / "scores.json").read_text())


def test_groups_are_in_every_result(pair: Path) -> None:
    """scores.json, per_group.csv, report.md and results.zarr tell the same, and what pixels say."""
    run = evaluate(pair_config(pair, classes={"names": CLASSES, "groups": GROUPS}))
    truth, pred = label_maps()
    valid = truth != 255
    moving = np.isin(truth, (1, 2)) & valid, np.isin(pred, (1, 2)) & valid
    iou = (moving[0] & moving[1]).sum() / (moving[0] | moving[1]).sum()

    document = scores_of(run)["groups"]
    assert document["overlap"] is True
    assert document["groups"][0]["group_name"] == "moving"
    assert document["groups"][0]["classes"] == ["car", "person"]
    assert document["groups"][0]["iou"] == pytest.approx(iou, abs=1e-15)
    assert document["groups"][0]["truth_pixels"] == int(moving[0].sum())
    with (run / "per_group.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["group_name"] for row in rows] == list(GROUPS)
    assert rows[1]["classes"] == "person, tree"
    assert float(rows[0]["iou"]) == document["groups"][0]["iou"]
    report = (run / "report.md").read_text()
    assert "## Groups of classes (they overlap)" in report
    assert "| `moving` | `car, person` |" in report
    opened = open_run(run)
    assert opened.per_group["iou"].sel(group_name="moving").item() == document["groups"][0]["iou"]
    assert opened.scores["group_mean_iou"].item() == document["aggregates"]["mean_iou"]["value"]
    assert opened.computed.groups is not None
    assert opened.computed.groups["mean_iou"] == document["aggregates"]["mean_iou"]["value"]


def test_regrouping_counts_nothing_again(pair: Path, reads: list[str]) -> None:
    """Groups are scored from stored counts, and change no figure of the classes."""
    plain = evaluate(pair_config(pair))
    reads.clear()
    for groups in (GROUPS, {"all": list(CLASSES)}, {"a": ["road"], "b": ["sky"]}):
        config = pair_config(pair, classes={"names": CLASSES, "groups": groups})
        assert counted(config) == 0
    assert reads == []
    assert scores_of(plain)["groups"] is None
    assert (plain / "per_group.csv").read_text().count("\n") == 1


def test_sparse_ids_are_the_same_labels_renumbered(
    pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Raw ids 0, 26, 41, 200 and 40000 score as the classes 0 to 4; every value between them is invalid."""
    other = tmp_path_factory.mktemp("ids")
    ids = np.array([0, 26, 41, 200, 40000], np.uint16)
    truth, pred = label_maps()
    table = np.zeros(256, np.uint16)
    table[:5], table[255] = ids, 65535
    write_stacked(other / "truth.zarr", table[truth])
    write_stacked(other / "pred.zarr", table[pred], chunks=(6, 12, 32))
    settings = {"classes": {"names": CLASSES, "ids": ids.tolist()}, "ignore_labels": [65535]}

    run, plain = evaluate(pair_config(other, **settings)), evaluate(pair_config(pair))
    assert scores_of(run)["classes"] == scores_of(plain)["classes"]
    assert "Label values are remapped;" in (run / "report.md").read_text()


def test_reduced_zero_label_scores_as_the_labels_less_one(
    pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Truth of 1..5 with 0 for nothing, against predictions of 0..4, as scene parsing sets have it."""
    other = tmp_path_factory.mktemp("zero")
    truth, pred = label_maps()
    write_stacked(other / "truth.zarr", np.where(truth == 255, 0, truth + 1).astype(np.uint8))
    write_stacked(other / "pred.zarr", pred, chunks=(6, 12, 32))
    reduced = {"store": f"{other}/truth.zarr", "array": "labels", "reduce_zero_label": True}

    run = evaluate(pair_config(other, truth=reduced, ignore_labels=[]))
    plain = evaluate(pair_config(pair))
    assert scores_of(run)["classes"] == scores_of(plain)["classes"]
    words = "class ids + 1, and 0 is no class (reduce_zero_label) in truth, class ids in predictions"
    assert words in (run / "report.md").read_text().replace("\\", "")


def test_predictions_that_are_class_ids_already_are_told(pair: Path) -> None:
    """Label 0 in predictions under reduce_zero_label is an error, not a class, and the way out is named."""
    words = r"label 0 in \d+ pixels.*\n.*pred: \{store: ..., reduce_zero_label: false\}"
    with pytest.raises(InputError, match=f"(?s){words}"):
        evaluate(pair_config(pair, reduce_zero_label=True, invalid_truth="ignore"))


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_a_thousand_classes_work_end_to_end(tmp_path: Path, dtype: str) -> None:
    """1231 classes in wide labels, to every table, against a count of pairs by NumPy."""
    number = 1231
    rng = np.random.default_rng(5)
    truth = rng.integers(0, number, (6, 16, 24)).repeat(2, axis=2).astype(dtype)
    pred = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, number, truth.shape), truth).astype(dtype)
    truth[:, 0] = 65535
    write_stacked(tmp_path / "truth.zarr", truth, chunks=(2, 16, 48))
    write_stacked(tmp_path / "pred.zarr", pred, chunks=(3, 16, 48))
    run = evaluate(pair_config(tmp_path, classes=number, ignore_labels=[65535]))

    valid = truth != 65535
    pairs = truth[valid].astype(np.int64) * number + pred[valid]
    matrix = np.bincount(pairs, minlength=number**2).reshape(number, number)
    hit, union = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1) - np.diagonal(matrix)
    document = scores_of(run)
    assert [row["hit_pixels"] for row in document["classes"]] == hit.tolist()
    seen = union > 0
    assert document["aggregates"]["mean_iou"]["value"] == pytest.approx((hit[seen] / union[seen]).mean())
    assert document["counts"]["ignored"] == int((~valid).sum())
