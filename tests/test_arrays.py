"""One matrix for any kind of array; lazy stays lazy, and nothing is paired by accident."""

from __future__ import annotations

import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import confusion_matrix

from segpipe.accumulator import ConfusionAccumulator
from segpipe.arrays import confusion
from segpipe.errors import ArrayError, ConfigError, ShapeError

SHAPE = (4, 30, 50)
DIMS = ("image", "y", "x")
RULES = {"ignore_labels": [255], "void_labels": [254]}


@pytest.fixture
def label_maps():
    """Truth and pred with classes, ignored, void and invalid values, uint8 (4, 30, 50)."""
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 9, 254, 255], np.uint8), (2, *SHAPE))


def no_scheduler(*_, **__):
    message = "something was computed"
    raise AssertionError(message)


def test_it_is_scikit_learn_s_matrix_with_two_codes_more(label_maps):
    truth, pred = label_maps
    counts = confusion(truth, pred, 3, **RULES)
    valid = (truth < 3) & (pred < 3)
    np.testing.assert_array_equal(
        counts[:3, :3], confusion_matrix(truth[valid], pred[valid], labels=range(3))
    )
    assert counts.sum() == truth.size
    assert counts[3, :].sum() == (truth == 255).sum()
    assert counts[:, 3].sum() == (pred == 254).sum()


def test_lists_and_single_images_are_arrays_too():
    assert confusion([[0, 1]], [[1, 1]], 2)[:2, :2].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("face", [lambda **given: confusion([0], [0], **given), ConfusionAccumulator])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ignore_labels": 255}, r"ignore_labels: found 255, expected a list of labels such as \[255\]"),
        ({"void_labels": None}, "void_labels: found None, expected a list of labels"),
        ({"ignore_labels": "255"}, "ignore_labels: found '255', expected a list of labels"),
        ({"ignore_labels": [1.5]}, "ignore_labels: found 1.5, expected whole numbers"),
        ({"ignore_labels": [True]}, "ignore_labels: found True, expected whole numbers"),
        ({"num_classes": "3"}, "num_classes: found '3', expected whole numbers"),
        ({"num_classes": 3.0}, "num_classes: found 3.0, expected whole numbers"),
        ({"num_classes": 0}, "num_classes: found 0, expected 1 to 65533"),
        ({"remap": [(7, 0)]}, r"remap: found \[\(7, 0\)\], expected a mapping such as {7: 0}"),
        ({"remap": {7: "road"}}, "remap: found 'road', expected whole numbers"),
    ],
)
def test_settings_of_a_wrong_kind_are_told_by_their_name(face, settings, words):
    """With the same words wherever the settings are given."""
    with pytest.raises(ConfigError, match=words):
        face(**{"num_classes": 3, **settings})


