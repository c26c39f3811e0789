"""Grouped: one array of two dimensions for each image, all directly in one group; their sizes may differ."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import InputError, Problem
from segpipe.sources.columns import UnreadableColumn, declares_fill, id_texts, read_column
from segpipe.sources.layouts import (
    LAYOUTS,
    Y_X,
    AxisKinds,
    ImageSet,
    dimension_problems,
    fill_declared,
    group_above,
    id_problems,
    label_problems,
    problem,
    whole_arrays,
    with_class_axis,
)
from segpipe.sources.metadata import ArrayMeta, GroupMeta, StoreView

ID_ARRAY = "image"
"""The array of one dimension that says which value of a column belongs to which image."""

COLUMN_DTYPES: dict[frozenset[type], type] = {
    frozenset({bool}): np.bool_,
    frozenset({int}): np.int64,
    frozenset({float}): np.float64,
    frozenset({int, float}): np.float64,
    frozenset({str}): np.object_,
}
"""Kinds of an attribute's values -> dtype of the column."""


@LAYOUTS.register("grouped")
def find_images(view: StoreView, array_path: str) -> ImageSet:
    """The images of a group: every array (y, x) directly in it is one, and its name is the id.

    Attributes of the arrays that are scalars, and that all of the arrays have, are metadata columns. So are
    arrays of one dimension `image`, if another such array, `image`, holds the ids that they belong to.

    Raises:
        InputError: every reason why it cannot be evaluated.
    """
    return grouped_images(view, array_path, Y_X)


def grouped_images(view: StoreView, array_path: str, kinds: AxisKinds, *, deep: bool = False) -> ImageSet:
    """The arrays of a group with such dimensions (see `find_images`); `deep`: of the groups in it as well."""
    group = view.node(array_path)
    if isinstance(group, ArrayMeta):
        found = f"an array of shape {group.shape}"
        advice = "set `layout: stacked`, or name the group that holds one array for each image"
        raise InputError(problem(view, "layout", found, "a group", array=group.path, advice=advice))
    arrays = view.arrays_below(group.path, deep=deep)
    located = [with_class_axis(view, meta) for meta in arrays if not _is_column(meta)]
    images = [meta for meta, _ in located]
    ids = [meta.path.removeprefix(group.path).strip("/") for meta in images]
    problems = [found for meta, wrong in located for found in (wrong or _image_problems(view, meta, kinds))]
    problems += id_problems(view, group.path, ids) + _count_problems(view, group.path, images)
    columns, left_out = attribute_columns(images)
    tables = [meta for meta in arrays if _is_column(meta)]
    problems += _add_tables(view, group, tables, ids, columns, left_out)
    declared, wrong = _fill_declared(view, group, images)
    problems += wrong
    if problems:
        raise InputError(problems)
    corners, sizes = whole_arrays(images)
    return ImageSet(
        store=view.storage.url,
        ids=ids,
        arrays=images,
        array_of_image=np.arange(len(images), dtype=np.int64),
        index_in_array=np.full(len(images), -1, np.int64),
        corners=corners,
        sizes=sizes,
        columns=columns,
        objects=view.objects,
        left_out=left_out,
        declares_missing_fill=declared,
    )


def lone_image(view: StoreView, meta: ArrayMeta, kinds: AxisKinds) -> ImageSet:
    """An array with such dimensions as one image, without an id."""
    meta, problems = with_class_axis(view, meta)
    problems = problems or _image_problems(view, meta, kinds)
    declared, wrong = _fill_declared(view, group_above(view, meta.path), [meta])
    if problems or wrong:
        raise InputError(problems + wrong)
    corners, sizes = whole_arrays([meta])
    return ImageSet(
        store=view.storage.url,
        ids=None,
        arrays=[meta],
        array_of_image=np.zeros(1, np.int64),
        index_in_array=np.full(1, -1, np.int64),
        corners=corners,
        sizes=sizes,
        columns=attribute_columns([meta])[0],
        objects=view.objects,
        declares_missing_fill=declared,
    )


