"""Check buckets: count them as an evaluation would, and keep nothing.

This is what a worker does for `segpipe validate --deep`: every chunk is read once by the same readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from segpipe.counts.counting import BucketPart, Counted, CountingContext, count_in_memory
from segpipe.counts.partials import Partial
from segpipe.errors import Problem
from segpipe.planning.bucket import CONFUSION, Bucket
from segpipe.sources.consolidated import ADVICE, contradiction
from segpipe.sources.documents import DocumentFault, Json, kept, load_json
from segpipe.sources.metadata import ArrayMeta, join
from segpipe.sources.storage import Storage, open_storage


@dataclass(frozen=True)
class CheckedPart(BucketPart):
    """A part of a bucket that brings the bucket along, so that no plan has to be written for the workers."""

    planned: Bucket = field(kw_only=True)


@dataclass(frozen=True)
class Checked(Counted):
    """What became of a part of a bucket, and what was counted of it.

    Attributes:
        partial: the counts; None: there are none.
        documents: arrays whose own metadata are not what the inventory saw.
        whole: it was the whole bucket.
    """

    partial: Partial | None = None
    documents: list[Problem] = field(default_factory=list)
    whole: bool = True


def check_task(context: CountingContext, parts: Sequence[CheckedPart]) -> list[Counted]:
    """Count some buckets in memory; what is damaged or changed is told, not raised."""
    return [_checked(context, part) for part in parts]


def _checked(context: CountingContext, part: CheckedPart) -> Checked:
    counted, partials = count_in_memory(context, part, part.planned)
    matrices = partials.get(CONFUSION)
    return Checked(
        **vars(counted),
        partial=matrices if isinstance(matrices, Partial) else None,
        documents=list(_documents(context, part)),
        whole=part.first == 0 and part.last is None,
    )


def _documents(context: CountingContext, part: CheckedPart) -> Iterator[Problem]:
    """The arrays of a bucket whose own documents differ from what the plan was made of."""
    if part.first:
        return
    for name, lies in part.planned.parts.items():
        storage = open_storage(context.stores[name])
        yield from (replace(problem, side=name) for problem in differing(storage, lies.arrays))


def differing(storage: Storage, arrays: Iterable[ArrayMeta]) -> Iterator[Problem]:
    """Arrays whose own document says something else than what is known of them.

    Consolidated metadata may stand for the documents of many arrays; here each is read.
    """
    for meta in arrays:
        key = join(meta.path, "zarr.json" if meta.zarr_format == 3 else ".zarray")
        try:
            words = _difference(storage, key, meta)
        except (DocumentFault, OSError) as fault:
            words = f"{key} that cannot be read ({fault})"
        if words:
            yield Problem(
                kind="metadata",
                found=words,
                expected="the same in both",
                store=storage.url,
                array=meta.path,
                advice=ADVICE,
            )


def _difference(storage: Storage, key: str, meta: ArrayMeta) -> str:
    blob = storage.get(key)
    if blob is None:
        return f"no {key}"
    own = load_json(blob.data)
    known: Json = {**meta.document, "shape": list(meta.shape)}
    return contradiction({**kept(own), "shape": own.get("shape")}, known)
