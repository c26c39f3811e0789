"""The extended confusion matrix of two arrays: NumPy at once, Dask and xarray lazily where they are lazy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList, LabelRules, rules_of_sides
from segpipe.errors import ArrayError
from segpipe.kernels.confusion import count_confusion, require_labels, require_same_shape

if TYPE_CHECKING:
    import xarray as xr

SUMMED_TOGETHER = 16
"""Matrices of blocks that one task of a lazy sum adds up."""

Rules = tuple[LabelRules, LabelRules]


def confusion(
    truth: Any,
    pred: Any,
    num_classes: int,
    *,
    ignore_labels: Iterable[int] = (),
    void_labels: Iterable[int] = (),
    remap: Mapping[int, int] | None = None,
) -> Any:
    """Count the pixels of every pair of true and predicted class.

    Args:
        truth: raw label values, any integer or bool dtype, any shape: a NumPy array or what becomes one, a
            Dask array, or an xarray DataArray.
        pred: the same of the prediction, the shape of `truth`. DataArrays are paired by the names of their
            dimensions and must have the same coordinates, in the same order; nothing is joined.
        num_classes: K.
        ignore_labels: truth values whose pixels take no part.
        void_labels: pred values that are declared to be no class.
        remap: raw value -> class id, for both sides; None means that values are class ids already.

    Returns:
        int64 (K + 2, K + 2): row = truth, column = pred; 0..K-1 are the classes, K is ignored or void, K + 1
        is invalid. Every pixel is in one cell. A Dask array if a side is one (nothing is computed); a
        DataArray with dimensions `truth` and `pred` if both sides are DataArrays.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer; dimensions or coordinates differ; only one side is a DataArray.
        ConfigError: a setting is of a wrong kind, or the settings contradict each other.

    >>> confusion([0, 0, 1, 255], [0, 1, 1, 1], num_classes=2, ignore_labels=[255])
    array([[1, 1, 0, 0],
           [0, 1, 0, 0],
           [0, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    rules = rules_of_sides(num_classes, ignore_labels=ignore_labels, void_labels=void_labels, remap=remap)
    if _comes_from(truth, "xarray") or _comes_from(pred, "xarray"):
        return _of_data_arrays(truth, pred, rules)
    return _of_arrays(truth, pred, rules)


def _comes_from(array: Any, package: str) -> bool:
    """Whether the array's type, or one that it inherits from, is of the package, which is not imported."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(array).__mro__)


def _of_arrays(truth: Any, pred: Any, rules: Rules) -> Any:
    if _comes_from(truth, "dask") or _comes_from(pred, "dask"):
        return _of_dask(truth, pred, rules)
    truth, pred = np.asanyarray(truth), np.asanyarray(pred)
    return _matrix(truth, pred, rules)


def _matrix(truth: NDArray[Any], pred: NDArray[Any], rules: Rules) -> NDArray[np.int64]:
    return count_confusion(truth[None], pred[None], *rules).total()


def _of_dask(truth: Any, pred: Any, rules: Rules) -> Any:
    """A lazy sum over blocks; where the sides are cut differently they are cut alike first."""
    import dask.array

    da: Any = dask.array
    truth, pred = (side if _comes_from(side, "dask") else np.asanyarray(side) for side in (truth, pred))
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    if any(math.isnan(length) for length in (*truth.shape, *pred.shape)):
        message = "an array has chunks of unknown size; call its compute_chunk_sizes() first"
        raise ArrayError(message)
    require_same_shape(truth, pred)
    axes, side = tuple(range(truth.ndim)), rules[0].num_codes
    matrices = da.blockwise(
        partial(_matrix_of_block, rules=rules),
        (*axes, truth.ndim, truth.ndim + 1),
        da.asanyarray(truth),
        axes,
        da.asanyarray(pred),
        axes,
        new_axes={truth.ndim: side, truth.ndim + 1: side},
        adjust_chunks=dict.fromkeys(axes, 1),
        meta=np.empty((0,) * (truth.ndim + 2), np.int64),
    )
    return matrices.sum(axis=axes, split_every=SUMMED_TOGETHER)


def _matrix_of_block(truth: NDArray[Any], pred: NDArray[Any], rules: Rules) -> NDArray[np.int64]:
    """One matrix, with an axis of length 1 for each axis of the block."""
    matrix = _matrix(truth, pred, rules)
    return matrix.reshape((1,) * truth.ndim + matrix.shape)


def _of_data_arrays(truth: Any, pred: Any, rules: Rules) -> xr.DataArray:
    import xarray as xr

    if not (isinstance(truth, xr.DataArray) and isinstance(pred, xr.DataArray)):
        message = (
            f"truth is a {type(truth).__name__} and pred is a {type(pred).__name__}; give two DataArrays, "
            "which are paired by the names of their dimensions, or two plain arrays (`.data`)"
        )
        raise ArrayError(message)
    if set(truth.dims) != set(pred.dims):
        message = f"truth has dimensions {truth.dims} and pred has {pred.dims}; they must have the same names"
        raise ArrayError(message)
    pred = pred.transpose(*truth.dims)
    require_same_shape(truth, pred)
    _require_same_coordinates(truth, pred)
    names = ClassList.numbered(rules[0].num_classes).names
    return xr.DataArray(
        _of_arrays(truth.data, pred.data, rules),
        dims=("truth", "pred"),
        coords={"truth": [*names, "ignored", "invalid"], "pred": [*names, "void", "invalid"]},
        name="confusion",
        attrs={"units": "pixels"},
    )


def _require_same_coordinates(truth: xr.DataArray, pred: xr.DataArray) -> None:
    """Refuse coordinates along pixels or images that differ; lazy ones are not looked at."""
    for name in sorted(truth.coords.keys() & pred.coords.keys(), key=str):
        if _differ(truth.coords[name], pred.coords[name]):
            message = (
                f"truth and pred have different coordinates {name!r}; bring both into the same order, "
                "for instance with xarray.align(..., join='inner')"
            )
            raise ArrayError(message)


def _differ(truth: xr.DataArray, pred: xr.DataArray) -> bool:
    """Whether two coordinates of the same name differ; those without a dimension only describe the array."""
    if set(truth.dims) != set(pred.dims):
        return True
    if not truth.dims or truth.chunks is not None or pred.chunks is not None:
        return False
    return not np.array_equal(truth.values, pred.transpose(*truth.dims).values)
