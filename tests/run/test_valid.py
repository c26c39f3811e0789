"""`valid`: pixels that an array of its own takes out, through a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig, make_config
from segpipe.errors import ConfigError, IncompleteError, InputError
from segpipe.planning import buckets
from segpipe.planning.plan import make_plan
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.run.opened import open_run
from segpipe.run.provenance import fingerprints
from segpipe.run.record import read_json
from segpipe.run.validated import validate
from segpipe.sources import storage
from tests.run.datasets import IGNORE, figures, image_ids, label_maps, pair_config, write_stacked
from tests.run.test_counting import partials
from tests.run.test_recount import counted

SHAPE = (40, 24, 32)
MASK = np.random.default_rng(7).random(SHAPE) < 0.7


def write_mask(folder: Path, mask: NDArray[Any] = MASK, **options: Any) -> None:
    """valid.zarr with ids, chunked unlike both other stores."""
    options = {"chunks": (5, 8, 32), "ids": image_ids(len(mask)), **options}
    write_stacked(folder / "valid.zarr", mask, **options)


def masked(folder: Path, **settings: Any) -> EvaluationConfig:
    """The pair, evaluated where valid.zarr says."""
    return pair_config(folder, valid=f"{folder}/valid.zarr::labels", **settings)


def write_array(path: Path, values: NDArray[Any], names: tuple[str, ...] | None = None) -> None:
    """One array at the root of a store."""
    array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, chunks=values.shape,
                              dimension_names=names, config={"write_empty_chunks": True})  # fmt: skip
    array[...] = values


def write_ignored(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """The pair without a mask: truth has the ignored label where the mask is 0."""
    truth, pred = label_maps()
    ids = image_ids(40)
    weather = [("rain", "fog", "clear")[index % 3] for index in range(40)]
    written = np.where(mask, truth, IGNORE).astype(np.uint8)
    write_stacked(folder / "truth.zarr", written, ids=ids, columns={"weather": weather})
    write_stacked(folder / "pred.zarr", pred, chunks=(6, 12, 32), ids=ids)
    return folder


def counts(run: Path) -> dict[str, bytes]:
    """The figures of a run but for its reports, whose rules name the mask."""
    told = ("report.md", "report.html", "scores.json")
    return {name: data for name, data in figures(run).items() if name not in told}


def scores(run: Path) -> Any:
    """What is scored, as JSON."""
    document = json.loads((run / "scores.json").read_text())
    return document["counts"], document["classes"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same data whose truth is ignored where the mask is 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "RACY_S", 0.02)
        return evaluate(pair_config(write_ignored(tmp_path_factory.mktemp("ignored"), MASK)))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_pixels_that_are_not_valid_are_ignored(pair: Path, expected: Path, dtype: str) -> None:
    """The same bytes as of truth with the ignored label there; the report says that a mask was used."""
    values = MASK * (1 if dtype == "bool" else -7 if dtype == "int64" else 200)
    write_mask(pair, values.astype(dtype))
    run = evaluate(masked(pair))
    assert counts(run) == counts(expected)
    assert scores(run) == scores(expected)
    report = (run / "report.md").read_text()
    assert "Pixels where the array valid is 0 are ignored" in report.replace("`", "").replace("\\", "")
    provenance = json.loads((run / "provenance.json").read_text())["provenance"]
    assert provenance["valid"].endswith("valid.zarr::labels")
    assert set(fingerprints(run)) == {"truth", "pred", "valid"}


def test_mask_has_its_own_order_and_more_images(pair: Path, expected: Path) -> None:
    """Images are matched by id, whatever the position; those that truth does not have are passed over."""
    order = np.random.default_rng(1).permutation(40)
    mask = np.concatenate([np.zeros((2, 24, 32), bool), MASK[order]])
    write_mask(pair, mask, ids=["other_1", "other_2", *(image_ids(40)[image] for image in order)])
    assert counts(evaluate(masked(pair))) == counts(expected)


def test_neither_buckets_nor_windows_change_a_figure(
    pair: Path, expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in other buckets, and a few images at a time."""
    write_mask(pair)
    monkeypatch.setattr(buckets, "WINDOW_BYTES", 1)
    monkeypatch.setattr(buckets, "WINDOW_LIMIT_BYTES", 1)
    run = evaluate(masked(pair, bucket_images=3, max_read_amplification=20))
    assert counts(run) == counts(expected)


