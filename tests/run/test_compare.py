"""`segpipe compare`: differences of real runs, and what differs where runs cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import zarr

import segpipe
from segpipe.cli import commands, guarded
from segpipe.errors import ConfigError, InputError
from segpipe.reports.comparison_files import write_comparison
from segpipe.reports.svg import BAR_PX
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import Run, open_run
from tests.run.datasets import CLASSES, image_ids, label_maps, pair_config, write_stacked

IMAGES = 24
Runs = dict[str, Run]
QUICK = {"replicates": 200}


def write_prediction(folder: Path, name: str, mistakes: float) -> None:
    """A prediction of the truth with a share of wrong pixels."""
    truth, _ = label_maps(IMAGES)
    random = np.random.default_rng(7)
    wrong = random.random(truth.shape) < mistakes
    labels = np.where(wrong, random.integers(0, len(CLASSES), truth.shape), np.where(truth == 255, 0, truth))
    labels = labels.astype(np.uint8)
    write_stacked(folder / f"{name}.zarr", labels, ids=image_ids(IMAGES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth, and a bad and a better prediction."""
    made = tmp_path_factory.mktemp("compare")
    truth, _ = label_maps(IMAGES)
    weather = [("rain", "fog", "clear")[index % 3] for index in range(IMAGES)]
    write_stacked(made / "truth.zarr", truth, ids=image_ids(IMAGES), columns={"weather": weather})
    write_prediction(made, "bad", 0.3)
    write_prediction(made, "better", 0.2)
    return made


@pytest.fixture(scope="module")
def run_of(folder: Path) -> Callable[..., Run]:
    """Evaluates a prediction under some settings."""

    def run(model: str, **settings: Any) -> Run:
        pred = f"{folder}/{model}.zarr::labels"
        return open_run(evaluate(pair_config(folder, model=model, pred=pred, **settings)))

    return run


@pytest.fixture(scope="module")
def runs(run_of: Callable[..., Run]) -> Runs:
    """A run of each prediction."""
    return {name: run_of(name, slices=["weather"], intervals=QUICK) for name in ("bad", "better")}


def test_a_better_prediction_is_seen_to_be_better(runs: Runs) -> None:
    """The figures are those of the runs; per class, slice and image; main metrics, if none are named."""
    found = segpipe.compare(runs["bad"], runs["better"].path, intervals=QUICK)
    one = found.differences.aggregates["mean_iou"]
    assert (one.a, one.b) == pytest.approx([runs[name].computed["mean_iou"] for name in ("bad", "better")])
    assert 0 < one.interval.low <= one.value <= one.interval.high
    assert one.p == pytest.approx(1 / 201)
    assert found.differences.per_class["iou"][1].a == pytest.approx(runs["bad"].computed.per_class["iou"][1])
    assert "mcc" not in found.differences.aggregates
    assert [(each.name, each.images) for each in found.slices] == [("clear", 8), ("fog", 8), ("rain", 8)]
    fog = runs["better"].score(["iou"], by="weather")["mean_iou"].sel(weather="fog")
    assert found.slices[1].differences.aggregates["mean_iou"].b == pytest.approx(float(fog))
    per_image = runs["bad"].per_image["mean_iou"]
    assert found.images.a == pytest.approx(per_image.sortby("image").values)
    assert found.images.better > found.images.worse
    assert found.left_out == ()


def test_metrics_slices_and_clusters_can_be_asked_for(runs: Runs) -> None:
    """By the words of a configuration."""
    asked: dict[str, Any] = {"metrics": ["mcc"], "by": {"has_class": "car"}}
    found = segpipe.compare(
        runs["bad"], runs["better"], intervals={**QUICK, "cluster_by": "weather"}, **asked
    )
    mcc = found.differences.aggregates["mcc"]
    assert mcc.interval.clusters == 3
    assert mcc.p == 0.25
    assert "few clusters (3)" in mcc.interval.note
    assert {one.title for one in found.slices} == {"has car"}
    with pytest.raises(ConfigError, match="no metadata column 'video'"):
        segpipe.compare(runs["bad"], runs["better"], intervals={"cluster_by": "video"})


