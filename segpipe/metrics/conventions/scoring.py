"""Compute the figures of conventions from stored counts, and say why they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS, FloatArray
from segpipe.metrics.conventions.base import (
    CONVENTIONS,
    INSTANCE_CLASSES,
    Convention,
    ConventionRules,
    OutOfRange,
    StrayTruth,
)
from segpipe.metrics.conventions.instances import InstanceSums
from segpipe.metrics.conventions.parts import Parts
from segpipe.metrics.conventions.reasons import Reasons, responsible
from segpipe.metrics.sums import FixedPointSums, row_means

IntArray = NDArray[np.int64]

OURS = Convention(name="segpipe", call="the mean IoU by the default rules, over all classes", checked="rule")
"""What every path of rules begins with."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rule of a convention that is another than ours, and what it does to the figure.

    Attributes:
        rule: the name of the rule.
        words: what it says.
        value: the figure after it; NaN where there is none.
        change: what it adds.
        because: the classes, images and pixels that it touches, in words.
    """

    rule: str
    words: str
    value: float
    change: float
    because: str


@dataclass(frozen=True, kw_only=True)
class ConventionScore:
    """The figure of one convention.

    Attributes:
        name, call, note, checked: of the convention.
        value: the figure; NaN where there is none.
        refused: why the tool would raise an error on these label maps; empty if it would not. The figure is
            then what it would print without those pixels.
        per_class: class (or category) -> its score before the mean over classes, NaN where it is left out;
            empty where scores are not averaged by class.
        steps: from the figure of this project to that of the tool, one rule at a time.
    """

    name: str
    call: str
    note: str
    checked: str
    value: float
    refused: str
    per_class: dict[str, float]
    steps: tuple[Step, ...]

    @property
    def telling(self) -> list[Step]:
        """The steps that touch anything here."""
        return [step for step in self.steps if step.because or step.change != 0]

    def document(self) -> dict[str, Any]:
        """The score as plain data."""
        return asdict(self)


def chosen_conventions(
    names: Sequence[str] | Literal["all"], classes: ClassList, *, weighted: bool = False
) -> list[Convention]:
    """The conventions of these names; `all` leaves out those that need what there is not.

    Args:
        names: of conventions.
        classes: the K classes; their groups are the categories.
        weighted: whether pixels have weights.

    Raises:
        ConfigError: there is no such convention, or it needs groups, classes with instances or weights of
            pixels, and there are none.
    """
    if names == "all":
        every = (CONVENTIONS[name] for name in sorted(CONVENTIONS))
        return [one for one in every if not _lacking(one.rules, classes, weighted=weighted)]
    for name in names:
        if lacking := _lacking(CONVENTIONS[name].rules, classes, weighted=weighted):
            message = f"conventions: {name!r} {'; it '.join(lacking)}"
            raise ConfigError(message)
    return [CONVENTIONS[name] for name in names]


def _lacking(rules: ConventionRules, classes: ClassList, *, weighted: bool) -> list[str]:
    """What rules need and there is not, in words that follow the name of their convention."""
    lacking = []
    if rules.groups and not classes.groups:
        lacking.append("scores categories, and the class list has no groups")
    if rules.chosen == "with instances" and not len(rules.classes(classes.names)):
        names = ", ".join(INSTANCE_CLASSES)
        lacking.append(f"scores the classes {names}, and the class list has none of them")
    if rules.weighing == "instances" and not weighted:
        lacking.append(
            "needs pixels with weights that undo the sizes of instances, and they have none (weights)"
        )
    return lacking


def score_conventions(
    blocks: Iterable[tuple[Sequence[str], ConfusionCells]],
    classes: ClassList,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    weighted: bool = False,
) -> tuple[ConventionScore, ...]:
    """The figures of conventions for a dataset; excluded classes and other settings do not touch them.

    Args:
        blocks: ids and matrices of the images, some at a time.
        classes: the K classes; their groups are the categories.
        names: of conventions.
        weighted: whether the matrices are sums of weights of pixels. Conventions count the pixels of a weight
            above 0 alike, but for those that weigh instances.

    Returns:
        Our own figure first, then that of every convention asked for.

    Raises:
        ConfigError: as `chosen_conventions`.
    """
    chosen = [OURS, *chosen_conventions(names, classes, weighted=weighted)]
    tallies = {
        rules: Tally(rules, classes)
        for one in chosen
        for rules in (ConventionRules(), *(rules for _, rules in one.rules.path()))
    }
    reasons = {rules.on_pixels: Reasons(classes) for rules in tallies}
    for ids, cells in blocks:
        parts = Parts.of(cells)
        for (out_of_range, stray_truth), found in reasons.items():
            rules = ConventionRules(out_of_range=out_of_range, stray_truth=stray_truth)
            found.add(ids, parts.areas(rules), parts)
        for tally in tallies.values():
            tally.add(parts)
    return tuple(_scored(one, tallies, reasons) for one in chosen)


def _scored(
    one: Convention,
    tallies: dict[ConventionRules, Tally],
    reasons: dict[tuple[OutOfRange, StrayTruth], Reasons],
) -> ConventionScore:
    before, steps = ConventionRules(), []
    for rule, after in one.rules.path():
        value, change = tallies[after].value(), tallies[after].value() - tallies[before].value()
        because = responsible(rule, after, reasons[after.on_pixels])
        steps.append(
            Step(rule=rule, words=after.words(rule), value=value, change=float(change), because=because)
        )
        before = after
    tally = tallies[one.rules]
    return ConventionScore(
        name=one.name, call=one.call, note=one.note, checked=one.checked, value=tally.value(),
        refused=reasons[one.rules.on_pixels].refused(one.rules),
        per_class=tally.per_class(), steps=tuple(steps),
    )  # fmt: skip


class Tally:
    """The running sums that the figure of one set of rules needs."""

    def __init__(self, rules: ConventionRules, classes: ClassList) -> None:
        self._rules, self._classes = rules, classes
        groups = classes.groups if rules.groups else ()
        self._names = tuple(group.name for group in groups) or classes.names
        self._members = [np.array(group.members) for group in groups]
        self._chosen, size = rules.classes(self._names), len(self._names)
        self._sides = {side: np.zeros(size, np.int64) for side in ("hit", "truth", "pred")}
        self._instances = InstanceSums(size)
        self._sums, self._number = FixedPointSums((size,)), np.zeros(size, np.int64)
        self._all, self._terms = FixedPointSums((1,)), np.zeros(1, np.int64)

    def add(self, parts: Parts) -> None:
        """Add images."""
        areas = self._grouped(parts) if self._members else parts.areas(self._rules)
        for side, total in self._sides.items():
            total += getattr(areas, side).sum(axis=0, dtype=np.int64)
        if self._rules.weighing == "instances":
            self._instances.add(areas, parts)
        if self._rules.pool != "dataset":
            self._add_scores(self._rules.scores(areas)[:, self._chosen])

    def _grouped(self, parts: Parts) -> ClassAreas:
        """Areas of categories: a class taken for another of its category is right."""
        cells, areas = parts.cells, parts.areas(self._rules)
        truth, pred, image = cells.truth_codes, cells.pred_codes, cells.image_of_cell
        hit = np.zeros((len(cells), len(self._members)), np.int64)
        for number, members in enumerate(self._members):
            inside = np.isin(truth, members) & np.isin(pred, members)
            np.add.at(hit[:, number], image[inside], cells.counts[inside])
        sides = [
            np.stack([side[:, members].sum(axis=1) for members in self._members], axis=1)
            for side in (areas.truth, areas.pred)
        ]
        return ClassAreas(hit, *sides)

    def _add_scores(self, values: FloatArray) -> None:
        there = ~np.isnan(values)
        image, place = np.nonzero(there)
        self._sums.add(self._chosen[place], values[image, place])
        np.add.at(self._number, self._chosen[place], 1)
        terms = row_means(values, there) if self._rules.pool == "images" else values[there]
        terms = terms[~np.isnan(terms)]
        self._all.add(np.zeros(len(terms), np.int64), terms)
        self._terms += len(terms)

    def value(self) -> float:
        """The figure; NaN where there is nothing to score."""
        rules = self._rules
        if rules.pool in ("images", "pairs"):
            return float(self._all.mean(self._terms)[0])
        if rules.pool == "dataset" and rules.average != "macro":
            name = {"micro": f"micro_{rules.metric}", "weighted": f"fw_{rules.metric}"}[rules.average]
            return float(METRICS[name].function(ClassAreas(**self._sides)))
        values = self._class_values()[self._chosen]
        if rules.missing == "poison" and np.isnan(values).any():
            return float("nan")
        return float(row_means(values, ~np.isnan(values)))

    def _class_values(self) -> FloatArray:
        if self._rules.weighing == "instances":
            return self._instances.iou()
        if self._rules.pool == "dataset":
            return self._rules.scores(ClassAreas(**self._sides))
        return self._sums.mean(self._number)

    def per_class(self) -> dict[str, float]:
        """The score of every class before the mean over classes."""
        if self._rules.pool in ("images", "pairs") or self._rules.average != "macro":
            return {}
        values = self._class_values()
        return {self._names[at]: float(values[at]) for at in self._chosen}
