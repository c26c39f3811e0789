"""The record of a statistic: what it sums over pixels, and what must be read and held for it."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import ValidationError, field_validator

from segpipe.config import StatisticConfig
from segpipe.errors import ConfigError
from segpipe.mistakes import mistakes
from segpipe.registry import Registry
from segpipe.statistics.figures import Figure, FloatArray
from segpipe.values import Frozen

Counts = dict[str, NDArray[np.int64]]
"""Name of a field -> int64 (image, *shape of the field)."""

Scope = Literal["pixel", "halo", "image"]
"""What a pixel's part in a statistic depends on: the pixel alone, pixels around it, the whole image."""

Need = Literal["scores", "other"]

WEIGHTS_OF_PIXELS = "a pixel of weight 0 takes no part, and all others count alike, whatever their weight"
"""What the weights of pixels are to every statistic (docs/decisions/0007)."""

NAME = r"[a-z0-9][a-z0-9_]{0,39}"
"""What a statistic may be named: it becomes part of the names of arrays and columns."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One array of sums of every image.

    Attributes:
        name, meaning: for programs and for people.
        dims: the names of its dimensions: `class` for the K classes, others as the statistic likes (`bin`).
        shape: their lengths.
        step_bits: the sums are whole numbers of 2^-step_bits; 0 where pixels or objects are counted.
        units: what 1 is, `pixel` or `1`.
        largest: what one pixel adds at most, in real units.
    """

    name: str
    meaning: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    step_bits: int = 0
    units: str = "1"
    largest: int = 1

    @property
    def most_pixels(self) -> int:
        """Of how many pixels an image may be so that its sums fit into int64, whatever is in it.

        >>> Field(name="a", meaning="", dims=(), shape=(), step_bits=30, largest=37).most_pixels
        232160394
        """
        return (2**63 - 1) // (self.largest << self.step_bits)

    @property
    def unit(self) -> str:
        """What its whole numbers are multiples of, in words.

        >>> Field(name="a", meaning="", dims=(), shape=(), step_bits=30).unit
        '2^-30'
        """
        step = [f"2^-{self.step_bits}"] if self.step_bits else []
        return " ".join([*step, *(["pixels"] if self.units == "pixel" else [])]) or "1"

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


class Statistic(Frozen):
    """What is summed over the pixels of each image, beside the confusion matrix.

    A statistic is a subclass; its fields are its parameters, which stand in the configuration beside `kind`,
    and are part of the key of what was counted. It is registered with `STATISTICS.register(kind)`.

    Where a run counts one kind twice, with other parameters, `name` tells the two apart: it is appended to
    the names of all its figures and sums, and is no part of a key.

    Attributes:
        kind: what programs call it; set by the registration.
        title: for people.
        source: where it was defined.
        version: of its counting; another one makes all its partial counts stale.
        scope: see `Scope`. Of `pixel`, counts of parts of an image add up to those of the image, and parts
            are what `count` is given; else it is given whole images (with `halo`: with the pixels around).
        needs: `scores` (a prediction stored as logits, probabilities or binary; scope `pixel` only),
            `other` (a second prediction).
        exact: the counts are the same on every CPU; not so where terms go through exp or log, of which the
            last digits may differ.
        metrics: what is computed from the sums; `records` has them under the names of this one.
    """

    kind: ClassVar[str] = ""
    title: ClassVar[str]
    source: ClassVar[str]
    version: ClassVar[int] = 1
    scope: ClassVar[Scope] = "pixel"
    needs: ClassVar[frozenset[Need]] = frozenset()
    exact: ClassVar[bool] = True
    metrics: ClassVar[tuple[StatisticMetric, ...]] = ()

    name: str = Setting(default="", exclude=True)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name and not re.fullmatch(NAME, name):
            message = "input should be small letters, digits and _, at most 40, such as 5px"
            raise ValueError(message)
        return name

    @property
    def full_name(self) -> str:
        """What it is called in a run: its kind, and its name if it has one."""
        return self.named(self.kind)

    @property
    def full_title(self) -> str:
        """The same for people."""
        return f"{self.title} ({self.name})" if self.name else self.title

    def named(self, word: str) -> str:
        """The name of a figure or of sums of this one."""
        return f"{word}_{self.name}" if self.name else word

    @property
    def records(self) -> tuple[StatisticMetric, ...]:
        """Its metrics, under the names that they have in a run."""
        if not self.name:
            return self.metrics
        return tuple(
            replace(one, name=self.named(one.name), title=f"{one.title} ({self.name})")
            for one in self.metrics
        )

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
        return {name: one.name for one in self.records for name in (one.name, *one.averages)}

    @property
    def array_names(self) -> list[str]:
        """The names of all arrays and columns of results that are its own."""
        sums = [stored_field(self.full_name, field.name) for field in self.fields(1)]
        ends = [f"{one.name}_{end}" for one in self.records for end in ("low", "high")]
        images = [f"image_{one.pooled_name}" for one in self.records]
        return [*sums, *(f"{name}_total" for name in sums), *self.figures, *ends, *images]

    def document(self) -> dict[str, Any]:
        """Kind, name, version and parameters as plain data."""
        given = {"kind": self.kind, "name": self.name, "version": self.version}
        return {**given, "parameters": self.model_dump(mode="json")}

    def config(self) -> StatisticConfig:
        """What a configuration says to have it."""
        return StatisticConfig.model_validate(
            {**self.model_dump(mode="json"), "kind": self.kind, "name": self.name}
        )

    def image_bytes(self, num_classes: int) -> int:
        """What is kept of an image."""
        return sum(8 * prod(field.shape) for field in self.fields(num_classes))


