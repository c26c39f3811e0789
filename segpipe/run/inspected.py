"""Inspect: what lies in a Zarr store, what to know of it, and the lines of a configuration to evaluate it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import yaml
from pydantic import ValidationError

from segpipe.classes import MAX_CLASSES
from segpipe.config import LayoutConfig, SideConfig
from segpipe.errors import ConfigError, InputError, Problem
from segpipe.run.sampled import Sample, spread, take_sample
from segpipe.sources.asked import AskedObjects
from segpipe.sources.claims import chunk_place, claim_problems, stray_objects
from segpipe.sources.documents import Json, codec_names
from segpipe.sources.layouts import FLOAT_ADVICE, ImageSet, find_images
from segpipe.sources.metadata import ArrayMeta, GroupMeta, StoreView, view_store
from segpipe.sources.storage import open_storage

SHOWN_ARRAYS = 12
"""Arrays of a group that are looked into."""

MAX_DIMENSIONS = 32

SMALL_CHUNK_BYTES, LARGE_CHUNK_BYTES = 16 << 10, 256 << 20
"""Decoded; smaller chunks are mostly requests, larger ones mostly memory."""

MANY_PIECES = 64
"""Chunks of one image, from which on most of the time goes into opening objects."""

SUGGESTION = (
    "A suggestion: the layout is guessed from what lies there, classes and ignore_labels from a sample."
)

CHECKSUM = {
    True: "yes: a changed bit is noticed",
    False: "none: a changed bit is read as other labels, unseen",
}


@dataclass(frozen=True)
class InspectedArray:
    """An array and what its objects tell.

    Attributes:
        chunks, shards: shape of what is decoded at once, and of the objects that hold several of them.
        grid: how many storage units the shape takes.
        stored, stored_bytes, absent: units that are stored, their bytes, and units that are not; None: the
            store cannot be listed.
        sample: what a few chunks hold.
        warnings: what to know before it is evaluated.
    """

    path: str
    zarr_format: int
    shape: tuple[int, ...]
    dimension_names: tuple[str | None, ...] | None
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: list[str]
    checksum: bool
    fill_value: Any
    grid: int
    stored: int | None
    stored_bytes: int | None
    absent: int | None
    sample: Sample
    warnings: list[str]


@dataclass(frozen=True)
class Inspected:
    """A store, or what lies at a path in it.

    Attributes:
        arrays: the arrays there, some of them if they are many; `num_arrays` is how many there are.
        layout: how the images seem to lie; empty: none of the known ways.
        images: how many there are under that layout.
        ids: the first ids; None: the store names none.
        columns: metadata of the images.
        config: lines of a configuration, as YAML; empty: nothing here can be evaluated as it lies.
        warnings: what to know of the whole.
    """

    store: str
    path: str
    num_arrays: int
    arrays: list[InspectedArray]
    layout: str = ""
    images: int = 0
    ids: list[str] | None = None
    columns: list[str] = field(default_factory=list)
    config: str = ""
    warnings: list[str] = field(default_factory=list)


def inspect(address: str) -> Inspected:
    """Look at a store; a few chunks of a few arrays are read, and nothing is written.

    Args:
        address: `STORE` or `STORE::PATH`, the path being that of an array or of a group.

    Raises:
        ConfigError: the address cannot be used.
        InputError: there is no such store, or nothing at the path.
    """
    try:
        side = SideConfig.model_validate(address)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        message = f"the address cannot be used: {reason}; expected STORE or STORE::PATH"
        raise ConfigError(message) from None
    view = view_store(open_storage(side.store))
    node = view.node(side.array)
    warnings: list[str] = []
    metas = [node] if isinstance(node, ArrayMeta) else list(_arrays_in(view, node.path, warnings))
    shown = spread(metas, SHOWN_ARRAYS)
    arrays = [_inspected(view, meta) for meta in shown]
    found = Inspected(side.store, side.array, len(metas), arrays, warnings=warnings)
    return _suggested(view, node, metas, found)


def _arrays_in(view: StoreView, path: str, warnings: list[str]) -> Iterator[ArrayMeta]:
    """The arrays below a group that can be read, at whatever depth; of the others is said why not."""
    prefix = f"{path}/" if path else ""
    for below in view.node_paths():
        if below.startswith(prefix):
            try:
                meta = view.node(below)
            except InputError as error:
                warnings += [problem.sentence() for problem in error.problems]
                continue
            if isinstance(meta, ArrayMeta):
                yield meta


def _inspected(view: StoreView, meta: ArrayMeta) -> InspectedArray:
    listed = not isinstance(view.objects, AskedObjects)
    claims = claim_problems(view, meta)
    stored = _stored_units(view, meta) if listed else _asked_units(view, meta)
    numbers = meta.dtype.kind in "biuf"
    readable = numbers and len(meta.shape) <= MAX_DIMENSIONS
    why = f"it holds {meta.dtype} in {len(meta.shape)} dimensions"
    sample = take_sample(view, meta, sorted(stored)) if readable else Sample(left_out=why)
    grid = prod(meta.grid)
    absent = grid - len(stored) if listed else None
    warnings = [problem.sentence() for problem in [*claims, *sample.problems]]
    warnings += _warnings(meta, absent or 0, sample)
    strays = stray_objects([meta], view.objects)
    if strays:
        warnings.append(f"{len(strays):,} objects below it are no chunks of it, such as {strays[0]}.")
    return InspectedArray(
        path=meta.path,
        zarr_format=meta.zarr_format,
        shape=meta.shape,
        dimension_names=meta.dimension_names,
        dtype=str(meta.dtype),
        chunks=meta.inner_chunks or meta.chunks,
        shards=meta.chunks if meta.inner_chunks else None,
        codecs=codec_names(meta.document),
        checksum=meta.has_checksum,
        fill_value=_plain(meta.fill_value),
        grid=grid,
        stored=len(stored) if listed else None,
        stored_bytes=sum(stored.values()) if listed else None,
        absent=absent,
        sample=sample,
        warnings=warnings,
    )


def _stored_units(view: StoreView, meta: ArrayMeta) -> dict[tuple[int, ...], int]:
    """Place -> bytes of every storage unit that is there; the objects decide how many, not the metadata."""
    prefix = f"{meta.path}/" if meta.path else ""
    places = (
        (chunk_place(meta, key[len(prefix) :]), info.size)
        for key, info in view.objects.items()
        if key.startswith(prefix)
    )
    return {place: size for place, size in places if place is not None}


def _asked_units(view: StoreView, meta: ArrayMeta) -> dict[tuple[int, ...], int]:
    """The first units along the first dimension, where a store can only be asked."""
    places = [
        (at, *[0] * (len(meta.shape) - 1)) for at in spread(range(meta.grid[0] if meta.shape else 0), 8)
    ]
    found = {place: view.objects.get(meta.object_key(place)) for place in places}
    return {place: info.size for place, info in found.items() if info is not None}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _warnings(meta: ArrayMeta, absent: int, sample: Sample) -> Iterator[str]:
    labels = len(meta.shape) > 1
    if labels and not meta.has_checksum:
        yield (
            "The chunks carry no checksum: a damaged bit would be read as other labels, unseen. Write with "
            "one (crc32c, or zstd with checksum)."
        )
    if absent or sample.empty_inner_chunks:
        what = (
            f"{absent:,} chunks are" if absent else f"{sample.empty_inner_chunks:,} chunks of the sample are"
        )
        yield (
            f"{what} absent: either they hold only the fill value {meta.fill_value}, or they were lost; Zarr "
            "cannot tell. `missing_chunks` of the configuration says which."
        )
    if labels and meta.dtype.kind == "f":
        # xarray turns integers with a _FillValue into floats, with NaN where it stood.
        words = (
            "whole numbers: integers that xarray has made floats?" if sample.whole_numbers else "no labels"
        )
        yield f"It holds {meta.dtype}, {words} {FLOAT_ADVICE[:1].upper()}{FLOAT_ADVICE[1:]}."
    if labels:
        yield from _chunk_warnings(meta)


def _chunk_warnings(meta: ArrayMeta) -> Iterator[str]:
    """What of the chunking makes an evaluation slow or large."""
    chunk = meta.inner_chunks or meta.chunks
    size_bytes = prod(chunk) * meta.dtype.itemsize
    if size_bytes > LARGE_CHUNK_BYTES:
        yield f"A chunk is {size_bytes >> 20} MiB when decoded: a task needs several times that."
    elif size_bytes < SMALL_CHUNK_BYTES and prod(meta.grid) > 1000 and meta.inner_chunks is None:
        yield f"A chunk is {size_bytes:,} bytes when decoded: most of the time goes into opening objects."
    if len(meta.shape) != 3:
        return
    pieces = prod(-(-size // part) for size, part in zip(meta.shape[1:], chunk[1:], strict=True))
    if pieces > 1 and chunk[0] > 1:
        yield (
            f"A chunk holds a part of {chunk[0]} images, and an image lies in {pieces} chunks: whole images "
            "in every chunk are read faster."
        )
    elif pieces > MANY_PIECES:
        yield f"An image lies in {pieces:,} chunks: whole images in every chunk are read faster."


# ---- the lines to evaluate it


def _suggested(
    view: StoreView, node: ArrayMeta | GroupMeta, metas: list[ArrayMeta], found: Inspected
) -> Inspected:
    """The same with the layout that fits, if one does, and what it finds."""
    problems: list[Problem] = []
    for layout, path in _guesses(node, metas):
        try:
            images = find_images(LayoutConfig(kind=layout), view, path)
        except InputError as error:
            problems += error.problems
            continue
        return _with_images(found, layout, path, images)
    if metas and all(meta.dtype.kind in "iub" for meta in metas if len(meta.shape) > 1):
        found.warnings.extend(dict.fromkeys(problem.sentence() for problem in problems))
    return found


def _guesses(node: ArrayMeta | GroupMeta, metas: list[ArrayMeta]) -> Iterator[tuple[str, str]]:
    """Layouts and paths to try: by the number of dimensions of integer arrays."""
    labels = [meta for meta in metas if meta.dtype.kind in "iub" and len(meta.shape) > 1]
    if isinstance(node, ArrayMeta):
        kinds = {2: ["raster"], 3: ["stacked", "volume"], 4: ["volume"]}
        yield from ((kind, node.path) for meta in labels for kind in kinds.get(len(meta.shape), []))
        return
    yield from (("stacked", meta.path) for meta in labels if len(meta.shape) == 3)
    flat = [meta for meta in labels if len(meta.shape) == 2]
    groups = dict.fromkeys(meta.path.rpartition("/")[0] for meta in flat)
    if len(flat) == 1:
        yield "raster", flat[0].path
    yield from (("grouped", group) for group in groups)
    yield from (("volume", meta.path) for meta in labels if len(meta.shape) == 4)


def _with_images(found: Inspected, layout: str, path: str, images: ImageSet) -> Inspected:
    left_out = [f"Metadata left out: {name}: {why}." for name, why in images.left_out.items()]
    inside = [array for array in found.arrays if _within(array.path, path) and len(array.shape) > 1]
    absent = any(array.absent or array.sample.empty_inner_chunks for array in inside)
    config = config_lines(
        join_address(found.store, path),
        layout,
        [array.sample for array in inside],
        absent=absent and not images.declares_missing_fill,
    )
    return Inspected(
        store=found.store,
        path=found.path,
        num_arrays=found.num_arrays,
        arrays=found.arrays,
        layout=layout,
        images=len(images),
        ids=None if images.ids is None else images.ids[:5],
        columns=sorted(images.columns),
        config=config,
        warnings=[*found.warnings, *left_out],
    )


def _within(array: str, path: str) -> bool:
    return array == path or not path or array.startswith(f"{path}/")


def join_address(store: str, path: str) -> str:
    """`STORE::PATH`, or the store alone.

    >>> join_address("a.zarr", "labels"), join_address("a.zarr", "")
    ('a.zarr::labels', 'a.zarr')
    """
    return f"{store}::{path}" if path else store


def config_lines(address: str, layout: str, samples: Sequence[Sample], *, absent: bool = False) -> str:
    """A configuration to evaluate predictions against a store, as far as a sample tells.

    Args:
        address: of the truth.
        layout: how its images lie.
        samples: of its arrays.
        absent: some chunks are absent, and nothing declares what they are.

    >>> print(config_lines("t.zarr::labels", "stacked", [Sample(values={0: 9, 3: 1, 255: 4})]))
    # A suggestion: the layout is guessed from what lies there, classes and ignore_labels from a sample.
    truth: t.zarr::labels
    pred: PREDICTIONS.zarr::labels
    layout: stacked
    classes: 4
    ignore_labels: [255]
    """
    seen = {value for sample in samples for value in sample.values}
    ignored = sorted(value for value in seen if _is_ignored(value, seen))
    highest = max(seen - set(ignored), default=0)
    values: Json = {
        "truth": address,
        "pred": f"PREDICTIONS.zarr{address[len(address.partition('::')[0]) :]}",
        "layout": layout,
        "classes": min(highest + 1, MAX_CLASSES),
        "ignore_labels": ignored,
    }
    lines = [f"# {SUGGESTION}", *(f"{key}: {_yaml(value)}" for key, value in values.items())]
    if absent:
        lines.append(
            "# missing_chunks: are_fill_value   # if chunks that are absent are background, not lost"
        )
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    """A value as YAML on one line, of ASCII characters only."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")


def _is_ignored(value: int, seen: set[int]) -> bool:
    """Whether a label looks like no class: below 0, or the largest of 8 or 16 bits after a gap."""
    return value < 0 or (value in (255, 65535) and value - 1 not in seen)
