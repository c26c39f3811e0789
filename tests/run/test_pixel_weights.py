"""`weights`: an array laid over the label maps by the names of its dimensions, through a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from segpipe.accumulator import ConfusionAccumulator
from segpipe.config import EvaluationConfig, make_config
from segpipe.counts.results import ResultsReader
from segpipe.errors import ConfigError, IncompleteError, InputError
from segpipe.metrics.rules import ScoringRules
from segpipe.planning import buckets
from segpipe.planning.plan import make_plan
from segpipe.reports.base import ReportInput
from segpipe.reports.words import unweighted
from segpipe.run.compared import compare
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.run.opened import open_run
from segpipe.run.provenance import fingerprints
from segpipe.run.record import read_json
from segpipe.run.scored import score_run
from segpipe.run.stages import preview
from segpipe.run.validated import validate
from segpipe.sources import storage
from tests.finished import summary_of
from tests.run.datasets import IGNORE, figures, image_ids, label_maps, pair_config, write_pair, write_stacked
from tests.run.test_counting import partials
from tests.run.test_recount import counted
from tests.run.test_valid import counts, write_array

SHAPE = (40, 24, 32)
RNG = np.random.default_rng(7)
WEIGHTS = np.where(RNG.random(SHAPE) < 0.8, RNG.random(SHAPE) * 4, 0).astype(np.float32)
OF_PIXELS, OF_IMAGES = WEIGHTS[0], (RNG.random(40) + 0.5)
ROWS = RNG.random((32, 40))


def write_weights(
    folder: Path, values: NDArray[Any] = WEIGHTS, names: tuple[str, ...] | None = ("image", "y", "x"),
    ids: list[str] | None = None, chunks: tuple[int, ...] | None = None, **options: Any,
) -> None:  # fmt: skip
    """weights.zarr: the array `labels`, as the other stores have, and ids beside it."""
    group = zarr.create_group(folder / "weights.zarr")
    options = {"config": {"write_empty_chunks": True}, **options}
    array = group.create_array("labels", shape=values.shape, dtype=values.dtype, dimension_names=names,
                               chunks=chunks or tuple(max(1, size // 3) for size in values.shape),
                               compressors=zarr.codecs.ZstdCodec(checksum=True), **options)  # fmt: skip
    array[...] = values
    ids = image_ids(40) if ids is None and "image" in (names or ("image",)) else ids
    if ids:
        column = group.create_array("image", shape=(len(ids),), dtype=str, dimension_names=("image",))
        column[...] = np.array(ids, dtype=object)


def weighted(folder: Path, **settings: Any) -> EvaluationConfig:
    """The pair, evaluated with weights.zarr."""
    return pair_config(folder, weights=f"{folder}/weights.zarr::labels", **settings)


def scored(run: Path) -> dict[str, float]:
    """Every aggregate of a run by name."""
    document = json.loads((run / "scores.json").read_text())
    return {name: one["value"] for name, one in document["aggregates"].items()}


def expected(weights: NDArray[Any], *labels: NDArray[Any]) -> dict[str, float]:
    """The pooled scores of an accumulator that was shown the same pixels, which has its own tests."""
    truth, pred = labels or label_maps()
    seen = ConfusionAccumulator(5, ignore_labels=[IGNORE])
    seen.update(truth, pred, np.broadcast_to(weights, truth.shape))
    scores = seen.result()
    return {name: scores[name] for name in ("mean_iou", "mean_dice", "pixel_accuracy", "mcc", "fw_iou")}


def assert_scores(run: Path, right: dict[str, float]) -> None:
    found = scored(run)
    assert {name: found[name] for name in right} == pytest.approx(right, rel=1e-12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair and a run of it with WEIGHTS, for tests that only read."""
    folder = tmp_path_factory.mktemp("weighted")
    write_pair(folder)
    write_weights(folder)
    return folder