def test_one_mask_may_lie_over_all_images(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An array (y, x), such as the bonnet of the car in every photograph."""
    mask = np.ones((24, 32), bool)
    mask[15:, 4:20] = False
    write_array(pair / "valid.zarr", mask, ("y", "x"))
    run = evaluate(pair_config(pair, valid=f"{pair}/valid.zarr"))
    other = write_ignored(tmp_path_factory.mktemp("ignored"), np.broadcast_to(mask, SHAPE))
    assert counts(run) == counts(evaluate(pair_config(other)))


def test_what_is_not_valid_may_hold_anything(pair: Path) -> None:
    """Labels that no rule names are told only where pixels are valid, with their place in the image."""
    truth, pred = (zarr.open_array(pair / f"{name}.zarr/labels") for name in ("truth", "pred"))
    truth[3, 10, 5] = pred[3, 11, 6] = 99
    mask = np.ones(SHAPE, bool)
    mask[3, 10:12, 5:7] = False
    write_mask(pair, mask)
    run = evaluate(masked(pair))
    matrix = open_run(run).confusion.values
    assert matrix[6].sum() == matrix[:, 6].sum() == 0
    assert matrix.sum() == np.prod(SHAPE)

    truth[3, 20, 9] = 98
    with pytest.raises(InputError, match=r"label 98 in 1 pixels, first at \(y, x\) = \(20, 9\)") as caught:
        evaluate(masked(pair))
    assert "99" not in str(caught.value)


@pytest.mark.parametrize("rule", ["skip", "count_as_void"])
def test_absent_label_maps_under_a_mask(
    pair: Path, tmp_path_factory: pytest.TempPathFactory, rule: str
) -> None:
    """The rules for absent chunks say the same with a mask as with ignored pixels."""
    write_mask(pair)
    other = write_ignored(tmp_path_factory.mktemp("ignored"), MASK)
    for folder in (pair, other):
        (folder / "pred.zarr/labels/c/2/1/0").unlink()
    runs = [evaluate(masked(pair, missing_chunks=rule)), evaluate(pair_config(other, missing_chunks=rule))]
    assert counts(runs[0]) == counts(runs[1])


def test_keys_hold_the_mask_and_only_where_there_is_one(pair: Path, reads: list[str]) -> None:
    """Without `valid` all keys are as before; another mask counts what it touches again, and nothing else."""
    plain = counted(pair_config(pair))
    keys = set(partials(pair / "results"))
    write_mask(pair)
    assert counted(masked(pair)) == plain
    assert not keys & (set(partials(pair / "results")) - keys)
    assert counted(masked(pair)) == counted(pair_config(pair)) == 0
    zarr.open_array(pair / "valid.zarr/labels")[0, 0, 0] ^= True
    reads.clear()
    assert counted(masked(pair)) == 1
    assert "valid.zarr/labels/c/0/0/0" in reads


def test_models_share_one_reading_of_the_mask(pair: Path, reads: list[str]) -> None:
    """As truth is: with several predictions each chunk of the mask is read once."""
    write_mask(pair, chunks=(4, 24, 32))
    write_stacked(pair / "second.zarr", label_maps(seed=5)[1], chunks=(6, 24, 32), ids=image_ids(40))
    config = masked(pair, also={"second": f"{pair}/second.zarr::labels"})
    reads.clear()
    evaluate_models(config)
    of_mask = [key for key in reads if key.startswith("valid")]
    assert len(of_mask) == len(set(of_mask)) == 10


@pytest.mark.parametrize("layout", ["grouped", "nested", "raster", "volume", "padded"])
def test_every_layout_takes_a_mask(tmp_path: Path, layout: str) -> None:
    """Found like the label maps of truth; the counted classes are those of valid pixels."""
    truth, pred = label_maps(6)
    mask = MASK[:6]
    values = {"truth": truth, "pred": pred, "valid": mask}
    settings: dict[str, Any] = {"layout": layout, "max_read_amplification": 9}
    inside = mask & (truth != IGNORE)
    for name, array in values.items():
        group = zarr.create_group(tmp_path / f"{name}.zarr")
        if layout in ("grouped", "nested"):
            inner = group.create_group("labels")
            if layout == "nested":
                inner.create_group("city")
            for image in range(6):
                place = f"city/{image}" if layout == "nested" else f"{image}"
                write_array(tmp_path / f"{name}.zarr/labels/{place}", array[image], ("y", "x"))
        elif layout == "raster":
            write_array(tmp_path / f"{name}.zarr/labels", array.reshape(144, 32), ("y", "x"))
            settings["layout"] = {"kind": "raster", "window": [50, 20]}
        elif layout == "volume":
            write_array(tmp_path / f"{name}.zarr/labels", array, ("z", "y", "x"))
        else:
            write_array(tmp_path / f"{name}.zarr/labels", array, ("image", "y", "x"))
            for column, sizes in (("height", np.arange(10, 16)), ("width", np.full(6, 20))):
                write_array(tmp_path / f"{name}.zarr/{column}", sizes, ("image",))
    if layout == "padded":
        for image in range(6):
            inside[image, 10 + image :] = inside[image, :, 20:] = False
    matrix = open_run(evaluate(masked(tmp_path, **settings))).confusion.values
    expected = np.bincount(truth[inside] * 5 + pred[inside], minlength=25).reshape(5, 5)
    np.testing.assert_array_equal(matrix[:5, :5], expected)


def test_a_manifest_names_the_mask_of_each_image(pair: Path, expected: Path) -> None:
    """By a column of paths, and its indices, as those of truth."""
    write_mask(pair)
    names = ("truth", "pred", "valid")
    paths = ",".join(f"{name}.zarr/labels,{{0}}" for name in names)
    lines = [f"{name},{paths.format(at)}" for at, name in enumerate(image_ids(40))]
    header = ",".join(["id", *(f"{name},{name}_index" for name in names)])
    (pair / "table.csv").write_text("\n".join([header, *lines]) + "\n")
    layout = {"kind": "manifest", "table": f"{pair}/table.csv"}
    config = pair_config(
        pair, layout=layout, max_read_amplification=50, **{name: f"{pair}::{name}" for name in names}
    )
    matrix = open_run(evaluate(config)).confusion.values
    np.testing.assert_array_equal(matrix, open_run(expected).confusion.values)


def test_content_of_a_mask_is_hashed_where_that_is_asked_for(pair: Path) -> None:
    """As that of label maps is (fingerprint: content)."""
    write_mask(pair)
    (bucket, *_) = make_plan(masked(pair, fingerprint="content")).buckets()
    assert all(info and info.content for info in bucket.overlays["valid"].objects[0].values())


@pytest.mark.parametrize(
    ("mask", "options", "words"),
    [
        (MASK[:, :, :31], {}, "shape: found 24 x 31 pixels, expected 24 x 32 as in truth .*image img_000"),
        (MASK[:38], {}, "(?s)missing image: found nothing for it.*image img_038.*image img_039"),
        (MASK, {"ids": None}, "image ids: found no image ids, expected some, as in truth"),
        (MASK.astype("float32"), {}, "dtype: found float32, expected an integer or bool dtype"),
    ],
    ids=["size", "images", "ids", "dtype"],
)
def test_mask_that_does_not_fit_is_told(
    pair: Path, mask: NDArray[Any], options: dict[str, Any], words: str
) -> None:
    """With store and array, before a pixel is read."""
    write_mask(pair, mask, **options)
    with pytest.raises(InputError, match=words) as caught:
        make_plan(masked(pair))
    assert all(problem.side == "valid" for problem in caught.value.problems)
    assert "representation" not in str(caught.value)


def test_one_mask_over_all_has_the_extent_of_truth(pair: Path) -> None:
    """Nothing is cut or repeated; a mask that is not there is told with the arrays that are."""
    write_array(pair / "valid.zarr", np.ones((24, 16), bool))
    with pytest.raises(InputError, match="found 24 x 16 pixels, expected 24 x 32 as the array labels"):
        make_plan(pair_config(pair, valid=f"{pair}/valid.zarr"))
    with pytest.raises(InputError, match=r"valid, store .*truth.zarr, array nothing"):
        make_plan(pair_config(pair, valid=f"{pair}/truth.zarr::nothing"))


def test_absent_chunks_of_a_mask_are_never_guessed(pair: Path) -> None:
    """An error that says what they would be, unless they are declared; then they are the fill value."""
    mask = MASK.copy()
    mask[:5, :8] = False
    write_mask(pair, mask, config={"write_empty_chunks": False})
    for rule in ("error", "skip", "count_as_void"):
        with pytest.raises(
            InputError, match=r"found 1 of 33 chunks absent.*False \(not valid\).*valid"
        ) as caught:
            evaluate(masked(pair, missing_chunks=rule))
        assert "count_as_void" not in str(caught.value)
    run = evaluate(masked(pair, missing_chunks="are_fill_value"))
    zarr.open_array(pair / "valid.zarr/labels").attrs["segpipe"] = {"missing_chunks": "are_fill_value"}
    declared = evaluate(masked(pair))
    assert counts(run) == counts(declared)
    assert open_run(run).confusion.values[5].sum() == (~mask | (label_maps()[0] == IGNORE)).sum()


def test_absent_parts_of_shards_of_a_mask_are_told_when_they_are_read(pair: Path) -> None:
    """Metadata do not tell them: the images are quarantined, and counts under another rule are not used."""
    mask = MASK.copy()
    mask[1, :8] = False
    write_mask(pair, mask, chunks=(1, 8, 32), shards=(5, 24, 32), config={"write_empty_chunks": False})
    filled = evaluate(masked(pair, missing_chunks="are_fill_value"))
    assert open_run(filled).confusion.values.sum() == np.prod(SHAPE)
    with pytest.raises(IncompleteError, match=r"parts of shards that were never stored.*image img_001"):
        evaluate(masked(pair))


def test_damaged_mask_quarantines_its_images(pair: Path) -> None:
    """Without the mask nothing can be said of them; the others are counted. Deep validation finds it too."""
    write_mask(pair, chunks=(5, 24, 32))
    path = pair / "valid.zarr/labels/c/1/0/0"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IncompleteError, match=r"(?s)5 of 40 images.*valid, store .*image img_005"):
        evaluate(masked(pair))
    with pytest.raises(IncompleteError, match="5 of 40 images cannot be read"):
        validate(masked(pair), deep=True)


def test_a_selection_takes_its_part_of_the_mask(pair: Path) -> None:
    """Counted on its own, or found in the counts of the whole: the same bytes."""
    write_mask(pair)
    select = {"ids": ["img_004", "img_021"]}
    alone = evaluate(masked(pair, select=select, results=f"{pair}/other"))
    evaluate(masked(pair))
    found = evaluate(masked(pair, select=select))
    assert read_json(found / "counted.json")["counted"] == 0
    assert figures(found) == figures(alone)


def test_mistakes_of_the_key_are_told() -> None:
    """It takes an array and no more; a part of it can be set on the command line."""
    values = {"truth": "t.zarr", "pred": "p.zarr", "classes": 2, "valid": "v.zarr::mask"}
    made = make_config(values, ["valid.array=other"])
    assert str(made.valid) == "v.zarr::other"
    assert make_config(values).absolute().valid.store == str(Path("v.zarr").absolute())  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"valid.remap: no such key; known: store, array"):
        make_config({**values, "valid": {"store": "v.zarr", "remap": {1: 0}}})
    with pytest.raises(ConfigError, match=r"valid.store: credentials do not belong"):
        make_config({**values, "valid": "s3://key:secret@bucket/v.zarr"})
