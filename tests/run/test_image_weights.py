"""Weights of images through a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError, InputError
from segpipe.planning.plan import make_plan
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import open_run
from segpipe.run.record import read_json
from tests.run.datasets import CLASSES, image_ids, label_maps, pair_config

WEIGHTS = np.round(np.random.default_rng(3).random(40) * 3, 2)


def weighted(folder: Path, column: str = "weight", **settings: object) -> EvaluationConfig:
    """The pair with a table of weights."""
    rows = [f"{name},{weight},{-weight},x" for name, weight in zip(image_ids(40), WEIGHTS, strict=True)]
    (folder / "weights.csv").write_text("\n".join(["id,weight,minus,text", *rows]) + "\n")
    table = {"path": f"{folder}/weights.csv"}
    return pair_config(folder, image_table=table, image_weights=column, **settings)


def test_weights_score_and_recount_nothing(pair: Path, reads: list[str]) -> None:
    """IoU of weighted pixels, groups of classes too; counts stay; the report says so."""
    plain = evaluate(pair_config(pair))
    reads.clear()
    run = evaluate(weighted(pair, classes={"names": CLASSES, "groups": {"moving": ["car", "person"]}}))
    assert read_json(run / "counted.json")["counted"] == 0
    assert reads == []

    truth, pred = label_maps()
    weight = np.broadcast_to(WEIGHTS[:, None, None], truth.shape)
    document = json.loads((run / "scores.json").read_text())
    for classes, row in (((1,), document["classes"][1]), ((1, 2), document["groups"]["groups"][0])):
        true, found = np.isin(truth, classes), np.isin(pred, classes) & (truth != 255)
        assert row["truth_pixels"] == pytest.approx(weight[true].sum(), rel=1e-7)
        assert row["iou"] == pytest.approx(weight[true & found].sum() / weight[true | found].sum(), rel=1e-7)
    assert document["counts"] == json.loads((plain / "scores.json").read_text())["counts"]
    assert document["rules"]["image_weights"] == "weight"
    report = (run / "report.md").read_text()
    assert "Images are weighted by the metadata column weight" in report

    opened = open_run(run)
    assert opened.computed["mean_iou"] == document["aggregates"]["mean_iou"]["value"]
    assert opened.per_class["truth_pixels"].values[1] == document["classes"][1]["truth_pixels"]
    by = opened.score(["iou"], by="weather")
    chosen = np.arange(40) % 3 == 1
    true, found = truth[chosen] == 1, (pred[chosen] == 1) & (truth[chosen] != 255)
    iou = weight[chosen][true & found].sum() / weight[chosen][true | found].sum()
    assert by["iou"].sel(weather="fog", class_name="car").item() == pytest.approx(iou, rel=1e-7)


def test_bad_weights_are_told_before_anything_is_counted(pair: Path) -> None:
    """By the plan, with every image."""
    with pytest.raises(
        InputError, match=r"image weight: found -\d.* in the column 'minus', expected 0, or a"
    ):
        make_plan(weighted(pair, "minus"))
    with pytest.raises(ConfigError, match="image_weights: the column 'text' holds text"):
        make_plan(weighted(pair, "text"))
    with pytest.raises(ConfigError, match="no metadata column 'wieght'; there are: weather, weight"):
        make_plan(weighted(pair, "wieght"))
