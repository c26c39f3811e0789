"""What metadata claim, held against what is stored: chunks that nobody wrote, objects that are no chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from segpipe.errors import Problem
from segpipe.sources.metadata import DOCUMENTS, ArrayMeta, StoreView
from segpipe.sources.storage import ObjectInfo

MAX_IMAGES = 100_000_000
"""The longest first dimension that is taken for images; their ids and sizes are held in memory."""

MANY_CHUNKS = 1_000_000
"""An array that claims more storage units than this must have stored one in `LEAST_STORED` of them."""

LEAST_STORED = 100


PACKING = {"scale_factor": 1, "add_offset": 0}
"""Attributes by which xarray and CF let stored values stand for others, and what of them changes nothing."""


def claim_problems(view: StoreView, meta: ArrayMeta) -> list[Problem]:
    """Why an array cannot be taken as it is: what its metadata say of its values and of its shape."""
    return [*_packing_problems(view, meta), *_shape_problems(view, meta)]


def _packing_problems(view: StoreView, meta: ArrayMeta) -> list[Problem]:
    """That the values are not those that are stored; these are read as they are, never unpacked."""
    packed = {name: meta.attributes[name] for name in PACKING if name in meta.attributes}
    words = [f"{name} {str(value)[:40]}" for name, value in packed.items() if value != PACKING[name]]
    if not words:
        return []
    return [
        Problem(
            kind="packed",
            found=f"stored values that stand for others ({', '.join(words)})",
            expected="the values themselves",
            store=view.storage.url,
            array=meta.path,
            advice="write the array without these attributes, its values unpacked",
        )
    ]


def _shape_problems(view: StoreView, meta: ArrayMeta) -> list[Problem]:
    """Why an array's shape cannot be believed, whatever is declared of absent chunks.

    A plan goes through every storage unit by name, so a shape that was changed in the metadata alone must
    not decide how much memory that takes.
    """
    if len(meta.label_shape) == 3 and meta.label_shape[0] > MAX_IMAGES:
        found, expected = f"{meta.label_shape[0]:,} images", f"at most {MAX_IMAGES:,}"
        return [_problem(view, meta, found, expected)]
    chunks = prod(meta.grid)
    if chunks <= MANY_CHUNKS:
        return []
    prefix = f"{meta.path}/" if meta.path else ""
    stored = sum(key.startswith(prefix) for key in view.objects)
    if chunks <= LEAST_STORED * stored:
        return []
    found = f"shape {meta.shape}, which takes {chunks:,} chunks, and {stored:,} objects stored"
    return [_problem(view, meta, found, f"at least one chunk in {LEAST_STORED}")]


def _problem(view: StoreView, meta: ArrayMeta, found: str, expected: str) -> Problem:
    return Problem(
        kind="shape",
        found=found,
        expected=expected,
        store=view.storage.url,
        array=meta.path,
        advice="set the shape in the metadata to what was written",
    )


def stray_objects(arrays: Iterable[ArrayMeta], objects: Mapping[str, ObjectInfo]) -> list[str]:
    """The objects below arrays that are neither a chunk of theirs nor a metadata document, sorted.

    They tell of a shape that was made smaller in the metadata alone: what lies beyond is never read.
    """
    by_path = {meta.path: meta for meta in arrays}
    strays = []
    for key in objects:
        meta = _array_above(by_path, key)
        if meta is None:
            continue
        relative = key[len(meta.path) + 1 :] if meta.path else key
        if relative not in DOCUMENTS and chunk_place(meta, relative) is None:
            strays.append(key)
    return sorted(strays)


def chunk_place(meta: ArrayMeta, key: str) -> tuple[int, ...] | None:
    """The place in the grid of the storage unit that a key, relative to the array, is of; None: of none."""
    sample = meta.chunk_key((0,) * len(meta.shape))
    separator = next((mark for mark in "/." if mark in sample), "/")
    places = key.split(separator)[-len(meta.shape) :] if meta.shape else []
    if not all(place.isascii() and place.isdigit() and len(place) < 20 for place in places):
        return None
    coords = tuple(map(int, places))
    inside = len(coords) == len(meta.shape) and all(
        at < size for at, size in zip(coords, meta.grid, strict=True)
    )
    return coords if inside and meta.chunk_key(coords) == key else None


def _array_above(by_path: Mapping[str, ArrayMeta], key: str) -> ArrayMeta | None:
    """The array that an object lies below, at whatever depth."""
    path = key
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in by_path:
            return by_path[path]
    return by_path.get("")