@pytest.fixture(scope="module")
def done(data: Path) -> Path:
    """A run of these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "RACY_S", 0.02)
        return evaluate(weighted(data, conventions=["cityscapes-iiou"]))


LAID = {
    "all": (WEIGHTS, ("image", "y", "x"), WEIGHTS),
    "transposed": (WEIGHTS.transpose(2, 0, 1), ("x", "image", "y"), WEIGHTS),
    "pixels": (OF_PIXELS, ("y", "x"), OF_PIXELS),
    "images": (OF_IMAGES, ("image",), OF_IMAGES[:, None, None]),
    "columns by image": (ROWS, ("x", "image"), ROWS.T[:, None, :]),
}


@pytest.mark.parametrize("laid", LAID)
def test_weights_lie_by_the_names_of_their_dimensions(data: Path, tmp_path: Path, laid: str) -> None:
    """Some of image, y and x in any order; along the others they are repeated."""
    stored, names, meant = LAID[laid]
    write_weights(tmp_path, stored, names)
    run = evaluate(pair_config(data, weights=f"{tmp_path}/weights.zarr::labels", results=f"{tmp_path}/r"))
    assert_scores(run, expected(meant))


@pytest.mark.parametrize(
    ("values", "names", "laid"),
    [
        (WEIGHTS, None, (0, 1, 2)),
        (OF_PIXELS.T, ("width", "height"), (1, 0)),
        (OF_PIXELS[:, 3], ("lat",), (0, -1)),
        (OF_IMAGES, ("image",), (0, -1, -1)),
    ],
    ids=["no names", "other names", "rows", "images"],
)
def test_axes_are_found_by_their_names(
    data: Path, tmp_path: Path, values: NDArray[Any], names: Any, laid: tuple[int, ...]
) -> None:
    """By every name that says what a dimension is; an array like that of truth needs none."""
    write_weights(tmp_path, values, names)
    plan = make_plan(pair_config(data, weights=f"{tmp_path}/weights.zarr::labels"))
    assert [array.laid for array in plan.inventory.overlays["weights"].images.arrays] == [laid]


def test_the_iiou_of_cityscapes_takes_false_alarms_in_pixels(done: Path, data: Path, tmp_path: Path) -> None:
    """Hits and misses of the classes that have instances by weight; without weights it is refused."""
    truth, pred = label_maps()
    expected = {}
    for name, code in (("car", 1), ("person", 2)):
        true, alarm = truth == code, (pred == code) & (truth != code) & (truth != IGNORE) & (WEIGHTS > 0)
        hit = WEIGHTS[true & (pred == code)].sum(dtype=np.float64)
        expected[name] = hit / (WEIGHTS[true].sum(dtype=np.float64) + alarm.sum())

    _, one = json.loads((done / "scores.json").read_text())["conventions"]
    assert one["per_class"] == pytest.approx(expected, rel=1e-7)
    assert one["value"] == pytest.approx(np.mean(list(expected.values())), rel=1e-7)
    assert [score.value for score in open_run(done).conventions(["cityscapes-iiou"])][1] == one["value"]
    assert "false alarms count as pixels (" in (done / "report.md").read_text()
    plain = pair_config(data, conventions=["cityscapes-iiou"], results=f"{tmp_path}/r")
    with pytest.raises(ConfigError, match=r"'cityscapes-iiou' needs pixels with weights .* none \(weights\)"):
        evaluate(plain)


def test_confusions_say_that_they_are_of_pixels(done: Path) -> None:
    """In both reports, at the heat map and at the table: recall beside them is of weights."""
    words = "Numbers of pixels, without the weights of pixels: a share of a true class is not its recall"
    assert (done / "report.html").read_text().count(words) == 2
    assert (done / "report.md").read_text().count(words) == 1
    results = ResultsReader(done / "results.zarr")
    scores = replace(
        score_run(done / "results.zarr", ScoringRules()), rules=ScoringRules(image_weights="size")
    )
    both = unweighted(ReportInput(results, scores, summary_of(40)))
    assert both.startswith("Numbers of pixels, without the weights of pixels and images: a share")


def test_figures_are_of_weights_and_numbers_of_pixels(done: Path) -> None:
    """Scores and areas are weighted; counts, coverage and the matrix are not; the report says both."""
    run = open_run(done)
    assert_scores(done, expected(WEIGHTS))
    truth, _ = label_maps()
    units = np.rint(WEIGHTS.astype(np.float64) * 2**30)
    areas = [units[truth == class_id].sum() / 2**30 for class_id in range(5)]
    np.testing.assert_allclose(run.per_class["truth_pixels"], areas, rtol=1e-14)
    assert run.confusion.values.sum() == np.prod(SHAPE)
    document = json.loads((done / "scores.json").read_text())
    assert document["counts"]["pixels"] == np.prod(SHAPE)
    assert document["counts"]["ignored"] == ((truth == IGNORE) | (WEIGHTS == 0)).sum()
    assert document["coverage"] == 1
    by_image = run.results.read("image_mean_iou")[3]
    assert by_image == pytest.approx(expected(WEIGHTS[3], *(side[3] for side in label_maps()))["mean_iou"])
    pairs = run.to_pandas("per_image")
    assert pairs["pixels"].tolist() == [24 * 32] * 40
    assert "a pixel counts times its value in the array" in (done / "report.md").read_text()
    provenance = json.loads((done / "provenance.json").read_text())["provenance"]
    assert provenance["weights"].endswith("weights.zarr::labels")
    assert set(fingerprints(done)) == {"truth", "pred", "weights"}


def test_areas_of_image_and_class_are_weighted(done: Path) -> None:
    """In per_image_class.parquet; of each image they add up to the class."""
    import pandas

    table = pandas.read_parquet(done / "per_image_class.parquet")
    sums = table.groupby("class_id")["hit_pixels"].sum()
    np.testing.assert_allclose(sums, open_run(done).per_class["hit_pixels"], rtol=1e-12)


def test_weights_of_one_change_no_score(data: Path, tmp_path: Path) -> None:
    """All scores to the bit; the counts in the results, the matrix and the images' tables to the byte."""
    write_weights(tmp_path, np.ones(SHAPE, np.uint8))
    groups = {"names": ["road", "car", "person", "tree", "sky"], "groups": {"moving": ["car", "person"]}}
    common = {"slices": [{"by": "weather"}], "classes": groups, "conventions": ["keras", "monai-iou"]}
    plain = evaluate(pair_config(data, results=f"{tmp_path}/plain", **common))
    config = {"results": f"{tmp_path}/ones", "weights": f"{tmp_path}/weights.zarr::labels", **common}
    ones = evaluate(pair_config(data, **config))
    documents = [json.loads((run / "scores.json").read_text()) for run in (plain, ones)]
    for name in ("aggregates", "counts", "classes", "groups", "slices", "conventions", "coverage"):
        assert documents[0][name] == documents[1][name], name
    before, after = figures(plain), figures(ones)
    areas = {
        f"results.zarr/{prefix}{name}_pixels"
        for prefix in ("", "group_")
        for name in ("truth", "pred", "hit")
    }
    for name, data_of in before.items():
        of_areas = any(name.startswith(area) for area in areas) or name == "results.zarr/zarr.json"
        if not of_areas and name not in (
            "report.md",
            "report.html",
            "per_class.csv",
            "per_group.csv",
            "per_image_class.parquet",
            "scores.json",
        ):
            assert after[name] == data_of, name


