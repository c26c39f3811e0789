"""Whether the truth of two runs is the same, image by image, by what their plans saw of the stored objects.

A chunk that holds several images is one object: written again, the truth of all of them counts as changed. So
does truth that was only copied, unless both runs hashed contents (`fingerprint: content`). A second
prediction lies over truth as well, and is no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segpipe.counts.counting import PLAN_NAME
from segpipe.planning.bucket import OTHER, Bucket, BucketSide
from segpipe.planning.plan_file import read_buckets


def changed_truth(a: Path, b: Path) -> set[str]:
    """The ids of the images, in both runs, whose truth (or what lies over it) is not the same objects.

    Args:
        a, b: folders of runs.
    """
    ours, theirs = _bucket_identities(a), _bucket_identities(b)
    same = set(ours) & set(theirs)
    one, other = (
        dict(_image_identities(run, (number for key, number in own.items() if key not in same)))
        for run, own in ((a, ours), (b, theirs))
    )
    return {image for image, identity in one.items() if other.get(image, identity) != identity}


def _bucket_identities(run: Path) -> dict[str, int]:
    """A hash of ids and truth of each bucket -> its number; where that is the same, so are all its images."""
    columns = ["bucket", "ids", "size", "filled", "truth_fingerprint", "overlay_fingerprints"]
    found: dict[str, int] = {}
    with pq.ParquetFile(run / PLAN_NAME) as file:
        for group in range(file.num_row_groups):
            rows: pa.Table = file.read_row_group(group, columns=[*columns, "truth.arrays", "overlays"])
            for row in rows.to_pylist():
                number = row.pop("bucket")
                found[_hash(_without_paths(row))] = number
    return found


def _without_paths(row: dict[str, Any]) -> dict[str, Any]:
    """What a bucket is, wherever its store lies."""
    overlays = {one["name"]: one["lies"]["arrays"] for one in row.pop("overlays") if one["name"] != OTHER}
    row["overlay_fingerprints"] = [one for one in row["overlay_fingerprints"] if one["name"] != OTHER]
    filled = [name for name in row.pop("filled") if name in overlays]
    arrays = [*row.pop("truth")["arrays"], *(array for own in overlays.values() for array in own)]
    described = [
        {key: value for key, value in array.items() if key not in ("path", "shape")} for array in arrays
    ]
    return {**row, "arrays": described, "overlays": list(overlays), "filled": filled}


def _image_identities(run: Path, buckets: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Id and hash of the truth of every image of some buckets."""
    for bucket in read_buckets(run / PLAN_NAME, sorted(buckets)):
        for image, name in enumerate(bucket.ids):
            over = {name: part for name, part in bucket.overlays.items() if name != OTHER}
            sides = {"truth": bucket.truth, **over}
            lies = [(side, side in bucket.filled, _lies(part, bucket, image)) for side, part in sides.items()]
            yield name, _hash([bucket.sizes[image], lies])


def _lies(part: BucketSide, bucket: Bucket, image: int) -> list[Any]:
    """How an image is decoded, its place within its objects, and these."""
    array = part.array[image]
    if array < 0:
        return []
    meta, objects = part.arrays[array], part.objects[array]
    units = [objects[key] for key in part.units_of(image, bucket.sizes[image])]
    index = part.index[image]
    within = [index % meta.chunks[0] if index >= 0 else index, part.corner[image]]
    stored = [meta.document_text, meta.representation, meta.class_axis, meta.threshold, meta.laid]
    return [stored, within, ["absent" if unit is None else unit.fingerprint for unit in units]]


def _hash(document: Any) -> str:
    return blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=20).hexdigest()
