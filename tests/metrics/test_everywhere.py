"""A metric of the registry is in every report, and one of a user's own package too."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from segpipe.errors import ConfigError
from segpipe.metrics.base import ALWAYS, METRICS
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.shares import confusion_shares
from segpipe.run.opened import open_run
from tests.conftest import REPOSITORY
from tests.finished import finish_run, random_matrices

every_metric = pytest.mark.parametrize("name", sorted(METRICS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_run(tmp_path_factory.mktemp("run") / "run", random_matrices(12))


@every_metric
def test_a_metric_is_in_every_report(run: Path, name: str) -> None:
    """Averages in scores.json, report.md and results.zarr; classes in per_class.csv; images in Parquet."""
    one = METRICS[name]
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    text = (run / "report.md").read_text("utf-8")
    with (run / "per_class.csv").open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))

    assert set(one.averages) <= set(scores["aggregates"])
    assert f"\n| {one.averages[0]} | {one.best:g} |" in text[text.index("## All scores") :]
    assert (name in header) == one.per_class
    assert (name in scores["classes"][0]) == one.per_class
    assert one.averages[0] in pd.read_parquet(run / "per_image.parquet").columns
    kept = pd.read_parquet(run / "per_image_class.parquet").columns
    assert (name in kept) == (one.per_class and one.by_image)
    with xr.open_zarr(run / "results.zarr") as found:
        assert found[one.averages[0]].attrs["formula"] == one.formula
        assert found[one.averages[0]].attrs["direction"] == one.direction
        assert ("valid_max" in found[one.averages[0]].attrs) == np.isfinite(one.maximum)
        assert set(one.averages) <= set(found.data_vars)


def test_the_report_stays_short_on_top(run: Path) -> None:
    """The first tables hold the main metrics; the long list comes after the classes and the confusions."""
    text = (run / "report.md").read_text("utf-8")
    first = text[text.index("## Scores") : text.index("## Classes to know of")]
    heads = ["## Scores", "## Classes\n", "## The most frequent confusions", "## All scores",
             "## Other scores of the classes", "## Pixels"]  # fmt: skip

    assert len(first.strip().splitlines()) <= 20
    assert "mcc" not in first
    assert [text.index(head) for head in heads] == sorted(text.index(head) for head in heads)
    assert "| mean_iou | 1 | 0." in text


def test_metrics_that_were_chosen_are_alone_in_the_reports(tmp_path: Path) -> None:
    """And the two that are always there."""
    run = finish_run(tmp_path / "run", random_matrices(3), rules=ScoringRules(metrics=("mcc", "recall")))
    found = json.loads((run / "scores.json").read_text("utf-8"))

    assert {one["metric"] for one in found["aggregates"].values()} == {*ALWAYS, "mcc", "recall"}
    assert list(pd.read_parquet(run / "per_image.parquet").columns)[-4:] == [
        "mean_iou", "mean_recall", "pixel_accuracy", "mcc",
    ]  # fmt: skip
    assert open_run(run).score(["dice"]).mean_dice.item() > 0


def test_an_unknown_metric_is_refused_before_anything_is_scored() -> None:
    """With a guess at what was meant."""
    with pytest.raises(ConfigError, match=r"no metric 'recal'; known: .*; did you mean recall\?"):
        ScoringRules(metrics=("recal",))


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_share_of_worst_images_is_a_percentage(percent: float) -> None:
    """More than none, at most all."""
    with pytest.raises(ConfigError, match=r"worst_percent: found .*, expected more than 0 and at most 100"):
        ScoringRules(worst_percent=percent)


@pytest.mark.parametrize(("by", "axis"), [("truth", 1), ("pred", 0), ("all", (0, 1))])
def test_a_normalised_confusion_matrix_adds_up_to_one(by: str, axis: int | tuple[int, int]) -> None:
    """Along rows, columns or all of it; NaN where there was nothing."""
    matrix = random_matrices(3).sum(axis=0)
    sums = confusion_shares(matrix, by).sum(axis=axis)  # type: ignore[arg-type]

    np.testing.assert_allclose(sums, np.where(matrix.sum(axis=axis) == 0, np.nan, 1.0))
    with pytest.raises(ConfigError, match="by: found 'row', expected one of truth, pred, all"):
        confusion_shares(matrix, "row")  # type: ignore[arg-type]


OWN_METRIC = '''
from segpipe.metrics.base import metric, ratio

@metric(title="Miss rate", formula="fn / t", per_class=True, best=0.0, nothing="NaN where t = 0",
        source="this package", undefined="left out", by_image=True)
def miss_rate(areas):
    """Missed share of the truth, (..., K). Range 0 to 1, best 0; NaN where the class is not in truth."""
    return ratio(areas.truth - areas.hit, areas.truth)
'''
PROGRAM = """
import sys
from pathlib import Path
from tests.finished import finish_run, random_matrices
finish_run(Path(sys.argv[1]), random_matrices(6))
"""


def test_a_metric_of_another_package_is_in_every_report(tmp_path: Path) -> None:
    """A package with an entry point and one function; nothing here knows its name."""
    site = tmp_path / "site"
    (site / "own-1.0.dist-info").mkdir(parents=True)
    (site / "own_metrics.py").write_text(OWN_METRIC)
    (site / "own-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (site / "own-1.0.dist-info" / "entry_points.txt").write_text(
        "[segpipe.metrics]\nmiss_rate = own_metrics:miss_rate\n"
    )
    run = tmp_path / "run"
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(site)}, check=True, timeout=120,
    )  # fmt: skip

    scores = json.loads((run / "scores.json").read_text("utf-8"))
    one = scores["aggregates"]["mean_miss_rate_per_image_class_worst"]
    assert one["value"] == pytest.approx(1 - scores["aggregates"]["mean_recall"]["value"], abs=0.9)
    assert scores["classes"][0]["miss_rate"] == pytest.approx(1 - scores["classes"][0]["recall"])
    assert "| mean_miss_rate | 0 |" in (run / "report.md").read_text("utf-8")
    assert "miss_rate" in pd.read_parquet(run / "per_image_class.parquet").columns
    assert (run / "results.zarr" / "miss_rate" / "zarr.json").is_file()
    assert "miss_rate" in (run / "per_class.csv").read_text("utf-8")
