"""Overlays: arrays that lie over the label maps of truth pixel by pixel, such as a mask of valid pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.config import LayoutConfig
from segpipe.errors import InputError, Problem
from segpipe.sources.columns import FILL_ADVICE
from segpipe.sources.completeness import only_written
from segpipe.sources.layouts import (
    Y_X,
    Z_Y_X,
    ImageSet,
    dimension_problems,
    fill_declared,
    find_images,
    group_above,
    label_problems,
    problem,
)
from segpipe.sources.metadata import ArrayMeta, StoreView

BY_TABLE = "manifest"
"""The layout in which not a path is given but the name of a column of paths."""

DTYPE_ADVICE = "write 0 where a pixel is not valid and 1 where it is, as bool or uint8"

ABSENT_OVERLAY_ADVICE = (
    "Zarr writes nothing for a chunk that holds only the fill value, and nothing tells such a chunk from a "
    f"lost one: {FILL_ADVICE}; or say missing_chunks: are_fill_value in the config, of all arrays"
)


@dataclass(frozen=True)
class Overlay:
    """An overlay and where it holds the images of truth.

    Attributes:
        images: what it holds.
        position: int64 (image of truth,); the position of each in `images`.
    """

    images: ImageSet
    position: NDArray[np.int64]


def find_overlay(layout: LayoutConfig, view: StoreView, path: str, truth: ImageSet) -> Overlay:
    """The overlay at a path: in the layout of truth, or one array that lies over every image.

    In the layout of truth its images belong to those of truth by id, or by index where neither side has ids,
    and have their sizes. One array with the dimensions of an image, (y, x) or (z, y, x), lies over the arrays
    of truth, whose extent it must have: an image has the pixels there that it has in its own array.

    Raises:
        InputError: every reason why it does not fit.
    """
    try:
        overlay = _over_all(layout, view, path, truth) or _by_layout(layout, view, path, truth)
    except InputError as error:
        raise InputError(map(_about_overlays, error.problems)) from None
    # Metadata of images are those of truth.
    return replace(overlay, images=replace(overlay.images, columns={}, left_out={}))


def _about_overlays(found: Problem) -> Problem:
    if found.kind != "dtype":
        return found
    return replace(found, expected="an integer or bool dtype", advice=DTYPE_ADVICE)


def _over_all(layout: LayoutConfig, view: StoreView, path: str, truth: ImageSet) -> Overlay | None:
    """One array over all images; None: there is no array with the dimensions of an image at the path."""
    axes = truth.sizes.shape[1]
    outline = None if layout.kind == BY_TABLE else view.outline(path)
    if outline is None or len(outline.shape) != axes:
        return None
    meta = view.node(path)
    assert isinstance(meta, ArrayMeta)
    problems = dimension_problems(view, meta, Y_X if axes == len(Y_X) else Z_Y_X) + label_problems(view, meta)
    declared, wrong = fill_declared(view, meta, group_above(view, meta.path))
    problems += wrong + list(_other_extents(view, meta, truth))[:1]
    if problems:
        raise InputError(problems)
    images = ImageSet(
        store=view.storage.url,
        ids=truth.ids,
        arrays=[meta],
        array_of_image=np.zeros(len(truth), np.int64),
        index_in_array=np.full(len(truth), -1, np.int64),
        corners=truth.corners,
        sizes=truth.sizes,
        columns={},
        objects=view.objects,
        declares_missing_fill=declared,
    )
    return Overlay(images, np.arange(len(truth), dtype=np.int64))


def _other_extents(view: StoreView, meta: ArrayMeta, truth: ImageSet) -> Iterator[Problem]:
    for array in truth.arrays:
        extent = array.label_shape[-len(meta.shape) :]
        if extent != meta.shape:
            expected = f"{_by(extent)} as the array {array.path or 'at the root'} of truth"
            advice = "one array over all images has their extent; nothing is resized or repeated unseen"
            found = f"{_by(meta.shape)} pixels"
            yield problem(view, "shape", found, expected, array=meta.path, advice=advice)


def _by_layout(layout: LayoutConfig, view: StoreView, path: str, truth: ImageSet) -> Overlay:
    """Images of its own, which belong to those of truth."""
    images = only_written(view, find_images(layout, view, path))
    position = positions_by_id(view, images.ids, len(images), truth)
    problems = list(_other_sizes(view, images, truth, position))
    if problems:
        raise InputError(problems)
    return Overlay(images, position)


def positions_by_id(
    view: StoreView, ids: list[str] | None, count: int, truth: ImageSet, path: str = ""
) -> NDArray[np.int64]:
    """Where each image of truth is among some images: by id, or by index where neither side has ids.

    Args:
        view: the store of the images.
        ids: theirs; None: they have none.
        count: how many there are.
        truth: the images of truth.
        path: the array of the images.

    Returns:
        int64 (image of truth,).

    Raises:
        InputError: only one side has ids, images are missing, or without ids there are others in number.
    """
    if (ids is None) != (truth.ids is None):
        found, expected = ("no image ids", "some") if ids is None else ("image ids", "none")
        advice = "give both stores image ids, or neither, so that images can be matched"
        raise InputError(
            problem(view, "image ids", found, f"{expected}, as in truth", array=path, advice=advice)
        )
    if ids is None or truth.ids is None:
        if count != len(truth):
            found, expected = f"{count} images", f"{len(truth)} as in truth"
            raise InputError(problem(view, "number of images", found, expected, array=path))
        return np.arange(len(truth), dtype=np.int64)
    where = {name: index for index, name in enumerate(ids)}
    missing = [name for name in truth.ids if name not in where]
    if missing:
        lacking = problem(view, "missing image", "nothing for it", "one for every image of truth", array=path)
        raise InputError(replace(lacking, image=name) for name in missing)
    return np.array([where[name] for name in truth.ids], np.int64)


def _other_sizes(
    view: StoreView, images: ImageSet, truth: ImageSet, position: NDArray[np.int64]
) -> Iterator[Problem]:
    if images.sizes.shape[1] != truth.sizes.shape[1]:
        found = f"images of {images.sizes.shape[1]} dimensions"
        expected = f"{truth.sizes.shape[1]} as in truth"
        yield problem(view, "shape", found, expected, array=images.arrays[0].path)
        return
    sizes = images.sizes[position]
    for image in np.flatnonzero((sizes != truth.sizes).any(axis=1)).tolist():
        path = images.arrays[images.array_of_image[position[image]]].path
        expected = f"{_by(truth.sizes[image].tolist())} as in truth"
        other = problem(view, "shape", f"{_by(sizes[image].tolist())} pixels", expected, array=path)
        yield replace(other, image=truth.ids[image] if truth.ids else str(image))


def _by(size: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, size))