def test_statistics_take_weights_for_a_mask_and_say_so(data: Path, tmp_path: Path) -> None:
    """The plan, the report and scores.json tell it; the sums are those under a mask."""
    common: dict[str, Any] = {"statistics": ["boundary_iou"], "results": str(tmp_path)}
    config = weighted(data, **common)
    words = "a pixel of weight 0 takes no part, and all others count alike, whatever their weight"
    assert (
        f"The weights of pixels only mask statistics (boundary_iou): {words}." in preview(config)[1].warnings
    )
    run = evaluate(config)
    report = (run / "report.md").read_text()
    assert f"; {words}." in report[report.index("Boundary IoU (boundary_iou: width_px None") :]
    assert read_json(run / "scores.json")["statistics"][0]["weights_of_pixels"] == words
    write_stacked(tmp_path / "mask.zarr", (WEIGHTS > 0).astype(np.uint8), ids=image_ids(40))
    masked = evaluate(pair_config(data, valid=f"{tmp_path}/mask.zarr::labels", **common))
    assert read_json(masked / "scores.json")["statistics"][0]["weights_of_pixels"] is None
    assert (
        open_run(masked).computed.statistics[0].sums["both"].tolist()
        == open_run(run).computed.statistics[0].sums["both"].tolist()
    )


