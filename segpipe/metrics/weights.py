"""Weights of images: metadata that multiply counts when they are scored, and are never part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, InputError, Problem
from segpipe.metrics.sums import WEIGHT_BITS

SMALLEST, LARGEST = 1e-100, 1e100
"""Weights that are not 0."""

SUM_BITS = 62
"""Of the sum of all weighted counts; where there are very many pixels, weights have fewer places."""


@dataclass(frozen=True, eq=False)
class ImageWeights:
    """Weights in fixed point, so that weighted sums are sums of integers too.

    A weight is rounded once, to a multiple of 2^-s of the smallest power of two above all weights, s = 30, or
    less if the dataset has more than 2^32 pixels. As scores are ratios, the power of two cancels out.

    Attributes:
        units: int64 (image,); the weights as integers.
        per_pixel: what a pixel of weight 1 counts as, a power of two.

    >>> weights = ImageWeights.of(np.array([0.5, 1.5, 0.0]), pixels=1000)
    >>> weights.units / weights.per_pixel
    array([0.5, 1.5, 0. ])
    """

    units: NDArray[np.int64]
    per_pixel: float

    @classmethod
    def of(cls, values: NDArray[Any], *, pixels: int) -> ImageWeights:
        """Weights from values that `check_weights` has passed.

        Args:
            values: (image,), finite, none negative, one positive.
            pixels: of all images, in the units that they were counted in.
        """
        weights = values.astype(np.float64)
        _, above = np.frexp(weights.max())
        places = min(WEIGHT_BITS, SUM_BITS - int(pixels).bit_length())
        # Powers of two are exact: only `rint` rounds.
        units = np.rint(np.ldexp(weights, places - int(above))).astype(np.int64)
        return cls(units, float(np.ldexp(1.0, places - int(above))))


def check_weights(name: str, columns: Mapping[str, NDArray[Any]], ids: Sequence[str]) -> NDArray[Any]:
    """The column of weights (image,), if every weight is one.

    Args:
        name: of the column.
        columns: metadata column -> values (image,).
        ids: (image,).

    Raises:
        ConfigError: there is no such column, it holds text, or every weight is 0.
        InputError: weights that are negative, not finite or beyond bounds; all images are listed.
    """
    if name not in columns:
        near = get_close_matches(name, list(columns), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(columns) or "none"
        message = f"image_weights: no metadata column {name!r}; there are: {known}{hint}"
        raise ConfigError(message)
    values = columns[name]
    if values.dtype.kind not in "iufb":
        message = f"image_weights: the column {name!r} holds text; weights are numbers"
        raise ConfigError(message)
    weights = values.astype(np.float64)
    bad = np.flatnonzero(~((weights == 0) | ((weights >= SMALLEST) & (weights <= LARGEST))))
    if len(bad):
        raise InputError(
            Problem(
                kind="image weight",
                image=ids[int(image)],
                found=f"{weights[image]:g} in the column {name!r}",
                expected=f"0, or a number from {SMALLEST:g} to {LARGEST:g}",
                advice="mend the weights; 0 leaves an image out of all figures",
            )
            for image in bad
        )
    if len(ids) and not weights.any():
        message = f"image_weights: every weight in the column {name!r} is 0, so there is nothing to score"
        raise ConfigError(message)
    return values
