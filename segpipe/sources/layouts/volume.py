"""Volume: images of three dimensions (z, y, x), which are counted and reported whole."""

from __future__ import annotations

from segpipe.sources.layouts import LAYOUTS, Z_Y_X, ImageSet, with_class_axis
from segpipe.sources.layouts.grouped import grouped_images, lone_image
from segpipe.sources.layouts.stacked import stacked_images
from segpipe.sources.metadata import GroupMeta, StoreView

IMAGE_Z_Y_X = (frozenset({"image"}), *Z_Y_X)


@LAYOUTS.register("volume")
def find_images(view: StoreView, array_path: str) -> ImageSet:
    """The volumes at a path: an array (image, z, y, x), one array (z, y, x), or a group of such arrays.

    Ids and metadata columns are as in the layouts `stacked` and `grouped`; an array (z, y, x) is one volume
    without an id. (To take the slices of a volume for images, read it as `stacked`.)

    Raises:
        InputError: every reason why it cannot be evaluated.
    """
    node = view.node(array_path)
    if isinstance(node, GroupMeta):
        return grouped_images(view, array_path, Z_Y_X)
    if len(with_class_axis(view, node)[0].label_shape) == len(Z_Y_X):
        return lone_image(view, node, Z_Y_X)
    return stacked_images(view, array_path, IMAGE_Z_Y_X)