def test_whole_weights_are_as_good_as_repeated_pixels(tmp_path: Path) -> None:
    """Every pooled score and mean over images is that of images with every pixel so many times."""
    whole = RNG.integers(0, 4, (6, 8, 4)).repeat(2, axis=2)
    truth, pred = (side[:6, 4:12, :8] for side in label_maps())
    long = 8 * 8 * 4
    repeated = []
    for side in (truth, pred):
        rows = np.full((6, 1, long), IGNORE, np.uint8) if side is truth else np.zeros((6, 1, long), np.uint8)
        for image in range(6):
            pixels = side[image].repeat(whole[image].ravel())
            rows[image, 0, : len(pixels)] = pixels
        repeated.append(rows)
    for name, pair in {"a": (truth, pred), "b": repeated}.items():
        (tmp_path / name).mkdir()
        for side, values in zip(("truth", "pred"), pair, strict=True):
            write_stacked(tmp_path / name / f"{side}.zarr", values, ids=image_ids(6))
    write_weights(tmp_path / "a", whole.astype(np.int16), ids=image_ids(6))
    found, right = scored(evaluate(weighted(tmp_path / "a"))), scored(evaluate(pair_config(tmp_path / "b")))
    assert found == pytest.approx(right, rel=1e-12, nan_ok=True)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    """METRICS.md 6: 0.23809524; and 1/3 with equal weights."""
    weights = np.array([[[0.3, 0.3, 0.3, 0.1]]])
    for name, labels in {"truth": [0, 0, 1, 1], "pred": [0, 1, 0, 1]}.items():
        write_stacked(tmp_path / f"{name}.zarr", np.array([[labels]], np.uint8), ids=["one"])
    write_weights(tmp_path, weights, ids=["one"])
    config = weighted(tmp_path, classes=2, ignore_labels=[])
    assert scored(evaluate(config))["mean_iou"] == pytest.approx(0.23809524, abs=5e-9)
    zarr.open_array(tmp_path / "weights.zarr/labels")[...] = 0.3
    assert scored(evaluate(config))["mean_iou"] == pytest.approx(1 / 3, rel=1e-15)


