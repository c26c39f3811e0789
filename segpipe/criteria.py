"""What is asked of scores beside the figures of the whole dataset: slices of it, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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
