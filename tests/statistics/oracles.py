"""Every statistic by its definition, slow and plain: sets of pixels, masks of one class, loops.

Nothing of segpipe is imported here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.int64]
Mask = NDArray[np.bool_]
Pixel = tuple[int, ...]


def masks(truth: Map, pred: Map, class_id: int, num_classes: int) -> tuple[Mask, Mask]:
    """The masks of a class in truth and pred, without the pixels of ignored truth."""
    valid = truth < num_classes
    return (truth == class_id) & valid, (pred == class_id) & valid


def eroded(mask: Mask) -> Mask:
    """The mask eroded once by a square (cube) of side 3; beyond the edge nothing belongs to it."""
    padded = np.pad(mask, 1)
    shifts = itertools.product(range(3), repeat=mask.ndim)
    windows = [
        padded[tuple(slice(at, at + side) for at, side in zip(shift, mask.shape, strict=True))]
        for shift in shifts
    ]
    return np.logical_and.reduce(windows)


def band(mask: Mask, width: int) -> Mask:
    """The mask without what is left of it after `width` erosions (Cheng et al. 2021)."""
    left = mask
    for _ in range(width):
        left = eroded(left)
    return mask & ~left


def bands(truth: Map, pred: Map, num_classes: int, width: int) -> list[list[int]]:
    """Truth band, pred band, both, class by class."""
    areas = []
    for class_id in range(num_classes):
        one, other = (band(mask, width) for mask in masks(truth, pred, class_id, num_classes))
        areas.append([int(one.sum()), int(other.sum()), int((one & other).sum())])
    return np.array(areas).T.tolist()


def neighbours(pixel: Pixel, shape: tuple[int, ...], corners: bool) -> Iterator[Pixel]:
    """The pixels beside one, within the image."""
    for step in itertools.product((-1, 0, 1), repeat=len(shape)):
        distance = sum(map(abs, step))
        if distance == 1 or (corners and distance > 1):
            there = tuple(at + by for at, by in zip(pixel, step, strict=True))
            if all(0 <= at < side for at, side in zip(there, shape, strict=True)):
                yield there


def contour(side: Map, valid: Mask, class_id: int) -> set[Pixel]:
    """Pixels of a class beside a valid pixel of another label."""
    own = {tuple(map(int, at)) for at in np.argwhere((side == class_id) & valid)}
    return {
        pixel
        for pixel in own
        if any(valid[near] and side[near] != class_id for near in neighbours(pixel, side.shape, False))
    }


def hits(one: set[Pixel], other: set[Pixel], tolerance: float) -> int:
    """How many pixels of one set have one of the other within the tolerance."""
    return sum(any(math.dist(a, b) <= tolerance for b in other) for a in one)


def contours(truth: Map, pred: Map, num_classes: int, tolerance: float) -> list[list[int]]:
    """Contour of truth, its hits, that of pred, its hits, class by class."""
    # Void and invalid predictions are two labels, and both are no class.
    valid = truth < num_classes
    found = []
    for class_id in range(num_classes):
        one, other = (contour(side, valid, class_id) for side in (truth, pred))
        found.append([len(one), hits(one, other, tolerance), len(other), hits(other, one, tolerance)])
    return np.array(found).T.tolist()


def components(mask: Mask, corners: bool) -> list[set[Pixel]]:
    """Connected components, by flooding."""
    left = {tuple(map(int, at)) for at in np.argwhere(mask)}
    found = []
    while left:
        reached, edge = set(), {min(left)}
        while edge:
            reached |= edge
            edge = {there for at in edge for there in neighbours(at, mask.shape, corners)} & left - reached
        found.append(reached)
        left -= reached
    return found


def objects(truth: Map, pred: Map, num_classes: int, corners: bool) -> list[list[tuple[int, int, int]]]:
    """(class, pixels, covered pixels) of the components of truth and of pred, sorted."""
    found: list[list[tuple[int, int, int]]] = [[], []]
    for class_id in range(num_classes):
        pair = masks(truth, pred, class_id, num_classes)
        for side, (own, other) in enumerate((pair, pair[::-1])):
            found[side] += [
                (class_id, len(pixels), sum(bool(other[at]) for at in pixels))
                for pixels in components(own, corners)
            ]
    return [sorted(side) for side in found]


def probabilities(scores: NDArray[np.floating], representation: str) -> list[float]:
    """The probabilities of one pixel."""
    values = [float(score) for score in scores]
    if representation == "binary":
        return [1 - values[0], values[0]]
    if representation == "probabilities":
        return values
    powers = [math.exp(value - max(values)) for value in values]
    return [power / math.fsum(powers) for power in powers]
