"""Slices through a whole run: asked for in the configuration, told in every report, read no pixel."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError
from segpipe.reports.tables import worst_slices_table
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import Run, open_run
from segpipe.run.stages import preview
from segpipe.terminal import plain_console, show_results
from tests.run.datasets import CLASSES, figures, image_ids, label_maps, pair_config, write_pair

SPEED = [index * 2.5 for index in range(40)]
EVIL = "<b>|`x`\x1b[2J=1"
SLICES: list[Any] = [
    "weather",
    {"by": "speed", "bins": [0, 30, 60]},
    {"by": ["weather", "place"]},
    {"has_class": "person"},
]


def config_of(folder: Path, **settings: Any) -> EvaluationConfig:
    """The pair with a table: speed, and places of which some are not told and one is evil."""
    places = [("park", "", EVIL)[index // 14] for index in range(40)]
    rows = [
        f'{name},{speed},"{place}"' for name, speed, place in zip(image_ids(40), SPEED, places, strict=True)
    ]
    (folder / "table.csv").write_text("\n".join(["id,speed,place", *rows]) + "\n")
    return pair_config(folder, image_table={"path": f"{folder}/table.csv"}, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of a pair."""
    made = tmp_path_factory.mktemp("slices")
    write_pair(made)
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """A run that is cut into slices."""
    return open_run(evaluate(config_of(folder, slices=SLICES)))


def iou_of(images: Any, class_id: int) -> float:
    """From pixels."""
    truth, pred = label_maps()
    true, found = truth[images] == class_id, (pred[images] == class_id) & (truth[images] != 255)
    return float((true & found).sum() / (true | found).sum())