def test_a_run_is_compared_with_itself(runs: Runs) -> None:
    """Nothing differs."""
    found = segpipe.compare(runs["bad"], runs["bad"], intervals=QUICK)
    assert {one.value for one in found.differences.aggregates.values()} == {0.0}
    assert found.images.better == found.images.worse == 0


def test_everything_that_differs_is_told_at_once(runs: Runs, run_of: Callable[..., Run]) -> None:
    """Images and rules; what both have is compared under the rules of A if one asks for it."""
    other = run_of("better", select={"first": 20}, absent_class="zero", exclude_classes=["sky"])
    with pytest.raises(InputError) as caught:
        segpipe.compare(runs["bad"], other)
    message = str(caught.value)
    assert "4 images that only run A has: img_020, img_021, img_022, img_023" in message
    assert "absent_class: nan in run A, zero in run B" in message
    assert "exclude_classes: none in run A, sky in run B" in message
    assert "common=True, --common" in message
    found = segpipe.compare(runs["bad"], other, common=True, intervals=QUICK)
    assert len(found.images.ids) == 20
    assert len(found.left_out) == 3
    first = run_of("better", select={"first": 20})
    assert found.differences.aggregates["mean_iou"].b == pytest.approx(first.computed["mean_iou"])


def test_the_common_classes_are_compared(folder: Path, runs: Runs, run_of: Callable[..., Run]) -> None:
    """Truth of other classes is ignored, predictions of them are misses."""
    other = run_of("better", classes=[*CLASSES[:4], "heaven"])
    with pytest.raises(InputError, match=r"only in run A: sky; only in run B: heaven"):
        segpipe.compare(runs["better"], other)
    found = segpipe.compare(runs["better"], other, common=True, intervals=QUICK)
    assert found.classes.names == CLASSES[:4]
    assert {one.value for one in found.differences.aggregates.values()} == {0.0}
    truth, _ = label_maps(IMAGES)
    labels = zarr.open_array(runs["better"].path.parents[3].parent / "better.zarr", path="labels", mode="r")[
        :
    ]
    counted = truth < 4
    hits = (truth == 1) & (labels == 1)
    expected = hits.sum() / ((counted & ((truth == 1) | (labels == 1))).sum())
    assert found.differences.per_class["iou"][1].a == pytest.approx(float(expected))


def test_labels_that_mean_other_things_cannot_be_compared(runs: Runs, run_of: Callable[..., Run]) -> None:
    """Not even what both runs have."""
    swapped = ["car", "road", *CLASSES[2:]]
    with pytest.raises(InputError, match=r"label 0 is road in run A, car in run B"):
        segpipe.compare(runs["better"], run_of("better", classes=swapped), common=True)
    ignoring = run_of("better", ignore_labels=[255, 4])
    with pytest.raises(InputError, match=r"label 4 is sky in run A, ignored in run B"):
        segpipe.compare(runs["better"], ignoring, common=True)


def test_changed_truth_is_seen(folder: Path, run_of: Callable[..., Run], tmp_path: Path) -> None:
    """All images of a chunk that was written again; how many have other pixels; the rest is compared."""
    truth, _ = label_maps(IMAGES)
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES))
    settings: dict[str, Any] = {
        "truth": f"{tmp_path}/truth.zarr::labels",
        "results": str(tmp_path / "results"),
    }
    before = run_of("better", **settings)
    array = zarr.open_array(tmp_path / "truth.zarr", path="labels")
    array[8:16] = truth[8:16]
    array[9, 10:14] = 255
    after = run_of("better", **settings)
    with pytest.raises(InputError, match=r"truth changed in 8 images: img_008, .* and 3 more .*in 1 of them"):
        segpipe.compare(before, after)
    found = segpipe.compare(before, after, common=True, intervals=QUICK)
    assert len(found.images.ids) == 16
    assert "img_009" not in found.images.ids
    copied = run_of("better")
    with pytest.raises(InputError, match=r"no image, with the same truth, that both runs have"):
        segpipe.compare(before, copied, common=True)


