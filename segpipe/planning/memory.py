"""Memory of one task, projected from metadata alone before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from segpipe.config import SmallObjects
from segpipe.planning.buckets import Cut, image_bytes, unit_bytes
from segpipe.planning.inventory import Inventory
from segpipe.sources.fetching import AHEAD_BYTES
from segpipe.sources.layouts import ImageSet
from segpipe.sources.reader import reader_of
from segpipe.sources.representations import part_bytes, part_pixels
from segpipe.statistics.base import Statistic
from segpipe.statistics.batches import BATCH_PX, CODE_BYTES

PROCESS_BYTES = 352 << 20
"""A worker with NumPy, Numba, zarr-python and distributed loaded, before it reads (measured, rounded up).

About 80 MiB of it are what compiling the kernels takes, once for each machine, or what the plan of a store
of many small arrays takes."""

READ_AT_ONCE = 10
"""Chunks that zarr-python decodes at the same time."""


OBJECT_BYTES = 24
"""Of a pixel whose object is looked for."""


def task_memory(inventory: Inventory, cut: Cut) -> int:
    """Bytes that one task may hold beside the process itself.

    Three windows of all that is read (one is counted, the next is read, and what is read may be put in
    order), and the chunks that are being decoded with their stored bytes, which are at most as large. Logits
    and the like are decoded part by part, of which no more than one is held.
    """
    window = cut.window_images * image_bytes(inventory)
    sides = inventory.image_sets.values()
    decoding = max(_decoding(images, cut) for images in sides)
    parts = max(part_bytes(array) for images in sides for array in images.arrays)
    return 3 * window + decoding + parts


def statistics_memory(
    inventory: Inventory, cut: Cut, statistics: Sequence[Statistic], num_classes: int, halo: int
) -> int:
    """Bytes that counting further statistics holds beside that: codes and scratch of the pixels at hand.

    Pixels are counted some images at a time; where scores are read, part by part.
    """
    if not statistics:
        return 0
    largest = int((inventory.truth.sizes + 2 * halo).prod(axis=1).max(initial=0))
    pixels = max(largest, min(BATCH_PX, largest * cut.window_images))
    if any("scores" in one.needs for one in statistics):
        parts = (max(part_pixels(array), prod(array.label_units)) for array in inventory.pred.arrays)
        pixels = max(pixels, *parts)
    each = max(one.bytes_per_pixel(num_classes) for one in statistics)
    kept = max(one.image_bytes(num_classes) for one in statistics) * cut.window_images
    return pixels * (each + CODE_BYTES) + 2 * kept


def objects_memory(inventory: Inventory, cut: Cut, small_objects: SmallObjects | None) -> int:
    """Bytes that telling small objects holds beside that: codes, masks, and the numbers of objects."""
    if small_objects is None:
        return 0
    return OBJECT_BYTES * cut.window_images * int(inventory.truth.sizes.prod(axis=1).max(initial=0))


def _decoding(images: ImageSet, cut: Cut) -> int:
    """Bytes of one side that are held while it is decoded, for the worst array.

    The direct reader decodes one chunk at a time and fetches ahead of it, within bounds; zarr-python holds
    several chunks with their stored bytes.
    """
    pixels = images.sizes.max(axis=0, initial=0).tolist()
    cuts = bool(images.corners.any())
    worst = 0
    kinds = {
        (array.chunks, array.inner_chunks, array.dtype, array.along, reader_of(array).kind): array
        for array in images.arrays
    }
    for array in kinds.values():
        units = array.label_units
        extent = [cut.window_images, *pixels][-len(units) :]
        # A window that begins within a chunk touches one more.
        in_window = prod(-(-size // length) + cuts for size, length in zip(extent, units, strict=True))
        if array.class_axis is not None:
            deep = (array.inner_chunks or array.chunks)[array.class_axis]
            in_window *= -(-array.shape[array.class_axis] // deep)
        unit = unit_bytes(array)
        if reader_of(array).kind == "direct":
            held = unit + max(unit, min(AHEAD_BYTES, unit * in_window))
        else:
            held = 2 * unit * min(READ_AT_ONCE, in_window)
        worst = max(worst, held)
    return worst
