"""Intervals and distributions through a whole run: asked for in the configuration, told in every report."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from segpipe.cli import commands, guarded
from segpipe.errors import ConfigError
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import Run, open_run
from segpipe.run.stages import preview
from tests.run.datasets import CLASSES, figures, pair_config, write_pair

ASKED = {"replicates": 200, "per_class": True, "cluster_by": "weather"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of a pair."""
    made = tmp_path_factory.mktemp("intervals")
    write_pair(made)
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """A run with intervals over clusters."""
    return open_run(evaluate(pair_config(folder, intervals=ASKED)))


def test_every_report_tells_the_intervals(run: Run) -> None:
    """The same ones in scores.json, per_class.csv, results.zarr and report.md, with what to know of them."""
    document = json.loads((run.path / "scores.json").read_text())
    mean = document["aggregates"]["mean_iou"]
    low, high = mean["interval"]["low"], mean["interval"]["high"]
    assert 0 < low <= mean["value"] <= high < 1
    assert mean["interval"]["clusters"] == 3
    assert document["rules"]["intervals"]["cluster_by"] == "weather"
    with (run.path / "per_class.csv").open() as file:
        (road, *_) = csv.DictReader(file)
    assert float(road["iou_low"]) == document["classes"][0]["iou_low"] <= float(road["iou"])
    stored = xr.open_dataset(run.path / "results.zarr", engine="zarr", chunks=None)
    assert stored["mean_iou"].attrs["interval"]["high"] == high
    assert float(stored["iou_low"][0]) == float(road["iou_low"])
    report = (run.path / "report.md").read_text()
    assert f"| {low:.4f} to {high:.4f} |" in report
    assert "few clusters (3)" in report
    assert "Intervals of 95 % over clusters of images (weather): percentiles of 200 datasets" in report


def test_an_opened_run_makes_intervals_of_other_rules(run: Run) -> None:
    """Those of its own configuration if nothing is said; no label map is read."""
    assert run.intervals()["mean_iou"] == run.computed["mean_iou"]
    assert run.intervals().headline.interval == run.computed.headline.interval
    other = run.intervals({"method": "jackknife", "level": 0.8})
    assert other.headline.interval is not None
    assert (other.headline.interval.clusters, other.headline.interval.level) == (40, 0.8)
    assert other.class_intervals == {}
    with pytest.raises(ConfigError, match=r"no metadata column 'wether'; .* did you mean weather\?"):
        run.intervals({"cluster_by": "wether"})


def test_a_column_that_is_not_there_is_told_before_anything_is_counted(folder: Path) -> None:
    """By the plan."""
    with pytest.raises(ConfigError, match="no metadata column 'video'; there are: weather"):
        preview(pair_config(folder, intervals={"cluster_by": "video"}))


def test_intervals_do_not_depend_on_how_images_were_counted(folder: Path, run: Run) -> None:
    """Other buckets, one thread: every byte is the same."""
    settings: dict[str, Any] = {"bucket_images": 3, "cluster": {"kind": "threads", "threads": 1}}
    again = evaluate(pair_config(folder, intervals=ASKED, results=f"{folder}/again", **settings))
    assert figures(again) == figures(run.path)


def test_distributions_are_told(run: Run) -> None:
    """One row per metric and class in the file and in scores.json; a table in the report."""
    with (run.path / "per_class_distribution.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["class_name"]) for row in rows] == [
        (metric, name) for metric in ("iou", "dice") for name in CLASSES
    ]
    document = json.loads((run.path / "scores.json").read_text())
    assert [float(row["median"]) for row in rows] == [row["median"] for row in document["distributions"]]
    assert {row["images"] for row in rows} == {"40"}
    assert "## IoU of the images that have the class" in (run.path / "report.md").read_text()


def told(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> str:
    assert guarded(lambda: commands.main(list(words), "segpipe", standalone_mode=False), as_json=False) == 0
    return capsys.readouterr().out


def test_the_command_prints_intervals(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every score and of the classes; as JSON the whole document."""
    text = told(capsys, ["report", str(run.path), "--intervals"])
    interval = run.computed.headline.interval
    assert interval is not None
    assert f"{interval.low:.4f} to {interval.high:.4f}" in text
    assert "Intervals of the classes" in text
    document = json.loads(told(capsys, ["report", str(run.path), "--intervals", "--json"]))
    assert document["aggregates"]["mean_iou"]["interval"]["low"] == interval.low
