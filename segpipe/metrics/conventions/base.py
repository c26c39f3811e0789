"""The record of a convention: the rules by which a tool makes one figure of the counts."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS, FloatArray
from segpipe.registry import Registry

OutOfRange = Literal["miss", "drop", "refuse"]
StrayTruth = Literal["ignore", "keep pred", "refuse"]
Chosen = Literal["all", "without last", "without first", "with instances"]
Pool = Literal["dataset", "images", "classes", "pairs"]
Average = Literal["macro", "micro", "weighted"]
Absent = Literal["drop", "zero", "one"]
OnlyPredicted = Literal["score", "drop"]
Missing = Literal["skip", "poison"]
MetricName = Literal["iou", "dice"]
Weighing = Literal["pixels", "instances"]

INSTANCE_CLASSES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""The classes of Cityscapes that are scored and have instances."""

WORDS: dict[str, dict[str, str]] = {
    "metric": {"iou": "IoU is averaged", "dice": "Dice is averaged, not IoU"},
    "groups": {
        "True": "categories are scored in place of classes, each a union of classes",
    },
    "out_of_range": {
        "miss": "a prediction that is no class is a miss of the true class",
        "drop": "a pixel whose prediction is no class is left out altogether",
        "refuse": "a prediction that is no class is refused",
    },
    "stray_truth": {
        "ignore": "a pixel whose truth is no class is left out altogether",
        "keep pred": "a pixel whose truth is neither a class nor ignored is a false alarm of its prediction",
        "refuse": "a truth that is neither a class nor ignored is refused",
    },
    "chosen": {
        "all": "all classes are in the mean",
        "without last": "the last class is left out as background",
        "without first": "the first class is left out as background",
        "with instances": "only the classes of Cityscapes that have instances are in the mean",
    },
    "pool": {
        "dataset": "counts are summed over all images before they are scored",
        "images": "each image is scored, then the mean over its classes, then that over images",
        "classes": "each image is scored, then the mean over images of each class, then that over classes",
        "pairs": "each class of each image is scored, and all these scores are averaged at once",
    },
    "average": {
        "macro": "all classes weigh alike",
        "micro": "intersections and unions are summed over the classes",
        "weighted": "a class weighs as much as it has true pixels",
    },
    "absent": {
        "drop": "a class in neither truth nor prediction is left out",
        "zero": "a class in neither truth nor prediction scores 0",
        "one": "a class in neither truth nor prediction scores 1",
    },
    "only_predicted": {
        "score": "a class that is predicted but not in truth scores 0",
        "drop": "a class that is predicted but not in truth is left out",
    },
    "missing": {
        "skip": "a class without any score is left out",
        "poison": "one class without any score makes the mean undefined",
    },
    "weighing": {
        "instances": "true pixels, found or missed, count with their weights; false alarms count as pixels",
    },
}
"""What a value of a rule means, in words."""


@dataclass(frozen=True, kw_only=True)
class ConventionRules:
    """How one figure is made of the counts. The defaults are those of the mean IoU of this project.

    Attributes:
        metric: `iou` or `dice`.
        groups: the groups of the class list are scored in place of the classes, each against the rest.
        out_of_range: a prediction on valid truth that is no class (void or invalid) is a `miss` of the true
            class; or the pixel is left out (`drop`); or the tool raises an error (`refuse`).
        stray_truth: a truth that is neither a class nor ignored: the pixel is left out (`ignore`); or it
            stays in the predicted area (`keep pred`); or the tool raises an error (`refuse`).
        chosen: which classes are in the mean.
        pool: what is averaged: scores of the `dataset`; means of `images`; means over images of `classes`;
            or all (image, class) `pairs` at once.
        average: how the classes of a dataset are averaged.
        absent: a class that is in neither truth nor prediction of what is scored.
        only_predicted: a class that was predicted and is not in truth of what is scored.
        missing: what a class without any score does to a mean over classes.
        weighing: every pixel counts alike (`pixels`); or hits and misses are sums of the weights of pixels,
            which undo the sizes of `instances`, and false alarms are pixels, as they are of no instance.
            The second is defined for the macro IoU of a dataset, with absent classes dropped.
    """

    metric: MetricName = "iou"
    groups: bool = False
    out_of_range: OutOfRange = "miss"
    stray_truth: StrayTruth = "ignore"
    chosen: Chosen = "all"
    pool: Pool = "dataset"
    average: Average = "macro"
    absent: Absent = "drop"
    only_predicted: OnlyPredicted = "score"
    missing: Missing = "skip"
    weighing: Weighing = "pixels"

    def __post_init__(self) -> None:
        figure = (self.metric, self.groups, self.out_of_range, self.pool, self.average)
        if self.weighing == "instances" and figure != ("iou", False, "miss", "dataset", "macro"):
            message = f"weighing by instances: found {figure}, expected the macro IoU of a dataset's classes"
            raise ValueError(message)

    @property
    def on_pixels(self) -> tuple[OutOfRange, StrayTruth]:
        """The rules on pixels that are of no class on one side; the others are on scores."""
        return self.out_of_range, self.stray_truth

    def words(self, rule: str) -> str:
        """One rule in words."""
        return WORDS[rule][str(getattr(self, rule))]

    def path(self) -> Iterator[tuple[str, ConventionRules]]:
        """From the default rules to these, one at a time: the rule that changes, and the rules after it."""
        step = ConventionRules()
        for rule in (one.name for one in fields(self)):
            if getattr(self, rule) != getattr(step, rule):
                step = replace(step, **{rule: getattr(self, rule)})
                yield rule, step

    def scores(self, areas: ClassAreas) -> FloatArray:
        """The scores that are averaged, (..., K); NaN where a class is left out."""
        values = METRICS[self.metric].function(areas)
        if self.absent != "drop":
            values[~areas.occurs] = 0.0 if self.absent == "zero" else 1.0
        if self.only_predicted == "drop":
            values[(areas.truth == 0) & (areas.pred > 0)] = float("nan")
        return values

    def classes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The ids of the classes in the mean; a single class is never left out as background."""
        ids = np.arange(len(names))
        if self.chosen == "with instances":
            return ids[np.isin(names, INSTANCE_CLASSES)]
        if len(names) == 1:
            return ids
        return {"all": ids, "without last": ids[:-1], "without first": ids[1:]}[self.chosen]


@dataclass(frozen=True, kw_only=True)
class Convention:
    """The figure of another tool.

    Attributes:
        name: the word for programs, `torchmetrics-weighted`.
        call: the tool, and the call that prints the figure.
        rules: how it makes it.
        checked: how we know: `tool`, figures of the tool itself are in the tests; or `rule`, its published
            rule on cases counted by hand.
        note: what else a reader should know.
    """

    name: str
    call: str
    rules: ConventionRules = field(default_factory=ConventionRules)
    checked: Literal["tool", "rule"]
    note: str = ""


def _modules() -> tuple[str, ...]:
    folder = Path(__file__).parent / "known"
    return tuple(
        f"segpipe.metrics.conventions.known.{module.name}" for module in pkgutil.iter_modules([str(folder)])
    )


CONVENTIONS: Registry[Convention] = Registry("convention", _modules())
"""Every convention by name. A new one is a record in a file of `known/`, or an entry point."""


def convention(name: str, **record: object) -> Convention:
    """Make a convention and file it."""
    made = Convention(name=name, **record)  # type: ignore[arg-type]
    CONVENTIONS.register(name)(made)
    return made
