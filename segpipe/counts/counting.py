"""Count buckets: read their label maps window by window, count, keep one partial for each bucket.

This is what a worker does with a task. It is given the run's path and the numbers of buckets, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.counts.partials import Partial, PartialStore, encode, write_atomically
from segpipe.counts.workers import check_code, check_sees, code_version
from segpipe.errors import InputChangedError, Problem
from segpipe.planning.bucket import Bucket, BucketSide
from segpipe.planning.plan_file import num_buckets, read_buckets, written_at
from segpipe.sources.boxes import Box
from segpipe.sources.overlays import ABSENT_OVERLAY_ADVICE
from segpipe.sources.reader import DamagedChunkError, LabelReader
from segpipe.sources.representations import open_labels
from segpipe.sources.storage import Storage, open_storage
from segpipe.statistics.confusion import ImageCounts, LabelMaps, count_images

T = TypeVar("T")

PLAN_NAME = "plan.parquet"
CONTEXT_NAME = "counting.json"
PARTS_NAME = "incomplete"


@dataclass(frozen=True)
class CountingContext:
    """What all tasks of a run share; written to the run's folder once, read by each worker once.

    Attributes:
        truth_store, pred_store: addresses of the two stores.
        overlay_stores: name of what lies over the label maps -> address of its store.
        partials: the folder of partial counts.
        window_images: images of a stacked array that are read at a time.
        companions: folders of runs of other predictions, which are counted along where truth is the same.
        code: which code made the plan; no other may count by it.
    """

    truth_store: str
    pred_store: str
    truth_rules: LabelRules
    pred_rules: LabelRules
    partials: str
    window_images: int
    companions: tuple[str, ...] = ()
    overlay_stores: Mapping[str, str] = field(default_factory=dict)
    code: str = field(default_factory=code_version)

    @property
    def stores(self) -> dict[str, str]:
        """The addresses of all stores, by what they hold."""
        return {"truth": self.truth_store, "pred": self.pred_store, **self.overlay_stores}

    def write(self, run: Path) -> None:
        """Write it into a run's folder."""
        values = {key: value for key, value in self.__dict__.items() if not key.endswith("_rules")}
        for name in ("truth_rules", "pred_rules"):
            rules: LabelRules = getattr(self, name)
            values[name] = {"num_classes": rules.num_classes, "codes": rules.identity}
        write_atomically(run / CONTEXT_NAME, json.dumps(values, indent=1).encode())


def read_context(run: Path) -> CountingContext:
    """The context of a run."""
    return _context(run, written_at(run / CONTEXT_NAME))


@lru_cache(maxsize=8)
def _context(run: Path, written: tuple[int, ...]) -> CountingContext:
    values = json.loads((run / CONTEXT_NAME).read_text())
    for name in ("truth_rules", "pred_rules"):
        values[name] = LabelRules(values[name]["num_classes"], dict(values[name]["codes"]))
    return CountingContext(**{**values, "companions": tuple(values["companions"])})


@dataclass(frozen=True)
class BucketPart:
    """Some images of a bucket, by their place in it; `last` = None: to the end."""

    bucket: int
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class Counted:
    """What became of a part of a bucket.

    Attributes:
        bucket: its number.
        images, pixels, stored_bytes: how much was counted and kept.
        quarantined: the images that could not be read, with the reason.
        changed: what is not as the inventory saw it; nothing of the bucket is kept then.
    """

    bucket: int
    images: int = 0
    pixels: int = 0
    stored_bytes: int = 0
    quarantined: list[Problem] = field(default_factory=list)
    changed: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Window:
    """Some images in memory, all of one size.

    `images` are places in the bucket, `over` is what lies over them, `job` tells whose pred it is.
    """

    images: Sequence[int]
    truth: LabelMaps
    over: _Over
    pred: LabelMaps
    job: _Job


@dataclass(frozen=True)
class _Over:
    """What lies over label maps, in their shape: which pixels are valid, and their weights; None: no such."""

    valid: NDArray[np.bool_] | None
    weights: NDArray[Any] | None


@dataclass(eq=False)
class _Job:
    """A bucket of one run that is being counted: the ids and counts of the images that were read so far."""

    run: Path
    context: CountingContext
    bucket: Bucket
    ids: list[str] = field(default_factory=list)
    counts: list[ImageCounts] = field(default_factory=list)

    def add(self, window: _Window) -> None:
        """Count a window. Only the counts are kept: the label maps are let go with the window."""
        self.ids += [self.bucket.ids[image] for image in window.images]
        self.counts.append(_count(window, self.bucket, self.context))

    def partial(self) -> Partial:
        """What was counted; at least one window."""
        return Partial(tuple(self.ids), ImageCounts.concatenate(self.counts))


