"""plan.parquet: the buckets of a run; a worker needs no more than the run's path and their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segpipe.planning.arrow import arrow_array, read_columns
from segpipe.planning.bucket import Bucket, BucketSide, shared, spread
from segpipe.sources.metadata import ArrayMeta, parse_array
from segpipe.sources.storage import ObjectInfo

BUCKETS_PER_GROUP = 32
"""Rows that are read together; a worker reads the groups of its buckets only."""

_OBJECT = pa.struct(
    [
        ("array", pa.int32()),
        ("key", pa.string()),
        ("size", pa.int64()),
        ("tag", pa.string()),
        ("modified_ns", pa.int64()),
        ("content", pa.string()),
        ("around", pa.bool_()),
    ]
)
_ARRAY = pa.struct(
    [
        ("path", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("document", pa.string()),
        ("class_axis", pa.int8()),
        ("representation", pa.string()),
        ("threshold", pa.float64()),
        ("laid", pa.list_(pa.int8())),
    ]
)
_STORED_AS = ("class_axis", "representation", "threshold", "laid")
"""What of an array is not in its own document, but was declared."""
_PIXELS = pa.list_(pa.list_(pa.int64()))
_SIDE = [
    ("arrays", pa.list_(_ARRAY)),
    ("objects", pa.list_(_OBJECT)),
    ("array", pa.list_(pa.int32())),
    ("index", pa.list_(pa.int64())),
    ("corner", _PIXELS),
]
_OVERLAY = pa.struct([("name", pa.string()), ("lies", pa.struct(_SIDE))])
_STATISTIC = pa.struct(
    # By its full name; the field is called so in all plans that there are.
    [("kind", pa.string()), ("key", pa.string()), ("whole_key", pa.string()), ("hit", pa.bool_())]
)
SCHEMA = pa.schema(
    [
        ("bucket", pa.int64()),
        ("key", pa.string()),
        ("whole_key", pa.string()),
        ("hit", pa.bool_()),
        ("ids", pa.list_(pa.string())),
        ("size", _PIXELS),
        ("truth_fingerprint", pa.string()),
        ("pred_fingerprint", pa.string()),
        ("overlay_fingerprints", pa.list_(pa.struct([("name", pa.string()), ("hash", pa.string())]))),
        ("truth", pa.struct(_SIDE)),
        ("pred", pa.struct(_SIDE)),
        ("overlays", pa.list_(_OVERLAY)),
        ("filled", pa.list_(pa.string())),
        ("statistics", pa.list_(_STATISTIC)),
        ("halo", pa.int32()),
    ]
)


@dataclass(frozen=True)
class PlannedBucket:
    """A bucket, and what of it had been counted when the plan was made.

    `hit` says so of the confusion matrix, `hits` of further statistics, by their names.
    """

    bucket: Bucket
    hit: bool
    hits: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to be counted."""
        return self.hit and self.hits >= self.bucket.statistics.keys()


def write_plan(path: Path, planned: Iterable[PlannedBucket]) -> None:
    """Write the buckets in order; memory does not grow with their number."""
    # Hardly a value occurs twice in the few rows of a group, and nobody looks for ranges of values.
    plain = {"use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", **plain) as writer:
        rows: list[dict[str, Any]] = []
        for item in planned:
            rows.append(_row(item))
            if len(rows) == BUCKETS_PER_GROUP:
                writer.write_batch(_batch(rows), row_group_size=BUCKETS_PER_GROUP)
                rows = []
        if rows:
            writer.write_batch(_batch(rows), row_group_size=BUCKETS_PER_GROUP)


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(arrow_array(rows, pa.struct(SCHEMA)))


