"""Statistics beside the confusion matrix: counted in the same pass, kept by themselves, scored everywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError, IncompleteError, InputError
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.run.opened import open_run
from segpipe.run.stages import preview
from segpipe.sources import representations
from segpipe.statistics import batches
from segpipe.statistics.base import Field
from tests.run.datasets import CLASSES, figures, image_ids, pair_config, write_stacked
from tests.run.test_counting import partials

K = 3
IMAGES = 12
SHAPE = (8, 12)
SOFT = ["soft_overlap"]
BOTH = ["soft_overlap", {"kind": "boundary_iou", "width_px": 2}]


def dataset(seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth (image, y, x) with ignored pixels, and probabilities (image, class, y, x) that mostly agree."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, (IMAGES, SHAPE[0] // 2, SHAPE[1] // 2), np.uint8).repeat(2, 1).repeat(2, 2)
    scores = rng.random((IMAGES, K, *SHAPE))
    hot = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, K, truth.shape))
    np.put_along_axis(scores, hot[:, None].astype(int), 2.0, axis=1)
    truth[:, 0, :3] = 255
    return truth, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def write_scores(
    folder: Path, scores: NDArray[Any], chunks: tuple[int, ...] = (3, K, 4, 12), **options: Any
) -> Path:
    """A store with the array `labels`, which holds scores."""
    group = zarr.create_group(folder)
    options.setdefault("compressors", zarr.codecs.ZstdCodec(level=1, checksum=True))
    array = group.create_array(
        "labels", shape=scores.shape, dtype=scores.dtype, chunks=chunks,
        dimension_names=("image", "class", "y", "x"), config={"write_empty_chunks": True}, **options,
    )  # fmt: skip
    array[...] = scores
    ids = group.create_array("image", shape=(len(scores),), dtype=str, dimension_names=("image",))
    ids[...] = np.array(image_ids(len(scores)), dtype=object)
    return folder


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A folder with truth.zarr and pred.zarr, which holds probabilities."""
    truth, scores = dataset()
    kind = [("day", "night")[index % 2] for index in range(IMAGES)]
    write_stacked(
        tmp_path / "truth.zarr", truth, chunks=(3, *SHAPE), ids=image_ids(IMAGES), columns={"time": kind}
    )
    write_scores(tmp_path / "pred.zarr", scores)
    return tmp_path


def config(folder: Path, **settings: Any) -> EvaluationConfig:
    """Probabilities against labels."""
    pred = {"store": f"{folder}/pred.zarr", "array": "labels", "representation": "probabilities"}
    return pair_config(folder, **{"pred": pred, "classes": list(CLASSES[:K]), "bucket_images": 3, **settings})


def soft_figures(truth: NDArray[Any], scores: NDArray[Any], void: NDArray[Any] | None = None) -> list[float]:
    """Mean soft IoU and Dice, in plain NumPy floats; nothing is predicted where `void`."""
    valid = truth < K
    known = valid if void is None else valid & ~void
    one_hot = np.stack([truth == class_id for class_id in range(K)], axis=1)
    hit = (scores * one_hot * known[:, None]).sum(axis=(0, 2, 3), dtype=np.float64)
    pred = (scores * known[:, None]).sum(axis=(0, 2, 3), dtype=np.float64)
    own = one_hot.sum(axis=(0, 2, 3))
    return [float(np.mean(hit / (own + pred - hit))), float(np.mean(2 * hit / (own + pred)))]


def soft_of(run: Path) -> list[float]:
    scores = open_run(run).computed
    return [scores["mean_soft_iou"], scores["mean_soft_dice"]]


def test_scores_and_labels_are_counted_in_one_pass(scored: Path, reads: list[str]) -> None:
    """Every chunk is read once for the confusion matrix and all statistics; again, and nothing is read."""
    run = evaluate(config(scored, statistics=BOTH))
    assert len(reads) == len(set(reads)) > 0
    assert soft_of(run) == pytest.approx(soft_figures(*dataset()), abs=1e-7)
    kept = partials(scored / "results")
    assert len(kept) == 3 * 4
    reads.clear()
    again = evaluate(config(scored, statistics=BOTH))
    assert reads == []
    assert figures(again) == figures(run)


