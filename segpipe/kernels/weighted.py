"""Sum pixel weights instead of pixels: in whole units, so that the order of adding never shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels._codes import codes_of
from segpipe.kernels.confusion import require_labels, require_same_shape

UNIT_BITS = 30
UNITS_PER_WEIGHT = 1 << UNIT_BITS
"""A weight is rounded to a whole number of units of 2^-30."""

STRIP_PX = 1 << 16
"""Pixels that are looked at together; memory does not grow with the image."""

MOST_UNITS = (1 << 63) - 1


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
    side = truth_rules.num_codes
    sums = np.zeros(side * side, np.int64)
    total = 0
    for start in range(0, truth.size, STRIP_PX):
        strip = slice(start, start + STRIP_PX)
        units = _units(weights.flat[strip])
        total += _exact_sum(units)
        _require_room(total)
        rows = codes_of(truth.flat[strip], truth_rules).astype(np.int64)
        np.add.at(sums, rows * side + codes_of(pred.flat[strip], pred_rules), units)
    return sums.reshape(side, side)


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