def stored_field(statistic: str, field: str) -> str:
    """The name of the array that holds a field of a statistic, given the full name of that."""
    return f"{statistic}_{field}"


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
        ConfigError: there is no such statistic, a parameter is wrong, or two cannot be told apart; all are
            told.

    >>> given = "soft_overlap", {"kind": "calibration"}, {"kind": "calibration", "name": "fine", "bins": 99}
    >>> [one.full_name for one in chosen_statistics(list(map(StatisticConfig.model_validate, given)))]
    ['soft_overlap', 'calibration', 'calibration_fine']
    """
    made: dict[str, Statistic] = {}
    wrong: list[str] = []
    for at, one in enumerate(settings):
        key = f"statistics.{at}"
        try:
            made[key] = STATISTICS[one.kind](**one.options())
        except ValidationError as error:
            wrong += mistakes(error, STATISTICS[one.kind], f"{key} ({one.kind})")
        except ConfigError as error:
            wrong.append(f"{key}: {error}")
    wrong += _mixed_up(made)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return tuple(made.values())


def _mixed_up(made: Mapping[str, Statistic]) -> Iterator[str]:
    """What is wrong with statistics that are one and the same, or that give one name to two things."""
    owners: dict[str, str] = {}
    seen: list[tuple[str, Statistic]] = []
    for key, one in made.items():
        for other, before in seen:
            if one.identity == before.identity:
                yield f"{key}: is the same as {other}: {one.kind} with the same parameters; leave one out"
                break
        else:
            names = list(dict.fromkeys([one.full_name, *one.array_names]))
            taken = next((name for name in names if name in owners), None)
            if taken == one.kind == one.full_name:
                yield (
                    f"{key}: {one.kind} is there already ({owners[taken]}); give one of them a name, which "
                    "is appended to the names of its figures: {kind: " + one.kind + ", name: other, ...}"
                )
            elif taken is not None:
                yield f"{key}.name: {taken} is a name of {owners[taken]} already; choose another one"
            owners.update(dict.fromkeys(names, key))
        seen.append((key, one))


def joined(parts: Sequence[Counts]) -> Counts:
    """The counts of the images of several parts, one after the other; at least one part."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def real_values(counts: Mapping[str, NDArray[np.int64]], fields: Sequence[Field]) -> dict[str, FloatArray]:
    """Sums in real units, float64, rounded once.

    >>> half = Field(name="a", meaning="", dims=(), shape=(), step_bits=1)
    >>> real_values({"a": np.array([3])}, [half])
    {'a': array([1.5])}
    """
    return {one.name: np.ldexp(counts[one.name].astype(np.float64), -one.step_bits) for one in fields}
