"""One bucket with all that is needed to count it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import prod
from typing import TypeVar

from segpipe.sources.boxes import units_in
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.storage import ObjectInfo

T = TypeVar("T")

CONFUSION = "confusion"
"""What the counts of every run are called among those of its statistics."""

OTHER = "other_pred"
"""The overlay that is a second prediction: statistics read it, the confusion matrix does not."""

_as_text = json.JSONEncoder().encode


def shared(values: tuple[T, ...]) -> tuple[T, ...]:
    """One value for all where they are all the same, as they nearly always are: what is written and hashed.

    >>> shared((4, 4, 4)), shared((4, 5))
    ((4,), (4, 5))
    """
    return values[:1] if values.count(values[0]) == len(values) else values


def spread(values: Sequence[T], count: int) -> tuple[T, ...]:
    """What `shared` was made of.

    >>> spread([4], 3)
    (4, 4, 4)
    """
    return tuple(values) * count if len(values) == 1 else tuple(values)


@dataclass(frozen=True)
class BucketSide:
    """Where the label maps of one side of a bucket lie.

    Attributes:
        arrays: the arrays that hold them.
        objects: for each array, the storage units to be read: key relative to the array -> what the
            inventory saw, None where there is no such object.
        array: for each image the number of its array in `arrays`; -1 if the image has no label map.
        index: for each image its position along the image axis; -1 where the array has none.
        corner: for each image its first pixel along each axis of pixels.
        around: for each array, the storage units that hold no pixel of the images, but some of their halo;
            empty where there is none.
    """

    arrays: tuple[ArrayMeta, ...]
    objects: tuple[Mapping[str, ObjectInfo | None], ...]
    array: tuple[int, ...]
    index: tuple[int, ...]
    corner: tuple[tuple[int, ...], ...]
    around: tuple[Mapping[str, ObjectInfo | None], ...] = ()

    def units_of(self, image: int, size: tuple[int, ...]) -> list[str]:
        """The keys of the storage units that hold an image of this size, relative to its array."""
        meta, index = self.arrays[self.array[image]], self.index[image]
        pixels = tuple(
            slice(first, first + length) for first, length in zip(self.corner[image], size, strict=True)
        )
        box = pixels if index < 0 else (slice(index, index + 1), *pixels)
        return [meta.chunk_key(place) for place in units_in(meta.stored_box(box), meta.chunks)]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what the inventory saw: the objects, their fingerprints, and which are absent."""
        return _fingerprint(self.objects)

    @cached_property
    def fingerprint_around(self) -> str:
        """The same of what lies around."""
        return _fingerprint(self.around)

    def to_read(self, array: int) -> Mapping[str, ObjectInfo | None]:
        """All objects of an array that may be read."""
        return {**self.objects[array], **self.around[array]} if self.around else self.objects[array]

    @cached_property
    def may_lack(self) -> bool:
        """Whether pixels may never have been stored: an object is absent, or shards may have empty parts."""
        objects = (info for part in (*self.objects, *self.around) for info in part.values())
        return any(array.inner_chunks for array in self.arrays) or any(info is None for info in objects)


def _fingerprint(arrays: tuple[Mapping[str, ObjectInfo | None], ...]) -> str:
    seen = [
        [(key, "absent" if info is None else info.fingerprint) for key, info in objects.items()]
        for objects in arrays
    ]
    return blake2b(_as_text(seen).encode(), digest_size=20).hexdigest()


@dataclass(frozen=True)
class Bucket:
    """A run of images that are counted into one partial.

    Attributes:
        number: its place in the plan.
        ids: of its images, in order.
        sizes: (y, x) or (z, y, x) of each image, px.
        truth, pred: where the label maps lie.
        overlays: where lies what is over them, by name; they have an array for every image.
        filled: those of its parts whose absent chunks are declared to be the fill value.
        key: the key of its partial counts.
        whole_key: where the images were selected from those of a larger bucket, the key of that one's partial
            counts, in which those of these images are; else empty.
        statistics: full name of each further statistic -> the same two keys of its own partial counts.
        halo: how far around its images is read, px.
    """

    number: int
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    truth: BucketSide
    pred: BucketSide
    overlays: Mapping[str, BucketSide] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    key: str = ""
    whole_key: str = ""
    statistics: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    halo: int = 0

    @property
    def keys(self) -> dict[str, tuple[str, str]]:
        """All that is counted of it: name -> `key` and `whole_key`; the confusion matrix first."""
        return {CONFUSION: (self.key, self.whole_key), **self.statistics}

    @property
    def parts(self) -> dict[str, BucketSide]:
        """All that is read for it, by name: `truth`, `pred`, and the overlays."""
        return {"truth": self.truth, "pred": self.pred, **self.overlays}

    @cached_property
    def stored_bytes(self) -> int:
        """The bytes of all its objects, as they are stored."""
        return sum(
            info.size
            for part in self.parts.values()
            for objects in part.objects
            for info in objects.values()
            if info
        )

    @cached_property
    def pixels(self) -> int:
        """The pixels of all its images."""
        return sum(map(prod, self.sizes))