def count_task(run: str, parts: Sequence[BucketPart]) -> list[Counted]:
    """Count some buckets of a run and keep their partials, and those of its companions.

    Returns:
        What became of each of them, in order. Damaged images and changed inputs are told, not raised.

    Raises:
        InfrastructureError: this worker does not see the run, or is of another version.
    """
    folder = Path(run)
    check_sees(folder / CONTEXT_NAME)
    check_code(read_context(folder).code)
    numbers = sorted({part.bucket for part in parts})
    buckets = {bucket.number: bucket for bucket in read_buckets(folder / PLAN_NAME, numbers)}
    results: list[Counted] = []
    for part, jobs, item in _ahead(_load_all(folder, [(part, buckets[part.bucket]) for part in parts])):
        if isinstance(item, _Window):
            item.job.add(item)
            continue
        lead, *companions = jobs
        if lead.counts and not item.changed:
            item = _keep(lead, part, item)
            for job in companions:
                # Where some of its label maps could not be read, the companion's own run will tell.
                if tuple(job.ids) == job.bucket.ids:
                    PartialStore(Path(job.context.partials)).write(job.bucket.key, job.partial())
        results.append(item)
    return results


def _count(window: _Window, bucket: Bucket, context: CountingContext) -> ImageCounts:
    rules = context.truth_rules, context.pred_rules
    counts = count_images(window.truth, window.pred, *rules, window.over.valid, window.over.weights)
    expected = [prod(bucket.sizes[image]) for image in window.images]
    if counts.cells.pixels().tolist() != expected:
        message = f"bucket {bucket.number}: counted {counts.cells.pixels().tolist()} pixels of {expected}"
        raise AssertionError(message)
    return counts


def _keep(job: _Job, part: BucketPart, item: Counted) -> Counted:
    """A whole bucket goes to the store that all runs share, what is less to the folder of this run."""
    bucket, partial = job.bucket, job.partial()
    if partial.ids == bucket.ids:
        PartialStore(Path(job.context.partials)).write(bucket.key, partial)
    else:
        name = part_name(bucket.number, part.first)
        write_atomically(job.run / PARTS_NAME / name, encode(partial, name))
    return _with_amounts(item, part, bucket, partial)


def part_name(bucket: int, first: int) -> str:
    """The name of a part of a bucket in the folder of its run."""
    return f"{bucket:09d}-{first:06d}"


def count_in_memory(
    context: CountingContext, part: BucketPart, bucket: Bucket
) -> tuple[Counted, Partial | None]:
    """Count a part of a bucket and keep nothing: what became of it, and its counts if there are some."""
    job, result = _Job(Path(), context, bucket), Counted(bucket.number)
    try:
        for item in _ahead(_load([job], part)):
            if isinstance(item, _Window):
                job.add(item)
            else:
                result.quarantined.extend(item)
    except InputChangedError as error:
        result.changed.extend(error.problems)
    if not job.counts or result.changed:
        return result, None
    partial = job.partial()
    return _with_amounts(result, part, bucket, partial), partial


def _with_amounts(item: Counted, part: BucketPart, bucket: Bucket, partial: Partial) -> Counted:
    """What became of a part of a bucket, with how much of it was counted."""
    pixels = int(partial.counts.cells.counts.sum())
    stored = 0 if part.first else bucket.stored_bytes
    return replace(item, images=len(partial.ids), pixels=pixels, stored_bytes=stored)


# ---- reading


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, the next one made in another thread while this one is used."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="segpipe-read") as pool:
        waiting = pool.submit(next, iterator, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc]  # next() gives the items or the end


def _load_all(
    run: Path, parts: Sequence[tuple[BucketPart, Bucket]]
) -> Iterator[tuple[BucketPart, list[_Job], _Window | Counted]]:
    """The windows of each part, then what became of it."""
    for part, bucket in parts:
        result = Counted(bucket.number)
        jobs = [_Job(run, read_context(run), bucket), *_companions(run, part, bucket)]
        try:
            for item in _load(jobs, part):
                if isinstance(item, _Window):
                    yield part, jobs, item
                else:
                    result.quarantined.extend(item)
        except InputChangedError as error:
            result.changed.extend(error.problems)
        yield part, jobs, result


def _companions(run: Path, part: BucketPart, bucket: Bucket) -> Iterator[_Job]:
    """The same bucket of other predictions, where all but pred is the same and it has not been counted."""
    for folder in map(Path, read_context(run).companions):
        if part != BucketPart(bucket.number) or bucket.number >= num_buckets(folder / PLAN_NAME):
            continue
        context = read_context(folder)
        (own,) = read_buckets(folder / PLAN_NAME, [bucket.number])
        same = all(
            getattr(own, name) == getattr(bucket, name)
            for name in ("ids", "sizes", "truth", "overlays", "filled")
        )
        if same and own.key not in PartialStore(Path(context.partials)):
            yield _Job(folder, context, own)


