"""Weights of images: metadata that multiply counts when they are scored, and are never part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, InputError, Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.weighted import UNIT_BITS
from segpipe.metrics.sums import WEIGHT_BITS, cut_products

SMALLEST, LARGEST = 1e-100, 1e100
"""Weights that are not 0."""

SUM_BITS = 62
"""Of the sum of all weighted counts; where there are very many pixels, weights have fewer places."""


@dataclass(frozen=True, eq=False)
class ImageWeights:
    """Weights in fixed point, so that weighted sums are sums of integers too.

    A weight is rounded once, to a multiple of 2^-s of the smallest power of two above all weights, s = 30, or
    less if the dataset has more than 2^32 pixels. As scores are ratios, the power of two cancels out.

    Where pixels have weights, counts are sums of these in units of 2^-30, and too large to be multiplied:
    then s is 30, and of the exact products as many of the last bits are cut off as their sum has too many.

    Attributes:
        units: int64 (image,); the weights as integers.
        per_pixel: what a pixel of weight 1 counts as, a power of two.
        cut_bits: how many of the last bits of a product are cut off.

    >>> weights = ImageWeights.of(np.array([0.5, 1.5, 0.0]), pixels=1000)
    >>> weights.units / weights.per_pixel
    array([0.5, 1.5, 0. ])
    """

    units: NDArray[np.int64]
    per_pixel: float
    cut_bits: int = 0

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

    @classmethod
    def of_weighted_pixels(cls, values: NDArray[Any] | None, images: int, weight: float) -> ImageWeights:
        """Weights of images of which the pixels have weights, too.

        Args:
            values: (image,), as for `of`; None: all images weigh alike.
            images: how many there are.
            weight: the sum of the weights of all pixels.

        >>> alike = ImageWeights.of_weighted_pixels(None, 1, weight=12.0)
        >>> cells = ConfusionCells.from_dense(np.full((1, 3, 3), 3 << 30))
        >>> float(alike.weighed(cells, 0).counts[0] / alike.per_pixel)
        3.0
        """
        above, units = 0, np.full(images, 1 << WEIGHT_BITS)
        if values is not None:
            above = int(np.frexp(values.astype(np.float64).max())[1])
            units = np.rint(np.ldexp(values.astype(np.float64), WEIGHT_BITS - above)).astype(np.int64)
        # One bit more, for the sum of weights is rounded, and what is cut off is never all.
        bits = int(np.frexp(weight)[1]) + 1 + UNIT_BITS + WEIGHT_BITS
        cut = max(0, bits - SUM_BITS)
        return cls(units, float(np.ldexp(1.0, UNIT_BITS + WEIGHT_BITS - above - cut)), cut)

    def weighed(self, cells: ConfusionCells, start: int) -> ConfusionCells:
        """The matrices of the images `start`, `start` + 1, ..., each times its weight."""
        units = self.units[start : start + len(cells)]
        if not self.cut_bits:
            return cells.times(units)
        factors = np.repeat(units, np.diff(cells.offsets))
        products = cut_products(cells.counts, factors, self.cut_bits)
        # What has a weight still occurs, however little that is.
        products = np.maximum(products, (cells.counts > 0) & (factors > 0))
        return ConfusionCells(cells.num_classes, cells.offsets, cells.cells, products)


@dataclass(frozen=True, eq=False)
class WeightUnits:
    """Weights of images as whole numbers of one power of two, so that the largest has 30 bits.

    Attributes:
        units: int64 (image,), 0 to 2^30.
        step_bits: a weight of 1 is 2^step_bits units.

    >>> weights = WeightUnits.of(np.array([0.5, 1.5, 0.0]))
    >>> (weights.units / 2.0**weights.step_bits).tolist()
    [0.5, 1.5, 0.0]
    """

    units: NDArray[np.int64]
    step_bits: int

    @classmethod
    def of(cls, values: NDArray[Any]) -> WeightUnits:
        """From values (image,) that `check_weights` has passed."""
        weights = values.astype(np.float64)
        step_bits = WEIGHT_BITS - int(np.frexp(weights.max(initial=1e-300))[1])
        return cls(np.rint(np.ldexp(weights, step_bits)).astype(np.int64), step_bits)


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
