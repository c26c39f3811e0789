"""Padded: images of different sizes in one array (image, y, x), with a table of their valid sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segpipe.config import ImageTable
from segpipe.errors import InputError, Problem
from segpipe.sources.layouts import LAYOUTS, ImageSet, problem
from segpipe.sources.layouts.stacked import IMAGE_Y_X, stacked_images
from segpipe.sources.metadata import StoreView
from segpipe.sources.tables import join_table


@LAYOUTS.register("padded")
def find_images(
    view: StoreView, array_path: str, *, table: str = "", height: str = "height", width: str = "width"
) -> ImageSet:
    """The images of an array (image, y, x), of which only the upper left part is valid.

    What is beyond an image's valid size is not counted, not even as ignored.

    Args:
        view: the store.
        array_path: the array.
        table: CSV or Parquet with the columns `id` and the two sizes; empty: the sizes are metadata columns
            that lie beside the array.
        height, width: the names of the columns of sizes, px.

    Raises:
        InputError: sizes are missing, or larger than the array.
        ConfigError: the table cannot be read.
    """
    images = stacked_images(view, array_path, IMAGE_Y_X)
    columns = images.columns
    if table:
        ids = images.ids or [str(index) for index in range(len(images))]
        columns = join_table(ImageTable(path=table), ids)
    missing = [
        name for name in (height, width) if name not in columns or columns[name].dtype.kind not in "iu"
    ]
    if missing:
        raise InputError(_no_sizes(view, array_path, missing, table))
    sizes = np.stack([columns[height], columns[width]], axis=1).astype(np.int64)
    problems = _size_problems(view, array_path, images, sizes)
    if problems:
        raise InputError(problems)
    return replace(images, sizes=sizes)


def _no_sizes(view: StoreView, path: str, missing: list[str], table: str) -> Problem:
    where = f"in {table}" if table else "beside the array"
    advice = (
        "name a table of sizes (layout: {kind: padded, table: sizes.csv}), or store them as metadata columns"
    )
    found = f"no whole numbers in the column {' and '.join(missing)} {where}"
    return problem(view, "valid sizes", found, "height and width of each image", array=path, advice=advice)


def _size_problems(view: StoreView, path: str, images: ImageSet, sizes: NDArray[np.int64]) -> list[Problem]:
    """One problem for each image whose valid size is no part of the array."""
    wrong = np.flatnonzero(((sizes < 1) | (sizes > images.sizes)).any(axis=1))
    return [
        replace(
            problem(
                view,
                "valid sizes",
                f"{sizes[image][0]} x {sizes[image][1]} px",
                f"1 x 1 to {images.sizes[image][0]} x {images.sizes[image][1]} px, as the array has",
                array=path,
            ),
            image=images.ids[image] if images.ids else str(image),
        )
        for image in wrong.tolist()
    ]
