"""The results dataset: what is in it, its bytes, and how it opens in xarray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.errors import ZarrUserWarning

from segpipe.classes import ClassList
from segpipe.counts import results as module
from segpipe.counts.columns import column_kind, plain_column, stored_names
from segpipe.counts.results import ResultsReader, ResultsWriter, write_scores
from segpipe.errors import InputError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.rules import ScoringRules
from tests.finished import (
    CLASSES,
    columns_of,
    file_hashes,
    random_matrices,
    score_results,
    write_results,
)

IMAGES = 11


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that a few images fill several."""
    monkeypatch.setattr(module, "IMAGES_PER_CHUNK", 4)
    monkeypatch.setattr(module, "CELLS_PER_CHUNK", 16)
    monkeypatch.setattr(module, "IMAGES_PER_BLOCK", 3)
    monkeypatch.setattr(module, "CELLS_PER_BLOCK", 60)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with scores."""
    path = tmp_path_factory.mktemp("scored") / "results.zarr"
    results = write_results(path, random_matrices(IMAGES))
    write_scores(path, score_results(results))
    return path


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("cuts", [range(1, IMAGES), [0, 0, 5, 5], [3], [4, 8]])
def test_bytes_do_not_depend_on_how_appends_were_cut(tmp_path: Path, cuts: Any) -> None:
    """Image by image, with empty appends, across and along chunk boundaries: the same files, bit for bit."""
    for name, given_cuts in (("whole", []), ("cut", cuts)):
        results = write_results(tmp_path / name, random_matrices(IMAGES), cuts=list(given_cuts))
        write_scores(results.path, score_results(results))

    assert file_hashes(tmp_path / "cut") == file_hashes(tmp_path / "whole")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("images", [0, 4, IMAGES])
def test_bytes_are_those_that_zarr_python_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    """Every file, for every kind of array: numbers, truth values and texts, cut, whole and without a dim."""
    monkeypatch.setattr(module, "CODES_PER_CHUNK", 4)
    columns = columns_of(images) | {"ort": np.array([f"Köln {at}" for at in range(images)], object)}
    results = write_results(tmp_path / "ours", random_matrices(images), columns=columns)
    write_scores(results.path, score_results(results))
    ours = zarr.open_group(results.path, mode="r")
    theirs = zarr.create_group(tmp_path / "theirs", attributes=ours.attrs.asdict())
    for name, array in ours.arrays():
        copy = theirs.create_array(
            name, shape=array.shape, chunks=array.chunks, dtype=array.dtype, attributes=array.attrs.asdict(),
            dimension_names=array.metadata.dimension_names, config={"write_empty_chunks": True},
            compressors=[zarr.codecs.ZstdCodec(level=3, checksum=True)],
        )  # fmt: skip
        copy[...] = array[...]
    with pytest.warns(ZarrUserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(tmp_path / "theirs")

    assert file_hashes(tmp_path / "ours") == file_hashes(tmp_path / "theirs")


@pytest.mark.usefixtures("small_chunks")
def test_every_image_comes_back(tmp_path: Path) -> None:
    """Ids, matrices and columns, through several chunks and blocks."""
    matrices = random_matrices(IMAGES)
    blocks = list(write_results(tmp_path / "r", matrices).blocks())

    assert len(blocks) > 3
    assert [name for block in blocks for name in block.ids] == [
        f"image-{index:04d}" for index in range(IMAGES)
    ]
    np.testing.assert_array_equal(np.concatenate([block.cells.dense() for block in blocks]), matrices)
    for name, values in columns_of(IMAGES).items():
        found = np.concatenate([block.columns[name] for block in blocks])
        assert found.tolist() == values.tolist()
        assert found.dtype == values.dtype


@pytest.mark.usefixtures("small_chunks")
def test_blocks_are_bounded_in_images_and_cells(tmp_path: Path) -> None:
    """At most 3 images here, at most 60 cells, but one image at least whatever it holds."""
    matrices = np.concatenate([np.zeros((9, 12, 12), np.int64), np.ones((2, 12, 12), np.int64)])
    matrices[:9, 0, 0] = 1
    results = write_results(tmp_path / "r", matrices, classes=ClassList.numbered(10), columns={})
    blocks = list(results.cells())

    assert [len(block) for block in blocks] == [3, 1, 3, 1, 1, 1, 1]
    assert all(len(block.cells) <= 60 or len(block) == 1 for block in blocks)
    np.testing.assert_array_equal(ConfusionCells.concatenate(blocks).dense(), matrices)


def test_many_classes_make_smaller_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images times classes are bounded too."""
    monkeypatch.setattr(module, "CLASSES_PER_BLOCK", 8)
    results = write_results(tmp_path / "r", random_matrices(5), columns={})

    assert [len(block) for block in results.cells()] == [2, 2, 1]


