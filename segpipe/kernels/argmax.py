"""Label maps out of logits and probabilities: the channel of the largest value, and no copy of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels._layout import Walk, walk

NOT_A_NUMBER = -2
"""The label of a pixel with NaN in a channel."""

NO_PROBABILITY = -3
"""The label of a pixel whose largest value lies outside of [0, 1]."""

PROBABILITY_SLACK = 2.0**-10
"""By so much a probability may leave [0, 1]: that is one step of float16 above 1."""

PACKED_BYTES = 256 << 10
"""Of pixels that must be put in order first, so many bytes are copied at a time, and 64 pixels at least."""


def argmax_labels(
    scores: NDArray[Any],
    class_axis: int,
    *,
    probabilities: bool = False,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """The channel of the largest value of every pixel; the first of those that are equal.

    Args:
        scores: float16, float32 or float64, any byte order, any strides; one axis is that of the classes.
        class_axis: which; negative numbers count from the end.
        probabilities: also look whether the largest value of a pixel can be a probability. Others are not
            looked at, nor are sums: they change no label, and what the model gave is not ours to judge.
        out: int32 with the shape of the pixels, to be written to.

    Returns:
        int32, the shape of `scores` without the class axis: channel numbers, `NOT_A_NUMBER` where some
        channel is NaN, `NO_PROBABILITY` where the largest value lies outside of [0, 1] by more than
        `PROBABILITY_SLACK`. Infinities are numbers, -0.0 equals 0.0.

    Raises:
        ArrayError: the dtype is none of these, or there is no class.
        ShapeError: `out` has another shape.

    >>> argmax_labels(np.array([[0.5, 0.5], [-1.0, np.inf], [np.nan, 2.0]]), class_axis=-1)
    array([ 0,  1, -2], dtype=int32)
    """
    _require_scores(scores, class_axis)
    channels = np.moveaxis(scores, class_axis, 0)
    labels = np.empty(channels.shape[1:], np.int32) if out is None else out
    if labels.shape != channels.shape[1:] or labels.dtype != np.int32:
        message = f"labels have shape {labels.shape}, {labels.dtype}; expected {channels.shape[1:]}, int32"
        raise ShapeError(message)
    if labels.size:
        way = walk(channels[np.newaxis, 0, ...], labels[np.newaxis])
        _label(channels, way, _bounds(channels.dtype, probabilities))
    return labels


def _require_scores(scores: NDArray[Any], class_axis: int) -> None:
    if scores.dtype.kind != "f" or scores.dtype.itemsize not in (2, 4, 8):
        message = f"scores have dtype {scores.dtype}, expected float16, float32 or float64"
        raise ArrayError(message)
    if not -scores.ndim <= class_axis < scores.ndim or scores.shape[class_axis] == 0:
        message = f"scores of shape {scores.shape} have no class along axis {class_axis}"
        raise ArrayError(message)


def _bounds(dtype: np.dtype[Any], probabilities: bool) -> tuple[int, int]:
    """The keys (see `segpipe.kernels._argmax`) between which the largest value of a pixel must lie."""
    low, high = (-PROBABILITY_SLACK, 1 + PROBABILITY_SLACK) if probabilities else (-np.inf, np.inf)
    native = dtype.newbyteorder("=")
    keys = [int(np.array(abs(bound), native).view(f"i{dtype.itemsize}")) for bound in (low, high)]
    return -keys[0], keys[1]


def _label(channels: NDArray[Any], way: Walk, bounds: tuple[int, int]) -> None:
    from segpipe.kernels import _argmax  # Numba is loaded here and nowhere earlier.
    from segpipe.kernels._scratch import address

    size, num_channels, channel_step = channels.itemsize, len(channels), channels.strides[0]
    method = _method(channels, way)
    packed_px = max(64, PACKED_BYTES // (size * num_channels) // 64 * 64) if method == _argmax.PACKED else 0
    packed_px = min(packed_px, _argmax.STRIP)
    packed = np.zeros(packed_px * num_channels * size, np.uint8)
    strips = np.zeros((2, _argmax.STRIP * size), np.uint8)
    folded = np.zeros((2, _argmax.VECTOR_BYTES // size, _argmax.VECTOR_BYTES), np.uint8)
    score_at, _, score_step = way.truth
    label_at, _, label_step = way.pred
    swapped = not channels.dtype.isnative
    _argmax.argmax(
        size,
        _argmax.Scores(score_at, num_channels, channel_step, swapped, method, *bounds),
        _argmax.Grid(address(way.rows), len(way.rows), way.columns, score_step, label_step),
        _argmax.Scratch(address(strips[0]), address(strips[1]), address(folded), address(packed), packed_px),
        _argmax.Labels(label_at, NOT_A_NUMBER, NO_PROBABILITY),
    )


def _method(channels: NDArray[Any], way: Walk) -> int:
    """How the channels of neighbouring pixels lie in memory."""
    from segpipe.kernels import _argmax

    size = channels.itemsize
    if channels.dtype.isnative and channels.strides[0] == size:
        return _argmax.ROWS
    contiguous = way.truth[2] == size and way.columns * size >= _argmax.VECTOR_BYTES
    return _argmax.PLANES if channels.dtype.isnative and contiguous else _argmax.PACKED