def test_settings_may_be_numbers_of_numpy():
    labels = np.array([255, 254], np.uint8)
    given = {"ignore_labels": labels, "remap": {np.int64(7): np.uint8(0)}}
    assert confusion([7, 255], [7, 7], np.int32(1), **given)[:, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("lazy", ["truth", "pred", "both"])
def test_dask_arrays_give_the_same_counts_lazily(label_maps, lazy):
    truth, pred = label_maps
    truth_lazy = da.from_array(truth, chunks=(2, 7, 50)) if lazy != "pred" else truth
    pred_lazy = da.from_array(pred, chunks=(3, 30, 11)) if lazy != "truth" else pred
    with dask.config.set(scheduler=no_scheduler):
        counts = confusion(truth_lazy, pred_lazy, 3, **RULES)
        assert isinstance(counts, da.Array)
        assert (counts.shape, counts.dtype) == ((5, 5), np.int64)
    np.testing.assert_array_equal(counts.compute(scheduler="threads"), confusion(truth, pred, 3, **RULES))


@pytest.mark.parametrize("shape", [(), (7,), (0, 5), (2, 3, 4, 5)])
def test_dask_arrays_of_any_shape_are_counted(shape):
    labels = np.random.default_rng(1).integers(0, 4, shape)
    lazy = da.from_array(labels, chunks=2 if shape else -1)
    counts = confusion(lazy, lazy, 3).compute(scheduler="sync")
    np.testing.assert_array_equal(counts, confusion(labels, labels, 3))


def test_a_task_adds_up_a_few_matrices_only():
    """The sum is a tree: no task takes the matrices of all blocks."""
    lazy = da.zeros((4000, 2), chunks=(10, 2), dtype=np.uint8)
    graph = confusion(lazy, lazy, 3).__dask_graph__()
    matrices = [len(deps) for deps in graph.get_all_dependencies().values()]
    assert max(matrices) <= 16


def test_unknown_chunks_are_refused_in_words():
    lazy = da.from_array(np.arange(9), chunks=3)
    with pytest.raises(ArrayError, match=r"chunks of unknown size; call its compute_chunk_sizes\(\) first"):
        confusion(lazy[lazy > 3], lazy[lazy > 3], 3)


def test_lazy_arrays_are_checked_before_anything_is_computed():
    lazy = da.zeros((4, 4), dtype=np.uint8)
    with dask.config.set(scheduler=no_scheduler):
        with pytest.raises(ShapeError, match="must be equal"):
            confusion(lazy, lazy[:2], 3)
        with pytest.raises(ArrayError, match="pred has dtype float64"):
            confusion(lazy, lazy / 2, 3)


@pytest.mark.parametrize("lazy", [False, True])
def test_data_arrays_give_a_data_array_with_named_coordinates(label_maps, lazy):
    truth, pred = (xr.DataArray(side, dims=DIMS) for side in label_maps)
    if lazy:
        truth, pred = truth.chunk(image=1), pred.chunk(y=7)
    with dask.config.set(scheduler=no_scheduler):
        counts = confusion(truth, pred, 3, **RULES)
    assert counts.dims == ("truth", "pred")
    assert counts.truth.values.tolist() == ["class_0", "class_1", "class_2", "ignored", "invalid"]
    assert counts.pred.values.tolist() == ["class_0", "class_1", "class_2", "void", "invalid"]
    assert (counts.chunks is not None) == lazy
    np.testing.assert_array_equal(counts.values, confusion(*label_maps, 3, **RULES))


def test_data_arrays_are_paired_by_the_names_of_their_dimensions(label_maps):
    truth, pred = (xr.DataArray(side, dims=DIMS) for side in label_maps)
    turned = pred.transpose("x", "image", "y")
    xr.testing.assert_identical(confusion(truth, turned, 3), confusion(truth, pred, 3))


class TestDataArraysThatDoNotBelongTogether:
    """They are refused in words, never joined."""

    @pytest.fixture
    def truth(self):
        return xr.DataArray(np.zeros((2, 3), int), dims=("image", "y"), coords={"image": ["a", "b"]})

    def test_other_names_of_dimensions(self, truth):
        with pytest.raises(
            ArrayError, match=r"truth has dimensions \('image', 'y'\) and pred has \('image', 'x'\)"
        ):
            confusion(truth, truth.rename(y="x"), 3)

    def test_other_lengths(self, truth):
        with pytest.raises(ShapeError, match="must be equal"):
            confusion(truth, truth.isel(y=slice(2)), 3)

    @pytest.mark.parametrize("ids", [["b", "a"], ["a", "c"]])
    def test_other_coordinates_or_another_order(self, truth, ids):
        with pytest.raises(ArrayError, match="different coordinates 'image'; bring both into the same order"):
            confusion(truth, truth.assign_coords(image=ids), 3)

    def test_other_coordinates_that_are_no_index(self, truth):
        named = truth.assign_coords(frame=("image", [1, 2]))
        with pytest.raises(ArrayError, match="different coordinates 'frame'"):
            confusion(named, truth.assign_coords(frame=("image", [1, 3])), 3)
        with pytest.raises(ArrayError, match="different coordinates 'frame'"):
            confusion(named, truth.assign_coords(frame=("y", [1, 2, 3])), 3)

    def test_only_one_of_them(self, truth):
        with pytest.raises(
            ArrayError, match="truth is a DataArray and pred is a ndarray; give two DataArrays"
        ):
            confusion(truth, truth.values, 3)

    def test_coordinates_that_only_describe_may_differ(self, truth):
        confusion(truth.assign_coords(model="a"), truth.assign_coords(model="b"), 3)
        confusion(truth, truth.drop_vars("image"), 3)


def test_plain_arrays_load_neither_dask_nor_xarray():
    code = """
import sys
from segpipe.arrays import confusion
confusion([0], [0], 1)
print('dask' in sys.modules, 'xarray' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
