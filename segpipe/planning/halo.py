"""What is read around images for statistics that look beyond a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segpipe.planning.inventory import Inventory
from segpipe.sources.layouts import ImageSet


def widened(images: ImageSet, halo: int) -> ImageSet:
    """The same images with so many pixels around each, as far as their arrays go."""
    axes = images.corners.shape[1]
    extents = np.array([array.label_shape[-axes:] for array in images.arrays], np.int64)[
        images.array_of_image
    ]
    first = np.maximum(images.corners - halo, 0)
    last = np.minimum(images.corners + images.sizes + halo, extents)
    return replace(images, corners=first, sizes=last - first)


def with_halo(inventory: Inventory, halo: int) -> Inventory:
    """The same images on both sides and over them, with so many pixels around each."""
    if not halo:
        return inventory
    overlays = {
        name: replace(overlay, images=widened(overlay.images, halo))
        for name, overlay in inventory.overlays.items()
    }
    return Inventory(widened(inventory.truth, halo), widened(inventory.pred, halo), overlays)
