"""Manifest: a table that names the label maps of every image, wherever in a folder of stores they lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import ImageTable
from segpipe.errors import InputError, Problem
from segpipe.sources.columns import declares_fill
from segpipe.sources.layouts import (
    LAYOUTS,
    Y_X,
    ImageSet,
    dimension_problems,
    id_problems,
    label_problems,
    problem,
    with_class_axis,
)
from segpipe.sources.layouts.stacked import IMAGE_Y_X
from segpipe.sources.metadata import ArrayMeta, GroupMeta, StoreView
from segpipe.sources.tables import read_table

REGION = "region"
"""The column of the part of an array that is evaluated: `y0:y1,x0:x1`."""

INDEX_SUFFIX = "_index"
"""The column `truth_index` says which image of an array (image, y, x) is meant, for the column `truth`."""

REGION_FORM = re.compile(r"(\d{1,12}):(\d{1,12}),\s*(\d{1,12}):(\d{1,12})")


@LAYOUTS.register("manifest")
def find_images(view: StoreView, array_path: str, *, table: str) -> ImageSet:
    """The images that a table lists, one in each row.

    Columns: `id`; one of paths for each side, whose name stands in place of the array's path
    (`truth: archive::truth`), each path being that of an array within the folder, through as many stores as
    there are; `region` (optional), `y0:y1,x0:x1` px; `truth_index` (optional), the position in an array of
    three dimensions. Other columns are metadata.

    Args:
        view: the folder in which all stores lie.
        array_path: the name of the column of paths.
        table: CSV or Parquet.

    Raises:
        ConfigError: the table cannot be read, or lacks the column.
        InputError: everything that is wrong with the arrays that it names.
    """
    columns = read_table(ImageTable(path=table), required=("id", array_path))
    rows = Rows(view, columns["id"].tolist(), columns[array_path].tolist(), partial(_label_maps, view))
    problems = id_problems(view, table, rows.ids) + rows.open_all()
    index = rows.indices(columns.get(array_path + INDEX_SUFFIX))
    corners, sizes = rows.boxes(columns.get(REGION))
    if problems or rows.problems:
        raise InputError(problems + rows.problems)
    used = {"id", REGION} | {name for name in columns if name.endswith(INDEX_SUFFIX)}
    metadata = {name: values for name, values in columns.items() if name not in used and name != array_path}
    return ImageSet(
        store=view.storage.url,
        ids=rows.ids,
        arrays=rows.arrays,
        array_of_image=np.array(rows.array_of_row, np.int64),
        index_in_array=index,
        corners=corners,
        sizes=sizes,
        columns=metadata,
        objects=view.objects,
        declares_missing_fill=all(declares_fill(meta.attributes, {}) for meta in rows.arrays),
    )


def _label_maps(view: StoreView, path: str, meta: ArrayMeta) -> ArrayMeta:
    """An array of label maps.

    Raises:
        InputError: it is none.
    """
    meta, unclear = with_class_axis(view, meta)
    kinds = Y_X if len(meta.label_shape) == 2 else IMAGE_Y_X
    wrong = unclear or label_problems(view, meta) + dimension_problems(view, meta, kinds)
    if wrong:
        raise InputError(wrong)
    return meta


@dataclass
class Rows:
    """The rows of a table and the arrays that they name.

    Attributes:
        view: the folder of the stores.
        ids, paths: of each row.
        check: `check(path, array)`: the array as its images are taken from it; raises InputError.
        arrays: those that are named, each once.
        array_of_row: the number of the array of each row; -1: it cannot be used.
        problems: what is wrong with places in arrays.
    """

    view: StoreView
    ids: list[str]
    paths: Sequence[Any]
    check: Callable[[str, ArrayMeta], ArrayMeta]
    arrays: list[ArrayMeta] = field(default_factory=list)
    array_of_row: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def open_all(self) -> list[Problem]:
        """Find the array of each row; an array that many rows name is opened once."""
        numbers: dict[str, int] = {}
        problems: list[Problem] = []
        for image, path in zip(self.ids, map(str, self.paths), strict=True):
            if path not in numbers:
                found = self._open(path, image)
                numbers[path] = len(self.arrays) if isinstance(found, ArrayMeta) else -1
                if isinstance(found, ArrayMeta):
                    self.arrays.append(found)
                else:
                    problems += found
            self.array_of_row.append(numbers[path])
        return problems

    def _open(self, path: str, image: str) -> ArrayMeta | list[Problem]:
        if not path.strip("/") or ".." in path.split("/"):
            expected = "the path of an array within the folder"
            return [replace(problem(self.view, "manifest", f"the path {path!r}", expected), image=image)]
        try:
            meta = self.view.node(path)
            if not isinstance(meta, GroupMeta):
                return self.check(path, meta)
        except InputError as error:
            return [replace(each, image=image) for each in error.problems]
        found = problem(self.view, "manifest", "a group", "an array (y, x) or (image, y, x)", array=path)
        return [replace(found, image=image)]

    def indices(self, column: NDArray[Any] | None) -> NDArray[np.int64]:
        """int64 (row,); -1 where the array is the image."""
        given = [-1] * len(self.ids) if column is None else [_whole(value) for value in column.tolist()]
        for row, meta in self._opened():
            length = meta.label_shape[0] if len(meta.label_shape) == 3 else None
            fits = given[row] == -1 if length is None else 0 <= given[row] < length
            if not fits:
                expected = (
                    "no index: the array is one image" if length is None else f"an index of 0 to {length - 1}"
                )
                self._report(row, "manifest", f"the index {given[row]}", expected)
        return np.array(given, np.int64)

    def boxes(self, column: NDArray[Any] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First pixel and size of each row's image, int64 (row, 2)."""
        corners = np.zeros((len(self.ids), 2), np.int64)
        sizes = np.ones((len(self.ids), 2), np.int64)
        for row, meta in self._opened():
            extent = meta.label_shape[-2:]
            # A column without any text is read as one of numbers that are missing.
            text = "" if column is None or column[row] != column[row] else str(column[row]).strip()
            found = _region(text, extent)
            if found is None:
                expected = f"y0:y1,x0:x1 within {extent[0]} x {extent[1]} px, or nothing"
                self._report(row, "manifest", f"the region {text!r}", expected)
                continue
            corners[row], sizes[row] = found
        return corners, sizes

    def _opened(self) -> Iterator[tuple[int, ArrayMeta]]:
        for row, number in enumerate(self.array_of_row):
            if number >= 0:
                yield row, self.arrays[number]

    def _report(self, row: int, kind: str, found: str, expected: str) -> None:
        path = str(self.paths[row])
        self.problems.append(
            replace(problem(self.view, kind, found, expected, array=path), image=self.ids[row])
        )


def _whole(value: Any) -> int:
    """A number of the table; what is no whole number is told as -2, which is never an index."""
    if value is None or value != value or value == "":
        return -1
    try:
        number = float(value)
    except ValueError:
        return -2
    return int(number) if number.is_integer() else -2


def _region(text: str, extent: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """First pixel and size; None: no region of such an array."""
    if not text:
        return [0, 0], list(extent)
    match = REGION_FORM.fullmatch(text)
    if match is None:
        return None
    top, bottom, left, right = map(int, match.groups())
    if not (top < bottom <= extent[0] and left < right <= extent[1]):
        return None
    return [top, left], [bottom - top, right - left]
