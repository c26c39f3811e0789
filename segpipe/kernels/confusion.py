"""Count the pixels of every pair of true and predicted code, image by image."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels.cells import ConfusionCells


class Shaped(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def count_confusion(
    truth: NDArray[Any], pred: NDArray[Any], truth_rules: LabelRules, pred_rules: LabelRules
) -> ConfusionCells:
    """Count the pixels of every pair of true and predicted code.

    The GIL is released; memory does not grow with the pixels. Call it with many images at once.

    Args:
        truth: raw label values, any integer or bool dtype and byte order, any strides, shape (image, ...).
        pred: the same of the prediction; the shape of `truth`, its dtype may be another.
        truth_rules: raw value -> code of truth: 0..K-1 classes, K ignored, K+1 invalid.
        pred_rules: the same of the prediction: K is void.

    Returns:
        The non-zero cells of each image. Every pixel is in one cell: `pixels()` is the number of pixels.

    Raises:
        ShapeError: the shapes differ, or there is no axis of images.
        ArrayError: a dtype is no integer, or the rules have different numbers of classes.

    >>> truth_rules, pred_rules = LabelRules.of(2, no_class=[255]), LabelRules.of(2)
    >>> count_confusion(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 9, 0]]), truth_rules, pred_rules).dense()
    array([[[1, 1, 0, 0],
            [0, 0, 0, 1],
            [1, 0, 0, 0],
            [0, 0, 0, 0]]])
    """
    require_labels(truth, "truth")
    require_labels(pred, "pred")
    require_same_shape(truth, pred)
    if truth.ndim == 0:
        message = "truth and pred are single values; expected label maps of shape (image, ...)"
        raise ShapeError(message)
    if truth_rules.num_classes != pred_rules.num_classes:
        message = f"truth has {truth_rules.num_classes} classes and pred has {pred_rules.num_classes}"
        raise ArrayError(message)
    if truth.size == 0:
        return ConfusionCells.empty(truth_rules.num_classes, len(truth))
    from segpipe.kernels import _call  # Numba is loaded here and nowhere earlier.
    from segpipe.kernels._lookup import lookup

    return _call.count_images(truth, pred, lookup(truth_rules, truth.dtype), lookup(pred_rules, pred.dtype))


def require_labels(labels: NDArray[Any], side: str) -> None:
    """Refuse what is no array of integers.

    Raises:
        ArrayError: the dtype is neither integer nor bool, or values are masked.
    """
    if labels.dtype.kind not in "iub":
        message = (
            f"{side} has dtype {labels.dtype}, expected integer class ids; "
            "logits and probabilities become class ids by argmax over the class axis"
        )
        raise ArrayError(message)
    if isinstance(labels, np.ma.MaskedArray):
        message = f"{side} is a masked array; fill the mask with a label and ignore it: {side}.filled(255)"
        raise ArrayError(message)


def require_same_shape(truth: Shaped, pred: Shaped) -> None:
    """Refuse shapes that differ: nothing is broadcast, resized or cut.

    Raises:
        ShapeError: the shapes differ.
    """
    if truth.shape != pred.shape:
        message = f"truth has shape {truth.shape} and pred has shape {pred.shape}; they must be equal"
        if len(truth.shape) != len(pred.shape):
            message += "; scores or one-hot vectors become class ids by argmax over the class axis"
        raise ShapeError(message)
