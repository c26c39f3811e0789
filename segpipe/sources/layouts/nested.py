"""Nested: one array for each image, in groups within groups; the path below the first group is the id."""

from __future__ import annotations

from segpipe.sources.layouts import LAYOUTS, Y_X, ImageSet
from segpipe.sources.layouts.grouped import grouped_images
from segpipe.sources.metadata import StoreView


@LAYOUTS.register("nested")
def find_images(view: StoreView, array_path: str) -> ImageSet:
    """The images of a group and of all groups in it: every array (y, x) is one.

    Ids are paths (`berlin/000019`); metadata columns are as in the layout `grouped`.

    Raises:
        InputError: every reason why it cannot be evaluated.
    """
    return grouped_images(view, array_path, Y_X, deep=True)