def test_xarray_opens_it_with_names_units_and_integers(scored: Path) -> None:
    """Plain open_zarr, no warning (warnings are errors here); class names select; counts stay int64."""
    with xr.open_zarr(scored) as lazy:
        found = lazy.load()
        matrices = random_matrices(IMAGES)
        total = matrices.sum(axis=0)

        assert found.confusion.dims == ("truth", "pred")
        assert found.confusion.sel(truth="road", pred="car").item() == total[0, 1]
        assert found.confusion.sel(truth="(ignored)", pred="(void)").item() == total[4, 4]
        assert found.confusion.sel(truth="car", pred="(invalid)").item() == total[1, 5]
        assert found.truth_pixels.sel(class_name="car").item() == total[1].sum()
        assert found.hit_pixels.sel(class_name="car").item() == total[1, 1]
        assert found.image_pixels.sel(image="image-0003").item() == matrices[3].sum()
        assert found.class_id.sel(class_name="ghost").item() == 3
        assert {"sequence", "frame", "speed", "night", "class_id"} <= set(found.coords)
        for name in ("confusion", "cell_pixels", "cell_offset", "image_pixels", "truth_pixels", "frame"):
            assert found[name].dtype == np.int64, name
        assert found.night.dtype == np.bool_
        assert found.confusion.attrs["units"] == found.image_ignored.attrs["units"] == "pixel"


def test_the_cells_of_one_image_can_be_read_without_segpipe(scored: Path) -> None:
    """cell_offset, cell_truth, cell_pred and cell_pixels are all that is needed."""
    with xr.open_zarr(scored) as found:
        first, last = found.cell_offset.values[3:5]
        matrix = np.zeros((6, 6), np.int64)
        matrix[found.cell_truth.values[first:last], found.cell_pred.values[first:last]] = (
            found.cell_pixels.values[first:last]
        )

    np.testing.assert_array_equal(matrix, random_matrices(IMAGES)[3])


def test_scores_carry_formula_direction_and_what_they_average(scored: Path) -> None:
    """The attributes of a mean name the classes in it; the values are those of the scores."""
    scores = score_results(ResultsReader(scored))
    with xr.open_zarr(scored) as found:
        for name, values in scores.per_class.items():
            np.testing.assert_array_equal(found[name].values, values)
        for name, one in scores.aggregates.items():
            assert found[name].dims == ()
            np.testing.assert_array_equal(found[name].item(), one.value)
            assert found[name].attrs["classes_used"] == list(one.classes_used)
            assert found[name].attrs["averaging"] == one.averaging
        attributes = found.mean_iou.attrs
        np.testing.assert_array_equal(found.image_mean_iou.values, scores.per_image["mean_iou"])

    assert attributes["direction"] == "higher is better"
    assert attributes["formula"] == "tp / (t + p - tp)"
    assert (attributes["best"], attributes["valid_min"], attributes["valid_max"]) == (1, 0, 1)
    assert attributes["classes_dropped"] == {"never": "absent from truth and prediction"}
    assert attributes["flagged"] == {"ghost": "predicted, but nowhere in truth: scores 0"}


def test_every_chunk_is_written_and_checksummed(scored: Path) -> None:
    """Nothing is absent, so absence always means loss; a flipped bit cannot pass."""
    group = zarr.open_group(str(scored), mode="r")
    for name, array in group.arrays():
        chunks = [path for path in (scored / name).rglob("*") if path.is_file() and path.name != "zarr.json"]
        assert len(chunks) == int(np.prod(array.cdata_shape)), name
        assert [codec.to_dict()["configuration"]["checksum"] for codec in array.compressors] == [True], name