def read_plan(path: Path) -> Iterator[PlannedBucket]:
    """All buckets in order, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group).to_pylist():
                yield _planned(row)


def read_keys(path: Path) -> pa.Table:
    """The columns bucket, key, hit and statistics of all buckets."""
    return read_columns(path, ["bucket", "key", "hit", "statistics"])


def missing_keys(path: Path) -> dict[int, list[str]]:
    """The buckets of which something had not been counted when the plan was made, with the keys of that."""
    missing: dict[int, list[str]] = {}
    for row in read_keys(path).to_pylist():
        keys = [] if row["hit"] else [row["key"]]
        keys += [one["key"] for one in row["statistics"] if not one["hit"]]
        if keys:
            missing[row["bucket"]] = keys
    return missing


def named_keys(path: Path) -> Iterator[str]:
    """The key of every partial that a run with this plan may need, those of further statistics too."""
    known = pq.read_schema(path).names
    table = pq.read_table(
        path, columns=[name for name in ("key", "whole_key", "statistics") if name in known]
    )
    for row in table.to_pylist():
        # A plan of an earlier version has no further statistics.
        for keys in (row, *(row.get("statistics") or ())):
            yield from (key for name in ("key", "whole_key") if (key := keys[name]))


def read_buckets(path: Path, numbers: Iterable[int]) -> Iterator[Bucket]:
    """Some buckets by number."""
    written = written_at(path)
    for number in numbers:
        rows = _group(path, written, number // BUCKETS_PER_GROUP)
        yield _planned(rows[number % BUCKETS_PER_GROUP]).bucket


def num_buckets(path: Path) -> int:
    """How many buckets there are."""
    return _num_rows(path, written_at(path))


def written_at(path: Path) -> tuple[int, ...]:
    """What tells that a file was written again, as by another try: what was read before is stale then."""
    status = path.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size


@lru_cache(maxsize=64)
def _num_rows(path: Path, written: tuple[int, ...]) -> int:
    rows: int = pq.read_metadata(path).num_rows
    return rows


@lru_cache(maxsize=2)
def _group(path: Path, written: tuple[int, ...], group: int) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    # A worker counts for long between two groups; Arrow would keep the memory for the next one.
    pa.default_memory_pool().release_unused()
    return rows


def _row(item: PlannedBucket) -> dict[str, Any]:
    bucket = item.bucket
    return {
        "bucket": bucket.number,
        "key": bucket.key,
        "whole_key": bucket.whole_key,
        "hit": item.hit,
        "ids": bucket.ids,
        "size": shared(bucket.sizes),
        "truth_fingerprint": bucket.truth.fingerprint,
        "pred_fingerprint": bucket.pred.fingerprint,
        "overlay_fingerprints": [
            {"name": name, "hash": part.fingerprint} for name, part in bucket.overlays.items()
        ],
        "truth": _side_row(bucket.truth),
        "pred": _side_row(bucket.pred),
        "overlays": [{"name": name, "lies": _side_row(part)} for name, part in bucket.overlays.items()],
        "filled": bucket.filled,
        "statistics": [
            {"kind": name, "key": key, "whole_key": whole, "hit": name in item.hits}
            for name, (key, whole) in bucket.statistics.items()
        ],
        "halo": bucket.halo,
    }


def _side_row(side: BucketSide) -> dict[str, Any]:
    return {
        "arrays": [
            {
                "path": array.path,
                "shape": array.shape,
                "document": array.document_text,
                **{name: getattr(array, name) for name in _STORED_AS},
            }
            for array in side.arrays
        ],
        "objects": [
            _object_row(number, key, info, around)
            for around, arrays in ((False, side.objects), (True, side.around))
            for number, objects in enumerate(arrays)
            for key, info in objects.items()
        ],
        "array": shared(side.array),
        "index": shared(side.index),
        "corner": shared(side.corner) if side.corner else (),
    }


def _object_row(number: int, key: str, info: ObjectInfo | None, around: bool) -> dict[str, Any]:
    return {
        "array": number,
        "key": key,
        "size": info and info.size,
        "tag": info and info.tag,
        "modified_ns": info and info.modified_ns,
        "content": info and info.content,
        "around": around,
    }


def _planned(row: dict[str, Any]) -> PlannedBucket:
    images = len(row["ids"])
    bucket = Bucket(
        number=row["bucket"],
        ids=tuple(row["ids"]),
        sizes=spread([tuple(size) for size in row["size"]], images),
        truth=_side(row["truth"], images),
        pred=_side(row["pred"], images),
        overlays={over["name"]: _side(over["lies"], images) for over in row["overlays"]},
        filled=tuple(row["filled"]),
        key=row["key"],
        whole_key=row["whole_key"],
        statistics={one["kind"]: (one["key"], one["whole_key"]) for one in row["statistics"]},
        halo=row["halo"],
    )
    return PlannedBucket(
        bucket, row["hit"], frozenset(one["kind"] for one in row["statistics"] if one["hit"])
    )


def _side(row: dict[str, Any], images: int) -> BucketSide:
    objects: list[dict[str, ObjectInfo | None]] = [{} for _ in row["arrays"]]
    around: list[dict[str, ObjectInfo | None]] = [{} for _ in row["arrays"]]
    for item in row["objects"]:
        (around if item["around"] else objects)[item["array"]][item["key"]] = _object(item)
    return BucketSide(
        arrays=tuple(
            _array(
                item["path"],
                tuple(item["shape"]),
                item["document"],
                *map(_hashable, map(item.get, _STORED_AS)),
            )
            for item in row["arrays"]
        ),
        objects=tuple(objects),
        around=tuple(around) if any(around) else (),
        array=spread(row["array"], images),
        index=spread(row["index"], images),
        corner=spread([tuple(corner) for corner in row["corner"]], images),
    )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _object(item: dict[str, Any]) -> ObjectInfo | None:
    if item["tag"] is None:
        return None
    return ObjectInfo(item["size"], item["tag"], item["modified_ns"], item["content"])


@lru_cache(maxsize=256)
def _array(path: str, shape: tuple[int, ...], document: str, *stored_as: Any) -> ArrayMeta:
    meta = parse_array(path, {**json.loads(document), "shape": list(shape)}, {})
    return replace(meta, **dict(zip(_STORED_AS, stored_as, strict=True)))
