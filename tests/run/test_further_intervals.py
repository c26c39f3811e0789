"""Intervals, comparisons and gates of statistics and of groups of classes, through whole runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import segpipe
from segpipe.errors import ConfigError
from segpipe.reports.comparison_files import write_comparison
from segpipe.run.evaluate import evaluate
from segpipe.run.gated import gate
from segpipe.run.opened import Run, open_run
from tests.run.datasets import CLASSES, figures, image_ids, pair_config, write_pair, write_stacked

DRAWN = {"replicates": 100, "per_class": True, "cluster_by": "weather"}
GROUPS = {"names": list(CLASSES), "groups": {"moving": ["car", "person"], "still": ["road", "tree"]}}
BOUNDARY = [{"kind": "boundary_iou", "width_px": 2}, {"kind": "boundary_iou", "width_px": 1, "name": "thin"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair and, in worse.zarr, a prediction with more errors."""
    made = tmp_path_factory.mktemp("further")
    truth, pred = write_pair(made)
    worse = np.where(np.random.default_rng(5).random(truth.shape) < 0.1, 0, pred).astype(np.uint8)
    write_stacked(made / "worse.zarr", worse, ids=image_ids(40))
    return made


@pytest.fixture(scope="module")
def run_of(folder: Path) -> Callable[..., Run]:
    """Evaluates a prediction under some settings."""

    def run(model: str, **settings: Any) -> Run:
        given = {"classes": GROUPS, "statistics": BOUNDARY, "slices": ["weather"], **settings}
        pred = f"{folder}/{model}.zarr::labels"
        return open_run(evaluate(pair_config(folder, model=model, pred=pred, **given)))

    return run


@pytest.fixture(scope="module")
def runs(run_of: Callable[..., Run]) -> dict[str, Run]:
    """The worse run and the better one, with intervals."""
    return {name: run_of(name, intervals=DRAWN) for name in ("worse", "pred")}


def test_every_report_tells_the_intervals_of_statistics(runs: dict[str, Run]) -> None:
    """The same ones in scores.json, per_class.csv, results.zarr and report.md."""
    run = runs["pred"]
    document = json.loads((run.path / "scores.json").read_text())
    mean = document["statistics"][1]["aggregates"]["mean_boundary_iou_thin"]
    low, high = mean["interval"]["low"], mean["interval"]["high"]
    assert 0 < low <= mean["value"] <= high < 1
    assert mean["interval"]["clusters"] == 3
    over_images = document["statistics"][0]["aggregates"]["mean_boundary_iou_per_image"]
    assert over_images["interval"]["low"] <= over_images["value"] <= over_images["interval"]["high"]
    with (run.path / "per_class.csv").open() as file:
        (road, *_) = csv.DictReader(file)
    assert float(road["boundary_iou_thin_low"]) == document["classes"][0]["boundary_iou_thin_low"]
    with xr.open_zarr(run.path / "results.zarr") as stored:
        assert stored["mean_boundary_iou_thin"].attrs["interval"]["high"] == high
        assert float(stored["boundary_iou_thin_low"][0]) == float(road["boundary_iou_thin_low"])
    report = (run.path / "report.md").read_text()
    assert f"| mean_boundary_iou_thin | {mean['value']:.4f} | {low:.4f} to {high:.4f} | pooled |" in report
    assert "## Intervals of the classes: Boundary IoU (thin)" in report


def test_every_report_tells_the_intervals_of_groups(runs: dict[str, Run]) -> None:
    """Of each group, of their means, and of all groups together."""
    run = runs["pred"]
    document = json.loads((run.path / "scores.json").read_text())["groups"]
    moving = document["groups"][0]
    assert moving["iou_low"] <= moving["iou"] <= moving["iou_high"]
    for name in ("mean_iou", "pixel_accuracy"):
        one = document["aggregates"][name]
        assert 0 < one["interval"]["low"] <= one["value"] <= one["interval"]["high"]
    with (run.path / "per_group.csv").open() as file:
        (row, *_) = csv.DictReader(file)
    assert float(row["iou_low"]) == moving["iou_low"]
    with xr.open_zarr(run.path / "results.zarr") as stored:
        assert float(stored["group_iou_high"][0]) == moving["iou_high"]
    report = (run.path / "report.md").read_text()
    assert "## Intervals of the groups" in report
    assert f"| `moving` | {moving['iou_low']:.4f} to {moving['iou_high']:.4f} |" in report


