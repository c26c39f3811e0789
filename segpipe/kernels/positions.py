"""Where label values lie that no rule names: looked for only when the counts say that there are some."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.codes import codes_of
from segpipe.kernels.confusion import require_labels, require_same_shape

STRIP_PX = 1 << 16
"""Pixels that are looked at together; memory does not grow with the image."""


@dataclass(frozen=True)
class InvalidValue:
    """A raw label value that no rule names.

    Attributes:
        value: as stored.
        position: of the first pixel that holds it, in the order of rows: (y, x), or one index per axis.
        pixels: how many pixels of the image hold it.
    """

    value: int
    position: tuple[int, ...]
    pixels: int


@dataclass(frozen=True)
class InvalidValues:
    """The invalid values of one image, each side in the order of their first pixels."""

    truth: tuple[InvalidValue, ...]
    pred: tuple[InvalidValue, ...]


def find_invalid(
    truth: NDArray[Any], pred: NDArray[Any], truth_rules: LabelRules, pred_rules: LabelRules, limit: int
) -> InvalidValues:
    """Name the invalid values of one image.

    Args:
        truth: raw label values of one image, any integer or bool dtype, shape (y, x) or any other.
        pred: the same of the prediction, the shape of `truth`.
        truth_rules: raw value -> code of truth.
        pred_rules: raw value -> code of the prediction.
        limit: how many distinct values are named of each side, the first ones; the others are left out.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer.

    >>> rules = LabelRules.of(2)
    >>> find_invalid(np.array([[0, 9], [9, 7]]), np.array([[0, 0], [1, 1]]), rules, rules, limit=1)
    InvalidValues(truth=(InvalidValue(value=9, position=(0, 1), pixels=2),), pred=())
    """
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    require_same_shape(truth, pred)
    return InvalidValues(_invalid_of(truth, truth_rules, limit), _invalid_of(pred, pred_rules, limit))


def _invalid_of(labels: NDArray[Any], rules: LabelRules, limit: int) -> tuple[InvalidValue, ...]:
    found: dict[int, InvalidValue] = {}
    for start in range(0, labels.size, STRIP_PX):
        strip = labels.flat[start : start + STRIP_PX]
        (where,) = np.nonzero(codes_of(strip, rules) == rules.invalid)
        for value, first, pixels in _distinct(strip[where]):
            if value in found:
                found[value] = replace(found[value], pixels=found[value].pixels + pixels)
            elif len(found) < limit:
                position = np.unravel_index(start + where[first], labels.shape)
                found[value] = InvalidValue(value, tuple(map(int, position)), pixels)
    return tuple(found.values())


def _distinct(values: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Value, index of its first occurrence, and how often it occurs, in the order of first occurrence."""
    distinct, first, pixels = np.unique(values, return_index=True, return_counts=True)
    order = np.argsort(first)
    return [(int(distinct[i]), int(first[i]), int(pixels[i])) for i in order]
