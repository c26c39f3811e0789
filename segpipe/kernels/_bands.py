"""The compiled passes of `segpipe.kernels.bands`.

A pixel is interior if the square (the box of a volume) of side 2d + 1 around it holds one label only and
lies inside of the image. Such a square is a column of 2d + 1 rows of 2d + 1 pixels, so it is found one axis
after the other, for all labels at once:

1. Along the rows, whether 2d neighbours in turn are equal is an AND of 2d comparisons; those of 2, 4, 8, ...
   comparisons are made from two of half the length each. No step depends on the one before it, so the
   machine takes 32 pixels at a time, and noise costs what smooth maps cost.
2. Along each other axis the length of the run of equal labels that are left is counted, a row at a time.
"""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled


@compiled
def mark_along_rows(labels: Any, width: int, inside: Any, alike: Any) -> None:
    """Mark pixels with `width` pixels of the same label on both sides in their row.

    Args:
        labels: uint8 or uint16 (row, column).
        inside: uint8, the same shape; gets 1 or 0.
        alike: uint8 (level, column), scratch: whether 2^level + 1 pixels from here on are alike; as many
            levels as `width` has bits, and one more.
    """
    rows, columns = labels.shape
    for y in range(rows):
        # Sums of indexes are slices here: as an index they would be tested for their sign, pixel by pixel.
        row, following, pair = labels[y], labels[y, 1:], alike[0]
        for x in range(columns - 1):
            pair[x] = row[x] == following[x]
        level, length = 0, 1
        while length <= width:
            half, ahead, longer = alike[level], alike[level, length:], alike[level + 1]
            for x in range(columns - 2 * length):
                longer[x] = half[x] & ahead[x]
            level, length = level + 1, 2 * length
        first, last, marks = alike[level], alike[level, 2 * width - length :], inside[y, width:]
        inside[y, :] = 0
        for x in range(columns - 2 * width):
            marks[x] = first[x] & last[x]


@compiled
def mark_across(labels: Any, width: int, inside: Any, run: Any) -> None:
    """Of the marked pixels, keep those with `width` marked ones of the same label before and behind.

    Args:
        labels: uint8 or uint16 (before, length, behind), along the middle axis; `inside` has the same shape.
        run: int32 (behind,), scratch: the length of the run that ends here.
    """
    before, length, behind = labels.shape
    side = 2 * width + 1
    for block in range(before):
        run[:] = 0
        for y in range(length):
            row, marks = labels[block, y], inside[block, y]
            above = labels[block, max(y - 1, 0)]
            for x in range(behind):
                run[x] = (run[x] + 1 if row[x] == above[x] else 1) if marks[x] else 0
            # The row `width` above is not read again: the runs have gone past it.
            if y >= width:
                centre = inside[block, y - width]
                for x in range(behind):
                    centre[x] = run[x] >= side
        for y in range(max(length - width, 0), length):
            inside[block, y] = 0