def _load(jobs: Sequence[_Job], part: BucketPart) -> Iterator[_Window | list[Problem]]:
    """The windows of a part of a bucket; a list of problems in place of an image that cannot be read.

    Truth and what lies over it is read once for all jobs, and one prediction is in memory at a time.
    """
    lead, *companions = jobs
    bucket, context = lead.bucket, lead.context
    truth = _Side("truth", bucket, bucket.truth, open_storage(context.truth_store))
    pred, *others = (
        _Side("pred", job.bucket, job.bucket.pred, open_storage(job.context.pred_store)) for job in jobs
    )
    overlays = _Overlays(bucket, context)
    images = range(part.first, len(bucket.ids) if part.last is None else part.last)
    # Where the prediction of one job lies in several arrays, its window is one image.
    length = min(job.context.window_images for job in jobs)
    for start in range(0, len(images), length):
        window = images[start : start + length]
        try:
            labels, over = truth.read(window), overlays.read(window)
            yield _Window(window, labels, over, pred.read(window), lead)
        except DamagedChunkError:
            # Once more, image by image: what was a passing fault goes well now, what is damaged shows itself.
            for image in window:
                try:
                    labels, over = truth.read([image]), overlays.read([image])
                    yield _Window([image], labels, over, pred.read([image]), lead)
                except DamagedChunkError as error:
                    yield [replace(problem, image=bucket.ids[image]) for problem in error.problems]
            continue
        for job, other in zip(companions, others, strict=True):
            with suppress(DamagedChunkError, InputChangedError):
                yield _Window(window, labels, over, other.read(window), job)


class _Side:
    """Reads the label maps of one side of a bucket; keeps the reader of the array it read last."""

    def __init__(self, name: str, bucket: Bucket, side: BucketSide, storage: Storage) -> None:
        self._name, self._sizes, self._side, self._storage = name, bucket.sizes, side, storage
        self._open: tuple[int, LabelReader] | None = None
        self._over_all: tuple[Any, LabelMaps] | None = None

    def read_over(self, images: Sequence[int]) -> LabelMaps:
        """As `read`; what lies over many images alike is read once for those that follow one another."""
        place = self._side.array, self._side.index, self._side.corner, self._sizes
        asked = len(images), [part[images[0]] for part in place]
        if self._side.index[images[0]] >= 0:
            return self.read(images)
        if self._over_all is None or self._over_all[0] != asked:
            self._over_all = asked, self.read(images)
        return self._over_all[1]

    def read(self, images: Sequence[int]) -> LabelMaps:
        """The label maps of some images, which all lie in one array and have one size."""
        array = self._side.array[images[0]]
        if array < 0:
            return LabelMaps(None)
        indices = [self._side.index[image] for image in images]
        corner, size = self._side.corner[images[0]], self._sizes[images[0]]
        extent = tuple(slice(first, first + length) for first, length in zip(corner, size, strict=True))
        try:
            return _gather(self._reader(array), self._side.arrays[array].label_units[0], indices, extent)
        except (DamagedChunkError, InputChangedError) as error:
            error.problems[:] = [replace(problem, side=self._name) for problem in error.problems]
            raise

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
            meta, objects = self._side.arrays[array], self._side.objects[array]
            self._open = array, open_labels(meta, self._storage, objects)
        return self._open[1]


class _Overlays:
    """Reads what lies over the label maps of a bucket."""

    def __init__(self, bucket: Bucket, context: CountingContext) -> None:
        self._sides = {
            name: _Side(name, bucket, lies, open_storage(context.overlay_stores[name]))
            for name, lies in bucket.overlays.items()
        }
        self._filled = bucket.filled

    def read(self, images: Sequence[int]) -> _Over:
        """What lies over some images, in the shape of their label maps.

        Raises:
            DamagedChunkError: part of it cannot be read, or was never stored, and nothing declares that.
            InputChangedError: an object is not what the inventory saw.
        """
        valid, weights = self._values("valid", images), self._values("weights", images)
        return _Over(None if valid is None else valid != 0, weights)

    def _values(self, name: str, images: Sequence[int]) -> NDArray[Any] | None:
        if name not in self._sides:
            return None
        maps = self._sides[name].read_over(images)
        if maps.absent and name not in self._filled:
            raise self._sides[name].incomplete(images, [box for _, box in maps.absent])
        return maps.values


def _gather(reader: LabelReader, unit: int, indices: list[int], extent: Box) -> LabelMaps:
    """An extent at some positions of an array, in the order asked for; no chunk is read twice.

    `unit` is how many positions are decoded at once. What has no position lies over all images alike.
    """
    if indices[0] < 0:
        over = reader.read(extent)[np.newaxis]
        if len(indices) > 1:
            over = np.broadcast_to(over, (len(indices), *over.shape[1:]))
        return LabelMaps(over, [(at, box) for at in range(len(indices)) for box in reader.absent(extent)])
    held: list[int] = []
    values: list[NDArray[Any]] = []
    absent: dict[int, list[Box]] = {}
    # A manifest may name one position several times.
    for run in _runs(sorted(set(indices)), unit):
        span = slice(run[0], run[-1] + 1)
        read = reader.read((span, *extent))
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


def _runs(indices: list[int], unit: int) -> Iterator[list[int]]:
    """Cut sorted positions into runs that are read at once: consecutive ones, and those of one unit."""
    run = indices[:1]
    for index in indices[1:]:
        if index != run[-1] + 1 and index // unit != run[-1] // unit:
            yield run
            run = []
        run.append(index)
    yield run
