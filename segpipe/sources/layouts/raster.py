"""Raster: scenes that are larger than memory, counted by windows; each window is reported as an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError
from segpipe.sources.layouts import LAYOUTS, Y_X, ImageSet
from segpipe.sources.layouts.grouped import grouped_images, lone_image
from segpipe.sources.metadata import GroupMeta, StoreView

WINDOW_PX = 2048
"""The sides of a window, unless the configuration says otherwise: 4 MiB of uint8."""


@LAYOUTS.register("raster")
def find_images(view: StoreView, array_path: str, *, window: int | Sequence[int] = WINDOW_PX) -> ImageSet:
    """The windows of one array (y, x), or of all arrays of a group.

    The figures of the whole run are those of the whole scene or scenes; what is reported for each image is
    reported for each window, with the columns `scene`, `y` and `x` (its first pixel). The window is given by
    the configuration alone, so that truth and prediction may be tiled differently.

    Args:
        view: the store.
        array_path: an array, or a group.
        window: px; height and width of a window, or one number for both. A multiple of the chunks' sides, or
            chunks are read more than once.

    Raises:
        ConfigError: the window is no size.
        InputError: every reason why it cannot be evaluated.
    """
    sides = _sides(window)
    node = view.node(array_path)
    if isinstance(node, GroupMeta):
        return _cut(grouped_images(view, array_path, Y_X), sides)
    return _cut(lone_image(view, node, Y_X), sides)


def _sides(window: Any) -> tuple[int, int]:
    sides = [window, window] if not isinstance(window, list | tuple) else list(window)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        message = f"layout.window: found {window!r}, expected one number of pixels, or two (height, width)"
        raise ConfigError(message)
    return sides[0], sides[1]


def _cut(scenes: ImageSet, sides: tuple[int, int]) -> ImageSet:
    """The windows of all scenes, by rows."""
    names = scenes.ids or [""]
    windows = [
        (scene, y, x) for scene, size in enumerate(scenes.sizes.tolist()) for y, x in _corners(size, sides)
    ]
    scene = np.array([scene for scene, _, _ in windows], np.int64)
    corners = np.array([(y, x) for _, y, x in windows], np.int64)
    columns: dict[str, NDArray[Any]] = {name: values[scene] for name, values in scenes.columns.items()}
    columns |= {"y": corners[:, 0], "x": corners[:, 1]}
    if scenes.ids is not None:
        columns["scene"] = np.array(scenes.ids, object)[scene]
    return replace(
        scenes,
        ids=[f"{names[number]}{'/' if names[number] else ''}y{y}-x{x}" for number, y, x in windows],
        array_of_image=scenes.array_of_image[scene],
        index_in_array=scenes.index_in_array[scene],
        corners=corners,
        sizes=np.minimum(scenes.sizes[scene] - corners, np.array(sides)),
        columns=columns,
        cut=len(windows) > len(scenes),
    )


def _corners(size: Sequence[int], sides: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for y in range(0, size[0], sides[0]):
        for x in range(0, size[1], sides[1]):
            yield y, x
