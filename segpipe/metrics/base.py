"""The record of a metric, and the registry that finds it."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.metrics.areas import ClassAreas
from segpipe.registry import Registry

FloatArray = NDArray[np.float64]
MetricFunction = Callable[[ClassAreas], FloatArray]
Undefined = Literal["worst", "left out"]
Over = Literal["pixels", "truth classes"]

ALWAYS = ("iou", "pixel_accuracy")
"""The metrics that every scoring computes: the headline, and what the worst images are listed with."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A function of class areas, and what tests, reports and plots must know of it.

    Attributes:
        name: the word for programs, `iou`.
        title: the words for people, `IoU`.
        per_class: the function gives (..., K); its mean over the classes is derived as `mean_<name>`.
            Else it gives (...,), one figure of all classes together.
        best, minimum, maximum: the good end, and the range.
        formula: in the letters of METRICS: tp hit, t truth, p pred, u union, n valid pixels.
        nothing: what it is where there is nothing to score.
        source: where it was defined.
        undefined: what a class that occurs and has no value (0/0) does to a mean over classes: it scores
            the `worst` end of the range, or is `left out`.
        over: a figure of all classes runs over `pixels`, all of them; or over the `truth classes`, those in
            truth that `exclude_classes` does not name.
        main: it stands in the short tables of reports.
        by_image: tables keep it for every image and class, and it is also averaged over the worst images.
        function: the function; NaN where there is nothing to score, never 0 or -1.
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
    undefined: Undefined = "worst"
    over: Over = "pixels"
    main: bool = False
    by_image: bool = False
    function: MetricFunction

    @property
    def worst(self) -> float:
        """The bad end of the range, the one that is farther from the best."""
        return self.maximum if self.maximum - self.best > self.best - self.minimum else self.minimum

    @property
    def penalty(self) -> float:
        """What a class scores that occurs and has no value; NaN if it is left out of means."""
        return self.worst if self.undefined == "worst" and math.isfinite(self.worst) else math.nan

    @property
    def direction(self) -> str:
        """Which end is good, in words."""
        if self.minimum < self.best < self.maximum:
            return f"nearer to {self.best:g} is better"
        return "higher is better" if self.best > self.minimum else "lower is better"

    @property
    def exclusion(self) -> str:
        """What `exclude_classes` does to it, in words."""
        if self.per_class:
            return "excluded classes keep their own scores and are left out of every mean over classes"
        if self.over == "truth classes":
            return "excluded classes are left out"
        return "exclude_classes does not change it: it is no mean over classes"

    @property
    def averages(self) -> tuple[str, ...]:
        """The names of the aggregates that are derived from it.

        >>> METRICS["mcc"].averages
        ('mcc', 'mcc_per_image')
        """
        pooled = f"mean_{self.name}" if self.per_class else self.name
        names = [pooled, f"{pooled}_per_image"] + [f"{pooled}_per_image_class"] * self.per_class
        worst = [f"{name}_worst" for name in names[1:]] * self.by_image
        return (*names, *worst)

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or self.title).partition("\n")[0]

    def document(self) -> dict[str, Any]:
        """The record as plain data; an end of the range that is infinite is None."""
        ends = {name: getattr(self, name) for name in ("best", "minimum", "maximum")}
        texts = ("name", "title", "formula", "direction", "nothing", "source", "exclusion", "summary")
        return {
            **{name: getattr(self, name) for name in texts},
            **{name: end if math.isfinite(end) else None for name, end in ends.items()},
            "per_class": self.per_class,
            "averages": list(self.averages),
        }


def _modules() -> tuple[str, ...]:
    folder = Path(__file__).parent / "defined"
    return tuple(f"segpipe.metrics.defined.{module.name}" for module in pkgutil.iter_modules([str(folder)]))


METRICS: Registry[Metric] = Registry("metric", _modules())
"""Every metric by name. A new one is a new file in `segpipe/metrics/defined/`, or an entry point."""


def metric(**record: Any) -> Callable[[MetricFunction], MetricFunction]:
    """A decorator that files a function of class areas as a metric under the function's own name.

    Args:
        record: the other attributes of `Metric`.
    """

    def file(function: MetricFunction) -> MetricFunction:
        name = function.__name__
        METRICS.register(name)(Metric(name=name, function=function, **record))
        return function

    return file


def chosen_metrics(names: Sequence[str] | None) -> list[Metric]:
    """The metrics of these names and those that are always there, main ones first; None means all.

    Raises:
        ConfigError: there is no such metric.

    >>> [one.name for one in chosen_metrics(["mcc"])]
    ['iou', 'pixel_accuracy', 'mcc']
    """
    wanted = METRICS if names is None else dict.fromkeys((*ALWAYS, *names))
    return sorted((METRICS[name] for name in wanted), key=lambda one: (not one.main, not one.per_class))


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