def test_intervals_of_statistics_do_not_depend_on_how_images_were_counted(
    folder: Path, runs: dict[str, Run], run_of: Callable[..., Run]
) -> None:
    """Other buckets, one thread: every byte is the same; and without `intervals` there are none."""
    settings: dict[str, Any] = {"bucket_images": 3, "cluster": {"kind": "threads", "threads": 1}}
    again = run_of("pred", intervals=DRAWN, results=f"{folder}/again", **settings)
    assert figures(again.path) == figures(runs["pred"].path)
    plain = run_of("pred", results=f"{folder}/again")
    assert plain.computed.statistics[0].aggregates["mean_boundary_iou"].interval is None
    (one, *_) = plain.intervals({"replicates": 100}).statistics
    assert one.aggregates["mean_boundary_iou"].interval is not None
    assert one.class_intervals == {}


def test_statistics_and_groups_are_compared(runs: dict[str, Run]) -> None:
    """With the figures of the runs; a better prediction is seen to be better."""
    found = segpipe.compare(runs["worse"], runs["pred"], intervals={"replicates": 200})
    for name in ("mean_boundary_iou", "mean_boundary_iou_thin_per_image"):
        one = found.differences.aggregates[name]
        assert (one.a, one.b) == pytest.approx([runs[which].computed[name] for which in ("worse", "pred")])
        assert 0 < one.interval.low <= one.value <= one.interval.high
        assert one.p == pytest.approx(1 / 201)
    car = found.differences.per_class["boundary_iou_thin"][1]
    assert car.b == runs["pred"].computed.all_per_class["boundary_iou_thin"][1]
    assert car.p <= car.adjusted_p <= 1
    assert found.groups is not None
    moving = found.groups.per_class["iou"][0]
    assert moving.b == runs["pred"].computed.groups.per_class["iou"][0]  # type: ignore[union-attr]
    assert moving.improves is True
    for one_slice in found.slices:
        mean = one_slice.differences.aggregates["mean_iou"]
        assert mean.p <= mean.adjusted_p


def test_other_groups_are_left_out_and_it_is_told(runs: dict[str, Run], run_of: Callable[..., Run]) -> None:
    """One name may stand for other classes in run B; where only B has groups, that is told too."""
    others = run_of("pred", classes={**GROUPS, "groups": {"moving": ["car"], "still": ["road", "tree"]}})
    none = run_of("pred", classes=list(CLASSES))
    for pair in ((runs["worse"], others), (none, others)):
        found = segpipe.compare(*pair, metrics=["mean_iou"], intervals={"replicates": 100})
        assert found.groups is None
        assert "groups of classes: they are not the same in both runs" in found.left_out
    found = segpipe.compare(none, none, metrics=["mean_iou"], intervals={"replicates": 100})
    assert found.left_out == ()


def test_churn_against_another_prediction_is_not_compared(folder: Path, run_of: Callable[..., Run]) -> None:
    """Labels that flipped between a model and one second prediction say nothing of those of another."""
    others = [f"{folder}/{name}.zarr::labels" for name in ("worse", "pred")]
    a, b = (run_of("pred", statistics=["churn"], other_pred=other) for other in others)
    found = segpipe.compare(a, b, metrics=["churn"], intervals={"replicates": 100})
    assert found.left_out == ("churn: the second predictions (other_pred) are not the same",)
    assert found.statistics == ()


def test_only_what_is_asked_for_is_compared(runs: dict[str, Run], run_of: Callable[..., Run]) -> None:
    """By the names of figures; a statistic that was counted otherwise is left out, and why is told."""
    quick = {"intervals": {"replicates": 100}}
    found = segpipe.compare(runs["worse"], runs["pred"], metrics=["boundary_iou_thin"], **quick)
    assert [one.full_name for one in found.statistics] == ["boundary_iou_thin"]
    assert "mean_boundary_iou" not in found.differences.aggregates
    wide = run_of("pred", statistics=[{"kind": "boundary_iou", "width_px": 3}, "components"])
    other = segpipe.compare(runs["worse"], wide, **quick)
    assert other.statistics == ()
    assert other.left_out == (
        "boundary_iou: width_px is 2 in run A, 3 in run B",
        "boundary_iou_thin: only run A counted it",
        "components: only run B counted it",
    )
    with pytest.raises(ConfigError, match="no metric 'boundary_iuo'"):
        segpipe.compare(runs["worse"], runs["pred"], metrics=["boundary_iuo"])


def test_a_comparison_tells_statistics_and_groups(runs: dict[str, Run], tmp_path: Path) -> None:
    """In Markdown and as JSON, with adjusted p beside p where many are looked at."""
    found = segpipe.compare(runs["worse"], runs["pred"], intervals={"replicates": 100})
    segpipe_report, document = tmp_path / "c.md", tmp_path / "c.json"
    for path in (segpipe_report, document):
        write_comparison(path, found)
    text = segpipe_report.read_text()
    assert "## Boundary IoU (thin)\n\n| score | A | B | difference | interval | p | B is |" in text
    heads = "| class | A | B | difference | interval | p | adjusted p | B is |"
    assert f"## Boundary IoU (thin) of the classes\n\n{heads}" in text
    assert "## IoU of groups of classes\n\n| group |" in text
    plain = json.loads(document.read_text())
    assert plain["statistics"][1]["name"] == "thin"
    assert {row["group_name"] for row in plain["groups"]["groups"]} == {"moving", "still"}
    assert any(row["name"] == "boundary_iou" and row["adjusted_p"] >= row["p"] for row in plain["classes"])


