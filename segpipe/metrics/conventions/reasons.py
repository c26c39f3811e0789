"""Which classes, images and pixels a rule touches, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.errors import first_of
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS
from segpipe.metrics.conventions.base import ConventionRules
from segpipe.metrics.conventions.instances import InstanceSums
from segpipe.metrics.conventions.parts import Parts
from segpipe.metrics.sums import row_means

IntArray = NDArray[np.int64]
NAMED = 3
"""How many images, or classes of images, are named."""

LISTED = 10
"""How many classes of a dataset are named."""


KINDS = ("outside", "stray", "empty", "only_predicted")
"""Pixels of no class on one side; classes of an image that are in no side, or in pred alone."""


class Worst:
    """The images with the most of something, the first ones where equal."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, str]] = []
        self._seen = 0

    def add(self, ids: Sequence[str], amounts: NDArray[np.float64] | IntArray) -> None:
        """Look at images; an amount of 0 or NaN is nothing."""
        there = np.flatnonzero(np.nan_to_num(amounts) != 0)
        order = there[np.argsort(-amounts[there], kind="stable")[:NAMED]]
        new = [(-float(amounts[at]), self._seen + int(at), ids[at]) for at in order]
        self._kept = nsmallest(NAMED, [*self._kept, *new])
        self._seen += len(ids)

    @property
    def names(self) -> list[str]:
        """Their ids."""
        return [name for _, _, name in self._kept]

    @property
    def scored(self) -> list[str]:
        """Their ids, with 1 less the amount, which is a score."""
        return [f"{name} ({1 + amount:.4f})" for amount, _, name in self._kept]


class Reasons:
    """What the rules of conventions may touch in a dataset, under one set of rules on pixels of no class."""

    def __init__(self, classes: ClassList) -> None:
        self.classes, self.images = classes, 0
        self._sides = {name: np.zeros(len(classes), np.int64) for name in ("truth", "pred")}
        self._instances = InstanceSums(len(classes))
        self._by_class = {name: np.zeros(len(classes), np.int64) for name in KINDS}
        self._by_image = {name: Worst() for name in KINDS}
        self._lowest, self._invalid_truth = Worst(), 0

    def add(self, ids: Sequence[str], areas: ClassAreas, parts: Parts) -> None:
        """Add images, with their areas under those rules."""
        self.images += len(ids)
        self._invalid_truth += parts.invalid_truth
        for side, total in self._sides.items():
            total += getattr(areas, side).sum(axis=0, dtype=np.int64)
        self._instances.add(areas, parts)
        amounts = {
            "outside": parts.outside,
            "stray": parts.stray,
            "empty": (~areas.occurs).astype(np.int64),
            "only_predicted": ((areas.truth == 0) & (areas.pred > 0)).astype(np.int64),
        }
        for name, amount in amounts.items():
            self._by_class[name] += amount.sum(axis=0)
            self._by_image[name].add(ids, amount.sum(axis=1))
        self._lowest.add(ids, 1.0 - row_means(METRICS["iou"].function(areas), areas.occurs))

    def refused(self, rules: ConventionRules) -> str:
        """Why a tool of these rules would raise an error on the dataset; empty if it would not."""
        outside = int(self._by_class["outside"].sum()) if rules.out_of_range == "refuse" else 0
        stray = self._invalid_truth if rules.stray_truth == "refuse" else 0
        refusals = [
            f"{pixels:,} pixels have a {what}"
            for pixels, what in (
                (outside, "prediction that is no class"),
                (stray, "truth that is neither a class nor ignored"),
            )
            if pixels
        ]
        return "; ".join(refusals)

    def _pixels(self, kind: str) -> str:
        return f"{int(self._by_class[kind].sum()):,} pixels"

    def pixels(self, kind: str, side: str) -> str:
        """Pixels of no class: how many, of which classes, in which images."""
        if not self._by_class[kind].any():
            return ""
        images = ", ".join(self._by_image[kind].names)
        return f"{self._pixels(kind)}; {side} {self._most(kind)}; most in the images {images}"

    def pairs(self, kind: str, dataset: bool) -> str:
        """Classes without truth, or absent: of the dataset, or of how many images."""
        own = self._of_dataset(kind) if dataset else self._by_class[kind]
        if not own.any():
            return ""
        if dataset:
            return _listed([self.classes.names[at] for at in np.flatnonzero(own)])
        images = ", ".join(self._by_image[kind].names)
        return f"{int(own.sum()):,} times a class of an image; most often {self._most(kind)}; images {images}"

    def _of_dataset(self, kind: str) -> NDArray[np.bool_]:
        truth, pred = self._sides["truth"] > 0, self._sides["pred"] > 0
        return ~truth & ~pred if kind == "empty" else ~truth & pred

    def _most(self, kind: str) -> str:
        own = self._by_class[kind]
        order = [at for at in np.argsort(-own, kind="stable")[:NAMED] if own[at]]
        return ", ".join(f"{self.classes.names[at]} ({own[at]:,})" for at in order)

    def lowest(self) -> str:
        """The images that pull a mean over images down."""
        return f"{self.images:,} images; the lowest mean IoU have {', '.join(self._lowest.scored) or 'none'}"

    def largest(self) -> str:
        """The classes that weigh most where pixels weigh alike."""
        truth = self._sides["truth"]
        order = [at for at in np.argsort(-truth, kind="stable")[:NAMED] if truth[at]]
        shares = [f"{self.classes.names[at]} ({truth[at] / truth.sum():.1%})" for at in order]
        return f"the largest classes of truth are {', '.join(shares)}" if shares else ""

    def unscored(self, rules: ConventionRules) -> str:
        """Classes of the mean that have no score in any image."""
        ids = rules.classes(self.classes.names)
        absent = self._of_dataset("empty")
        return _listed([self.classes.names[at] for at in ids if absent[at]])

    def weighed(self, rules: ConventionRules) -> str:
        """The classes of the mean that weights of pixels change most."""
        return self._instances.told(self.classes.names, rules.classes(self.classes.names))


def _listed(names: list[str]) -> str:
    """Names of classes; nothing if there are none."""
    if not names:
        return ""
    return f"{'class' if len(names) == 1 else 'classes'} {first_of(names[:LISTED], len(names))}"


def responsible(rule: str, after: ConventionRules, reasons: Reasons) -> str:
    """What a rule touches in the dataset; empty if nothing.

    Args:
        rule: the rule that was changed last.
        after: the rules with it.
        reasons: of the dataset.
    """
    names, pooled = reasons.classes.names, after.pool == "dataset"
    if rule == "groups":
        groups = [group.name for group in reasons.classes.groups]
        return f"{len(names)} classes in {len(groups)} categories: {', '.join(groups[:10])}"
    if rule == "chosen" and after.chosen == "with instances":
        return _listed([names[at] for at in after.classes(names)])
    if rule == "chosen":
        return "" if len(names) == 1 else f"class {names[-1 if after.chosen == 'without last' else 0]}"
    words: dict[str, Callable[[], str]] = {
        "metric": lambda: "every class that is neither perfect nor missed: its Dice is above its IoU",
        "out_of_range": lambda: reasons.pixels("outside", "of the true classes"),
        "stray_truth": lambda: reasons.pixels("stray", "predicted as"),
        "pool": reasons.lowest,
        "average": reasons.largest,
        "absent": lambda: reasons.pairs("empty", pooled),
        "only_predicted": lambda: reasons.pairs("only_predicted", pooled),
        "missing": lambda: reasons.unscored(after),
        "weighing": lambda: reasons.weighed(after),
    }
    return words[rule]()
