"""The record of a metric, and the registry that finds it."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.metrics.areas import ClassAreas
from segpipe.registry import Registry

FloatArray = NDArray[np.float64]
MetricFunction = Callable[[ClassAreas], FloatArray]


@dataclass(frozen=True)
class Metric:
    """A function of class areas, and what tests, reports and plots must know of it.

    Attributes:
        name: the word for programs, `iou`.
        title: the words for people, `IoU`.
        per_class: the function gives (..., K); its mean over the classes is derived as `mean_<name>`.
            Else it gives (...,), one figure of all classes together.
        best, minimum, maximum: the good end, and the range.
        formula: in the letters of METRICS: tp hit, t truth, p pred, u union, n valid pixels.
        function: the function; NaN where there is nothing to score, never 0 or -1.
    """

    name: str
    title: str
    per_class: bool
    best: float
    minimum: float
    maximum: float
    formula: str
    function: MetricFunction

    @property
    def worst(self) -> float:
        """The bad end of the range: what a class scores that occurs and has no value (0/0)."""
        return self.maximum if self.best == self.minimum else self.minimum

    @property
    def direction(self) -> str:
        """Which end is good, in words."""
        return "higher is better" if self.best > self.minimum else "lower is better"

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or self.title).partition("\n")[0]


def _modules() -> tuple[str, ...]:
    folder = Path(__file__).parent / "defined"
    return tuple(f"segpipe.metrics.defined.{module.name}" for module in pkgutil.iter_modules([str(folder)]))


METRICS: Registry[Metric] = Registry("metric", _modules())
"""Every metric by name. A new one is a new file in `segpipe/metrics/defined/`, or an entry point."""


def metric(
    *,
    title: str,
    formula: str,
    per_class: bool,
    best: float = 1.0,
    minimum: float = 0.0,
    maximum: float = 1.0,
) -> Callable[[MetricFunction], MetricFunction]:
    """A decorator that files a function of class areas as a metric under the function's own name."""

    def file(function: MetricFunction) -> MetricFunction:
        name = function.__name__
        METRICS.register(name)(Metric(name, title, per_class, best, minimum, maximum, formula, function))
        return function

    return file


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
