"""Buckets: runs of whole storage units, cut by the data and the configuration alone.

A bucket is the unit of partial counts. Where it begins and ends depends on nothing that may differ between
two nights (cluster, memory, what is cached), and appending images leaves the buckets before them as they
are. A window is what is in memory at a time while a bucket is counted; it never changes a count.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from segpipe.planning.alignment import Alignment
from segpipe.planning.bucket import OTHER
from segpipe.planning.inventory import Inventory
from segpipe.sources.layouts import ImageSet
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.representations import label_bytes

WINDOW_BYTES = 64 << 20
"""Decoded bytes of truth and pred that a window aims at."""

WINDOW_LIMIT_BYTES = 512 << 20
"""A window grows up to this where whole storage units need it; beyond, units are read more than once."""


OVERLAY_BYTES = {"valid": 1, "weights": 18, OTHER: 0}
"""Of a pixel, what is made of an overlay while it is counted: a mask; of weights units, masks and a copy."""


@dataclass(frozen=True)
class Cut:
    """Where buckets and windows begin.

    Attributes:
        starts: int64 (bucket + 1,); bucket b holds the aligned images starts[b] to starts[b + 1].
        window_images: images that are read at a time; 1 where they have different sizes, or lie in several
            arrays.
    """

    starts: NDArray[np.int64]
    window_images: int


def cut_buckets(inventory: Inventory, alignment: Alignment, bucket_images: int) -> Cut:
    """Cut the aligned images into buckets of about `bucket_images` images."""
    stacked = len(inventory.truth.arrays) == 1 and inventory.truth.index_in_array[:1].tolist() != [-1]
    if stacked:
        length = _bucket_length(inventory, bucket_images)
        group = inventory.truth.index_in_array[alignment.truth] // length
        alike = all(map(_one_box, inventory.image_sets.values()))
        window = min(length, _window_images(inventory)) if alike else 1
    else:
        group = _hashed_groups(alignment.ids, bucket_images)
        window = 1
    change = (np.diff(group) != 0) | (np.diff(alignment.pred < 0) != 0)
    inner = np.flatnonzero(change) + 1
    return Cut(np.concatenate([[0], inner, [len(group)]]).astype(np.int64), window)


def image_bytes(inventory: Inventory) -> int:
    """Bytes of all that is read of the largest image, and of what is made of what lies over it."""
    largest = int(inventory.truth.pixels.max(initial=0))
    made = sum(OVERLAY_BYTES[name] for name in inventory.overlays)
    return largest * (sum(map(_label_bytes, inventory.image_sets.values())) + made)


def units_along_images(images: ImageSet) -> tuple[int, int]:
    """Images per storage unit and per unit that is read at once (the inner chunk of a shard)."""
    array = images.arrays[0]
    if len(images.arrays) > 1 or images.index_in_array[:1].tolist() == [-1]:
        return 1, 1
    return array.label_chunks[0], array.label_units[0]


def read_amplification(inventory: Inventory, alignment: Alignment, cut: Cut) -> float:
    """Bytes that are decoded over bytes that there are: 1.0 where no unit is read twice."""
    bucket = np.repeat(np.arange(len(cut.starts) - 1), np.diff(cut.starts))
    within = np.arange(len(bucket)) - cut.starts[bucket]
    window = bucket * (len(bucket) + 1) + within // cut.window_images
    read = needed = 0
    over = [(overlay.images, overlay.position[alignment.truth]) for overlay in inventory.overlays.values()]
    sides = [(inventory.truth, alignment.truth), (inventory.pred, alignment.pred), *over]
    for images, position in sides:
        there = np.flatnonzero(position >= 0)
        if len(there):
            first = there[_first_of_each_box(images, position[there])]
            decoded, stored = _decoded_bytes(images, position[first], window[first])
            read, needed = read + decoded, needed + stored
    return read / needed if needed else 1.0


def _first_of_each_box(images: ImageSet, positions: NDArray[np.int64]) -> NDArray[np.intp]:
    """One image for each box: what lies over many images alike is kept while they are counted."""
    if len(images.arrays) > 1 or images.index_in_array[0] >= 0:
        return np.arange(len(positions))
    boxes = np.concatenate([images.corners[positions], images.sizes[positions]], axis=1)
    return np.unique(boxes, axis=0, return_index=True)[1]


def _decoded_bytes(
    images: ImageSet, positions: NDArray[np.int64], window: NDArray[np.int64]
) -> tuple[int, int]:
    """Bytes that are decoded when some images are read window by window, and bytes of all that is decoded."""
    array, corners = images.array_of_image[positions], images.corners[positions]
    lengths = np.array([meta.label_units[-corners.shape[1] :] for meta in images.arrays], np.int64)[array]
    first, last = corners // lengths, -(-(corners + images.sizes[positions]) // lengths)
    along = images.index_in_array[positions] // units_along_images(images)[1]
    of_unit = np.array([unit_bytes(meta) for meta in images.arrays], np.int64)[array]
    sums = []
    # What lies in the same window, or anywhere, of one array and one unit along the images is read once.
    for keys in ((window, array, along), (array, along)):
        order = np.lexsort(keys)
        sorted_keys = np.stack(keys)[:, order]
        starts = np.flatnonzero(np.r_[True, (np.diff(sorted_keys, axis=1) != 0).any(axis=0)])
        extent = np.maximum.reduceat(last[order], starts) - np.minimum.reduceat(first[order], starts)
        sums.append(int((extent.prod(axis=1) * of_unit[order][starts]).sum()))
    return sums[0], sums[1]


def unit_bytes(meta: ArrayMeta) -> int:
    """Decoded bytes of what is decoded at once: a chunk, or an inner chunk of a shard."""
    return prod(meta.inner_chunks or meta.chunks) * meta.dtype.itemsize


def _bucket_length(inventory: Inventory, bucket_images: int) -> int:
    """Images per bucket: the joint unit of truth and pred, repeated up to `bucket_images`."""
    truth_unit, pred_unit = units_along_images(inventory.truth)[0], units_along_images(inventory.pred)[0]
    joint = lcm(truth_unit, pred_unit)
    if joint > 16 * max(bucket_images, truth_unit):
        joint = truth_unit
    return -(-bucket_images // joint) * joint


def _one_box(images: ImageSet) -> bool:
    """Whether all images lie in one array, and have the same corner and size."""
    if len(images.arrays) > 1:
        return False
    return all((rows == rows[:1]).all() for rows in (images.corners, images.sizes))


def _window_images(inventory: Inventory) -> int:
    per_image = max(1, image_bytes(inventory))
    joint = lcm(*(units_along_images(images)[1] for images in inventory.image_sets.values()))
    if joint * per_image > WINDOW_LIMIT_BYTES:
        return max(1, WINDOW_LIMIT_BYTES // per_image)
    return max(1, WINDOW_BYTES // (joint * per_image)) * joint


def _hashed_groups(ids: list[str], bucket_images: int) -> NDArray[np.int64]:
    """A group for each id: a new one begins after an id whose hash says so, at the latest at 4 n images.

    So a new image changes the bucket that it falls into and no other.
    """
    groups = np.zeros(len(ids), np.int64)
    group = size = 0
    for index, name in enumerate(ids):
        groups[index] = group
        size += 1
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
        if digest % bucket_images == 0 or size >= 4 * bucket_images:
            group, size = group + 1, 0
    return groups


def _label_bytes(images: ImageSet) -> int:
    return max(map(label_bytes, images.arrays), default=1)


def stored_units(array: ArrayMeta, images: ImageSet, positions: NDArray[np.int64]) -> list[str]:
    """The keys of the storage units that hold some images of an array, in order, relative to the array.

    Args:
        array: one of the arrays of the images.
        images: the images of one side.
        positions: int64 (image,); those of them that are asked for; all lie in `array`.
    """
    index, first = images.index_in_array[positions], images.corners[positions]
    last = first + images.sizes[positions]
    # Nearly always all images have the same extent, and their units are a product.
    if (first == first[:1]).all() and (last == last[:1]).all():
        return [array.chunk_key(place) for place in product(*_unit_ranges(array, index, first[0], last[0]))]
    units: set[tuple[int, ...]] = set()
    for image in range(len(positions)):
        units.update(product(*_unit_ranges(array, index[image : image + 1], first[image], last[image])))
    return [array.chunk_key(place) for place in sorted(units)]


def _unit_ranges(
    array: ArrayMeta, index: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]
) -> list[list[int]]:
    """The places of storage units along each dimension of an array."""
    chunks = array.label_chunks
    pixels = [
        list(range(start // unit, -(-stop // unit)))
        for start, stop, unit in zip(first.tolist(), last.tolist(), chunks[-len(first) :], strict=True)
    ]
    places = pixels if index[0] < 0 else [sorted(set((index // chunks[0]).tolist())), *pixels]
    channels = 0 if array.class_axis is None else array.grid[array.class_axis]
    return list(array.along_axes(places, list(range(channels))))
