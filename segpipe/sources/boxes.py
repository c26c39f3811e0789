"""Boxes: parts of an array, one slice for each dimension, and how a grid of chunks cuts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Box = tuple[slice, ...]
"""Part of an array: for each dimension `slice(start, stop)`, from the corner of the array or of a box."""


@dataclass(slots=True)
class Piece:
    """What a box takes of one chunk.

    `place` is the chunk's in the grid, `target` the part of the box, from the box's corner, `source` the part
    of the chunk, from the chunk's corner, and `whole` tells whether that is all of the chunk.
    """

    place: tuple[int, ...]
    target: Box
    source: Box
    whole: bool


def check_box(box: Box, shape: Sequence[int]) -> None:
    """Refuse a box that does not fit an array: NumPy would clip or wrap it, and other pixels would come back.

    Raises:
        ValueError: a mistake of the caller.
    """
    fits = len(box) == len(shape) and all(
        part.step in (None, 1) and 0 <= part.start <= part.stop <= size
        for part, size in zip(box, shape, strict=True)
    )
    if not fits:
        message = f"the box {box}: expected a slice within the array, of shape {shape}, for each dimension"
        raise ValueError(message)


def pieces_of(box: Box, sizes: Sequence[int]) -> Iterator[Piece]:
    """What a box takes of each chunk of a grid that it touches.

    >>> list(pieces_of((slice(1, 4),), (2,)))[0]
    Piece(place=(0,), target=(slice(0, 1, None),), source=(slice(1, 2, None),), whole=False)
    """
    cuts = [list(_cuts(part, size)) for part, size in zip(box, sizes, strict=True)]
    for cut in product(*cuts):
        place, target, source, whole = zip(*cut, strict=True) if cut else ((), (), (), ())
        yield Piece(place, target, source, all(whole))


def _cuts(part: slice, size: int) -> Iterator[tuple[int, slice, slice, bool]]:
    """Place, target, source and whole of a piece, along one dimension."""
    start, stop = part.start, part.stop
    for place in range(start // size, -(-stop // size)) if start < stop else ():
        corner = place * size
        first, last = max(start, corner), min(stop, corner + size)
        target, source = slice(first - start, last - start), slice(first - corner, last - corner)
        yield place, target, source, last - first == size


def units_in(box: Box, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The places, in a grid of chunks of these sizes, of all chunks that a box touches.

    >>> list(units_in((slice(1, 3), slice(4, 9)), (2, 8)))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    if all(part.start < part.stop for part in box):
        yield from product(
            *(range(part.start // size, -(-part.stop // size)) for part, size in zip(box, sizes, strict=True))
        )


def chunk_box(place: Sequence[int], sizes: Sequence[int], corner: Sequence[int] | None = None) -> Box:
    """The chunk at a place of a grid that begins at a corner (None: that of the array).

    >>> chunk_box((1, 2), (2, 8))
    (slice(2, 4, None), slice(16, 24, None))
    """
    starts = [at * size for at, size in zip(place, sizes, strict=True)]
    if corner is not None:
        starts = [start + origin for start, origin in zip(starts, corner, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


def common(one: Box, other: Box) -> Box | None:
    """The part of the array that both cover; None: there is none.

    >>> common((slice(0, 4),), (slice(2, 9),))
    (slice(2, 4, None),)
    """
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return both if all(part.start < part.stop for part in both) else None


def relative(part: Box, box: Box) -> Box:
    """A part of a box, counted from the corner of the box.

    >>> relative((slice(5, 7),), (slice(4, 9),))
    (slice(1, 3, None),)
    """
    return tuple(
        slice(inside.start - whole.start, inside.stop - whole.start)
        for inside, whole in zip(part, box, strict=True)
    )


def rows_of(box: Box, sizes: Sequence[int]) -> Iterator[Box]:
    """A box, cut along its first dimension where chunks of these sizes begin.

    >>> list(rows_of((slice(1, 5),), (2,)))
    [(slice(1, 2, None),), (slice(2, 4, None),), (slice(4, 5, None),)]
    """
    if not box:
        yield box
        return
    start, end = box[0].start, box[0].stop
    while start < end:
        stop = min(end, (start // sizes[0] + 1) * sizes[0])
        yield (slice(start, stop), *box[1:])
        start = stop


def shape_of(box: Box) -> tuple[int, ...]:
    """The shape of a box.

    >>> shape_of((slice(1, 3), slice(4, 9)))
    (2, 5)
    """
    return tuple(part.stop - part.start for part in box)
