"""The compiled passes of `segpipe.kernels.objects`."""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled


@compiled
def add_objects(objects: Any, own: Any, other: Any, pixels: Any, hits: Any, labels: Any) -> None:
    """Size and hits of every object, a run of its pixels at a time.

    Args:
        objects: (n,), unsigned, the number of the object of a pixel, 0 for none.
        own, other: uint8 or uint16 (n,), labels.
        pixels, hits: int64 (object + 1,): pixels of each, and those where `other` has the same label.
        labels: uint16 (object + 1,), of each.
    """
    size = len(objects)
    start = 0
    while start < size:
        number, at, same = objects[start], start, 0
        while at < size and objects[at] == number:
            same += own[at] == other[at]
            at += 1
        pixels[number] += at - start
        hits[number] += same
        labels[number] = own[start]
        start = at
