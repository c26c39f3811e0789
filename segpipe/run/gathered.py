"""What was counted of a bucket: whole partials from the store, or the parts that this run could count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from segpipe.counts.counting import PARTS_NAME, BucketPart, count_task, part_name
from segpipe.counts.partials import (
    AnyPartial,
    DamagedPartialError,
    Partial,
    PartialStore,
    StatisticPartial,
    decode,
)
from segpipe.errors import InfrastructureError, InputChangedError, Problem
from segpipe.planning.bucket import CONFUSION, Bucket


@dataclass(frozen=True)
class Gathered:
    """What there is of a bucket: the same images, in one order, of all that is counted."""

    partial: Partial
    statistics: dict[str, StatisticPartial]


@dataclass
class Gatherer:
    """Finds what was counted, bucket by bucket; what is damaged or gone is counted again.

    Attributes:
        run: the run's folder.
        store: the partials that all runs share.
        given_up: buckets with quarantined images; of what was counted of them now there are only parts.
        images, pixels: planned, but not counted.
        recounted: how often a bucket was counted again.
        quarantined: images that could not be read when that was done.
    """

    run: Path
    store: PartialStore
    given_up: set[int]
    images: int = 0
    pixels: int = 0
    recounted: int = 0
    quarantined: list[Problem] = field(default_factory=list)

    def of(self, bucket: Bucket) -> Gathered | None:
        """What was counted of a bucket; None: of no image all of it was."""
        matrices = self._find(bucket, CONFUSION, Partial)
        sums = {name: self._find(bucket, name, StatisticPartial) for name in bucket.statistics}
        gathered = _common(matrices, sums)
        self._tally(bucket, gathered)
        return gathered

    def _find(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> AnyPartial | None:
        """The whole of it, or the parts that were counted of a bucket with quarantined images."""
        if bucket.number in self.given_up:
            return self._counted_now(bucket, name, kind) or self._whole(bucket, name, kind)
        return (
            self._whole(bucket, name, kind)
            or self._joined(bucket, name, kind)
            or self._recount(bucket, name, kind)
        )

    def _whole(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> AnyPartial | None:
        """From the store: its own, or that of the larger bucket that its images were selected from."""
        key, whole_key = bucket.keys[name]
        own = self.store.read_as(kind, key)
        if own is not None or not whole_key:
            return own
        larger = self.store.read_as(kind, whole_key)
        return None if larger is None else larger.take(bucket.ids)

    def _joined(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> AnyPartial | None:
        """A bucket that was cut in parts because a worker was lost, if all of them could be counted then."""
        joined = self._counted_now(bucket, name, kind)
        if joined is None or joined.ids != bucket.ids:
            return None
        self.store.write(bucket.keys[name][0], joined)
        return joined

    def _counted_now(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> AnyPartial | None:
        """The parts in the folder of the run, put together; None: there are none."""
        parts = list(self._parts(bucket, name, kind))
        return kind.concatenate(parts) if parts else None

    def _parts(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> Iterator[AnyPartial]:
        for path in sorted((self.run / PARTS_NAME).glob(part_name(bucket.number, "?" * 6, name))):
            try:
                yield decode(path.read_bytes(), path.name, kind)
            except DamagedPartialError:
                message = f"{path}: was damaged after it was written; run the same command again"
                raise InfrastructureError(message) from None

    def _recount(self, bucket: Bucket, name: str, kind: type[AnyPartial]) -> AnyPartial | None:
        (counted,) = count_task(str(self.run), [BucketPart(bucket.number)])
        if counted.changed:
            raise InputChangedError(counted.changed)
        self.recounted += 1
        self.quarantined += counted.quarantined
        return self._whole(bucket, name, kind) or self._counted_now(bucket, name, kind)

    def _tally(self, bucket: Bucket, gathered: Gathered | None) -> None:
        """Note what is not there of what was planned."""
        planned = dict(zip(bucket.ids, map(prod, bucket.sizes), strict=True))
        if gathered is not None:
            partial = gathered.partial
            counted = dict(zip(partial.ids, partial.counts.cells.pixels().tolist(), strict=True))
            if counted == planned:
                return
            if any(planned.pop(name, None) != pixels for name, pixels in counted.items()):
                message = (
                    f"bucket {bucket.number}: counted {counted} pixels, not those planned, each image once"
                )
                raise AssertionError(message)
        self.images += len(planned)
        self.pixels += sum(planned.values())


def _common(matrices: Partial | None, sums: dict[str, StatisticPartial | None]) -> Gathered | None:
    """The images of which there is everything, in the order of the matrices."""
    there = {name: partial for name, partial in sums.items() if partial is not None}
    if matrices is None or len(there) < len(sums):
        return None
    others = [set(partial.ids) for partial in there.values()]
    ids = [name for name in matrices.ids if all(name in known for known in others)]
    if not ids:
        return None
    return Gathered(
        matrices if len(ids) == len(matrices.ids) else matrices.take(ids),
        {name: one if one.ids == tuple(ids) else one.take(ids) for name, one in there.items()},
    )
