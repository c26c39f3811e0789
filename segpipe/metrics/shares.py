"""The confusion matrix in shares of the pixels of a row, of a column, or of all."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from segpipe.errors import ConfigError
from segpipe.metrics.base import FloatArray, ratio

By = Literal["truth", "pred", "all"]


def confusion_shares(matrix: ArrayLike, by: By = "truth") -> FloatArray:
    """A confusion matrix, normalised.

    Args:
        matrix: int64 (..., S, S), row = truth code, column = pred code; the extended one, or a part of it.
        by: `truth`, every row adds up to 1 (the diagonal is recall); `pred`, every column (precision); `all`,
            the whole matrix.

    Returns:
        float64 (..., S, S); NaN where there is nothing to take a share of.

    Raises:
        ConfigError: another word for `by`.

    >>> confusion_shares([[3, 1], [0, 0]])
    array([[0.75, 0.25],
           [ nan,  nan]])
    >>> confusion_shares([[3, 1], [0, 0]], by="pred").tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    if by not in get_args(By):
        message = f"by: found {by!r}, expected one of {', '.join(get_args(By))}"
        raise ConfigError(message)
    every = np.asarray(matrix, np.int64)
    axes = {"truth": (-1,), "pred": (-2,), "all": (-2, -1)}[by]
    return ratio(every, every.sum(axis=axes, keepdims=True))
