"""The compiled pass of `segpipe.kernels.contours`."""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled


@compiled
def add_hits(pixels: Any, own: Any, other: Any, steps: Any, num_classes: int, sizes: Any, hits: Any) -> None:
    """Count the contour pixels of every class, and those with one of the other side near by.

    Args:
        pixels: int64 (n,), indexes into `own` and `other` from which no step leads out of them.
        own, other: uint8 or uint16, flat: the class of a contour pixel; anything else is no class.
        steps: int64 (m,), to the pixels that are near, the nearest first.
        sizes, hits: int64 (K,), added to.
    """
    for at in pixels:
        label = own[at]
        if label < num_classes:
            sizes[label] += 1
            for step in steps:
                if other[at + step] == label:
                    hits[label] += 1
                    break
