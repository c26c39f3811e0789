"""Stacked: all label maps in one array of three dimensions, (image, y, x)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import InputError, Problem, first_of
from segpipe.sources.columns import FILL_ADVICE, UnreadableColumn, declares_fill, id_texts, read_column
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
    whole_slices,
    with_class_axis,
)
from segpipe.sources.metadata import SHOWN_ARRAYS, ArrayMeta, GroupMeta, StoreView, join

ID_ARRAY = "image"
"""The coordinate array that holds the ids, and the usual name of the dimension."""

ID_ATTRIBUTE = "image_ids"

IMAGE_Y_X: AxisKinds = (frozenset({"image", "z"}), *Y_X)
"""The slices of one volume may be taken for images."""


@LAYOUTS.register("stacked")
def find_images(view: StoreView, array_path: str) -> ImageSet:
    """The images of an array (image, y, x).

    Ids are in a coordinate array `image` beside it, or in the attribute `image_ids` of the array or of its
    group. One-dimensional arrays beside it that run along its first dimension are metadata columns.

    Raises:
        InputError: every reason why it cannot be evaluated.
    """
    return stacked_images(view, array_path, IMAGE_Y_X)


def stacked_images(view: StoreView, array_path: str, kinds: AxisKinds) -> ImageSet:
    """The images along the first dimension of an array with such dimensions (see `find_images`)."""
    meta = view.node(array_path)
    if isinstance(meta, GroupMeta):
        raise InputError(_group_problem(view, meta.path))
    meta, problems = with_class_axis(view, meta)
    problems = problems or [*label_problems(view, meta), *dimension_problems(view, meta, kinds)]
    if problems:
        raise InputError(problems)
    beside = _Beside(view, meta, group_above(view, meta.path))
    declared, problems = fill_declared(view, meta, beside.group)
    ids = beside.ids()
    columns = beside.columns()
    problems += beside.problems + id_problems(view, meta.path, ids or [])
    if problems:
        raise InputError(problems)
    return _image_set(view, meta, ids, columns, beside.left_out, declared)


def ids_beside(view: StoreView, meta: ArrayMeta) -> tuple[list[str] | None, list[Problem]]:
    """The ids of the images along the first dimension of an array (see `find_images`), and what is wrong."""
    beside = _Beside(view, meta, group_above(view, meta.path))
    ids = beside.ids()
    return ids, beside.problems + id_problems(view, meta.path, ids or [])


def _image_set(
    view: StoreView,
    meta: ArrayMeta,
    ids: list[str] | None,
    columns: dict[str, NDArray[Any]],
    left_out: dict[str, str],
    declared: bool,
) -> ImageSet:
    count = meta.label_shape[0]
    corners, sizes = whole_slices(meta)
    return ImageSet(
        store=view.storage.url,
        ids=ids,
        arrays=[meta],
        array_of_image=np.zeros(count, np.int64),
        index_in_array=np.arange(count, dtype=np.int64),
        corners=corners,
        sizes=sizes,
        columns=columns,
        objects=view.objects,
        left_out=left_out,
        declares_missing_fill=declared,
    )


def _group_problem(view: StoreView, path: str) -> Problem:
    below = {name: view.outline(join(path, name)) for name in view.children(path)}
    arrays = [f"{name} {outline.shape}" for name, outline in below.items() if outline]
    groups = [name for name, outline in below.items() if not outline]
    listed = first_of(arrays[:SHOWN_ARRAYS], len(arrays)) or "none"
    others = f"; groups in it: {', '.join(groups[:SHOWN_ARRAYS])}" if groups else ""
    found = f"a group; its arrays: {listed}{others}"
    advice = (
        "name an array as STORE::array, or set `layout: grouped` if every array of the group is one image"
    )
    return problem(view, "layout", found, "an array (image, y, x)", array=path, advice=advice)


@dataclass
class _Beside:
    """Ids and columns that lie beside an array of label maps, in its group."""

    view: StoreView
    meta: ArrayMeta
    group: GroupMeta | None
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def ids(self) -> list[str] | None:
        """The ids, from all places that name some; they must agree."""
        found = [(place, ids) for place, ids in self._id_lists() if ids is not None]
        count = self.meta.label_shape[0]
        for place, ids in found:
            if len(ids) != count:
                self._report("ids", f"{len(ids)} ids in {place}", f"{count}, one for each image")
        if any(ids != found[0][1] for _, ids in found):
            places = " and ".join(place for place, _ in found)
            self._report("ids", f"different ids in {places}", "the same ids, or one of the places only")
        return found[0][1] if found and len(found[0][1]) == count else None

    def columns(self) -> dict[str, NDArray[Any]]:
        """The metadata columns by name."""
        columns: dict[str, NDArray[Any]] = {}
        for name in self._column_names():
            try:
                meta = self._array(name)
                columns[name] = read_column(self.view, meta, absent_is_fill=self._absent_is_fill(meta))
            except UnreadableColumn as why:
                self.left_out[name] = str(why)
            except InputError as error:
                self.problems += error.problems
        return columns

    def _id_lists(self) -> list[tuple[str, list[str] | None]]:
        path = join(self._folder, ID_ARRAY)
        attribute = f"the attribute `{ID_ATTRIBUTE}`"
        group = self.group.attributes if self.group else {}
        return [
            (f"the array {path}", self._id_array(path)),
            (f"{attribute} of the array", self._id_attribute(self.meta.attributes)),
            (f"{attribute} of the group", self._id_attribute(group)),
        ]

    def _id_array(self, path: str) -> list[str] | None:
        """Ids in an array of one dimension; of more dimensions it would be the photographs."""
        outline = self.view.outline(path)
        if path == self.meta.path or outline is None or len(outline.shape) != 1:
            return None
        try:
            meta = self._array(ID_ARRAY)
            return id_texts(read_column(self.view, meta, absent_is_fill=self._absent_is_fill(meta)))
        except UnreadableColumn as why:
            advice = FILL_ADVICE if "never stored" in str(why) else ""
            expected = "one id for each image, all stored"
            self.problems.append(problem(self.view, "ids", str(why), expected, array=path, advice=advice))
        except InputError as error:
            self.problems += error.problems
        return None

    def _id_attribute(self, attributes: dict[str, Any]) -> list[str] | None:
        if ID_ATTRIBUTE not in attributes:
            return None
        ids = attributes[ID_ATTRIBUTE]
        if isinstance(ids, list) and all(type(name) in (str, int) for name in ids):
            return [str(name) for name in ids]
        self._report("ids", f"`{ID_ATTRIBUTE}` that is no list of texts", "a list with one id for each image")
        return None

    def _column_names(self) -> list[str]:
        """The arrays beside it that run along its first dimension."""
        dimensions = self.meta.dimension_names
        own = self.meta.without_classes(dimensions)[0] if dimensions else None
        names = []
        for name in self.view.children(self._folder) if self.meta.path else []:
            path = join(self._folder, name)
            outline = self.view.outline(path)
            if name == ID_ARRAY or outline is None or outline.dimension_names != (own or ID_ARRAY,):
                continue
            if outline.shape[0] == self.meta.label_shape[0]:
                names.append(name)
            elif own:
                expected = f"{self.meta.label_shape[0]}, one for each image of {self.meta.path}"
                found = f"{outline.shape[0]} values"
                self.problems.append(problem(self.view, "metadata", found, expected, array=path))
        return names

    def _array(self, name: str) -> ArrayMeta:
        node = self.view.node(join(self._folder, name))
        assert isinstance(node, ArrayMeta)
        return node

    def _absent_is_fill(self, meta: ArrayMeta) -> bool:
        return declares_fill(meta.attributes, self.group.attributes if self.group else {})

    @property
    def _folder(self) -> str:
        return self.meta.path.rpartition("/")[0]

    def _report(self, kind: str, found: str, expected: str) -> None:
        self.problems.append(problem(self.view, kind, found, expected, array=self.meta.path))
