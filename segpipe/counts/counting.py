"""Count buckets: read their label maps window by window, count, keep one partial for each bucket.

This is what a worker does with a task. It is given the run's path and the numbers of buckets, nothing else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from segpipe.classes import LabelRules
from segpipe.config import SmallObjects, StatisticConfig
from segpipe.counts.partials import Partial, PartialStore, StatisticPartial, encode, write_atomically
from segpipe.counts.windows import SharedReader, SideReader, Under, without_small_objects
from segpipe.counts.workers import check_code, check_sees, code_version
from segpipe.errors import InputChangedError, Problem
from segpipe.planning.bucket import CONFUSION, Bucket
from segpipe.planning.plan_file import num_buckets, read_buckets, written_at
from segpipe.planning.recount import Recount
from segpipe.sources.reader import DamagedChunkError
from segpipe.statistics.base import Counts, Statistic, chosen_statistics, joined
from segpipe.statistics.batches import (
    LabelWindow,
    Reading,
    ScoreCounts,
    codes,
    count_labels,
    ignore_around,
    whole,
)
from segpipe.statistics.confusion import ImageCounts, LabelMaps, count_images

T = TypeVar("T")

PLAN_NAME = "plan.parquet"
CONTEXT_NAME = "counting.json"
PARTS_NAME = "incomplete"
_RULES = ("truth_rules", "pred_rules", "other_rules")


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
        statistics: what is counted beside the confusion matrix: kind, name and parameters.
        pred_stored_as: the representation of the predictions.
        other_rules: of a second prediction that statistics read.
        small_objects: objects whose pixels are ignored.
        recount: buckets that are counted anew, whatever is there.
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
    statistics: tuple[Mapping[str, Any], ...] = ()
    pred_stored_as: str = "labels"
    other_rules: LabelRules | None = None
    small_objects: SmallObjects | None = None
    recount: Recount = field(default_factory=Recount)

    @property
    def stores(self) -> dict[str, str]:
        """The addresses of all stores, by what they hold."""
        return {"truth": self.truth_store, "pred": self.pred_store, **self.overlay_stores}

    def chosen(self, names: Collection[str]) -> tuple[Statistic, ...]:
        """Those of the statistics that have one of these full names."""
        every = chosen_statistics([StatisticConfig(**one) for one in self.statistics])
        return tuple(one for one in every if one.full_name in names)

    def exact(self, names: Collection[str]) -> set[str]:
        """Those of some names, the confusion matrix too, of which every CPU gives the same counts."""
        known = {one.full_name for one in self.chosen(names) if one.exact}
        return known | ({CONFUSION} & set(names))

    def reading(self, filled: Iterable[str]) -> Reading:
        """What label values mean where these of `truth`, `pred` and `other_pred` are filled."""
        return Reading(self.truth_rules, self.pred_rules, self.other_rules, frozenset(filled))

    def write(self, run: Path) -> None:
        """Write it into a run's folder."""
        values = {key: value for key, value in self.__dict__.items() if not key.endswith("_rules")}
        for name in _RULES:
            rules: LabelRules | None = getattr(self, name)
            values[name] = rules and {"num_classes": rules.num_classes, "codes": rules.identity}
        values["small_objects"] = self.small_objects and self.small_objects.model_dump()
        values["recount"] = asdict(self.recount)
        write_atomically(run / CONTEXT_NAME, json.dumps(values, indent=1).encode())


def read_context(run: Path) -> CountingContext:
    """The context of a run."""
    return _context(run, written_at(run / CONTEXT_NAME))