def test_neither_chunks_nor_buckets_nor_windows_change_a_byte(
    data: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other chunks and shards, other buckets, a few images at a time."""
    order = RNG.permutation(40)
    write_weights(tmp_path, np.concatenate([WEIGHTS[order], np.full((1, 24, 32), np.nan, np.float32)]),
                  ids=[*(image_ids(40)[image] for image in order), "other"], chunks=(1, 24, 8),
                  shards=(3, 24, 16))  # fmt: skip
    monkeypatch.setattr(buckets, "WINDOW_BYTES", 1)
    monkeypatch.setattr(buckets, "WINDOW_LIMIT_BYTES", 1)
    config = pair_config(data, weights=f"{tmp_path}/weights.zarr::labels", results=f"{tmp_path}/r",
                         bucket_images=3, max_read_amplification=60)  # fmt: skip
    assert counts(evaluate(config)) == counts(done)


def test_workers_change_no_byte(data: Path, done: Path, tmp_path: Path) -> None:
    """Two processes; what lies over all images is read by each of them."""
    cluster = {"kind": "local", "workers": 2}
    settings = {"results": f"{tmp_path}/r", "conventions": ["cityscapes-iiou"]}
    assert figures(evaluate(weighted(data, cluster=cluster, **settings))) == figures(done)


def test_weights_of_images_and_of_pixels_multiply(data: Path, tmp_path: Path) -> None:
    """As one array of the products would; also where a selection or slices are scored."""
    table = tmp_path / "table.csv"
    lines = [f"{name},{2 * float(own)!r}" for name, own in zip(image_ids(40), OF_IMAGES, strict=True)]
    table.write_text("\n".join(["id,importance", *lines]) + "\n")
    both = evaluate(
        weighted(data, image_table={"path": str(table)}, image_weights="importance", results=f"{tmp_path}/r")
    )
    products = OF_IMAGES[:, None, None] * WEIGHTS.astype(np.float64)
    right = expected(products)
    found = scored(both)
    assert {name: found[name] for name in right} == pytest.approx(right, rel=1e-8)
    per_image = open_run(both).results.read("image_mean_iou")
    assert found["mean_iou_per_image"] == pytest.approx(np.average(per_image, weights=OF_IMAGES), rel=1e-8)
    truth, pred = label_maps()
    rain = open_run(both).score(["mean_iou"], by="weather").sel(weather="rain")
    in_rain = expected(products[::3], truth[::3], pred[::3])["mean_iou"]
    assert float(rain["mean_iou"]) == pytest.approx(in_rain, rel=1e-8)
    assert int(rain["pixels"]) == truth[::3].size
    areas = open_run(both).per_class["truth_pixels"].values
    np.testing.assert_allclose(areas, [2 * products[truth == at].sum() for at in range(5)], rtol=1e-8)


def test_a_run_scores_its_weights_anew(done: Path) -> None:
    """Without reading a pixel: by a column as well; what other tools would print is of pixels."""
    run = open_run(done)
    assert float(run.score(["mean_iou"])["mean_iou"]) == scored(done)["mean_iou"]
    truth, pred = label_maps()
    by = run.score(["mean_dice"], by="weather")
    fog = expected(WEIGHTS[1::3], truth[1::3], pred[1::3])["mean_dice"]
    assert float(by.sel(weather="fog")["mean_dice"]) == pytest.approx(fog, rel=1e-12)
    ours = run.conventions(["keras"])[0]
    assert ours.value == pytest.approx(expected(WEIGHTS > 0)["mean_iou"], rel=1e-12)


def test_weight_zero_masks_whatever_lies_there(pair: Path) -> None:
    """Labels that no rule names are told only where pixels weigh something, with their place in the image."""
    truth, pred = (zarr.open_array(pair / f"{name}.zarr/labels") for name in ("truth", "pred"))
    truth[3, 10, 5] = pred[3, 11, 6] = 99
    values = np.full(SHAPE, 0.25)
    values[3, 10:12, 5:7] = 0
    write_weights(pair, values)
    matrix = open_run(evaluate(weighted(pair))).confusion.values
    assert matrix[6].sum() == matrix[:, 6].sum() == 0
    truth[3, 20, 9] = 98
    with pytest.raises(InputError, match=r"label 98 in 1 pixels, first at \(y, x\) = \(20, 9\)") as caught:
        evaluate(weighted(pair))
    assert "99" not in str(caught.value)


@pytest.mark.parametrize("rule", ["skip", "count_as_void", "are_fill_value"])
def test_absent_label_maps_under_weights(pair: Path, rule: str) -> None:
    """The rules for absent chunks do to weighted pixels what they do to pixels."""
    values = WEIGHTS.astype(np.float64)
    write_weights(pair, values)
    (pair / "pred.zarr/labels/c/2/1/0").unlink()
    run = evaluate(weighted(pair, missing_chunks=rule))
    truth, pred = label_maps()
    pred = pred.astype(np.int64)
    pred[12:18, 12:24] = 0 if rule == "are_fill_value" else 5
    kept = np.r_[0:12, 18:40] if rule == "skip" else np.arange(40)
    seen = ConfusionAccumulator(5, ignore_labels=[IGNORE], void_labels=[5])
    seen.update(truth[kept], pred[kept], values[kept])
    assert_scores(run, {name: seen.result()[name] for name in ("mean_iou", "mcc")})


def test_wrong_weights_are_told_with_their_place(pair: Path) -> None:
    """Negative, NaN, infinite, too large, too many: after everything was counted, all images at once."""
    values = WEIGHTS.astype(np.float64)
    values[2, 5, 7] = values[2, 6, 0] = -0.5
    values[7, 0, 0] = np.nan
    values[20, 23, 31] = np.inf
    values[30, 1, 2] = 2.0**33
    values[39] = 2.0**24
    write_weights(pair, values.transpose(0, 2, 1), ("image", "x", "y"))
    said = {
        2: r"-0.5 at (y, x) = (5, 7), the first of 2 such pixels",
        7: r"nan at (y, x) = (0, 0)",
        20: "inf at (y, x) = (23, 31)",
        30: r"8.58993e+09 at (y, x) = (1, 2)",
        39: "weights that add up to 1.28849e+10",
    }
    for work in (evaluate, lambda config: validate(config, deep=True)):
        with pytest.raises(InputError) as caught:
            work(weighted(pair))
        problems = {problem.image: problem for problem in caught.value.problems}
        assert {name: problem.found for name, problem in problems.items()} == {
            f"img_{image:03d}": words for image, words in said.items()
        }
        assert {problem.array for problem in problems.values()} == {"labels"}
        assert all(problem.store.endswith("weights.zarr") for problem in problems.values())
    assert problems["img_002"].sentence().startswith("weight: found -0.5 at (y, x) = (5, 7)")


def test_keys_hold_the_weights_and_only_where_there_are_some(pair: Path, reads: list[str]) -> None:
    """Without `weights` all keys are as before; a changed chunk counts its images again, and nothing else."""
    plain = counted(pair_config(pair))
    keys = set(partials(pair / "results"))
    write_weights(pair, chunks=(5, 24, 32))
    assert counted(weighted(pair)) == plain
    assert not keys & (set(partials(pair / "results")) - keys)
    assert counted(weighted(pair)) == counted(pair_config(pair)) == 0
    zarr.open_array(pair / "weights.zarr/labels")[0, 0, 0] = 3
    reads.clear()
    assert counted(weighted(pair)) == 1
    assert "weights.zarr/labels/c/0/0/0" in reads


def test_the_names_of_dimensions_are_in_the_key(pair: Path) -> None:
    """(y, x) of a square array and (x, y) of the same bytes lie otherwise."""
    for side, labels in zip(("truth", "pred"), label_maps(4, shape=(24, 24)), strict=True):
        write_stacked(pair / f"square_{side}.zarr", labels, ids=image_ids(4))
    square = {f"{side}": f"{pair}/square_{side}.zarr::labels" for side in ("truth", "pred")}
    write_weights(pair, OF_PIXELS[:, :24], ("y", "x"))
    assert counted(weighted(pair, **square)) == 1
    document = pair / "weights.zarr/labels/zarr.json"
    names = json.loads(document.read_text())
    document.write_text(json.dumps({**names, "dimension_names": ["x", "y"]}))
    assert counted(weighted(pair, **square)) == 1


def test_models_share_one_reading_of_the_weights(pair: Path, reads: list[str]) -> None:
    """As truth is: with several predictions each chunk is read once; each model is scored with them."""
    write_weights(pair, chunks=(4, 24, 32))
    other = label_maps(seed=5)[1]
    write_stacked(pair / "second.zarr", other, chunks=(6, 24, 32), ids=image_ids(40))
    reads.clear()
    runs = evaluate_models(weighted(pair, also={"second": f"{pair}/second.zarr::labels"}))
    of_weights = [key for key in reads if key.startswith("weights.zarr/labels/c")]
    assert len(of_weights) == len(set(of_weights)) == 10
    assert_scores(runs[1], expected(WEIGHTS, label_maps()[0], other))


def test_runs_of_other_weights_are_not_compared(data: Path, done: Path, tmp_path: Path) -> None:
    """With and without weights, or with others: there is no difference that means something."""
    plain = evaluate(pair_config(data, results=f"{tmp_path}/r"))
    with pytest.raises(InputError, match="weights: found pixels have weights in run A and none in run B"):
        compare(done, plain, common=True)
    values = WEIGHTS.copy()
    values[4, 9, 9] += 1
    write_weights(tmp_path, values)
    other = evaluate(pair_config(data, weights=f"{tmp_path}/weights.zarr::labels", results=f"{tmp_path}/r"))
    with pytest.raises(InputError, match=r"truth: found truth changed in \d+ images: img_00"):
        compare(done, other)
    same = compare(done, done).differences.aggregates["mean_iou"]
    assert (same.value, same.a) == (0, scored(done)["mean_iou"])


def test_what_lies_over_all_images_is_read_once_for_a_bucket(pair: Path, reads: list[str]) -> None:
    """Not once for every image or window, and it is not taken for amplification."""
    write_weights(pair, OF_PIXELS, ("y", "x"), chunks=(24, 32))
    config = weighted(pair, bucket_images=40)
    plan = make_plan(config)
    reads.clear()
    evaluate(config)
    assert reads.count("weights.zarr/labels/c/0/0") == len(plan) < 3
    assert plan.amplification == make_plan(pair_config(pair, bucket_images=40)).amplification


@pytest.mark.parametrize(
    ("layout", "laid"),
    [(name, "each") for name in ("grouped", "nested", "raster", "volume", "volumes", "padded")]
    + [(name, "columns") for name in ("grouped", "raster", "padded")],
)
def test_every_layout_takes_weights(tmp_path: Path, layout: str, laid: str) -> None:
    """One array of weights as truth has one, or one array (x,) for all images; (x, y, z) where there is z."""
    truth, pred = label_maps(6)
    weights = WEIGHTS[:6].astype(np.float64) if laid == "each" else np.broadcast_to(ROWS[:, 0], truth.shape)
    settings: dict[str, Any] = {"layout": layout.removesuffix("s"), "max_read_amplification": 9}
    for name, array in {"truth": truth, "pred": pred, "weights": weights}.items():
        group = zarr.create_group(tmp_path / f"{name}.zarr")
        one = name == "weights" and laid == "columns"
        names: tuple[str, ...] = ("y", "x")
        if one:
            write_array(tmp_path / f"{name}.zarr/labels", ROWS[:, 0], ("x",))
        elif layout in ("grouped", "nested"):
            inner = group.create_group("labels")
            if layout == "nested":
                inner.create_group("city")
            for image in range(6):
                place = f"city/{image}" if layout == "nested" else f"{image}"
                stored, names = (array[image].T, ("x", "y")) if name == "weights" else (array[image], names)
                write_array(tmp_path / f"{name}.zarr/labels/{place}", stored, names)
        elif layout == "raster":
            write_array(tmp_path / f"{name}.zarr/labels", array.reshape(144, 32), ("y", "x"))
            settings["layout"] = {"kind": "raster", "window": [50, 20]}
        elif layout == "volume":
            stored, names = (array.T, ("x", "y", "z")) if name == "weights" else (array, ("z", "y", "x"))
            write_array(tmp_path / f"{name}.zarr/labels", stored, names)
        elif layout == "volumes":
            of_four = array.reshape(3, 2, 24, 32)
            write_array(tmp_path / f"{name}.zarr/labels", of_four, ("image", "z", "y", "x"))
        else:
            write_array(tmp_path / f"{name}.zarr/labels", array, ("image", "y", "x"))
            for column, sizes in (("height", np.arange(10, 16)), ("width", np.full(6, 20))):
                write_array(tmp_path / f"{name}.zarr/{column}", sizes, ("image",))
    if layout == "padded":
        outside = np.zeros(truth.shape, bool)
        for image in range(6):
            outside[image, 10 + image :] = outside[image, :, 20:] = True
        weights = np.where(outside, 0, weights)
    run = evaluate(pair_config(tmp_path, weights=f"{tmp_path}/weights.zarr::labels", **settings))
    assert_scores(run, expected(weights, truth, pred))


@pytest.mark.parametrize("laid", ["index", "each", "over all"])
def test_a_manifest_names_the_weights_of_each_image(pair: Path, laid: str) -> None:
    """A column of paths, with or without places in them; also one array for all."""
    write_weights(pair)
    for image in range(40):
        write_array(pair / f"weights.zarr/at{image}", WEIGHTS[image].T, ("x", "y"))
    write_array(pair / "weights.zarr/pixels", OF_PIXELS, ("y", "x"))
    place = {"index": "labels,{0}", "each": "at{0},", "over all": "pixels,"}[laid]
    row = "truth.zarr/labels,{0},pred.zarr/labels,{0},weights.zarr/" + place
    lines = [f"{name},{row.format(at)}" for at, name in enumerate(image_ids(40))]
    names = ("truth", "pred", "weights")
    header = ",".join(["id", *(f"{name},{name}_index" for name in names)])
    (pair / "table.csv").write_text("\n".join([header, *lines]) + "\n")
    layout = {"kind": "manifest", "table": f"{pair}/table.csv"}
    stores = {name: f"{pair}::{name}" for name in names}
    run = evaluate(pair_config(pair, layout=layout, max_read_amplification=50, **stores))
    assert_scores(run, expected(OF_PIXELS if laid == "over all" else WEIGHTS))


@pytest.mark.parametrize(
    ("values", "names", "ids", "words"),
    [
        (WEIGHTS[:, :, :31], ("image", "y", "x"), None,
         "shape: found 31 pixels along x, expected 32 as the array labels of truth"),
        (WEIGHTS, ("image", "x", "y"), None, "shape: found 24 pixels along x.*found 32 pixels along y"),
        (WEIGHTS[:38], ("image", "y", "x"), image_ids(38),
         "missing image: found nothing for it.*image img_038.*image img_039"),
        (WEIGHTS, ("image", "y", "x"), [], "image ids: found no image ids, expected some, as in truth"),
        (OF_IMAGES, ("image",), image_ids(39), "ids: found 39 ids in the array image, expected 40"),
        (OF_PIXELS, None, None, r"dims: found dimensions without names, shape \(24, 32\), expected names of "
         "some of image, y, x, each once, in any order.*never guessed from sizes"),
        (OF_PIXELS, ("y", "y"), None, "dims: found the dimensions y, y, shape"),
        (WEIGHTS, ("image", "y", "band"), None, "dims: found the dimensions image, y, band"),
        (OF_PIXELS[0], ("z",), [], "image ids: found no image ids|found 32 images"),
        (WEIGHTS.astype(np.complex64), ("image", "y", "x"), None, "dtype: found complex64, expected real n"),
    ],
    ids=["size", "transposed", "images", "ids", "number of ids", "no names", "twice", "band", "z", "dtype"],
)  # fmt: skip
def test_weights_that_do_not_fit_are_told(
    data: Path, tmp_path: Path, values: NDArray[Any], names: Any, ids: Any, words: str
) -> None:
    """With store and array, before a pixel is read; nothing is resized, cut, or repeated unasked."""
    write_weights(tmp_path, values, names, ids)
    with pytest.raises(InputError, match=f"(?s){words}") as caught:
        make_plan(pair_config(data, weights=f"{tmp_path}/weights.zarr::labels"))
    problems = caught.value.problems
    assert all(one.side == "weights" and one.store.endswith("weights.zarr") for one in problems)
    assert all(one.array in ("labels", "image") for one in problems)


def test_groups_of_weights_have_the_arrays_of_truth(tmp_path: Path) -> None:
    """By name, each with the extent of its own; a group is nothing for a stack."""
    truth, _ = label_maps(3)
    for name in ("truth", "pred", "weights"):
        zarr.create_group(tmp_path / f"{name}.zarr").create_group("labels")
        for image in range(3 - (name == "weights")):
            array = truth[image] if name != "weights" else np.ones((24, 30 + image))
            write_array(tmp_path / f"{name}.zarr/labels/{image}", array, ("y", "x"))
    config = pair_config(tmp_path, weights=f"{tmp_path}/weights.zarr::labels", layout="grouped")
    with pytest.raises(InputError) as caught:
        make_plan(config)
    said = [(problem.image, problem.kind) for problem in caught.value.problems]
    assert said == [("2", "missing array"), ("0", "shape"), ("1", "shape")]
    write_stacked(tmp_path / "stack.zarr", truth, ids=image_ids(3))
    stacked = dict.fromkeys(("truth", "pred"), f"{tmp_path}/stack.zarr::labels")
    with pytest.raises(InputError, match="layout: found a group, expected an array, as truth is one"):
        make_plan(pair_config(tmp_path, weights=f"{tmp_path}/weights.zarr::labels", **stacked))


def test_absent_chunks_of_weights_are_never_guessed(pair: Path) -> None:
    """An error that says what they would be, unless they are declared; then they are the fill value."""
    values = WEIGHTS.copy()
    values[:5, :8] = 0
    write_weights(pair, values, chunks=(5, 8, 32), config={"write_empty_chunks": False})
    for rule in ("error", "skip"):
        with pytest.raises(
            InputError, match=r"found 1 of 33 chunks absent.*fill value 0.0 \(weight\).*weights"
        ):
            evaluate(weighted(pair, missing_chunks=rule))
    assert_scores(evaluate(weighted(pair, missing_chunks="are_fill_value")), expected(values))


def test_damaged_weights_quarantine_their_images(pair: Path) -> None:
    """Without the weights nothing can be said of them; the others are counted."""
    write_weights(pair, chunks=(5, 24, 32))
    path = pair / "weights.zarr/labels/c/1/0/0"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IncompleteError, match=r"(?s)5 of 40 images.*weights, store .*image img_005"):
        evaluate(weighted(pair))


def test_a_selection_takes_its_part_of_the_weights(pair: Path) -> None:
    """Counted on its own, or found in the counts of the whole: the same bytes."""
    write_weights(pair)
    select = {"ids": ["img_004", "img_021"]}
    alone = evaluate(weighted(pair, select=select, results=f"{pair}/other"))
    evaluate(weighted(pair))
    found = evaluate(weighted(pair, select=select))
    assert read_json(found / "counted.json")["counted"] == 0
    assert figures(found) == figures(alone)


def test_masks_and_weights_go_together(pair: Path) -> None:
    """What is not valid is ignored, whatever it weighs; and nothing may be left."""
    write_weights(pair)
    mask = RNG.random(SHAPE) < 0.5
    write_stacked(pair / "valid.zarr", mask, ids=image_ids(40))
    run = evaluate(weighted(pair, valid=f"{pair}/valid.zarr::labels"))
    assert_scores(run, expected(np.where(mask, WEIGHTS, 0)))
    (pair / "zero").mkdir()
    write_weights(pair / "zero", np.zeros(SHAPE, np.uint8))
    zero = pair_config(pair, weights=f"{pair}/zero/weights.zarr::labels")
    assert np.isnan(open_run(evaluate(zero)).computed["mean_iou"])


def test_the_key_names_an_array_and_no_more() -> None:
    """As `valid` does."""
    values = {"truth": "t.zarr", "pred": "p.zarr", "classes": 2, "weights": "w.zarr::w"}
    assert str(make_config(values, ["weights.array=other"]).weights) == "w.zarr::other"
    with pytest.raises(ConfigError, match=r"weights.remap: no such key; known: store, array"):
        make_config({**values, "weights": {"store": "w.zarr", "remap": {1: 0}}})