def test_chunks_of_nothing_but_zeros_are_written_too(tmp_path: Path) -> None:
    """A perfect dataset: no ignored, void or invalid pixel, and class 0 alone."""
    matrices = np.zeros((3, 6, 6), np.int64)
    matrices[:, 0, 0] = 5
    write_results(
        tmp_path / "r", matrices, columns={"flag": np.zeros(3, np.bool_), "text": np.array([""] * 3, object)}
    )

    for name in ("image_ignored", "image_invalid_pred", "cell_truth", "flag", "text"):
        assert (tmp_path / "r" / name / "c" / "0").is_file(), name


def test_counts_without_scores_open_in_xarray_as_well(tmp_path: Path) -> None:
    """Also without a warning, before anything is scored."""
    write_results(tmp_path / "r", random_matrices(3))

    with xr.open_zarr(tmp_path / "r") as found:
        assert found.sizes["image"] == 3


@pytest.mark.parametrize("name", ["cell_pixels", "image", "confusion", "image_mean_iou"])
def test_a_flipped_bit_is_found_and_named(tmp_path: Path, name: str) -> None:
    """The message names the store and the array, and says what to do."""
    results = write_results(tmp_path / "r", random_matrices(5))
    write_scores(results.path, score_results(results))
    chunk = next(path for path in (tmp_path / "r" / name / "c").rglob("*") if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)

    with pytest.raises(
        InputError, match=rf"expected a results dataset .*store {tmp_path}/r, array {name}"
    ) as found:
        ResultsReader(tmp_path / "r").read(name)
    assert "What to do: evaluate again" in str(found.value)


@pytest.mark.parametrize("kind", ["absent", "empty", "other"])
def test_what_is_no_results_dataset_is_refused(tmp_path: Path, kind: str) -> None:
    """No folder, an empty folder, some other Zarr group."""
    path = tmp_path / "r"
    if kind == "empty":
        path.mkdir()
    if kind == "other":
        zarr.create_group(str(path))

    with pytest.raises(InputError, match="expected a results dataset written by segpipe"):
        ResultsReader(path)


def test_no_images_make_a_dataset_that_opens(tmp_path: Path) -> None:
    """All figures are NaN; xarray reads it."""
    results = write_results(tmp_path / "r", random_matrices(0))
    scores = score_results(results)
    write_scores(results.path, scores)

    assert len(results) == 0
    assert list(results.blocks()) == []
    with xr.open_zarr(tmp_path / "r") as found:
        assert found.sizes["image"] == 0
        assert np.isnan(found.mean_iou.item())
        assert int(found.confusion.sum()) == 0


def test_one_class_is_enough(tmp_path: Path) -> None:
    """K = 1: 3 x 3 matrices."""
    matrices = np.arange(18).reshape(2, 3, 3)
    results = write_results(tmp_path / "r", matrices, classes=ClassList(("all",)), columns={})

    np.testing.assert_array_equal(results.total(), matrices.sum(axis=0))
    np.testing.assert_array_equal(next(iter(results.cells())).dense(), matrices)


def test_counts_of_a_huge_raster_stay_exact(tmp_path: Path) -> None:
    """10^18 pixels in one cell."""
    matrices = np.zeros((2, 3, 3), np.int64)
    matrices[:, 0, 0] = 10**18 + 1
    results = write_results(tmp_path / "r", matrices, classes=ClassList(("all",)), columns={})

    assert results.total()[0, 0] == 2 * 10**18 + 2
    assert next(iter(results.cells())).counts.tolist() == [10**18 + 1] * 2


def test_classes_come_back_with_colours(scored: Path) -> None:
    """Names, order and colours."""
    assert ResultsReader(scored).classes == CLASSES


def test_the_rules_of_the_scores_are_kept(tmp_path: Path) -> None:
    """A reader can score again in the same way."""
    rules = ScoringRules(absent_class="zero", exclude_classes=("car",), present="truth")
    results = write_results(tmp_path / "r", random_matrices(3))
    write_scores(results.path, score_results(results, rules))

    assert ResultsReader(tmp_path / "r").rules == rules


def test_ids_may_be_anything(tmp_path: Path) -> None:
    """Slashes, other alphabets, NUL, emoji; half a surrogate pair, which has no encoding, becomes a mark."""
    ids = ["../../etc/passwd", "日本", "a\x00b", "😀", "\ud800x"]
    results = write_results(tmp_path / "r", random_matrices(5), ids=ids)

    assert results.ids() == [*ids[:4], "?x"]