def test_reports_hold_the_slices(run: Run) -> None:
    """scores.json and per_slice.csv, against pixels counted one by one."""
    document = json.loads((run.path / "scores.json").read_text())
    slices = {(one["by"], *one["where"].values()): one for one in document["slices"]}
    fog = np.arange(40) % 3 == 1
    assert slices["weather", "fog"]["images"] == 13
    assert slices["weather", "fog"]["classes"]["iou"][2] == pytest.approx(iou_of(fog, 2))
    fast = np.array(SPEED) > 60
    assert slices["speed", "above 60"]["classes"]["iou"][4] == pytest.approx(iou_of(fast, 4))
    mean = slices["weather", "fog"]["aggregates"]["mean_iou"]
    assert mean == {"value": pytest.approx(np.mean([iou_of(fog, c) for c in range(5)])), "classes_used": 5}
    assert [one["images"] for one in document["slices"] if one["by"] == "has person"] == [40]
    assert {"weather": "rain", "place": None} in [one["where"] for one in document["slices"]]
    with (run.path / "per_slice.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(slices)
    assert rows[1] == rows[1] | {
        "by": "weather",
        "slice": "fog",
        "images": "13",
        "mean_iou": repr(mean["value"]),
    }
    assert rows[1]["mean_iou_classes_used"] == "5"


def test_readable_reports_escape_values(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A value from outside is a code span without control characters; the terminal shows the worst slices."""
    report = (run.path / "report.md").read_text()
    assert "slices of the lowest mean IoU" in report
    assert "## Slices by weather x place" in report
    assert "14 of 40 images have no value in the metadata column 'place'" in report
    assert "`clear, (no value)`" in report
    assert "``clear, <b>\\|`x` [2J=1``" in report
    assert "\x1b" not in report
    show_results(plain_console(sys.stdout), run)
    shown = capsys.readouterr().out
    assert "The 10 slices of the lowest mean IoU" in shown
    assert "\x1b[2J" not in shown


def test_slices_are_the_same_bytes_for_any_cut_into_buckets(folder: Path, run: Run) -> None:
    """The law of bits."""
    again = evaluate(config_of(folder, slices=SLICES, bucket_images=3, results=f"{folder}/other"))
    for name in ("per_slice.csv", "scores.json"):
        assert (again / name).read_bytes() == (run.path / name).read_bytes()
    for name in ("report.md", "report.html"):
        assert figures(again)[name] == figures(run.path)[name]


def test_a_run_is_cut_anew_without_reading_a_pixel(run: Run) -> None:
    """Run.score takes what the configuration takes."""
    by = run.score(["iou"], by={"by": "speed", "bins": [0, 30, 60]})
    assert by["slice"].values.tolist() == by["speed"].values.tolist() == ["0 to 30", "30 to 60", "above 60"]
    assert by["iou"].sel(slice="above 60", class_name="sky").item() == pytest.approx(
        iou_of(np.array(SPEED) > 60, 4)
    )
    crossed = run.score(["mean_iou"], by=["weather", "place"])
    assert crossed["place"].values[:2].tolist() == [EVIL, "park"]
    assert crossed["images"].sum() == 40
    assert run.score(["mean_iou"], by={"has_class": "person"})["slice"].values.tolist() == ["with it"]
    for wrong, words in (
        ({"by": "sped"}, "by: no metadata column 'sped'; .*did you mean 'speed'"),
        ({"has_class": "persn"}, "by.has_class: no class 'persn' .* did you mean 'person'"),
        ({"bye": "speed"}, "by.bye: no such key; did you mean by"),
    ):
        with pytest.raises(ConfigError, match=words):
            run.score(by=wrong)


def test_mistakes_are_told_before_anything_is_counted(folder: Path) -> None:
    """With the key, in the configuration and in the plan."""
    with pytest.raises(ConfigError, match=r"slices.0.has_class: no class 'persn'.*did you mean 'person'"):
        config_of(folder, slices=[{"has_class": "persn"}])
    with pytest.raises(ConfigError, match=r"slices.1.binz: no such key; did you mean bins"):
        config_of(folder, slices=["weather", {"by": "speed", "binz": 2}])
    with pytest.raises(
        ConfigError, match=r"slices.0.bins.speed: input should be 2 to 1000 bins, or their edges"
    ):
        config_of(folder, slices=[{"by": "speed", "bins": [3, 2]}])
    with pytest.raises(ConfigError, match=r"slices.0: bins: of several columns say of which"):
        config_of(folder, slices=[{"by": ["speed", "weather"], "bins": 2}])
    with pytest.raises(ConfigError, match="no metadata column 'wether'"):
        preview(config_of(folder, slices=["wether"]))
    with pytest.raises(ConfigError, match="'place' holds no numbers"):
        preview(config_of(folder, slices=[{"by": "place", "bins": 2}]))


def test_classes_have_ids_too(folder: Path) -> None:
    """A class by its id is the class by its name."""
    assert config_of(folder, slices=[{"has_class": 2}]).slicings()[0].has_class == CLASSES[2]


def test_slices_have_intervals_and_the_worst_are_ranked_by_the_lower_end(folder: Path) -> None:
    """Each as the images of the slice alone would have it; a slice of one image has none."""
    intervals = {"method": "jackknife"}
    asked = ["weather", {"by": "speed", "bins": [0, 2, 60]}]
    run = open_run(evaluate(config_of(folder, slices=asked, intervals=intervals)))
    document = json.loads((run.path / "scores.json").read_text())
    fog = evaluate(config_of(folder, select={"where": 'weather == "fog"'}, intervals=intervals))
    alone = json.loads((fog / "scores.json").read_text())["aggregates"]["mean_iou"]["interval"]
    assert document["slices"][1]["intervals"]["mean_iou"] == alone
    assert document["slices"][3]["intervals"]["mean_iou"]["low"] is None
    ranks = {one.name: one.rank for one in run.computed.slices}
    assert ranks["fog"] == alone["low"]
    assert ranks["0 to 2"] == run.computed.slices[3].values["mean_iou"]
    table = worst_slices_table(run.computed)
    assert table.title == "The 6 slices of the lowest lower end of the interval of the mean IoU"
    assert [row[1] for row in table.rows] == sorted(ranks, key=ranks.__getitem__)
    with (run.path / "per_slice.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[1]
    assert (float(row["mean_iou_low"]), float(row["mean_iou_high"])) == (alone["low"], alone["high"])
