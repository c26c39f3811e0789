"""The record of a statistic: what it sums over pixels, and what must be read and held for it."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from segpipe.config import StatisticConfig, mistakes
from segpipe.errors import ConfigError
from segpipe.registry import Registry
from segpipe.statistics.figures import Figure, FloatArray
from segpipe.values import Frozen

Counts = dict[str, NDArray[np.int64]]
"""Name of a field -> int64 (image, *shape of the field)."""

Scope = Literal["pixel", "halo", "image"]
"""What a pixel's part in a statistic depends on: the pixel alone, pixels around it, the whole image."""

Need = Literal["scores", "other"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One array of sums of every image.

    Attributes:
        name, meaning: for programs and for people.
        dims: the names of its dimensions: `class` for the K classes, others as the statistic likes (`bin`).
        shape: their lengths.
        step_bits: the sums are whole numbers of 2^-step_bits; 0 where pixels or objects are counted.
        units: what 1 is, `pixel` or `1`.
    """

    name: str
    meaning: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    step_bits: int = 0
    units: str = "1"

    @classmethod
    def of_classes(
        cls, num_classes: int, name: str, meaning: str, *, step_bits: int = 0, units: str = "pixel"
    ) -> Field:
        """One sum for every class."""
        sized: Any = {"dims": ("class",), "shape": (num_classes,)}
        return cls(name=name, meaning=meaning, step_bits=step_bits, units=units, **sized)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of some images of one size, as statistics see them.

    Label values are codes: 0..K-1 the classes, K no class (*ignored* in truth, *void* in a prediction), K + 1
    *invalid*. A pixel takes part where its truth is a class. Where pred is no class its scores mean nothing.

    Attributes:
        num_classes: K.
        truth, pred: integers (image, *space); *space* is (y, x) or (z, y, x).
        scores: float (image, K, *space), as they are stored, the channels in the order of the classes; binary
            scores are (image, 1, *space), of class 1. None: nobody needs them.
        representation: what the scores are, `logits`, `probabilities` or `binary`; empty without scores.
        other: codes of a second prediction, like pred. None: nobody needs it.
        core: one slice for each axis of space: the pixels to be counted. What lies around them is the halo;
            it may be ignored or void, and its pixels are counted elsewhere.
    """

    num_classes: int
    truth: NDArray[np.integer[Any]]
    pred: NDArray[np.integer[Any]]
    scores: NDArray[np.floating[Any]] | None = None
    representation: str = ""
    other: NDArray[np.integer[Any]] | None = None
    core: tuple[slice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StatisticMetric(Figure):
    """A function of the summed fields of a statistic.

    Attributes:
        function: field name -> float64 (..., *shape), in real units and not in steps; gives (..., K) or
            (...,), NaN where there is nothing to score, never 0 or -1. Vectorised over the leading dims:
            one function for the dataset, an image, a slice of images.
    """

    function: Callable[[Mapping[str, FloatArray]], FloatArray]

    @property
    def pooled_title(self) -> str:
        """The words for the figure of the whole."""
        return f"Mean {self.title}" if self.per_class else self.title

    @property
    def averages(self) -> tuple[str, str]:
        """The names of the aggregates that are derived from it."""
        return self.pooled_name, f"{self.pooled_name}_per_image"


class Statistic(Frozen):
    """What is summed over the pixels of each image, beside the confusion matrix.

    A statistic is a subclass; its fields are its parameters, which stand in the configuration beside `kind`,
    and are part of the key of what was counted. It is registered with `STATISTICS.register(kind)`.

    Attributes:
        kind: its name for programs; set by the registration.
        title: for people.
        source: where it was defined.
        version: of its counting; another one makes all its partial counts stale.
        scope: see `Scope`. Of `pixel`, counts of parts of an image add up to those of the image, and parts
            are what `count` is given; else it is given whole images (with `halo`: with the pixels around).
        needs: `scores` (a prediction stored as logits, probabilities or binary; scope `pixel` only),
            `other` (a second prediction).
        exact: the counts are the same on every CPU; not so where terms go through exp or log, of which the
            last digits may differ.
        metrics: what is computed from the sums.
    """

    kind: ClassVar[str] = ""
    title: ClassVar[str]
    source: ClassVar[str]
    version: ClassVar[int] = 1
    scope: ClassVar[Scope] = "pixel"
    needs: ClassVar[frozenset[Need]] = frozenset()
    exact: ClassVar[bool] = True
    metrics: ClassVar[tuple[StatisticMetric, ...]] = ()

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """What is kept of every image."""
        raise NotImplementedError

    def count(self, pixels: Pixels) -> Counts:
        """The sums of every image, int64 (image, *shape) for each field: integers, so any cut adds up."""
        raise NotImplementedError

    def halo(self, size: tuple[int, ...] | None) -> int | None:
        """How far around a pixel others decide about it, px.

        Args:
            size: of the image, px; None: images are cut, so that their size says nothing.

        Returns:
            The width; None if it follows from the size alone, and there is none.
        """
        return 0

    def unfit(self, representation: str, dtype: np.dtype[Any]) -> str:
        """Why scores that are stored so cannot be counted, in words; empty if they can."""
        return ""

    def bytes_per_pixel(self, num_classes: int) -> int:
        """What `count` holds for each pixel that it is given, beside these."""
        return 16

    @property
    def identity(self) -> list[Any]:
        """Kind, version and parameters: what its part of a key is made from."""
        return [self.kind, self.version, json.dumps(self.model_dump(mode="json"), sort_keys=True)]

    @property
    def figures(self) -> dict[str, str]:
        """The names of its metrics and their aggregates -> the metric that each comes from."""
        return {name: one.name for one in self.metrics for name in (one.name, *one.averages)}

    def document(self) -> dict[str, Any]:
        """Kind, version and parameters as plain data."""
        return {"kind": self.kind, "version": self.version, "parameters": self.model_dump(mode="json")}

    def image_bytes(self, num_classes: int) -> int:
        """What is kept of an image."""
        return sum(8 * prod(field.shape) for field in self.fields(num_classes))


def _modules() -> tuple[str, ...]:
    folder = Path(__file__).parent / "defined"
    return tuple(
        f"segpipe.statistics.defined.{module.name}" for module in pkgutil.iter_modules([str(folder)])
    )


STATISTICS: Registry[type[Statistic]] = Registry("statistic", _modules())
"""Every statistic by kind. A new one is a new file in `segpipe/statistics/defined/`, or an entry point."""


def statistic(kind: str) -> Callable[[type[Statistic]], type[Statistic]]:
    """A decorator that files a subclass of `Statistic` under its kind."""

    def file(cls: type[Statistic]) -> type[Statistic]:
        cls.kind = kind
        return STATISTICS.register(kind)(cls)

    return file


def chosen_statistics(settings: Sequence[StatisticConfig]) -> tuple[Statistic, ...]:
    """The statistics that a configuration names, with their parameters.

    Raises:
        ConfigError: there is no such statistic, one is named twice, or a parameter is wrong; all are told.

    >>> chosen_statistics([StatisticConfig(kind="soft_overlap")])[0].kind
    'soft_overlap'
    """
    made: list[Statistic] = []
    wrong: list[str] = []
    for at, one in enumerate(settings):
        key = f"statistics.{at}"
        try:
            made.append(STATISTICS[one.kind](**one.options()))
        except ValidationError as error:
            wrong += mistakes(error, f"{key} ({one.kind})", STATISTICS[one.kind])
        except ConfigError as error:
            wrong.append(f"{key}: {error}")
    kinds = [one.kind for one in settings]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    wrong += [f"statistics: {kind!r} is named twice; each is counted once in a run" for kind in twice]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return tuple(made)


def real_values(counts: Mapping[str, NDArray[np.int64]], fields: Sequence[Field]) -> dict[str, FloatArray]:
    """Sums in real units, float64, rounded once.

    >>> half = Field(name="a", meaning="", dims=(), shape=(), step_bits=1)
    >>> real_values({"a": np.array([3])}, [half])
    {'a': array([1.5])}
    """
    return {one.name: np.ldexp(counts[one.name].astype(np.float64), -one.step_bits) for one in fields}
