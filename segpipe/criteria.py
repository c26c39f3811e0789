"""What is asked of scores beside the figures of the whole dataset: slices of it, intervals, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from segpipe.values import ClassRef, Frozen, Number

MAX_BINS = 1000


def _bins(value: Any) -> Any:
    """A number of bins, or edges; checked before pydantic tries the two forms one after the other."""
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= MAX_BINS:
        return value
    edges = [float(one) for one in value if _is_number(one)] if isinstance(value, (list, tuple)) else []
    if not 2 <= len(edges) <= MAX_BINS + 1 or len(edges) != len(value) or not _rising(edges):
        message = f"input should be 2 to {MAX_BINS} bins, or their edges: finite numbers that rise"
        raise ValueError(message)
    return tuple(edges)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _rising(edges: list[float]) -> bool:
    return all(low < high for low, high in pairwise(edges))


Bins = Annotated[int | tuple[float, ...], BeforeValidator(_bins)]
"""How many bins, or their edges."""


class SliceConfig(Frozen):
    """One way to cut the images of a dataset into slices, each of which is scored as a dataset of its own.

    Attributes:
        by: metadata columns; two of them are crossed, every pair of values that occurs is a slice.
        bins: column of numbers -> the edges of its bins, or how many bins of about as many images each. A bin
            has its lower edge, the last one its upper edge too; what lies outside is a slice below and one
            above, so no image is in none.
        has_class: a class; the images that have it in truth, and those that do not.

    >>> SliceConfig.model_validate("weather").by
    ('weather',)
    >>> SliceConfig.model_validate({"by": "speed", "bins": [0, 30, 60]}).bins
    {'speed': (0.0, 30.0, 60.0)}
    """

    short_form = ("string", "array", "object")

    by: tuple[str, ...] = ()
    bins: dict[str, Bins] = Field(default={})
    has_class: ClassRef | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        """The short forms `weather`, `[weather, time]` and `{by: speed, bins: 4}` in full."""
        if isinstance(value, (str, list, tuple)):
            value = {"by": value}
        if not isinstance(value, Mapping):
            return value
        full = dict(value)
        if isinstance(full.get("by"), str):
            full["by"] = [full["by"]]
        by = full.get("by")
        if "bins" in full and not isinstance(full["bins"], Mapping):
            if not isinstance(by, (list, tuple)) or len(by) != 1:
                message = "bins: of several columns say of which, bins: {speed: [0, 30, 60]}"
                raise ValueError(message)
            full["bins"] = {by[0]: full["bins"]}
        return full

    @model_validator(mode="after")
    def _one_way(self) -> SliceConfig:
        message = ""
        unknown = [name for name in self.bins if name not in self.by]
        if (self.has_class is not None) == bool(self.by):
            message = "expected either by (metadata columns) or has_class"
        elif len(set(self.by)) != len(self.by) or len(self.by) > 2:
            message = f"by: found {', '.join(self.by)}; expected one column, or two different ones to cross"
        elif unknown:
            message = f"bins: {unknown[0]!r} is no column in by"
        if message:
            raise ValueError(message)
        return self

    def __hash__(self) -> int:
        # A dictionary has no hash of its own.
        return hash(self.model_dump_json())

    @property
    def title(self) -> str:
        """What the images are cut by, in words.

        >>> SliceConfig(by=("weather", "time")).title, SliceConfig(has_class="rider").title
        ('weather x time', 'has rider')
        """
        return " x ".join(self.by) if self.by else f"has {self.has_class}"


class IntervalRules(Frozen):
    """How intervals of scores are made.

    Attributes:
        method: `bootstrap`, the percentiles of the scores of datasets drawn with replacement (Efron and
            Tibshirani 1993, ch. 13); or `jackknife`, Student's t with the spread of the scores without one
            cluster each (ibid., ch. 11).
        level: how many of such intervals are to hold the true value.
        replicates: how many datasets the bootstrap draws.
        seed: of the random numbers.
        cluster_by: the metadata column whose values say which images belong together (frames of one video);
            None: every image by itself.
        per_class: also of the pooled scores of each class.

    >>> IntervalRules.model_validate("jackknife").method
    'jackknife'
    """

    short_form = ("string",)

    method: Literal["bootstrap", "jackknife"] = "bootstrap"
    level: Annotated[Number, Field(gt=0, lt=1)] = 0.95
    replicates: int = Field(default=2000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    cluster_by: str | None = None
    per_class: bool = False

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        """The short form `bootstrap` in full."""
        return {"method": value} if isinstance(value, str) else value

    @property
    def drawn(self) -> str:
        """What is drawn, in words.

        >>> IntervalRules().drawn, IntervalRules(cluster_by="sequence").drawn
        ('images', 'clusters of images (sequence)')
        """
        return "images" if self.cluster_by is None else f"clusters of images ({self.cluster_by})"

    def in_words(self) -> str:
        """The rules as a sentence for a report."""
        made = {
            "bootstrap": f"percentiles of {self.replicates} datasets drawn with replacement "
            f"(seed {self.seed})",
            "jackknife": "the jackknife with Student's t",
        }[self.method]
        return f"Intervals of {100 * self.level:g} % over {self.drawn}: {made}."


Limit = Annotated[Number, Field(allow_inf_nan=False)]
Limited = Literal["min", "max", "max_drop"]
SliceValue = bool | int | float | str | None

COVERAGE = "coverage"
"""What a gate calls the smaller share of the planned images and pixels that was counted."""

LATEST = "latest"
"""The baseline that is the run before this one."""

_WITHOUT = {COVERAGE: ("of_class", "group", "slice", "max", "max_drop", "bound")}


class GateConfig(Frozen):
    """What a figure of a run has to hold for the run to pass.

    Attributes:
        metric: an aggregate such as `mean_iou`; of a class or group, a metric such as `iou`; or `coverage`.
        of_class, group: whose score; in a file `class` and `group`.
        slice: column -> value that the images have in common; or `has_class` or `without_class` -> a class.
        min, max: floor and ceiling, which pass themselves.
        max_drop: by how much the figure may be worse than that of the baseline.
        relative: the drop is a share of the baseline's figure.
        baseline: `latest`, the run before this one; or the path of a run.
        bound: not the figure (or its drop) has to hold, but the `lower` or `upper` end of its interval: of a
            drop, `upper` asks that it is surely no larger, `lower` forgives what may be chance.

    >>> GateConfig.model_validate({"metric": "iou", "class": "rider", "min": 0.4}).words("min")
    'iou of rider at least 0.4'
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    metric: str
    of_class: ClassRef | None = Field(default=None, alias="class")
    group: str | None = None
    slice: dict[str, SliceValue] = Field(default={})
    min: Limit | None = None
    max: Limit | None = None
    max_drop: Annotated[Limit, Field(ge=0)] | None = None
    relative: bool = False
    baseline: str | None = None
    bound: Literal["lower", "upper"] | None = None

    @model_validator(mode="after")
    def _one_question(self) -> GateConfig:
        message = ""
        given = [name for name in _WITHOUT.get(self.metric, ()) if getattr(self, name) not in (None, {})]
        if self.min is self.max is self.max_drop is None:
            message = "expected min, max or max_drop"
        elif given:
            message = f"{self.metric} has no {given[0].removeprefix('of_')}; give min"
        elif self.max_drop is None and (self.relative or self.baseline is not None):
            message = "relative and baseline belong to max_drop"
        elif self.of_class is not None and self.group is not None:
            message = "class and group both say whose score; give one of them"
        elif self.group is not None and self.slice:
            message = "groups of classes are not scored slice by slice; give group or slice"
        elif self.bound is not None and self.max_drop is not None and (self.min, self.max) != (None, None):
            message = "bound is of the figure or of its drop: give min and max, and max_drop, in two gates"
        elif self.bound is not None and self.relative:
            message = "bound: there is no interval of a drop that is a share; leave relative out"
        elif {"has_class", "without_class"} & set(self.slice) and len(self.slice) > 1:
            message = "slice: a class and a column are not crossed; give one of them"
        elif len(self.slice) > 2:
            message = "slice: give one column, or two that are crossed"
        if message:
            raise ValueError(message)
        return self

    @property
    def slicing(self) -> SliceConfig | None:
        """The way to cut the images that its slice comes from; None without one."""
        for key in ("has_class", "without_class"):
            if key in self.slice:
                return SliceConfig.model_validate({"has_class": self.slice[key]})
        return SliceConfig(by=tuple(self.slice)) if self.slice else None

    @property
    def limits(self) -> dict[Limited, float]:
        """What the figure has to hold: `min`, `max` and `max_drop`, as far as they are given."""
        given: dict[Limited, float | None] = {"min": self.min, "max": self.max, "max_drop": self.max_drop}
        return {name: limit for name, limit in given.items() if limit is not None}

    def words(self, limited: Limited) -> str:
        """One of its limits in words, with the figure that is to hold it."""
        limit = self.limits[limited]
        if limited != "max_drop":
            return f"{self.figure} {'at least' if limited == 'min' else 'at most'} {limit:.12g}"
        baseline = LATEST if self.baseline in (None, LATEST) else "its baseline"
        share = " (relative)" if self.relative else ""
        bound = f" ({self.bound} bound)" if self.bound else ""
        return f"{self.figure} at most {limit:.12g}{share} worse than {baseline}{bound}"

    @property
    def figure(self) -> str:
        """The figure in words, without what it has to hold.

        >>> GateConfig(metric="iou", of_class="rider", slice={"weather": "fog"}, min=0.4).figure
        'iou of rider where weather = fog'
        """
        owner = self.group if self.of_class is None else self.of_class
        where = " and ".join(f"{name} = {value}" for name, value in self.slice.items())
        of = f" of {owner}" if owner is not None else ""
        bound = f"{self.bound} bound of " if self.bound and self.max_drop is None else ""
        return f"{bound}{self.metric}{of}" + (f" where {where}" if where else "")
