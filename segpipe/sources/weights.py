"""Weights of pixels: arrays that are laid over the label maps of truth by the names of their dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.config import ImageTable, LayoutConfig
from segpipe.errors import InputError, Problem
from segpipe.sources.claims import claim_problems
from segpipe.sources.layouts import ImageSet, axis_kind, fill_declared, group_above, problem
from segpipe.sources.layouts.manifest import INDEX_SUFFIX, Rows
from segpipe.sources.layouts.stacked import ids_beside
from segpipe.sources.metadata import ArrayMeta, StoreView
from segpipe.sources.overlays import BY_TABLE, Overlay, positions_by_id
from segpipe.sources.tables import read_table

WEIGHT_DTYPES = "fiub"

NAMES_ADVICE = (
    "name the dimensions (`dimension_names`; in Zarr 2, xarray's `_ARRAY_DIMENSIONS`): along those that it "
    "does not have an array is repeated, and which these are is never guessed from sizes"
)


def find_weights(
    layout: LayoutConfig, view: StoreView, path: str, truth: ImageSet, truth_path: str
) -> Overlay:
    """The weights at a path.

    An array has some of the dimensions image, z, y and x, by name and in any order, and is the same along the
    others: (y, x) for all images, (image,) for all pixels of one. Along y, x and z it has the extent of the
    arrays of truth; its images belong to those of truth by id, or by index where neither side has ids. A
    group holds one array for each array in the group of truth, of the same name. In a manifest a column names
    the array of each image.

    Args:
        layout: that of truth.
        view: the store of the weights.
        path: of an array or a group; in a manifest the name of the column of paths.
        truth: the images of truth.
        truth_path: of the array or group of truth.

    Raises:
        InputError: every reason why they do not fit.
    """
    if layout.kind == BY_TABLE:
        found = _by_table(layout, view, path, truth)
    else:
        node = view.node(path)
        if isinstance(node, ArrayMeta):
            found = _one_array(view, node, truth)
        else:
            found = _one_each(layout, view, path, truth, truth_path)
    return Overlay(found, np.arange(len(truth), dtype=np.int64))


@dataclass(frozen=True)
class _Under:
    """What lies under the weights.

    Attributes:
        axes: of pixels, (y, x) or (z, y, x).
        extents: along these, of each array of truth, and the name of the array.
        whole: the shape of the array of truth, with its dimension of images; that of weights without names.
    """

    axes: tuple[str, ...]
    extents: dict[str, tuple[int, ...]]
    whole: tuple[int, ...]

    @classmethod
    def of(cls, arrays: Sequence[ArrayMeta], axes: int) -> _Under:
        """Some arrays of truth, whose images have so many axes."""
        extents = {meta.path or "at the root": meta.label_shape[-axes:] for meta in arrays}
        return cls(("z", "y", "x")[-axes:], extents, arrays[0].label_shape)


def _laid_over(view: StoreView, meta: ArrayMeta, under: _Under, *, of_images: bool) -> ArrayMeta:
    """An array, laid over label maps; `of_images`: it may have a dimension of images.

    Raises:
        InputError: its dtype, the names of its dimensions, or its extent.
    """
    problems = claim_problems(view, meta)
    if meta.dtype.kind not in WEIGHT_DTYPES:
        advice = "write weights as float32 or float64; 1 counts as one pixel, 0 masks a pixel"
        expected = "real numbers: a float, integer or bool dtype"
        problems.append(problem(view, "dtype", str(meta.dtype), expected, array=meta.path, advice=advice))
    dims = _dims(view, meta, under, of_images)
    for dim, size in zip(dims, meta.shape, strict=True):
        problems += _other_extent(view, meta, under, dim, size)
    if problems:
        raise InputError(problems)
    along = ("image", *under.axes) if "image" in dims else under.axes
    return replace(meta, laid=tuple(dims.index(dim) if dim in dims else -1 for dim in along))


def _dims(view: StoreView, meta: ArrayMeta, under: _Under, of_images: bool) -> tuple[str, ...]:
    """What each dimension is; without names those of truth, if the shape is that of truth."""
    names, allowed = meta.dimension_names or (), ("image", *under.axes)[not of_images :]
    if not any(names) and meta.shape == under.whole and len(meta.shape) <= len(allowed):
        return allowed[-len(meta.shape) :]
    kinds = [axis_kind(name) for name in names]
    # The slices of one volume may be taken for images.
    dims = tuple("image" if kind == "z" and "z" not in under.axes else kind or "" for kind in kinds)
    if meta.shape and len(set(dims)) == len(meta.shape) and set(dims) <= set(allowed):
        return dims
    listed = f"the dimensions {', '.join(map(str, names))}" if any(names) else "dimensions without names"
    expected = f"names of some of {', '.join(allowed)}, each once, in any order"
    found = f"{listed}, shape {meta.shape}"
    raise InputError(problem(view, "dims", found, expected, array=meta.path, advice=NAMES_ADVICE))


def _other_extent(view: StoreView, meta: ArrayMeta, under: _Under, dim: str, size: int) -> Iterator[Problem]:
    """That a dimension of pixels is not as long as that of truth; the first array of truth that tells."""
    if dim == "image":
        return
    at = under.axes.index(dim)
    for name, extent in under.extents.items():
        if extent[at] != size:
            expected = f"{extent[at]} as the array {name} of truth"
            advice = "weights have the extent of truth, or lack the dimension; nothing is resized or cut"
            yield problem(
                view, "shape", f"{size} pixels along {dim}", expected, array=meta.path, advice=advice
            )
            return


def _one_array(view: StoreView, meta: ArrayMeta, truth: ImageSet) -> ImageSet:
    """One array over all images."""
    laid = _laid_over(view, meta, _Under.of(truth.arrays, truth.sizes.shape[1]), of_images=True)
    over_all = len(laid.laid or ()) == truth.sizes.shape[1]
    index = np.full(len(truth), -1, np.int64) if over_all else _index_by_id(view, laid, truth)
    return _image_set(view, [laid], np.zeros(len(truth), np.int64), index, truth)


def _index_by_id(view: StoreView, meta: ArrayMeta, truth: ImageSet) -> NDArray[np.int64]:
    """int64 (image of truth,); the place of each image along the dimension of images."""
    ids, problems = ids_beside(view, meta)
    if problems:
        raise InputError(problems)
    return positions_by_id(view, ids, meta.label_shape[0], truth, meta.path)


def _one_each(layout: LayoutConfig, view: StoreView, path: str, truth: ImageSet, truth_path: str) -> ImageSet:
    """One array for each array of truth, by its name within the group."""
    names = [meta.path.removeprefix(truth_path).strip("/") for meta in truth.arrays]
    if "" in names or truth.index_in_array[0] >= 0:
        raise InputError(problem(view, "layout", "a group", "an array, as truth is one", array=path))
    arrays = {
        meta.path.removeprefix(path).strip("/"): meta
        for meta in view.arrays_below(path, deep=layout.kind == "nested")
    }
    lacking = problem(
        view, "missing array", "no weights of this name", "an array for every one of truth", array=path
    )
    problems = [replace(lacking, image=name) for name in names if name not in arrays]
    laid: list[ArrayMeta] = []
    for name, meta in zip(names, truth.arrays, strict=True):
        try:
            under = _Under.of([meta], truth.sizes.shape[1])
            laid += [_laid_over(view, arrays[name], under, of_images=False)] if name in arrays else []
        except InputError as error:
            problems += [replace(one, image=name) for one in error.problems]
    if problems:
        raise InputError(problems)
    return _image_set(view, laid, truth.array_of_image, np.full(len(truth), -1, np.int64), truth)


def _by_table(layout: LayoutConfig, view: StoreView, column: str, truth: ImageSet) -> ImageSet:
    """The array of each row of a manifest, and the place in it where the table names one."""
    columns = read_table(ImageTable(path=str(layout.options()["table"])), required=("id", column))
    under: dict[str, dict[int, ArrayMeta]] = {}
    for path, number in zip(columns[column].tolist(), truth.array_of_image.tolist(), strict=True):
        under.setdefault(str(path), {})[number] = truth.arrays[number]

    def lay(path: str, meta: ArrayMeta) -> ArrayMeta:
        return _laid_over(
            view, meta, _Under.of(list(under[path].values()), truth.sizes.shape[1]), of_images=True
        )

    rows = Rows(view, columns["id"].tolist(), columns[column].tolist(), lay)
    problems = rows.open_all()
    index = rows.indices(columns.get(column + INDEX_SUFFIX))
    if problems or rows.problems:
        raise InputError(problems + rows.problems)
    return _image_set(view, rows.arrays, np.array(rows.array_of_row, np.int64), index, truth)


def _image_set(
    view: StoreView,
    arrays: list[ArrayMeta],
    array_of_image: NDArray[np.int64],
    index: NDArray[np.int64],
    truth: ImageSet,
) -> ImageSet:
    """The weights of every image of truth, in the order of these."""
    declared = [fill_declared(view, meta, group_above(view, meta.path)) for meta in arrays]
    problems = [wrong for _, found in declared for wrong in found]
    if problems:
        raise InputError(problems)
    return ImageSet(
        store=view.storage.url,
        ids=truth.ids,
        arrays=arrays,
        array_of_image=array_of_image,
        index_in_array=index,
        corners=truth.corners,
        sizes=truth.sizes,
        columns={},
        objects=view.objects,
        declares_missing_fill=all(fill for fill, _ in declared),
    )
