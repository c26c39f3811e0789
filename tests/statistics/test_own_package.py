"""A metric and a statistic of a user's own package stand in every report; nothing here knows their names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import REPOSITORY
from tests.run.datasets import write_stacked

OWN = '''
from typing import ClassVar

import numpy as np

from segpipe.metrics.base import metric, ratio
from segpipe.statistics.base import Field, Statistic, StatisticMetric, statistic


@metric(title="Miss rate", formula="fn / t", per_class=True, best=0.0, nothing="NaN where t = 0",
        source="this package", undefined="left out", by_image=True)
def miss_rate(areas):
    """Missed share of the truth, (..., K). Range 0 to 1, best 0; NaN where the class is not in truth."""
    return ratio(areas.truth - areas.hit, areas.truth)


def upper_share(fields):
    """The share of a class in the upper rows, (..., K)."""
    return ratio(fields["upper"], fields["every"])


@statistic("upper_rows")
class UpperRows(Statistic):
    """How many pixels of each class lie in the first rows of an image."""

    title: ClassVar[str] = "Upper rows"
    source: ClassVar[str] = "this package"
    scope: ClassVar[str] = "image"
    metrics: ClassVar[tuple] = (
        StatisticMetric(name="upper_share", title="Upper share", per_class=True, formula="upper / every",
                        nothing="NaN where the class is not in truth", source="here", function=upper_share),
    )
    rows: int = 2

    def fields(self, num_classes):
        return (Field.of_classes(num_classes, "upper", "pixels in the first rows"),
                Field.of_classes(num_classes, "every", "pixels of the class"))

    def count(self, pixels):
        own = np.stack([pixels.truth == class_id for class_id in range(pixels.num_classes)], axis=1)
        return {"upper": own[:, :, : self.rows].sum(axis=(2, 3)), "every": own.sum(axis=(2, 3))}
'''
ENTRIES = """\
[segpipe.metrics]
miss_rate = own_package:miss_rate

[segpipe.statistics]
upper_rows = own_package:UpperRows
"""
PROGRAM = """
import sys
from pathlib import Path
from segpipe.run.evaluate import evaluate
from tests.run.datasets import pair_config
folder = Path(sys.argv[1])
config = pair_config(folder, classes=2, ignore_labels=[], statistics=[{"kind": "upper_rows", "rows": 1}])
print(evaluate(config))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a process that has the package installed."""
    folder = tmp_path_factory.mktemp("own")
    site = folder / "site"
    (site / "own-1.0.dist-info").mkdir(parents=True)
    (site / "own_package.py").write_text(OWN)
    (site / "own-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (site / "own-1.0.dist-info" / "entry_points.txt").write_text(ENTRIES)
    truth = np.array([[[0, 1], [0, 0]], [[1, 1], [0, 1]]], np.uint8)
    for name in ("truth", "pred"):
        write_stacked(folder / f"{name}.zarr", truth, chunks=(1, 2, 2), ids=["a", "b"])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)])},
        check=True, timeout=300, capture_output=True, text=True,
    )  # fmt: skip
    return Path(done.stdout.strip().splitlines()[-1])


def test_the_statistic_is_in_every_report(run: Path) -> None:
    """One of four pixels of class 0 and three of four of class 1 lie in the first row."""
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    (own,) = scores["statistics"]
    assert (own["kind"], own["parameters"]) == ("upper_rows", {"rows": 1})
    assert [row["upper_share"] for row in scores["classes"]] == pytest.approx([1 / 4, 3 / 4])
    assert own["aggregates"]["mean_upper_share"]["value"] == pytest.approx(1 / 2)
    report = (run / "report.md").read_text("utf-8")
    assert "## Upper rows" in report
    assert "| mean_upper_share | 0.5000 | pooled | 2 of 2 classes |" in report
    assert "upper_share" in (run / "per_class.csv").read_text("utf-8")
    images = pd.read_parquet(run / "per_image.parquet").mean_upper_share
    assert images.tolist() == pytest.approx([(1 / 3 + 1) / 2, (0 + 2 / 3) / 2])
    with xr.open_zarr(run / "results.zarr") as found:
        assert found.upper_rows_upper.values.tolist() == [[1, 1], [0, 2]]
        assert found.upper_share.attrs["formula"] == "upper / every"


def test_the_metric_is_in_every_report(run: Path) -> None:
    """Beside the statistic, in the same run."""
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    assert scores["aggregates"]["mean_miss_rate"]["value"] == 0.0
    assert "| mean_miss_rate | 0 |" in (run / "report.md").read_text("utf-8")
    assert "miss_rate" in pd.read_parquet(run / "per_image_class.parquet").columns