def test_a_statistic_that_is_added_is_counted_alone(scored: Path, reads: list[str]) -> None:
    """The partials of what was there before are not written again, and the plan says what is left."""
    evaluate(config(scored))
    before = {path: path.stat().st_mtime_ns for path in (scored / "results/partials").rglob("?" * 40)}
    assert preview(config(scored, statistics=SOFT))[1].statistics == {"soft_overlap": 0}
    soft = evaluate(config(scored, statistics=SOFT))
    plan = preview(config(scored, statistics=BOTH))[1]
    assert (plan.hits, plan.statistics) == (0, {"soft_overlap": 4, "boundary_iou": 0})
    assert plan.images_left == IMAGES
    reads.clear()
    both = evaluate(config(scored, statistics=BOTH))

    assert len(reads) == len(set(reads)) > 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert soft_of(both) == soft_of(soft)
    assert figures(evaluate(config(scored, statistics=BOTH, results=str(scored / "new")))) == figures(both)


@pytest.mark.parametrize(
    "settings",
    [
        {"bucket_images": 12},
        {"bucket_images": 6, "cluster": {"kind": "local", "workers": 2}},
    ],
)
def test_neither_buckets_nor_workers_nor_parts_show(
    scored: Path, settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of all figures are the same, and so they are where scores and labels come in many parts."""
    run = evaluate(config(scored, statistics=BOTH))
    monkeypatch.setattr(representations, "PART_BYTES", 2000)
    monkeypatch.setattr(batches, "BATCH_PX", 100)
    other = evaluate(config(scored, statistics=BOTH, results=str(scored / "other"), **settings))
    assert figures(other) == figures(run)


def test_another_parameter_is_another_statistic(scored: Path) -> None:
    """Its counts stand beside those of the first; the matrix is not counted again."""
    evaluate(config(scored, statistics=[{"kind": "boundary_iou", "width_px": 1}]))
    evaluate(config(scored, statistics=[{"kind": "boundary_iou", "width_px": 2}]))
    assert len(partials(scored / "results")) == 3 * 4


TWICE = [{"kind": "boundary_iou", "width_px": 1}, {"kind": "boundary_iou", "name": "wide", "width_px": 3}]


def test_one_kind_stands_twice_under_a_name(scored: Path, reads: list[str]) -> None:
    """The name is appended to its figures everywhere; counts are those of runs that have one of them."""
    alone = [evaluate(config(scored, statistics=[{**one, "name": ""}])) for one in TWICE]
    reads.clear()
    gates = [{"metric": "mean_boundary_iou_wide", "min": 0.01},
             {"metric": "boundary_iou_wide", "class": "car", "max_drop": 0.1,
              "baseline": str(alone[1])}]  # fmt: skip
    settings = {"statistics": TWICE, "slices": ["time"]}
    run = evaluate(config(scored, **settings, gates=gates[:1]))
    assert reads == []
    values = [open_run(one).computed["mean_boundary_iou"] for one in alone]
    scores = open_run(run).computed
    assert [scores["mean_boundary_iou"], scores["mean_boundary_iou_wide"]] == values
    assert values[0] != values[1]

    found = json.loads((run / "scores.json").read_text())
    assert [(one["kind"], one["name"], one["title"]) for one in found["statistics"]] == [
        ("boundary_iou", "", "Boundary IoU"), ("boundary_iou", "wide", "Boundary IoU (wide)")
    ]  # fmt: skip
    assert found["classes"][1]["boundary_iou_wide"] == scores.all_per_class["boundary_iou_wide"][1]
    report = (run / "report.md").read_text()
    assert f"| mean_boundary_iou_wide | {values[1]:.4f} | pooled |" in report
    assert "Boundary IoU (wide) (boundary_iou: width_px 3, width_share 0.02)" in report
    assert "mean_boundary_iou_wide" in pd.read_parquet(run / "per_image.parquet")
    assert "mean_boundary_iou_wide" in pd.read_csv(run / "per_slice.csv")
    with xr.open_zarr(run / "results.zarr") as stored:
        assert stored.boundary_iou_wide_truth.dims == ("image", "class_name")
        assert stored.mean_boundary_iou_wide.item() == values[1]
        assert stored.image_mean_boundary_iou_wide.sizes == {"image": IMAGES}
    assert open_run(run).score(["boundary_iou_wide"]).mean_boundary_iou_wide.item() == values[1]
    again = evaluate(config(scored, **settings, gates=[{**gates[1], "baseline": str(run)}]))
    assert json.loads((again / "gates.json").read_text())["gates"][0]["drop"] == 0


def test_the_order_of_statistics_and_workers_do_not_mix_up_names(scored: Path) -> None:
    """A task names what it counts; both orders find the same partial counts."""
    parts = {"statistics": [*TWICE, "soft_overlap"], "cluster": {"kind": "local", "workers": 1}}
    run = evaluate(config(scored, **parts))
    before = partials(scored / "results")
    assert preview(config(scored, statistics=[*TWICE[::-1], "soft_overlap"]))[1].statistics == dict.fromkeys(
        ["boundary_iou_wide", "boundary_iou", "soft_overlap"], 4
    )
    (scored / "results/partials").rename(scored / "gone")
    other = evaluate(config(scored, statistics=[*TWICE[::-1], "soft_overlap"], bucket_images=3))
    assert partials(scored / "results") == before
    assert (
        open_run(other).computed["mean_boundary_iou_wide"] == open_run(run).computed["mean_boundary_iou_wide"]
    )


def test_a_damaged_partial_is_counted_again_alone(scored: Path) -> None:
    """Also by the reduction, for a file that was found when the plan was made."""
    run = evaluate(config(scored, statistics=SOFT))
    store = scored / "results/partials"
    before = partials(scored / "results")
    key = pd.read_parquet(run / "plan.parquet").statistics[1][0]["key"]
    (store / key[:2] / key).write_bytes(b"damaged")
    again = evaluate(config(scored, statistics=SOFT))
    assert partials(scored / "results") == before
    assert figures(again) == figures(run)
    assert json.loads((again / "reduced.json").read_text())["recounted"] == 1


def test_figures_stand_in_all_reports(scored: Path) -> None:
    """JSON, tables, report, results; per class, per image, per slice; and they can be asked for anew."""
    run = evaluate(config(scored, statistics=SOFT, slices=[{"by": "time"}], exclude_classes=["car"]))
    found = json.loads((run / "scores.json").read_text())
    one = found["statistics"][0]
    assert (one["kind"], one["version"], one["parameters"]) == ("soft_overlap", 1, {})
    mean = one["aggregates"]["mean_soft_iou"]
    assert mean["classes_used"] == ["road", "person"]
    assert mean["classes_dropped"] == {"car": "excluded by exclude_classes"}
    assert "soft_iou" in found["classes"][0]
    images = pd.read_parquet(run / "per_image.parquet")
    assert images.mean_soft_iou.mean() == pytest.approx(one["aggregates"]["mean_soft_iou_per_image"]["value"])
    slices = pd.read_csv(run / "per_slice.csv").set_index("slice")
    report = (run / "report.md").read_text()
    assert f"| mean_soft_iou | {mean['value']:.4f} | pooled | 2 of 3 classes |" in report
    assert "Soft overlap (soft_overlap): Milletari" in report
    with xr.open_zarr(run / "results.zarr") as stored:
        assert stored.mean_soft_iou.item() == mean["value"]
        assert stored.mean_soft_iou.attrs["classes_used"] == ["road", "person"]
        assert stored.soft_overlap_hit.dims == ("image", "class_name")
        total = stored.soft_overlap_hit.sum("image").values
        np.testing.assert_allclose(stored.soft_overlap_hit_total.values, total, rtol=1e-12)
        assert stored.soft_overlap_hit.encoding["scale_factor"] == 2.0**-30
    anew = open_run(run).score(["soft_iou", "mean_iou"], by="time")
    assert anew.mean_soft_iou.sel(time="day").item() == slices.mean_soft_iou["day"]
    assert anew.soft_iou.dims == ("time", "class_name")
    with pytest.raises(ConfigError, match=r"no metric 'soft_iuo'; .*did you mean soft_iou\?"):
        open_run(run).score(["soft_iuo"])


def test_weights_of_images_count_for_statistics_too(tmp_path: Path) -> None:
    """An image of weight 2 counts as two, one of weight 0 as none."""
    truth, scores = dataset()
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES), chunks=(3, *SHAPE))
    write_scores(tmp_path / "pred.zarr", scores)
    weights = [2] + [0] + [1] * (IMAGES - 2)
    table = pd.DataFrame({"id": image_ids(IMAGES), "weight": weights})
    table.to_csv(tmp_path / "images.csv", index=False)
    run = evaluate(config(tmp_path, statistics=SOFT, image_weights="weight",
                          image_table={"path": str(tmp_path / "images.csv")}))  # fmt: skip
    places = np.repeat(np.arange(IMAGES), weights)
    assert soft_of(run) == pytest.approx(soft_figures(truth[places], scores[places]), abs=1e-7)


def test_pixels_that_take_no_part_take_none_in_statistics(tmp_path: Path) -> None:
    """Ignored and masked truth, and predictions that are NaN: no class, and all the truth there is missed."""
    truth, scores = dataset()
    mask = np.ones(truth.shape, bool)
    mask[:, 3] = False
    scores[2, 1, 4, 5] = np.nan
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES), chunks=(3, *SHAPE))
    write_stacked(tmp_path / "valid.zarr", mask, ids=image_ids(IMAGES), chunks=(3, *SHAPE))
    write_scores(tmp_path / "pred.zarr", scores)
    run = evaluate(config(tmp_path, statistics=SOFT, valid=f"{tmp_path}/valid.zarr::labels",
                          invalid_pred="count_as_miss"))  # fmt: skip
    void = np.isnan(scores).any(axis=1)
    expected = soft_figures(np.where(mask, truth, 255), np.nan_to_num(scores), void)
    assert soft_of(run) == pytest.approx(expected, abs=1e-7)


def test_absent_chunks_follow_the_rule_for_them(scored: Path) -> None:
    """Filled, void or left out, in statistics as in the matrix; another rule, another key."""
    truth, scores = dataset()
    (scored / "pred.zarr/labels/c/1/0/0/0").unlink()
    lost = np.zeros(truth.shape, bool)
    lost[3:6, :4] = True
    filled = np.where(lost[:, None], 0.0, scores)
    rest = np.setdiff1d(np.arange(IMAGES), [3, 4, 5])
    expected = {
        "are_fill_value": soft_figures(truth, filled),
        "count_as_void": soft_figures(truth, scores, lost),
        "skip": soft_figures(truth[rest], scores[rest]),
    }
    for rule, values in expected.items():
        run = evaluate(config(scored, statistics=SOFT, missing_chunks=rule))
        assert soft_of(run) == pytest.approx(values, abs=1e-7), rule
    # Of the three rules two read the lost chunk as no class; all other buckets have one key under all rules.
    assert len(partials(scored / "results")) == 4 + 5
    with pytest.raises(InputError, match="missing chunk"):
        evaluate(config(scored, statistics=SOFT))


def test_images_without_a_prediction_are_missed(tmp_path: Path) -> None:
    """They have no scores, and their truth counts."""
    truth, scores = dataset()
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES), chunks=(3, *SHAPE))
    write_scores(tmp_path / "pred.zarr", scores[:-3])
    run = evaluate(config(tmp_path, statistics=BOTH, on_missing_pred="count_as_void"))
    void = np.zeros(truth.shape, bool)
    void[-3:] = True
    assert soft_of(run) == pytest.approx(soft_figures(truth, scores, void), abs=1e-7)


def test_an_image_that_cannot_be_read_is_in_no_figure(scored: Path) -> None:
    """Neither in those of the matrix nor in those of statistics, also where the matrix had been counted."""
    truth, scores = dataset()
    evaluate(config(scored))
    damaged = scored / "pred.zarr/labels/c/2/0/1/0"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.raises(IncompleteError, match="3 of 12 images could not be counted"):
        evaluate(config(scored, statistics=SOFT))
    rest = np.setdiff1d(np.arange(IMAGES), [6, 7, 8])
    run = evaluate(config(scored, statistics=SOFT, max_quarantined=3))
    assert open_run(run).computed.images == len(rest)
    assert soft_of(run) == pytest.approx(soft_figures(truth[rest], scores[rest]), abs=1e-7)


def test_a_selection_finds_the_counts_of_the_whole(scored: Path, reads: list[str]) -> None:
    """Of statistics too: nothing is read."""
    truth, scores = dataset()
    evaluate(config(scored, statistics=SOFT))
    reads.clear()
    run = evaluate(config(scored, statistics=SOFT, select={"where": "time == 'night'"}))
    assert reads == []
    assert soft_of(run) == pytest.approx(soft_figures(truth[1::2], scores[1::2]), abs=1e-7)


def test_models_are_counted_along(scored: Path, reads: list[str]) -> None:
    """Truth is read once for the statistics of both predictions."""
    truth, other = dataset()[0], dataset(1)[1]
    write_scores(scored / "other.zarr", other)
    second = {"store": f"{scored}/other.zarr", "array": "labels", "representation": "probabilities"}
    runs = evaluate_models(config(scored, statistics=BOTH, also={"second": second}))
    assert len(reads) == len(set(reads)) > 0
    assert soft_of(runs[0]) == pytest.approx(soft_figures(*dataset()), abs=1e-7)
    assert soft_of(runs[1]) == pytest.approx(soft_figures(truth, other), abs=1e-7)


def test_a_second_prediction_is_read_for_the_statistics_that_need_it(scored: Path, reads: list[str]) -> None:
    """Churn compares it with pred; the key of the matrix knows nothing of it."""
    evaluate(config(scored))
    before = partials(scored / "results").keys()
    _, scores = dataset()
    write_stacked(scored / "other.zarr", scores.argmax(axis=1).astype(np.uint8), ids=image_ids(IMAGES))
    reads.clear()
    settings = {"statistics": ["churn"], "other_pred": f"{scored}/other.zarr::labels"}
    run = evaluate(config(scored, **settings))
    assert any(key.startswith("other.zarr") for key in reads)
    assert len(partials(scored / "results").keys() - before) == 4
    assert {one.value for name, one in open_run(run).computed.statistics[0].aggregates.items()
            if name == "churn"} == {0.0}  # fmt: skip
    reads.clear()
    evaluate(config(scored, **settings))
    assert reads == []


RASTER = {"layout": {"kind": "raster", "window": 8}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of 20 x 28 pixels."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(3)
    truth = rng.integers(0, K, (5, 7), np.uint8).repeat(4, 0).repeat(4, 1)
    pred = np.where(rng.random(truth.shape) < 0.1, (truth + 1) % K, truth).astype(np.uint8)
    truth[3, 5:9] = 255
    for name, labels in (("truth", truth), ("pred", pred)):
        group = zarr.create_group(folder / f"{name}.zarr")
        array = group.create_array("labels", shape=labels.shape, dtype="u1", chunks=(4, 8),
                                   dimension_names=("y", "x"))  # fmt: skip
        array[...] = labels
    return folder


def scene_config(folder: Path, results: Path, **settings: Any) -> EvaluationConfig:
    values = {"classes": list(CLASSES[:K]), "missing_chunks": "are_fill_value", "results": str(results)}
    return pair_config(folder, **{**values, **RASTER, **settings})


@pytest.mark.parametrize("width", [1, 3])
def test_a_halo_makes_windows_count_as_the_whole(scene: Path, tmp_path: Path, width: int) -> None:
    """A scene cut into windows gives the counts of the scene, whatever the windows are."""
    statistics = [{"kind": "boundary_iou", "width_px": width}]
    totals = []
    for window in (8, 64, [20, 5]):
        layout = {"kind": "raster", "window": window}
        settings = {"statistics": statistics, "layout": layout, "max_read_amplification": 100}
        run = evaluate(scene_config(scene, tmp_path / f"{window}", **settings))
        with xr.open_zarr(run / "results.zarr") as found:
            names = [name for name in found if str(name).endswith("_total")]
            totals.append({name: found[name].values.tolist() for name in names})
            totals[-1]["confusion"] = found.confusion.values.tolist()
    assert totals[1:] == totals[:1] * 2


def test_what_lies_around_a_window_is_part_of_the_key(scene: Path, tmp_path: Path) -> None:
    """A chunk that changes makes a statistic stale where it is in the halo, the matrix where it is read."""
    folder = tmp_path / "scene"
    shutil.copytree(scene, folder)
    settings = {"statistics": [{"kind": "boundary_iou", "width_px": 2}], "bucket_images": 1,
                "max_read_amplification": 100}  # fmt: skip
    evaluate(scene_config(folder, tmp_path / "results", **settings))
    array = zarr.open_group(folder / "pred.zarr")["labels"]
    array[0:4, 0:8] = 1  # type: ignore[index]
    plan = preview(scene_config(folder, tmp_path / "results", **settings))[1]
    alone = preview(scene_config(folder, tmp_path / "results", bucket_images=1, max_read_amplification=100))[
        1
    ]
    assert plan.buckets - plan.statistics["boundary_iou"] > alone.buckets - alone.hits > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"statistics": ["components"]},
            r"found 20 x 28 pixels, cut into windows of 8 x 8, for components, expected whole images",
        ),
        (
            {"statistics": ["boundary_iou"]},
            r"cut into windows of 8 x 8, for boundary_iou, expected a declared width, in pixels",
        ),
        (
            {"statistics": SOFT},
            r"found predictions stored as labels, for soft_overlap, expected one of logits",
        ),
        (
            {"statistics": ["churn"]},
            r"found one prediction, for churn, expected two\n.*other_pred: STORE",
        ),
        (
            {"other_pred": "elsewhere.zarr::labels"},
            r"found a second prediction, which no statistic reads",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_by_the_plan(
    scene: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    """With the numbers, and what to do."""
    if "other_pred" in settings:
        settings = {"other_pred": f"{scene}/pred.zarr::labels"}
    with pytest.raises(InputError, match=message):
        preview(scene_config(scene, tmp_path, **settings))


def test_an_image_whose_sums_would_pass_64_bits_is_refused(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is counted, with the numbers; of 8 x 12 pixels 96 are enough, and 95 are not."""
    asked = config(scored, statistics=["calibration"])
    monkeypatch.setattr(Field, "most_pixels", 96)
    preview(asked)
    monkeypatch.setattr(Field, "most_pixels", 95)
    words = "found an image of 96 pixels, for calibration, expected at most 95"
    with pytest.raises(InputError, match=words):
        preview(asked)


def test_merged_channels_are_no_scores(scored: Path) -> None:
    """Two channels of one class have no one score."""
    pred = {"store": f"{scored}/pred.zarr", "array": "labels", "representation": "probabilities",
            "remap": {0: 0, 1: 1, 2: 1}}  # fmt: skip
    with pytest.raises(InputError, match="found channels that are merged or no class, for soft_overlap"):
        preview(config(scored, pred=pred, statistics=SOFT))


def test_channels_may_come_in_any_order(tmp_path: Path) -> None:
    """What the remap says of channels is said of scores."""
    truth, scores = dataset()
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES), chunks=(3, *SHAPE))
    write_scores(tmp_path / "pred.zarr", scores[:, [2, 0, 1]])
    pred = {"store": f"{tmp_path}/pred.zarr", "array": "labels", "representation": "probabilities",
            "remap": {0: 2, 1: 0, 2: 1}}  # fmt: skip
    run = evaluate(config(tmp_path, pred=pred, statistics=SOFT))
    assert soft_of(run) == pytest.approx(soft_figures(truth, scores), abs=1e-7)


def test_the_plan_knows_the_memory_of_statistics(scored: Path) -> None:
    """What they hold is part of what a task needs."""
    plain, soft = (preview(config(scored, statistics=kinds))[1].task_memory_bytes for kinds in ([], SOFT))
    assert soft > plain