def attribute_columns(images: Sequence[ArrayMeta]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Columns out of the scalar attributes that all arrays have; and why others are left out.

    Returns:
        name -> values (image,) of bool, int64, float64 or object (str); name -> reason.
    """
    columns: dict[str, NDArray[Any]] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for meta in images for name in meta.attributes):
        values = [meta.attributes.get(name) for meta in images]
        kinds = {type(value) for value in values}
        dtype = COLUMN_DTYPES.get(frozenset(kinds))
        if int in kinds and any(type(value) is int and not -(2**63) <= value < 2**63 for value in values):
            left_out[name] = "the attribute is a number of more than 64 bits"
        elif dtype is not None:
            columns[name] = np.array(values, dtype)
        elif kinds & {bool, int, float, str}:
            found = ", ".join(sorted("nothing" if kind is NoneType else kind.__name__ for kind in kinds))
            left_out[name] = f"the attribute is not of one kind on all images (found {found})"
    return columns, left_out


def _is_column(meta: ArrayMeta) -> bool:
    return meta.dimension_names == (ID_ARRAY,)


def _image_problems(view: StoreView, meta: ArrayMeta, kinds: AxisKinds) -> list[Problem]:
    shape = dimension_problems(view, meta, kinds)
    return shape if shape and len(meta.label_shape) != len(kinds) else label_problems(view, meta) + shape


def _count_problems(view: StoreView, path: str, images: Sequence[ArrayMeta]) -> list[Problem]:
    if images:
        return []
    groups = view.children(path)
    advice = f"name one of the groups in it: {', '.join(groups[:5])}" if groups else ""
    return [problem(view, "empty dataset", "0 images", "at least one", array=path, advice=advice)]


def _add_tables(
    view: StoreView,
    group: GroupMeta,
    tables: Sequence[ArrayMeta],
    ids: Sequence[str],
    columns: dict[str, NDArray[Any]],
    left_out: dict[str, str],
) -> list[Problem]:
    """Add the columns that are arrays, each value with its image by id, never by position."""
    by_name = {meta.path.rpartition("/")[2]: meta for meta in tables}
    problems: list[Problem] = []
    order: NDArray[np.int64] | None = None
    reason = f"no array `{ID_ARRAY}` beside it says which value belongs to which image"
    for name in sorted(by_name, key=lambda name: (name != ID_ARRAY, name)):
        meta = by_name[name]
        try:
            fill = declares_fill(meta.attributes, group.attributes)
            values = read_column(view, meta, absent_is_fill=fill)
            if name == ID_ARRAY:
                order = _order(id_texts(values), ids)
            elif order is None or len(values) != len(order):
                left_out[name] = reason if order is None else f"it has {len(values)} values"
            else:
                columns[name] = values[order]
        except UnreadableColumn as why:
            left_out[name] = str(why)
            reason = f"the array `{ID_ARRAY}` cannot be used" if name == ID_ARRAY else reason
        except InputError as error:
            problems += error.problems
    return problems


def _order(stored: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Where the row of each image is.

    Raises:
        UnreadableColumn: the stored ids are not the names of the arrays.
    """
    rows = {name: row for row, name in enumerate(stored)}
    if len(rows) != len(stored) or set(rows) != set(ids):
        message = f"the ids in the array `{ID_ARRAY}` are not the names of the arrays"
        raise UnreadableColumn(message)
    return np.array([rows[name] for name in ids], np.int64)


def _fill_declared(
    view: StoreView, group: GroupMeta | None, images: Sequence[ArrayMeta]
) -> tuple[bool, list[Problem]]:
    declared = [fill_declared(view, meta, group) for meta in images]
    return bool(declared) and all(fill for fill, _ in declared), [
        found for _, wrong in declared for found in wrong
    ]