@lru_cache(maxsize=8)
def _context(run: Path, written: tuple[int, ...]) -> CountingContext:
    values = json.loads((run / CONTEXT_NAME).read_text())
    for name in _RULES:
        rules = values[name]
        values[name] = rules and LabelRules(rules["num_classes"], dict(rules["codes"]))
    tuples = {name: tuple(values[name]) for name in ("companions", "statistics")}
    small = values["small_objects"] and SmallObjects(**values["small_objects"])
    recount = Recount(**values["recount"])
    return CountingContext(**{**values, **tuples, "small_objects": small, "recount": recount})


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
        differing: counts that were there and are not those of a recount; they were replaced.
    """

    bucket: int
    images: int = 0
    pixels: int = 0
    stored_bytes: int = 0
    quarantined: list[Problem] = field(default_factory=list)
    changed: list[Problem] = field(default_factory=list)
    differing: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Window:
    """A window with the prediction of a job, and what was counted of its scores while they were read."""

    under: Under
    pred: LabelMaps
    scored: Mapping[str, Counts]
    job: _Job


@dataclass(eq=False)
class _Job:
    """A bucket of one run that is being counted: the ids and counts of the images that were read so far.

    `missing` names what is to be counted of it: the confusion matrix, and statistics.
    """

    run: Path
    context: CountingContext
    bucket: Bucket
    missing: frozenset[str] = frozenset({CONFUSION})
    ids: list[str] = field(default_factory=list)
    counts: list[ImageCounts] = field(default_factory=list)
    further: dict[str, list[Counts]] = field(default_factory=dict)

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """What is to be counted beside the confusion matrix."""
        return self.context.chosen(self.missing)

    @cached_property
    def reading(self) -> Reading:
        """What label values mean."""
        return self.context.reading(self.bucket.filled)

    @property
    def halo(self) -> int:
        """How far around its images has to be read, px."""
        return self.bucket.halo if any(one.scope == "halo" for one in self.statistics) else 0

    def read(self, shared: SharedReader, images: Sequence[int]) -> Under:
        """Some images without their prediction, as they are to be counted."""
        under, small = shared.read(images), self.context.small_objects
        if small is None:
            return under
        return without_small_objects(under, under.truth, self.context.truth_rules, small)

    def add(self, window: _Window) -> None:
        """Count a window. Only the counts are kept: the label maps are let go with the window."""
        self.ids += [self.bucket.ids[image] for image in window.under.images]
        if CONFUSION in self.missing:
            self.counts.append(_count(window, self.bucket, self.context))
        if self.statistics:
            for name, counts in {**window.scored, **_count_labels(window, self)}.items():
                self.further.setdefault(name, []).append(counts)

    def partials(self) -> dict[str, Partial | StatisticPartial]:
        """What was counted, by name; at least one window."""
        ids = tuple(self.ids)
        further = {name: StatisticPartial(ids, joined(counts)) for name, counts in self.further.items()}
        return ({CONFUSION: self.partial()} if self.counts else {}) | further

    def partial(self) -> Partial:
        """What was counted of the confusion matrix; at least one window."""
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
    windows = _load_all(folder, [(part, buckets[part.bucket]) for part in parts])
    for part, jobs, item in _ahead(windows, _beside.reader):
        if isinstance(item, _Window):
            item.job.add(item)
            continue
        lead, *companions = jobs
        if lead.ids and not item.changed:
            item = _keep(lead, part, item)
            for job in companions:
                # Where some of its label maps could not be read, the companion's own run will tell.
                if tuple(job.ids) == job.bucket.ids:
                    _keep_whole(job)
        results.append(item)
    return results


def _count(window: _Window, bucket: Bucket, context: CountingContext) -> ImageCounts:
    under, rules = window.under, (context.truth_rules, context.pred_rules)
    over = map(under.over_images, (under.over.valid, under.over.weights))
    counts = count_images(under.inside(under.truth), under.inside(window.pred), *rules, *over)
    expected = [prod(bucket.sizes[image]) for image in under.images]
    if counts.cells.pixels().tolist() != expected:
        message = f"bucket {bucket.number}: counted {counts.cells.pixels().tolist()} pixels of {expected}"
        raise AssertionError(message)
    return counts


def _count_labels(window: _Window, job: _Job) -> dict[str, Counts]:
    """The statistics that need no scores."""
    under = window.under
    assert under.truth.values is not None
    core = whole(under.truth.values.shape[1:]) if under.core is None else under.core
    labels = LabelWindow(under.truth, window.pred, under.other, under.over.taking_part, core)
    return count_labels([one for one in job.statistics if "scores" not in one.needs], labels, job.reading)


def _keep(job: _Job, part: BucketPart, item: Counted) -> Counted:
    """A whole bucket goes to the store that all runs share, what is less to the folder of this run."""
    if tuple(job.ids) == job.bucket.ids:
        item.differing.extend(_keep_whole(job))
    else:
        for counted, partial in job.partials().items():
            name = part_name(job.bucket.number, part.first, counted)
            write_atomically(job.run / PARTS_NAME / name, encode(partial, name))
    return _with_amounts(item, part, job)


def _keep_whole(job: _Job) -> list[Problem]:
    """Keep the counts of a whole bucket; where it was counted anew, which of the old ones were others."""
    store = PartialStore(Path(job.context.partials))
    differing: list[Problem] = []
    anew = job.context.recount.wants(job.bucket.key)
    compared = job.context.exact(job.missing) if anew else set()
    for name, partial in job.partials().items():
        keys = job.bucket.keys[name]
        if name in compared and store.holds_other(partial, *keys):
            found = f"counts ({name}) that are not those of a recount"
            advice = "look at the memory and the disk of the machines that counted; the new counts are kept"
            where = {"store": str(store.path(keys[0])), "image": job.bucket.ids[0]}
            differing.append(Problem(kind="verification", found=found, advice=advice, **where))
        store.write(keys[0], partial)
    return differing


def part_name(bucket: int, first: int | str, name: str) -> str:
    """The name of a part of what is counted of a bucket, in the folder of its run."""
    return f"{bucket:09d}-{first:0>6}" + ("" if name == CONFUSION else f".{name}")


def count_in_memory(
    context: CountingContext, part: BucketPart, bucket: Bucket, names: Collection[str] = (CONFUSION,)
) -> tuple[Counted, dict[str, Partial | StatisticPartial]]:
    """Count a part of a bucket and keep nothing: what became of it, and its counts by name if there are some.

    `names` are those of what is counted: the confusion matrix, full names of statistics.
    """
    job, result = _Job(Path(), context, bucket, frozenset(names)), Counted(bucket.number)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="segpipe-read") as reader:
            for item in _ahead(_load([job], part), reader):
                if isinstance(item, _Window):
                    job.add(item)
                else:
                    result.quarantined.extend(item)
    except InputChangedError as error:
        result.changed.extend(error.problems)
    if not job.ids or result.changed:
        return result, {}
    return _with_amounts(result, part, job), job.partials()


def _with_amounts(item: Counted, part: BucketPart, job: _Job) -> Counted:
    """What became of a part of a bucket, with how much of it was counted."""
    sizes = dict(zip(job.bucket.ids, job.bucket.sizes, strict=True))
    pixels = sum(prod(sizes[name]) for name in job.ids)
    stored = 0 if part.first else job.bucket.stored_bytes
    return replace(item, images=len(job.ids), pixels=pixels, stored_bytes=stored)


# ---- reading


class _Beside(threading.local):
    """A thread that reads for the one that counts, as long as that lives.

    It keeps its memory from task to task: fresh pages would cost each task as much as decoding.
    """

    def __init__(self) -> None:
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="segpipe-read")


_beside = _Beside()


def _ahead(items: Iterable[T], reader: Executor) -> Iterator[T]:
    """Yield the items, the next one made by the reader while this one is used."""
    iterator, end = iter(items), object()
    waiting = reader.submit(next, iterator, end)
    try:
        while (item := waiting.result()) is not end:
            waiting = reader.submit(next, iterator, end)
            yield item  # type: ignore[misc]  # next() gives the items or the end
    finally:
        # Whoever leaves early leaves nothing behind that still reads.
        wait([waiting])


def _load_all(
    run: Path, parts: Sequence[tuple[BucketPart, Bucket]]
) -> Iterator[tuple[BucketPart, list[_Job], _Window | Counted]]:
    """The windows of each part, then what became of it."""
    for part, bucket in parts:
        result = Counted(bucket.number)
        jobs = [_job(run, bucket), *_companions(run, part, bucket)]
        if not jobs[0].missing:
            # Somebody else has counted it since the plan was made.
            yield part, jobs, replace(result, images=len(bucket.ids), pixels=bucket.pixels)
            continue
        try:
            for item in _load(jobs, part):
                if isinstance(item, _Window):
                    yield part, jobs, item
                else:
                    result.quarantined.extend(item)
        except InputChangedError as error:
            result.changed.extend(error.problems)
        yield part, jobs, result


def _job(run: Path, bucket: Bucket) -> _Job:
    """A bucket with all of it that is missing; what asks for no statistics has nothing else to look up."""
    context = read_context(run)
    if not bucket.statistics or context.recount.wants(bucket.key):
        return _Job(run, context, bucket, frozenset(bucket.keys))
    store = PartialStore(Path(context.partials))
    return _Job(
        run, context, bucket, frozenset(name for name in bucket.keys if not store.has(*bucket.keys[name]))
    )


def _companions(run: Path, part: BucketPart, bucket: Bucket) -> Iterator[_Job]:
    """The same bucket of other predictions, where all but pred is the same and it has not been counted."""
    for folder in map(Path, read_context(run).companions):
        if part != BucketPart(bucket.number) or bucket.number >= num_buckets(folder / PLAN_NAME):
            continue
        (own,) = read_buckets(folder / PLAN_NAME, [bucket.number])
        same = all(
            getattr(own, name) == getattr(bucket, name)
            for name in ("ids", "sizes", "truth", "overlays", "filled")
        )
        context = read_context(folder)
        store = PartialStore(Path(context.partials))
        # What is counted anew is compared in its own turn.
        done = context.recount.wants(own.key) or all(store.has(*keys) for keys in own.keys.values())
        if same and not done:
            yield _job(folder, own)


def _load(jobs: Sequence[_Job], part: BucketPart) -> Iterator[_Window | list[Problem]]:
    """The windows of a part of a bucket; a list of problems in place of an image that cannot be read.

    Truth and what lies over it is read once for all jobs, and one prediction is in memory at a time.
    """
    lead, *companions = jobs
    bucket = lead.bucket
    compares = any("other" in one.needs for job in jobs for one in job.statistics)
    shared = SharedReader(bucket, lead.context.stores, max(job.halo for job in jobs), other=compares)
    pred, *others = (SideReader("pred", job.bucket, job.context.pred_store) for job in jobs)
    images = range(part.first, len(bucket.ids) if part.last is None else part.last)
    # Where the prediction of one job lies in several arrays, its window is one image.
    length = min(job.context.window_images for job in jobs)
    for start in range(0, len(images), length):
        window = images[start : start + length]
        try:
            under = lead.read(shared, window)
            yield _predicted(under, pred, shared.halo, lead)
        except DamagedChunkError:
            # Once more, image by image: what was a passing fault goes well now, what is damaged shows itself.
            for image in window:
                try:
                    yield _predicted(lead.read(shared, [image]), pred, shared.halo, lead)
                except DamagedChunkError as error:
                    yield [replace(problem, image=bucket.ids[image]) for problem in error.problems]
            continue
        for job, other in zip(companions, others, strict=True):
            with suppress(DamagedChunkError, InputChangedError):
                yield _predicted(under, other, shared.halo, job)


def _predicted(under: Under, side: SideReader, halo: int, job: _Job) -> _Window:
    """A window with the prediction of a job, as it is to be counted."""
    pred, scored = _read_pred(under, side, halo, job)
    small = job.context.small_objects
    if small is not None and small.in_pred and pred.values is not None:
        under = without_small_objects(under, pred, job.context.pred_rules, small)
    return _Window(under, pred, scored, job)


def _read_pred(
    under: Under, side: SideReader, halo: int, job: _Job
) -> tuple[LabelMaps, Mapping[str, Counts]]:
    """The prediction of a window; what needs scores is counted while they are read."""
    statistics = [one for one in job.statistics if "scores" in one.needs]
    if not statistics:
        return side.read(under.images, halo), {}
    reading = job.reading
    assert under.truth.values is not None
    filled = "truth" in reading.filled
    truth = codes(under.truth, reading.truth, under.truth.values.shape, absent_is_fill=filled)
    if under.core is not None:
        ignore_around(truth, under.core, reading.truth.no_class)
    counter = ScoreCounts(statistics, truth, under.over.taking_part, reading, job.context.pred_stored_as)
    pred = side.read(under.images, halo, counter.add)
    if pred.values is None:
        counter.nothing_predicted()
    return pred, counter.counts
