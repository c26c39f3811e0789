"""The key of a bucket's partial counts: a hash of all that decides them, and of nothing else."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from segpipe.classes import LabelRules
from segpipe.kernels.version import COUNTING_VERSION
from segpipe.kernels.weighted import UNIT_BITS, WEIGHING_VERSION
from segpipe.planning.bucket import Bucket, BucketSide, shared
from segpipe.sources.metadata import ArrayMeta

_as_text = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode

SCHEMA_VERSION = 1
"""Of the partial counts on disk."""


def bucket_key(bucket: Bucket, truth_rules: LabelRules, pred_rules: LabelRules) -> str:
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
    if bucket.overlays:
        over = [[name, _side(side), name in bucket.filled] for name, side in sorted(bucket.overlays.items())]
        identity.append(over)
    if "weights" in bucket.overlays:
        identity.append([WEIGHING_VERSION, UNIT_BITS])
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