def test_truth_that_changed_its_name_within_a_chunk_is_seen(
    folder: Path, run_of: Callable[..., Run], tmp_path: Path
) -> None:
    """No chunk of labels was written again, but two images took each other's ids."""
    truth, _ = label_maps(IMAGES)
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES))
    settings: dict[str, Any] = {
        "truth": f"{tmp_path}/truth.zarr::labels",
        "results": str(tmp_path / "results"),
    }
    before = run_of("better", **settings)
    ids = zarr.open_array(tmp_path / "truth.zarr", path="image")
    ids[1:3] = np.array(["img_002", "img_001"], dtype=object)
    after = run_of("better", **settings)
    with pytest.raises(InputError, match="truth changed in 2 images: img_001, img_002"):
        segpipe.compare(before, after)


def test_truth_is_known_by_its_contents_where_both_runs_hashed_them(
    run_of: Callable[..., Run], tmp_path: Path
) -> None:
    """A copy is then the same truth, in buckets of another size too."""
    truth, _ = label_maps(IMAGES)
    write_stacked(tmp_path / "copy.zarr", truth, ids=image_ids(IMAGES))
    one = run_of("better", fingerprint="content")
    copy = run_of("better", fingerprint="content", truth=f"{tmp_path}/copy.zarr::labels", bucket_images=4)
    found = segpipe.compare(one, copy, intervals=QUICK)
    assert found.left_out == ()


def answered(words: list[str]) -> int:
    return guarded(lambda: commands.main(words, "segpipe", standalone_mode=False), as_json="--json" in words)


def test_the_command_prints_tables_and_writes_a_report(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables for people, one document for programs, the same in files; latest runs by their model."""
    paths = [str(runs["bad"].path), str(runs["better"].path)]
    report = tmp_path / "comparison.md"
    assert answered(["compare", *paths, "--output", str(report)]) == 0
    shown = capsys.readouterr().out
    for text in (shown, report.read_text()):
        assert "24 images" in text
        assert "got better" in text
        assert "IoU of the classes" in text
        assert "Mean IoU of slices by weather" in text
        assert "Images that gained most" in text
    assert answered(["compare", *paths, "--json", "--output", str(tmp_path / "comparison.json")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "comparison.json").read_text())
    assert document["aggregates"][0]["improves"] is True
    assert len(document["images"]["each"]) == IMAGES
    assert answered(["compare", *paths, "--output", "comparison.pdf"]) == 1
    assert "comparison.pdf ends in none of .md, .html, .json" in capsys.readouterr().err


def test_a_comparison_as_a_page_says_what_it_says_in_markdown(runs: Runs, tmp_path: Path) -> None:
    """All rows of all tables; each difference is drawn from the middle, in one scale."""
    found = segpipe.compare(runs["bad"], runs["better"], intervals=QUICK, by=["weather"])
    for name in ("c.html", "c.md"):
        write_comparison(tmp_path / name, found)
    root = ElementTree.fromstring((tmp_path / "c.html").read_text("utf-8").removeprefix("<!DOCTYPE html>"))
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    lines = (tmp_path / "c.md").read_text("utf-8").splitlines()
    cells = [line.strip("|").replace("`", "").split("|") for line in lines if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in cells] == rows
    scores = next(root.iter("tbody"))
    drawn = [[one for one in row.iter("rect") if one.get("class") == "bar"] for row in scores]
    widths = [float(bar.get("width", "")) for (bar,) in drawn]
    values = [float(row[3]) for row in rows[1 : 1 + len(widths)]]
    assert [width / widths[0] for width in widths] == pytest.approx(
        [abs(value) / abs(values[0]) for value in values], rel=0.01, abs=0.01
    )
    assert [float(bar.get("x", "")) >= BAR_PX / 2 for (bar,) in drawn] == [value >= 0 for value in values]
    assert "<script" not in (tmp_path / "c.html").read_text("utf-8")


def test_the_command_refuses_with_exit_code_1(
    runs: Runs, run_of: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """And compares the common part if asked."""
    other = run_of("better", select={"first": 12})
    words = ["compare", str(runs["bad"].path), str(other.path)]
    assert answered(words) == 1
    assert "12 images that only run A has" in capsys.readouterr().err
    assert answered([*words, "--common", "--by", "weather", "--metric", "iou"]) == 0
    assert "Not compared: 12 images that only run A has" in capsys.readouterr().out
