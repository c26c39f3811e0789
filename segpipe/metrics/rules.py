"""The settings that turn counts into scores; none of them reads a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules, SliceConfig
from segpipe.errors import ConfigError
from segpipe.metrics.areas import InvalidPred
from segpipe.metrics.base import chosen_metrics

AbsentClass = Literal["nan", "zero", "one"]
Present = Literal["either", "truth"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "absent_class": get_args(AbsentClass),
    "invalid_pred": get_args(InvalidPred),
    "present": get_args(Present),
}


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """How counts are scored.

    Attributes:
        absent_class: the score of a class that is in neither truth nor pred of the summed counts: `nan`
            leaves it out of means over classes; `zero` and `one` count it as that. It does not touch
            per-image means, which by definition run over the classes present.
        invalid_pred: an invalid prediction on a valid truth pixel is a miss (`count_as_miss`), or the
            pixel takes no part (`ignore`).
        exclude_classes: names of classes that are counted, but left out of means over classes.
        present: which classes an image has in per-image means: those in truth or in pred (`either`), or
            those in `truth` only.
        worst_percent: how many percent of the images, the worst ones, the means over the worst images run
            over; rounded down, but one image at least.
        image_weights: the metadata column of the images' weights; None: all images weigh alike.
        metrics: names of the metrics that are computed; None means all that there are. The mean IoU and
            pixel accuracy are always there.
        slices: how the images are cut into slices, each scored as a dataset of its own; classes by name.
        min_slice_images: slices of fewer images are left out.
        intervals: how intervals of the scores are made; None: there are none.
    """

    absent_class: AbsentClass = "nan"
    invalid_pred: InvalidPred = "count_as_miss"
    exclude_classes: tuple[str, ...] = ()
    present: Present = "either"
    worst_percent: float = 5.0
    metrics: tuple[str, ...] | None = None
    image_weights: str | None = None
    slices: tuple[SliceConfig, ...] = ()
    min_slice_images: int = 1
    intervals: IntervalRules | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "exclude_classes", tuple(self.exclude_classes))
        object.__setattr__(self, "slices", tuple(map(SliceConfig.model_validate, self.slices)))
        if self.intervals is not None:
            object.__setattr__(self, "intervals", IntervalRules.model_validate(self.intervals))
        if not 0 < self.worst_percent <= 100:
            message = f"worst_percent: found {self.worst_percent!r}, expected more than 0 and at most 100"
            raise ConfigError(message)
        if self.metrics is not None:
            object.__setattr__(self, "metrics", tuple(self.metrics))
            chosen_metrics(self.metrics)
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                message = f"{key}: found {getattr(self, key)!r}, expected one of {', '.join(choices)}"
                raise ConfigError(message)

    @property
    def absent_value(self) -> float:
        """The score of an absent class."""
        return {"nan": np.nan, "zero": 0.0, "one": 1.0}[self.absent_class]

    def kept(self, classes: ClassList) -> NDArray[np.bool_]:
        """Which classes means run over, bool (K,).

        Raises:
            ConfigError: a name in `exclude_classes` is not in the class list.
        """
        unknown = [name for name in self.exclude_classes if name not in classes.names]
        if unknown:
            message = f"exclude_classes: no class {unknown[0]!r}; the classes are {', '.join(classes.names)}"
            raise ConfigError(message)
        return np.array([name not in self.exclude_classes for name in classes.names], np.bool_)

    def document(self) -> dict[str, Any]:
        """The rules as plain data; `ScoringRules(**document)` gives them back."""
        return {
            "absent_class": self.absent_class,
            "invalid_pred": self.invalid_pred,
            "exclude_classes": list(self.exclude_classes),
            "present": self.present,
            "worst_percent": self.worst_percent,
            "metrics": None if self.metrics is None else list(self.metrics),
            "image_weights": self.image_weights,
            "slices": [one.model_dump(mode="json") for one in self.slices],
            "min_slice_images": self.min_slice_images,
            "intervals": self.intervals and self.intervals.model_dump(mode="json"),
        }

    def in_words(self) -> list[str]:
        """The rules as sentences for a report."""
        return [
            _ABSENT[self.absent_class],
            "A class that is predicted but nowhere in truth scores 0, stays in the mean, and is flagged.",
            _INVALID[self.invalid_pred],
            "A void prediction on a valid truth pixel is a miss of the true class.",
            _PRESENT[self.present],
            f"Means over the worst images run over {self.worst_percent:g} % of the images, or of those that "
            f"have the class, but one at least (worst_percent: {self.worst_percent:g}).",
            f"Classes left out of means over classes: {', '.join(self.exclude_classes) or 'none'}.",
            *([_WEIGHTED.format(self.image_weights)] if self.image_weights is not None else []),
            *([_SLICES.format(self.min_slice_images)] if self.slices else []),
            *([self.intervals.in_words()] if self.intervals else []),
        ]


_WEIGHTED = (
    "Images are weighted by the metadata column {}: their counts in pooled figures and in areas of classes, "
    "and their scores in means over images (image_weights). Numbers of pixels and images are not weighted."
)
_SLICES = (
    "Slices are scored as datasets of their own; those of fewer than {} images are left out "
    "(min_slice_images). Means of different slices may run over different classes: the tables say how many."
)
_ABSENT = {
    "nan": "A class absent from truth and prediction is left out of means (absent_class: nan).",
    "zero": "A class absent from truth and prediction scores 0 in pooled means (absent_class: zero).",
    "one": "A class absent from truth and prediction scores 1 in pooled means (absent_class: one).",
}
_INVALID = {
    "count_as_miss": "An invalid prediction on a valid truth pixel is a miss (invalid_pred: count_as_miss).",
    "ignore": "A pixel with an invalid prediction takes no part (invalid_pred: ignore).",
}
_PRESENT = {
    "either": "Per-image means run over the classes in truth or prediction of the image (present: either).",
    "truth": "Per-image means run over the classes in truth of the image (present: truth).",
}
