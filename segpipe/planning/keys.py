"""The key of a bucket's partial counts: a hash of all that decides them, and of nothing else."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from segpipe.classes import LabelRules
from segpipe.config import SIDES, SmallObjects
from segpipe.kernels.version import COUNTING_VERSION
from segpipe.kernels.weighted import UNIT_BITS, WEIGHING_VERSION
from segpipe.planning.bucket import OTHER, Bucket, BucketSide, shared
from segpipe.sources.metadata import ArrayMeta
from segpipe.statistics.base import Statistic

_as_text = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode

OBJECTS_VERSION = 1
"""Of what a small object is."""

SCHEMA_VERSION = 1
"""Of the partial counts on disk."""


def bucket_key(
    bucket: Bucket,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
    small_objects: SmallObjects | None = None,
) -> str:
    """The key, 40 hexadecimal digits.

    In it: versions, the tables that map raw values to codes, what decides decoding, the images with their
    sizes and places, and the fingerprint of every object that will be read; an object that is absent is
    part of it as `absent`. What is read in its place does not depend on the configuration: the pixels of
    absent objects are counted as the fill value *and apart*, so that every policy can be applied afterwards.

    Of what lies over label maps there is no part apart: whether its absent chunks are declared to be the fill
    value is in the key, and how weights are summed. Without an overlay nothing of this is in it.

    Not in it: names, policies, selections, where the store lies, the cluster.
    """
    identity: list[Any] = [
        [SCHEMA_VERSION, COUNTING_VERSION, "confusion", truth_rules.num_classes],
        [truth_rules.identity, pred_rules.identity],
        [bucket.ids, shared(bucket.sizes), _side(bucket.truth), _side(bucket.pred)],
    ]
    if bucket.overlays.keys() - {OTHER}:
        over = [
            [name, _side(side), name in bucket.filled]
            for name, side in sorted(bucket.overlays.items())
            if name != OTHER
        ]
        identity.append(over)
    if "weights" in bucket.overlays:
        identity.append([WEIGHING_VERSION, UNIT_BITS])
    if small_objects is not None:
        # What is there only if it is asked for does not make older counts stale.
        given = small_objects.model_dump(exclude_defaults=True)
        identity.append(["small objects", OBJECTS_VERSION, given])
    return blake2b(_as_text(identity).encode(), digest_size=20).hexdigest()


def statistic_key(bucket: Bucket, key: str, statistic: Statistic) -> str:
    """The key of one more statistic of a bucket, 40 hexadecimal digits.

    In it: the bucket's own key and so all that decides the labels; kind, version and parameters; of what the
    statistic reads beside, the same. Its counts have no part apart for absent chunks: where there may be
    some, what they are taken for is in the key, the fill value or no class.

    Args:
        bucket: what is counted.
        key: the key of its confusion matrix.
        statistic: with its parameters.
    """
    sides = [bucket.truth, bucket.pred]
    identity: list[Any] = [key, statistic.identity]
    if "other" in statistic.needs:
        identity.append(_side(bucket.overlays[OTHER]))
        sides.append(bucket.overlays[OTHER])
    if statistic.scope == "halo" and bucket.halo:
        identity.append([bucket.truth.fingerprint_around, bucket.pred.fingerprint_around])
    if any(side.may_lack for side in sides):
        identity.append([name for name in (*SIDES, OTHER) if name in bucket.filled])
    return blake2b(_as_text(identity).encode(), digest_size=20).hexdigest()


def _side(side: BucketSide) -> list[Any]:
    arrays = [[array.document_text, *_stored_as(array)] for array in side.arrays]
    places = [shared(side.array), side.index, shared(side.corner)] if arrays else []
    return [arrays, places, side.fingerprint]


def _stored_as(array: ArrayMeta) -> list[Any]:
    """What label maps are made of the values, of how many channels, and how an array is laid over them."""
    channels = None if array.class_axis is None else array.shape[array.class_axis]
    laid = [] if array.laid is None else [array.laid]
    return [array.representation, array.class_axis, channels, array.threshold, *laid]
