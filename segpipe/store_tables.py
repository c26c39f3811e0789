"""What `segpipe inspect` shows: each array of a store, what to know of it, and the lines to evaluate it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from segpipe.reports.text import printable, share_text
from segpipe.run.inspected import CHECKSUM, Inspected, InspectedArray
from segpipe.run.sampled import Sample
from segpipe.terminal import quantity, show_pairs

SHOWN_LETTERS = 300
"""Longer texts out of a store are cut."""


def show_inspected(console: Console, found: Inspected) -> None:
    """Every array, then what the whole is taken for, then a configuration."""
    for array in found.arrays:
        show_pairs(
            console, short(array.path or "(root)"), list(_rows(array)), list(map(short, array.warnings))
        )
        console.print()
    if found.num_arrays > len(found.arrays):
        console.print(Text(f"{len(found.arrays)} of {found.num_arrays:,} arrays were looked into."))
        console.print()
    warnings = list(map(short, found.warnings))
    show_pairs(console, short(f"{found.store} {found.path}".strip()), list(_whole(found)), warnings)
    if found.config:
        console.print()
        for line in found.config.splitlines():
            console.print(Text(printable(line)), soft_wrap=True)


def short(text: str) -> str:
    """A text out of a store, on one line and not too long.

    >>> short("a\\x1b[2J" + "b" * 1000)[:8], len(short("b" * 1000))
    ('a [2Jbbb', 303)
    """
    line = printable(text)
    return line if len(line) <= SHOWN_LETTERS else f"{line[:SHOWN_LETTERS]}..."


def _rows(array: InspectedArray) -> Iterator[tuple[str, str]]:
    dims = f" ({', '.join(name or '-' for name in array.dimension_names)})" if array.dimension_names else ""
    yield "array", short(f"{_sizes(array.shape)}{dims}, {array.dtype}, format {array.zarr_format}")
    shards = f", in shards of {_sizes(array.shards)}" if array.shards else ""
    yield "chunks", short(f"{_sizes(array.chunks)}{shards}; codecs {', '.join(array.codecs) or 'none'}")
    yield "checksum", CHECKSUM[array.checksum]
    if array.stored is None or array.stored_bytes is None:
        yield "stored", f"not known: the store cannot be listed; {array.grid:,} objects by its shape"
    else:
        objects = f"{array.stored:,} of {array.grid:,} objects, {array.absent or 0:,} absent"
        yield "stored", f"{objects}; {quantity(array.stored_bytes, 'B')}"
    yield "fill value", short(str(array.fill_value))
    if len(array.shape) > 1:
        yield "sample", _sample(array.sample)
        if array.sample.values:
            yield "labels", _labels(array.sample)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in shape) or "one value"


def _sample(sample: Sample) -> str:
    if sample.left_out:
        return short(f"none: {sample.left_out}")
    shards = (
        f"; {sample.empty_inner_chunks:,} empty chunks in {sample.shards} shards" if sample.shards else ""
    )
    limits = "" if sample.values or sample.lowest is None else f", {sample.lowest:g} to {sample.highest:g}"
    nan = f", {sample.not_a_number:,} NaN" if sample.not_a_number else ""
    return f"{sample.chunks} chunks, {sample.pixels:,} pixels{limits}{nan}{shards}"


def _labels(sample: Sample) -> str:
    shares = [f"{value}: {share_text(count / sample.pixels)}" for value, count in sample.values.items()]
    more = [f"and {sample.other_values} more"] if sample.other_values else []
    return ", ".join(shares + more)


def _whole(found: Inspected) -> Iterator[tuple[str, str]]:
    yield "arrays", f"{found.num_arrays:,}"
    if not found.layout:
        yield "layout", "none that fits: nothing here can be evaluated as it lies"
        return
    ids = "told apart by position" if found.ids is None else f"ids {', '.join(found.ids)}, ..."
    yield "layout", f"{found.layout}: {found.images:,} images"
    yield "images", short(ids)
    yield "metadata", short(", ".join(found.columns) or "none")
