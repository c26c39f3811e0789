"""The compiled passes of `segpipe.kernels.contours`."""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled

NEAREST = 9
"""Pixels that are looked at before the neighbours are asked: most contours lie on one another."""


@compiled
def mark_along_rows(labels: Any, beyond: int, found: Any) -> None:
    """Mark pixels beside one of another label in their row; neither is one beyond the edge.

    Args:
        labels: uint8 or uint16 (row, column).
        beyond: the label of pixels beyond the edge, of this dtype.
        found: dtype and shape of the labels; gets 1 or 0.
    """
    rows, columns = labels.shape
    for y in range(rows):
        # Slices, as in `_bands`: as an index their sums would be tested for their sign.
        row, following, marks, behind = labels[y], labels[y, 1:], found[y], found[y, 1:]
        marks[:] = 0
        for x in range(columns - 1):
            behind[x] = (row[x] != following[x]) & (row[x] != beyond) & (following[x] != beyond)
        for x in range(columns - 1):
            marks[x] |= (row[x] != following[x]) & (row[x] != beyond) & (following[x] != beyond)


@compiled
def mark_across(labels: Any, beyond: int, found: Any) -> None:
    """Mark, too, pixels beside one of another label along the middle axis of (before, length, behind)."""
    before, length, columns = labels.shape
    for block in range(before):
        for y in range(1, length):
            row, above = labels[block, y], labels[block, y - 1]
            marks, marks_above = found[block, y], found[block, y - 1]
            for x in range(columns):
                marks[x] |= (row[x] != above[x]) & (row[x] != beyond) & (above[x] != beyond)
            for x in range(columns):
                marks_above[x] |= (row[x] != above[x]) & (row[x] != beyond) & (above[x] != beyond)


@compiled
def add_hits(
    pixels: Any, own: Any, other: Any, missed: Any, before: Any, steps: Any, ends: Any,
    num_classes: int, sizes: Any, hits: Any,
) -> None:  # fmt: skip
    """Count the contour pixels of every class, and those with one of the other side near by.

    Args:
        pixels: int64 (n,), ascending indexes into `own` and `other` from which no step leads out of them.
        own, other: uint8 or uint16, flat: the class of a contour pixel; anything else is no class.
        missed: uint8, flat, zeros: gets 1 for contour pixels with none of their class near by.
        before: int64 (d,), steps to neighbours that came before.
        steps: int64 (m,): to the pixels that are near; then, for each neighbour, to those that are not near
            it too. Where it missed them all, the others need not be looked at again.
        ends: int64 (d + 1,), where each of these ends in `steps`.
        sizes, hits: int64 (K,), added to.
    """
    for at in pixels:
        label = own[at]
        if label >= num_classes:
            continue
        sizes[label] += 1
        start, end = 0, min(ends[0], NEAREST)
        while start < end and other[at + steps[start]] != label:
            start += 1
        if start == end:
            end = ends[0]
            for number in range(len(before)):
                neighbour = at + before[number]
                if missed[neighbour] and own[neighbour] == label:
                    start, end = ends[number], ends[number + 1]
                    break
            while start < end and other[at + steps[start]] != label:
                start += 1
        if start < end:
            hits[label] += 1
        else:
            missed[at] = 1
