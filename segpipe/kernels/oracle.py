"""The same counts in NumPy, slow and plain: what the kernel is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules


def count_confusion_plainly(
    truth: NDArray[Any], pred: NDArray[Any], truth_rules: LabelRules, pred_rules: LabelRules
) -> NDArray[np.int64]:
    """The extended confusion matrix of each image, int64 (image, K + 2, K + 2), without the kernel's code.

    >>> rules = LabelRules.of(1)
    >>> count_confusion_plainly(np.array([[0, 0, 5]]), np.array([[0, 7, 0]]), rules, rules).tolist()
    [[[1, 0, 1], [0, 0, 0], [1, 0, 0]]]
    """
    side = truth_rules.num_codes
    cells = _codes(truth, truth_rules) * side + _codes(pred, pred_rules)
    counts = [np.bincount(of_image.ravel(), minlength=side * side) for of_image in cells]
    return np.array(counts, np.int64).reshape(-1, side, side)


def _codes(labels: NDArray[Any], rules: LabelRules) -> NDArray[np.int64]:
    values, place = np.unique(labels, return_inverse=True)
    return np.array([rules.code(int(value)) for value in values], np.int64)[place]
