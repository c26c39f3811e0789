"""Stored scores as probabilities of every class, a strip of pixels at a time."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]

STRIP_BYTES = 128 << 10
"""Of probabilities that are made together: they stay in the cache of the CPU until they are used."""


def probability_strips(
    scores: NDArray[Any], representation: str, num_classes: int
) -> Iterator[tuple[slice, Probabilities]]:
    """The probabilities of the pixels of one image, in the order of rows.

    The same on every CPU, to the last bit, and however the image is cut.

    Args:
        scores: floats (channel, *space), any strides, as they are stored: of `logits` and `probabilities` a
            channel for every class, of `binary` one, that of class 1.
        representation: which of the three; logits go through softmax. Numbers below 0 and above 1 count as
            0 and 1.
        num_classes: K.

    Yields:
        Which pixels, and their probabilities, float64 (K, pixel), which the next strip overwrites. NaN stays.

    >>> [(_, values)] = probability_strips(np.array([[0.25, 1.5]]), "binary", 2)
    >>> values.tolist()
    [[0.75, 0.0], [0.25, 1.0]]
    """
    if scores.ndim > 3:
        # A plane is always a view; planes that are put together may be a copy of everything.
        for plane in range(scores.shape[1]):
            first = plane * prod(scores.shape[2:])
            for pixels, values in probability_strips(scores[:, plane], representation, num_classes):
                yield slice(first + pixels.start, first + pixels.stop), values
        return
    rows = scores.reshape(len(scores), -1, scores.shape[-1])
    columns = rows.shape[2]
    strip_px = max(64, STRIP_BYTES // (8 * num_classes))
    many = max(1, strip_px // max(1, columns))
    for top in range(0, rows.shape[1], many):
        bottom = min(top + many, rows.shape[1])
        for left in range(0, columns, strip_px):
            right = min(left + strip_px, columns)
            part = rows[:, top:bottom, left:right].reshape(len(scores), -1)
            yield slice(top * columns + left, (bottom - 1) * columns + right), _made(part, representation)


def _made(scores: NDArray[Any], representation: str) -> Probabilities:
    if representation == "logits":
        return _softmax(np.array(scores, np.float64, order="C"))
    values: Probabilities = np.clip(np.asarray(scores, np.float64), 0.0, 1.0)
    return np.concatenate([1.0 - values, values]) if representation == "binary" else values


def _softmax(logits: Probabilities) -> Probabilities:
    from segpipe.kernels import _softmax  # Numba is loaded here and nowhere earlier.

    _softmax.softmax(logits, *np.empty((2, logits.shape[1])))
    return logits
