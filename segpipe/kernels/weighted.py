"""Sum pixel weights instead of pixels: in whole units, so that the order of adding never shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.confusion import require_labels, require_same_shape

UNIT_BITS = 30
UNITS_PER_WEIGHT = 1 << UNIT_BITS
"""A weight is rounded to a whole number of units of 2^-30."""

STRIP_PX = 1 << 16
"""Pixels that are looked at together; memory does not grow with the image."""

MOST_UNITS = (1 << 63) - 1

WEIGHING_VERSION = 1
"""Of what decides a sum of weights; part of the key of partial counts that have some."""


def sum_weights(
    truth: NDArray[Any],
    pred: NDArray[Any],
    weights: NDArray[Any],
    truth_rules: LabelRules,
    pred_rules: LabelRules,
) -> NDArray[np.int64]:
    """The extended confusion matrix of pixel weights, over all pixels.

    Every weight is rounded once, to the nearest multiple of 2^-30 (ties to even), and then summed exactly.
    A pixel of weight 0 takes no part, whatever its labels.

    Args:
        truth: raw label values, any integer or bool dtype, any shape.
        pred: the same of the prediction, the shape of `truth`.
        weights: real numbers, finite and not negative, the shape of `truth`; 1 counts as one pixel.
        truth_rules: raw value -> code of truth.
        pred_rules: raw value -> code of the prediction.

    Returns:
        int64 (K + 2, K + 2) in units of 2^-30: row = truth code, column = pred code.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a weight is negative, NaN or infinite, or all together are 2^33 or more; a dtype is wrong.

    >>> rules = LabelRules.of(1)
    >>> sums = sum_weights(np.array([0, 0, 9]), np.array([0, 0, 0]), np.array([0.5, 1, 2]), rules, rules)
    >>> (sums / UNITS_PER_WEIGHT).tolist()
    [[1.5, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    """
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    require_same_shape(truth, pred)
    _require_weights(weights, truth.shape)
    from segpipe.kernels._weigh import Table, add_units  # Numba is loaded here and nowhere earlier.

    side = truth_rules.num_codes
    sums, flat = np.zeros((side, side), np.int64), [one.reshape(-1) for one in (truth, pred, weights)]
    total = 0
    for strip in _strips(truth.size):
        units = _units(flat[2][strip])
        total += _exact_sum(units)
        _require_room(total)
        add_units(Table(flat[0][strip], truth_rules), Table(flat[1][strip], pred_rules), None, units, sums)
    return sums


def _exact_sum(units: NDArray[np.int64]) -> int:
    """The sum of numbers that are not negative, which may be too large for int64.

    >>> _exact_sum(np.full(4, 2**62))
    18446744073709551616
    """
    return (int((units >> 32).sum()) << 32) + int((units & 0xFFFFFFFF).sum())


def _require_room(units: int) -> None:
    """Refuse a sum of weights that int64 cannot hold.

    Raises:
        ArrayError: it is 2^33 or more.
    """
    if units > MOST_UNITS:
        message = (
            f"weights add up to {units / UNITS_PER_WEIGHT:.6g}, expected less than 2**33: scale them down"
        )
        raise ArrayError(message)


def _require_weights(weights: NDArray[Any], shape: tuple[int, ...]) -> None:
    if weights.dtype.kind not in "fiub":
        message = f"weights have dtype {weights.dtype}, expected real numbers"
        raise ArrayError(message)
    if weights.shape != shape:
        message = f"weights have shape {weights.shape}, expected one weight for each pixel, {shape}"
        raise ShapeError(message)


def _units(weights: NDArray[Any]) -> NDArray[np.int64]:
    """Weights in units, as whole numbers."""
    numbers = weights.astype(np.float64)
    wrong = numbers[~(numbers >= 0) | np.isinf(numbers)]
    if wrong.size:
        message = f"weights hold {wrong[0]}; they must be finite and not negative"
        raise ArrayError(message)
    _require_room(int(numbers.max() * UNITS_PER_WEIGHT))
    return np.rint(numbers * UNITS_PER_WEIGHT).astype(np.int64)


@dataclass(frozen=True)
class WrongWeights:
    """What is wrong with the weights of one image.

    Attributes:
        value: the first wrong weight (`-1.5`, `nan`, `inf`); or the sum of all, if only that is wrong.
        position: of the first wrong weight, (y, x) or (z, y, x); empty: the sum is wrong.
        pixels: how many pixels have wrong weights, or of how many it is the sum.
    """

    value: str
    position: tuple[int, ...]
    pixels: int


def weight_units(
    weights: NDArray[Any],
) -> tuple[NDArray[np.int64], tuple[tuple[int, WrongWeights], ...]]:
    """Weights of the pixels of some images in units of 2^-30, and what is wrong with them.

    Args:
        weights: real numbers (image, ...).

    Returns:
        int64, the shape of `weights`, 0 where a weight is negative, NaN, infinite or 2^33 or more, and in all
        of an image whose weights add up to that much; the images with such weights, and what is wrong.

    >>> units, wrong = weight_units(np.array([[0.5, -1.0], [0.0, 2.0]]))
    >>> (units / UNITS_PER_WEIGHT).tolist(), wrong
    ([[0.5, 0.0], [0.0, 2.0]], ((0, WrongWeights(value='-1', position=(1,), pixels=1)),))
    """
    units = np.zeros(weights.shape, np.int64)
    found = ((image, _fill_units(own, units[image])) for image, own in enumerate(weights))
    return units, tuple((image, wrong) for image, wrong in found if wrong is not None)


def _fill_units(weights: NDArray[Any], units: NDArray[np.int64]) -> WrongWeights | None:
    """Write the units of one image, which are 0 before."""
    from segpipe.kernels._weigh import to_units  # Numba is loaded here and nowhere earlier.

    flat, stored, total, wrong = units.reshape(-1), weights.reshape(-1), 0, 0
    dtype = np.float32 if weights.dtype.newbyteorder("=") == np.float32 else np.float64
    for strip in _strips(weights.size):
        numbers = np.ascontiguousarray(stored[strip], dtype)
        more, high, low = to_units(numbers, flat[strip], float(UNITS_PER_WEIGHT), float(MOST_UNITS + 1))
        total += (high << 32) + low
        wrong += more
    if wrong:
        return _first_wrong(weights, wrong)
    if total <= MOST_UNITS:
        return None
    units[...] = 0
    return WrongWeights(f"{total / UNITS_PER_WEIGHT:.6g}", (), weights.size)


def _first_wrong(weights: NDArray[Any], wrong: int) -> WrongWeights:
    stored = weights.reshape(-1)
    for strip in _strips(weights.size):
        numbers = stored[strip].astype(np.float64)
        right = (numbers >= 0) & (numbers < (MOST_UNITS + 1) / UNITS_PER_WEIGHT)
        if not right.all():
            first = strip.start + int(np.argmin(right))
            position = tuple(map(int, np.unravel_index(first, weights.shape)))
            return WrongWeights(f"{stored[first]:g}", position, wrong)
    raise AssertionError


def weigh_confusion(
    truth: NDArray[Any],
    pred: NDArray[Any],
    units: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
) -> ConfusionCells:
    """Sum the weights of every pair of true and predicted code, image by image.

    Args:
        truth, pred: raw label values (image, ...), any integer or bool dtype.
        units: of `weight_units`, the shape of `truth`; of an image they add up to less than 2^63.
        valid: the shape of `truth`; a pixel that is not valid is *ignored*, and what is invalid of its
            prediction is void. None: all pixels are valid.
        truth_rules, pred_rules: raw value -> code.

    Returns:
        The cells in units, of the pixels whose weight is not 0.

    >>> rules, units = LabelRules.of(1), np.array([[1, 2, 4, 0]]) * UNITS_PER_WEIGHT
    >>> labels = np.array([[0, 0, 9, 9]])
    >>> (weigh_confusion(labels, labels, units, None, rules, rules).dense() / UNITS_PER_WEIGHT).tolist()
    [[[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]]
    """
    from segpipe.kernels._weigh import Table, add_units  # Numba is loaded here and nowhere earlier.

    side = truth_rules.num_codes
    sums, cells, counts = np.zeros((side, side), np.int64), [], []
    for image in range(len(truth)):
        own = [one[image].reshape(-1) for one in (truth, pred, units)]
        kept = None if valid is None else valid[image].reshape(-1)
        for strip in _strips(own[0].size):
            tables = Table(own[0][strip], truth_rules), Table(own[1][strip], pred_rules)
            add_units(*tables, None if kept is None else kept[strip], own[2][strip], sums)
        flat = sums.reshape(-1)
        cells.append(np.flatnonzero(flat))
        counts.append(flat[cells[-1]])
        flat[cells[-1]] = 0
    offsets = np.cumsum([0, *map(len, cells)], dtype=np.int64)
    joined = np.concatenate([np.empty(0, np.int64), *cells]).astype(np.uint32)
    return ConfusionCells(side - 2, offsets, joined, np.concatenate([np.empty(0, np.int64), *counts]))


def _strips(pixels: int) -> Iterator[slice]:
    return (slice(start, min(start + STRIP_PX, pixels)) for start in range(0, pixels, STRIP_PX))
