"""The compiled loops of `segpipe.kernels.weighted`: weights to units, and units to the cells of a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels._lookup import lookup
from segpipe.kernels.codes import codes_of
from segpipe.kernels.jit import compiled


@compiled
def to_units(
    weights: NDArray[Any], units: NDArray[np.int64], per_weight: float, end: float
) -> tuple[int, int, int]:
    """Round weights to whole units; one that is negative, NaN, or `end` units or more is 0.

    Args:
        weights: float32 or float64 (pixel,).
        units: int64 (pixel,), which is written.
        per_weight: units of weight 1.
        end: too many units.

    Returns:
        How many weights are wrong, and the sum of the units in two parts: the first counts 2^32 times.
    """
    wrong = high = low = 0
    for pixel in range(len(weights)):
        exact = np.float64(weights[pixel]) * per_weight
        right = (exact >= 0) & (exact < end)
        own = int(np.rint(exact if right else 0.0))
        units[pixel] = own
        wrong += not right
        high += own >> 32
        low += own & 0xFFFFFFFF
    return wrong, high, low


class Table:
    """The labels of one side as places in a table of codes; what is beyond its end is invalid.

    Args:
        labels: (pixel,), any integer or bool dtype.
        rules: raw value -> code.

    Attributes:
        labels: int64 (pixel,), their bit patterns; of one dtype, so that all labels share one compiled loop.
        low: the first label of the table, as a signed number.
        mask: of the bits of a label, so that the distance from `low` is modular.
        codes: uint16 (entry,).
    """

    def __init__(self, labels: NDArray[Any], rules: LabelRules) -> None:
        own = lookup(rules, labels.dtype)
        native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
        self.labels = native.view(f"u{own.width}").astype(np.int64, copy=False)
        self.low, self.codes = own.low - (1 << 64) * (own.low >= 1 << 63), own.codes
        self.mask = -1 if own.width == 8 else (1 << 8 * own.width) - 1
        if len(own.keys):
            # Labels that lie far apart: there is a table of their codes instead.
            self.labels, self.low, self.mask = codes_of(labels, rules).astype(np.int64), 0, -1
            self.codes = np.arange(rules.num_codes, dtype=np.uint16)


def add_units(
    truth: Table,
    pred: Table,
    valid: NDArray[np.bool_] | None,
    units: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Add the units of every pixel to the sum of its cell.

    Args:
        truth, pred: labels (pixel,).
        valid: (pixel,); a pixel that is not is ignored, and void where its prediction is invalid.
        units: int64 (pixel,).
        sums: int64 (S, S), which is added to.
    """
    kept = np.empty(0, np.bool_) if valid is None else valid
    sides = (truth.labels, truth.low, truth.mask, truth.codes, pred.labels, pred.low, pred.mask, pred.codes)
    _add_units(*sides, kept, units, sums.reshape(-1), len(sums))


@compiled
def _add_units(
    truth: NDArray[np.int64], truth_low: int, truth_mask: int, truth_codes: NDArray[np.uint16],
    pred: NDArray[np.int64], pred_low: int, pred_mask: int, pred_codes: NDArray[np.uint16],
    valid: NDArray[np.bool_], units: NDArray[np.int64], sums: NDArray[np.int64], side: int,
) -> None:  # fmt: skip
    """A pixel is nearly always of the cell of the one before it, so a run of them is added up first.

    The two look-ups are not a function: Numba would count references to the tables at every pixel.
    """
    last = run = 0
    for pixel in range(len(units)):
        row = column = side - 1
        place = (truth[pixel] - truth_low) & truth_mask
        if 0 <= place < len(truth_codes):
            row = int(truth_codes[place])
        place = (pred[pixel] - pred_low) & pred_mask
        if 0 <= place < len(pred_codes):
            column = int(pred_codes[place])
        if len(valid) and not valid[pixel]:
            row = side - 2
            column = min(column, side - 2)
        cell = row * side + column
        if cell != last:
            sums[last] += run
            last = cell
            run = 0
        run += units[pixel]
    sums[last] += run