def test_columns_with_dangerous_or_taken_names_get_safe_ones(tmp_path: Path) -> None:
    """The true name is the long_name; nothing is written outside; figures keep their names."""
    values = np.arange(3)
    names = ["../up", "iou", "image_pixels", "Pixels", "a b", "mean_iou_per_image", "__x"]
    results = write_results(tmp_path / "in" / "r", random_matrices(3), columns=dict.fromkeys(names, values))
    write_scores(results.path, score_results(results))

    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["r"]
    assert list(results.columns) == names
    with xr.open_zarr(tmp_path / "in" / "r") as found:
        for name in names:
            stored = found[results.names[name]]
            assert stored.attrs["long_name"] == name
            assert results.names[name] in found.coords
            np.testing.assert_array_equal(stored.values, values)
        assert found["iou"].dims == ("class_name",)


@given(names=st.lists(st.text(max_size=8), max_size=8, unique=True))
def test_stored_names_are_safe_and_differ(names: list[str]) -> None:
    """One name each, also where case does not count; none has a separator, none hides."""
    found = stored_names(names, {"iou"})

    assert list(found) == names
    assert len({name.casefold() for name in found.values()} | {"iou"}) == len(names) + 1
    assert not any(set("/\\ \x00") & set(name) or name.startswith(".") for name in found.values())


@settings(max_examples=30)
@given(names=st.permutations(["weather", "pixels", "A", "a", "/"]))
def test_a_column_that_needs_no_new_name_keeps_it(names: list[str]) -> None:
    """Whatever stands before it."""
    assert stored_names(names, {"pixels"})["weather"] == "weather"


def test_dates_missing_texts_and_numbers_are_stored_as_they_read() -> None:
    """A date is ISO text, None is an empty text, NaN stays NaN, a truth value stays one."""
    dates = np.array(["2024-05-01T10:00", "NaT"], "datetime64[m]")

    assert plain_column("d", dates, column_kind(dates)).tolist() == ["2024-05-01T10:00", "NaT"]
    assert plain_column("t", np.array(["a", None], object), "str").tolist() == ["a", ""]
    assert np.isnan(plain_column("f", [1.0, np.nan], "float")[1])
    assert plain_column("b", [True, False], column_kind([True, False])).dtype == np.bool_


def test_a_number_that_does_not_fit_is_refused() -> None:
    """2^63 as int64 would be negative."""
    with pytest.raises(
        InputError, match=r"found 9223372036854775808 in the column 'n', expected numbers below 2\^63"
    ):
        plain_column("n", np.array([2**63], np.uint64), "int")


@pytest.mark.parametrize(
    "change",
    [{"ids": ["a"]}, {"columns": {}}, {"columns": {"x": [1]}}, {"cells": ConfusionCells.empty(3, 2)}],
)
def test_an_append_that_does_not_fit_together_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Lengths, columns and the number of classes; nothing of it is taken."""
    given_args: dict[str, Any] = {
        "ids": ["a", "b"], "cells": ConfusionCells.empty(4, 2), "columns": {"x": [1, 2]},
    } | change  # fmt: skip
    writer = ResultsWriter(tmp_path / "r", CLASSES, {"x": "int"})

    with pytest.raises(ValueError, match=r"append: .* expected one length, 4 classes"):
        writer.append(**given_args)
    writer.close()
    assert len(ResultsReader(tmp_path / "r")) == 0


def test_results_are_never_written_over(tmp_path: Path) -> None:
    """A second writer at the same place is refused, and the first one's data stay."""
    write_results(tmp_path / "r", random_matrices(2))

    with pytest.raises(zarr.errors.ContainsGroupError):
        ResultsWriter(tmp_path / "r", CLASSES)
    assert len(ResultsReader(tmp_path / "r")) == 2


def test_a_writer_that_fails_leaves_nothing_that_opens(tmp_path: Path) -> None:
    """The sum over the images is written at the end, so half a dataset is none."""

    with pytest.raises(ValueError, match="append"), ResultsWriter(tmp_path / "r", CLASSES) as writer:
        writer.append(["a", "b"], ConfusionCells.empty(4, 1))

    with pytest.raises(InputError, match="expected a results dataset"):
        ResultsReader(tmp_path / "r")
