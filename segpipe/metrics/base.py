"""The record of a metric, and the registry that finds it."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segpipe.metrics.areas import ClassAreas
from segpipe.registry import Registry
from segpipe.statistics.figures import Figure, FloatArray, ratio

__all__ = ["ALWAYS", "METRICS", "FloatArray", "Metric", "chosen_metrics", "metric", "ratio"]

MetricFunction = Callable[[ClassAreas], FloatArray]
Undefined = Literal["worst", "left out"]
Over = Literal["pixels", "truth classes"]

ALWAYS = ("iou", "pixel_accuracy")
"""The metrics that every scoring computes: the headline, and what the worst images are listed with."""


@dataclass(frozen=True, kw_only=True)
class Metric(Figure):
    """A function of class areas.

    Attributes:
        formula: in the letters of METRICS: tp hit, t truth, p pred, u union, n valid pixels.
        undefined: what a class that occurs and has no value (0/0) does to a mean over classes: it scores
            the `worst` end of the range, or is `left out`.
        over: a figure of all classes runs over `pixels`, all of them; or over the `truth classes`, those in
            truth that `exclude_classes` does not name.
        main: it stands in the short tables of reports.
        by_image: tables keep it for every image and class, and it is also averaged over the worst images.
        function: the function; NaN where there is nothing to score, never 0 or -1.
    """

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
        pooled = self.pooled_name
        names = [pooled, f"{pooled}_per_image"] + [f"{pooled}_per_image_class"] * self.per_class
        worst = [f"{name}_worst" for name in names[1:]] * self.by_image
        return (*names, *worst)

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or self.title).partition("\n")[0]

    def document(self) -> dict[str, Any]:
        """The record as plain data; an end of the range that is infinite is None."""
        more = {"exclusion": self.exclusion, "summary": self.summary, "averages": list(self.averages)}
        return {**super().document(), **more}


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
