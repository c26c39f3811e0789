"""Figures: what a reader must know of one, and the quotient that most of them are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, and what tests, reports and plots must know of it.

    Attributes:
        name: the word for programs, `iou`.
        title: the words for people, `IoU`.
        per_class: there is one for every class, (..., K), and its mean over the classes is derived as
            `mean_<name>`. Else it is (...,), one figure of all classes together.
        best, minimum, maximum: the good end, and the range.
        formula: in the letters of its home.
        nothing: what it is where there is nothing to score.
        source: where it was defined.
    """

    name: str
    title: str
    per_class: bool
    formula: str
    nothing: str
    source: str
    best: float = 1.0
    minimum: float = 0.0
    maximum: float = 1.0

    @property
    def direction(self) -> str:
        """Which end is good, in words."""
        if self.minimum < self.best < self.maximum:
            return f"nearer to {self.best:g} is better"
        return "higher is better" if self.best > self.minimum else "lower is better"

    @property
    def averages(self) -> tuple[str, ...]:
        """The names of the aggregates that are derived from it: of the whole, and the mean over images."""
        return self.pooled_name, f"{self.pooled_name}_per_image"

    @property
    def lower_is_better(self) -> bool:
        """Whether the highest values are the worst."""
        return self.direction == "lower is better"

    def document(self) -> dict[str, Any]:
        """The record as plain data; an end of the range that is infinite is None."""
        ends = {name: getattr(self, name) for name in ("best", "minimum", "maximum")}
        texts = ("name", "title", "formula", "direction", "nothing", "source")
        return {
            **{name: getattr(self, name) for name in texts},
            **{name: end if math.isfinite(end) else None for name, end in ends.items()},
            "per_class": self.per_class,
        }

    @property
    def pooled_name(self) -> str:
        """The name of the figure of the whole: its own, or that of the mean over classes."""
        return f"mean_{self.name}" if self.per_class else self.name


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """The quotient in float64, NaN where the denominator is 0: no epsilon, so that perfect is exactly 1.

    >>> ratio([1, 0, 3], [2, 0, 3])
    array([0.5, nan, 1. ])
    """
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    # The NaN is written, not computed: 0/0 has the sign bit set on some CPUs, and stored bytes would differ.
    quotient = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