def test_gates_hold_bounds_of_statistics_and_groups(runs: dict[str, Run]) -> None:
    """Those of the reports; of slices too, and of a drop without a bound."""
    run, fog = runs["pred"], {"weather": "fog"}
    scores = run.computed
    assert scores.groups is not None
    thin = scores.statistics[1]
    interval = thin.aggregates["mean_boundary_iou_thin"].interval
    assert interval is not None
    gates = [
        {"metric": "mean_boundary_iou_thin", "min": interval.low, "bound": "lower"},
        {"metric": "boundary_iou_thin", "class": "car", "max": 0.01, "bound": "upper"},
        {"metric": "iou", "group": "moving", "min": 0.1, "bound": "lower"},
        {"metric": "mean_boundary_iou", "slice": fog, "min": 0.99, "bound": "lower"},
        {"metric": "dice", "group": "still", "max_drop": 0.0, "baseline": str(runs["worse"].path)},
    ]
    report = gate(run.path, {"gates": gates, "intervals": DRAWN, "slices": ["weather"]})
    values = [one.value for one in report.verdicts]
    assert values[:3] == [
        interval.low,
        thin.class_intervals["boundary_iou_thin"][1].high,
        scores.groups.class_intervals["iou"][0].low,
    ]
    # All images of one weather are one cluster, so there is nothing to draw from.
    assert [one.passed for one in report.verdicts] == [True, False, True, False, True]
    assert "has no interval" in report.verdicts[3].reason
    alone = gate(run.path, {"gates": gates[3:4], "intervals": {"replicates": 100}, "slices": ["weather"]})
    assert 0 < alone.verdicts[0].value < scores.slices[1].values["mean_boundary_iou"]


def test_gates_hold_bounds_of_drops(runs: dict[str, Run]) -> None:
    """The interval of `compare`, of an aggregate, a class, a group, a slice and a statistic."""
    drawn = {"replicates": 100}
    found = segpipe.compare(runs["pred"], runs["worse"], intervals=drawn)
    assert found.groups is not None
    fog = next(one for one in found.slices if one.name == "fog").differences.aggregates["mean_iou"]
    asked = [
        ({"metric": "mean_iou"}, found.differences.aggregates["mean_iou"]),
        ({"metric": "iou", "class": "car"}, found.differences.per_class["iou"][1]),
        ({"metric": "iou", "group": "moving"}, found.groups.per_class["iou"][0]),
        ({"metric": "mean_iou", "slice": {"weather": "fog"}}, fog),
        ({"metric": "boundary_iou_thin", "class": "car"},
         found.differences.per_class["boundary_iou_thin"][1]),
        ({"metric": "mean_boundary_iou"}, found.differences.aggregates["mean_boundary_iou"]),
    ]  # fmt: skip
    common = {"max_drop": 0.05, "baseline": str(runs["pred"].path)}
    gates = [{**figure, **common, "bound": bound} for figure, _ in asked for bound in ("lower", "upper")]
    report = gate(runs["worse"].path, {"gates": gates, "intervals": drawn, "slices": ["weather"]})
    expected = [end for _, one in asked for end in (-one.interval.high, -one.interval.low)]
    assert [one.drop for one in report.verdicts] == expected
    assert [one.passed for one in report.verdicts] == [end <= 0.05 for end in expected]
    assert all(one.baseline > one.value for one in report.verdicts)


def test_a_drop_is_told_only_between_figures_of_the_same_thing(
    runs: dict[str, Run], run_of: Callable[..., Run]
) -> None:
    """Not where a statistic had other parameters, or a group other classes."""
    groups = {**GROUPS, "groups": {"moving": ["car"]}}
    other = run_of("pred", classes=groups, statistics=[{"kind": "boundary_iou", "width_px": 3}])
    common = {"max_drop": 1, "baseline": str(other.path)}
    gates = [{"metric": "mean_boundary_iou", **common}, {"metric": "iou", "group": "moving", **common},
             {"metric": "mean_boundary_iou_thin", **common}, {"metric": "mean_iou", **common}]  # fmt: skip
    verdicts = gate(runs["worse"].path, {"gates": gates}).verdicts
    assert "boundary_iou: width_px is 3 in run A, 2 in run B" in verdicts[0].reason
    assert "in the baseline the group 'moving' is not there, or has other classes" in verdicts[1].reason
    assert "boundary_iou_thin: only run B counted it" in verdicts[2].reason
    assert [one.passed for one in verdicts] == [False, False, False, True]
