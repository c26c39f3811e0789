"""Windows: what is in memory of a bucket while it is counted, and how it gets there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.config import SmallObjects
from segpipe.errors import InputChangedError, Problem
from segpipe.kernels.objects import drop_small_objects
from segpipe.kernels.weighted import weight_units
from segpipe.planning.bucket import OTHER, Bucket
from segpipe.sources.boxes import Box
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.overlays import ABSENT_OVERLAY_ADVICE
from segpipe.sources.reader import DamagedChunkError, LabelReader
from segpipe.sources.representations import RepresentedReader, open_labels
from segpipe.sources.storage import open_storage
from segpipe.statistics.batches import codes
from segpipe.statistics.confusion import LabelMaps

ScoresRead = Callable[[Sequence[int], Box, NDArray[Any], LabelMaps], None]
"""Is told each part of scores: of which images, where in them, values (image, channel, *space), labels."""


@dataclass(frozen=True)
class Over:
    """What lies over label maps, in their shape: which pixels are valid, and their weights; None: no such."""

    valid: NDArray[np.bool_] | None
    weights: NDArray[Any] | None

    @property
    def taking_part(self) -> NDArray[np.bool_] | None:
        """The pixels that are valid and have a weight, as the confusion matrix takes them; None: all."""
        if self.weights is None:
            return self.valid
        weighted: NDArray[np.bool_] = weight_units(self.weights)[0] > 0
        return weighted if self.valid is None else self.valid & weighted


@dataclass(frozen=True)
class Under:
    """Some images in memory, all of one size, without the prediction that is counted.

    `images` are places in the bucket, `over` is what lies over them, `other` a second prediction. `core` are
    the pixels of the images themselves, where what lies around them is in memory as well.
    """

    images: Sequence[int]
    truth: LabelMaps
    over: Over
    other: LabelMaps | None
    core: Box | None

    def inside(self, maps: LabelMaps) -> LabelMaps:
        """Label maps of the images without what lies around them."""
        return maps if self.core is None else maps.inside(self.core)

    def over_images(self, values: NDArray[Any] | None) -> NDArray[Any] | None:
        """The same of what lies over them."""
        return values if values is None or self.core is None else values[(slice(None), *self.core)]


def without_small_objects(under: Under, maps: LabelMaps, rules: LabelRules, small: SmallObjects) -> Under:
    """The same images; the pixels of small objects in their truth, or in their prediction, are not valid.

    What was never stored is its fill value here, whatever it is taken for later: what an object is depends on
    no policy.
    """
    labels = under.inside(maps)
    assert labels.values is not None
    assert under.truth.values is not None
    made = codes(labels, rules, labels.values.shape, absent_is_fill=True)
    limits = rules.num_classes, small.min_object_px, small.connectivity
    gone = np.stack([drop_small_objects(one, *limits) != one for one in made])
    valid = under.over.valid
    valid = np.ones(under.truth.values.shape, np.bool_) if valid is None else valid.copy()
    valid[(slice(None), *(under.core or ()))] &= ~gone
    return replace(under, over=replace(under.over, valid=valid))


class SharedReader:
    """Reads what all jobs of a bucket share: truth, what lies over it, and a second prediction."""

    def __init__(self, bucket: Bucket, stores: Mapping[str, str], halo: int, *, other: bool) -> None:
        self.halo, self._other = halo, other
        self._truth = SideReader("truth", bucket, stores["truth"])
        self._overlays = _Overlays(bucket, stores)

    def read(self, images: Sequence[int]) -> Under:
        """Some images without their prediction."""
        truth, over = self._truth.read(images, self.halo), self._overlays.read(images, self.halo)
        other = self._overlays.maps(OTHER, images, self.halo) if self._other else None
        core = self._truth.core(images[0], self.halo) if self.halo else None
        return Under(images, truth, over, other, core)


class SideReader:
    """Reads the label maps of one part of a bucket; keeps the reader of the array it read last."""

    def __init__(self, name: str, bucket: Bucket, store: str) -> None:
        self._name, self._sizes, self._side = name, bucket.sizes, bucket.parts[name]
        self._storage = open_storage(store)
        self._open: tuple[int, LabelReader] | None = None
        self._over_all: tuple[Any, LabelMaps] | None = None

    def read_over(self, images: Sequence[int], halo: int) -> LabelMaps:
        """As `read`; what lies over many images alike is read once for those that follow one another."""
        place = self._side.array, self._side.index, self._side.corner, self._sizes
        asked = len(images), [part[images[0]] for part in place]
        if self._side.index[images[0]] >= 0:
            return self.read(images, halo)
        if self._over_all is None or self._over_all[0] != asked:
            self._over_all = asked, self.read(images, halo)
        return self._over_all[1]

    def read(self, images: Sequence[int], halo: int, seen: ScoresRead | None = None) -> LabelMaps:
        """The label maps of some images, which all lie in one array and have one size, and pixels around.

        `seen` is told the scores that the label maps are made of.
        """
        array = self._side.array[images[0]]
        if array < 0:
            return LabelMaps(None)
        indices = [self._side.index[image] for image in images]
        meta, extent = self._side.arrays[array], self._extent(images[0], halo)
        try:
            return _gather(self._reader(array), meta, indices, extent, seen)
        except (DamagedChunkError, InputChangedError) as error:
            error.problems[:] = [replace(problem, side=self._name) for problem in error.problems]
            raise

    def _extent(self, image: int, halo: int) -> Box:
        """Where an image and the pixels around it lie in its array."""
        array = self._side.arrays[self._side.array[image]]
        corner, size = self._side.corner[image], self._sizes[image]
        return tuple(
            slice(max(0, first - halo), min(first + length + halo, end))
            for first, length, end in zip(corner, size, array.label_shape[-len(size) :], strict=True)
        )

    def core(self, image: int, halo: int) -> Box:
        """Where an image lies in what is read of it with the pixels around."""
        extent, corner, size = self._extent(image, halo), self._side.corner[image], self._sizes[image]
        starts = [first - part.start for first, part in zip(corner, extent, strict=True)]
        return tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))

    def incomplete(self, images: Sequence[int], absent: Sequence[Box]) -> DamagedChunkError:
        """That parts of some images were never stored."""
        found = Problem(
            kind="missing chunk",
            side=self._name,
            store=self._storage.url,
            array=self._side.arrays[self._side.array[images[0]]].path,
            found="parts of shards that were never stored",
            expected="every chunk written",
            advice=ABSENT_OVERLAY_ADVICE,
        )
        return DamagedChunkError([found] * min(1, len(absent)), absent[:1])

    def _reader(self, array: int) -> LabelReader:
        if self._open is None or self._open[0] != array:
            self._open = (
                array,
                open_labels(self._side.arrays[array], self._storage, self._side.to_read(array)),
            )
        return self._open[1]


class _Overlays:
    """Reads what lies over the label maps of a bucket."""

    def __init__(self, bucket: Bucket, stores: Mapping[str, str]) -> None:
        self._sides = {name: SideReader(name, bucket, stores[name]) for name in bucket.overlays}
        self._filled = bucket.filled

    def read(self, images: Sequence[int], halo: int) -> Over:
        """What lies over some images, in the shape of their label maps.

        Raises:
            DamagedChunkError: part of it cannot be read, or was never stored, and nothing declares that.
            InputChangedError: an object is not what the inventory saw.
        """
        valid, weights = (self._values(name, images, halo) for name in ("valid", "weights"))
        return Over(None if valid is None else valid != 0, weights)

    def _values(self, name: str, images: Sequence[int], halo: int) -> NDArray[Any] | None:
        return self.maps(name, images, halo).values if name in self._sides else None

    def maps(self, name: str, images: Sequence[int], halo: int) -> LabelMaps:
        """One of the arrays that lie over them. Raises as `read` does."""
        maps = self._sides[name].read_over(images, halo)
        if maps.absent and name not in self._filled:
            raise self._sides[name].incomplete(images, [box for _, box in maps.absent])
        return maps


def _gather(
    reader: LabelReader, meta: ArrayMeta, indices: list[int], extent: Box, seen: ScoresRead | None
) -> LabelMaps:
    """An extent at some positions of an array, in the order asked for; no chunk is read twice.

    What has no position lies over all images alike.
    """
    if indices[0] < 0:
        over = _read(reader, meta, extent, indices, seen)[np.newaxis]
        if len(indices) > 1:
            over = np.broadcast_to(over, (len(indices), *over.shape[1:]))
        return LabelMaps(over, [(at, box) for at in range(len(indices)) for box in reader.absent(extent)])
    held: list[int] = []
    values: list[NDArray[Any]] = []
    absent: dict[int, list[Box]] = {}
    # A manifest may name one position several times.
    for run in _runs(sorted(set(indices)), meta.label_units[0]):
        span = slice(run[0], run[-1] + 1)
        read = _read(reader, meta, (span, *extent), indices, seen)
        values.append(read if len(read) == len(run) else read[[index - span.start for index in run]])
        for images, *box in reader.absent((span, *extent)):
            for image in range(span.start + images.start, span.start + images.stop):
                absent.setdefault(image, []).append(tuple(box))
        held += run
    joined = values[0] if len(values) == 1 else np.concatenate(values)
    if held != indices:
        place = {index: at for at, index in enumerate(held)}
        joined = joined[[place[index] for index in indices]]
    return LabelMaps(joined, [(at, box) for at, index in enumerate(indices) for box in absent.get(index, ())])


def _read(
    reader: LabelReader, meta: ArrayMeta, box: Box, indices: list[int], seen: ScoresRead | None
) -> NDArray[Any]:
    """A box of label maps; `seen` is told each part of the scores, and which of the images it belongs to."""
    if seen is None:
        return reader.read(box)
    assert isinstance(reader, RepresentedReader)

    def tell(part: Box, stored: NDArray[Any], labels: NDArray[Any], absent: list[Box]) -> None:
        scores = stored[np.newaxis] if meta.class_axis is None else np.moveaxis(stored, meta.class_axis, 0)
        if indices[0] < 0:
            maps = LabelMaps(labels[np.newaxis], [(0, lost) for lost in absent])
            seen([0], part, scores[np.newaxis], maps)
            return
        first = box[0].start + part[0].start
        pairs = [(at - first, image) for image, at in enumerate(indices) if 0 <= at - first < len(labels)]
        places = [place for place, _ in pairs]
        maps = LabelMaps(
            labels[places],
            [
                (number, tuple(rest))
                for number, place in enumerate(places)
                for within, *rest in absent
                if within.start <= place < within.stop
            ],
        )
        seen([image for _, image in pairs], part[1:], scores.swapaxes(0, 1)[places], maps)

    return reader.read(box, tell)


def _runs(indices: list[int], unit: int) -> Iterator[list[int]]:
    """Cut sorted positions into runs that are read at once: consecutive ones, and those of one unit."""
    run = indices[:1]
    for index in indices[1:]:
        if index != run[-1] + 1 and index // unit != run[-1] // unit:
            yield run
            run = []
        run.append(index)
    yield run
