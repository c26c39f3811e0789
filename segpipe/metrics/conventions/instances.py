"""The iIoU of Cityscapes: hits and misses in weights of pixels that undo the sizes of instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS, FloatArray
from segpipe.metrics.conventions.parts import Parts
from segpipe.metrics.sums import UnitSums

NAMED = 3
"""How many classes are named."""


class InstanceSums:
    """Running sums of K classes, in pixels and in weights.

    With weights `mean size of the instances of the class / size of the instance`, every instance of a class
    counts alike. A false alarm is of no instance and counts as a pixel. Source: Cordts et al. 2016, The
    Cityscapes Dataset for Semantic Urban Scene Understanding; its evaluation scripts do the same.
    """

    def __init__(self, num_classes: int) -> None:
        self._pixels = {side: np.zeros(num_classes, np.int64) for side in ("hit", "truth", "pred")}
        self._weights = {side: UnitSums((num_classes,)) for side in ("hit", "truth")}

    def add(self, areas: ClassAreas, parts: Parts) -> None:
        """Add images, with their areas in pixels; nothing where pixels have no weights."""
        if parts.weighted is None:
            return
        for side, total in self._pixels.items():
            total += getattr(areas, side).sum(axis=0, dtype=np.int64)
        for side, sums in self._weights.items():
            units = getattr(parts.weighted, side)
            sums.add(np.nonzero(units)[1], units[units > 0])

    def iou(self) -> FloatArray:
        """`iTP / (iTP + FP + iFN)`, float64 (K,), 0 to 1, best 1; NaN where that is 0 / 0."""
        hit, truth = (self._weights[side].weights() for side in ("hit", "truth"))
        union = truth + (self._pixels["pred"] - self._pixels["hit"])
        values: FloatArray = np.full(len(hit), np.nan)
        return np.divide(hit, union, out=values, where=union > 0)

    def told(self, names: Sequence[str], chosen: Iterable[int]) -> str:
        """The chosen classes whose IoU the weights change most, and why; empty if they change none."""
        before, after = METRICS["iou"].function(ClassAreas(**self._pixels)), self.iou()
        change = np.nan_to_num(np.abs(after - before))
        order = sorted((at for at in chosen if change[at]), key=lambda at: (-change[at], at))[:NAMED]
        return "; ".join(
            f"{names[at]} {before[at]:.4f} to {after[at]:.4f}, as {' and '.join(self._weigh(at))}"
            for at in order
        )

    def _weigh(self, class_id: int) -> Iterator[str]:
        """What the true pixels of a class weigh on average, found and missed."""
        hit, truth = (float(self._weights[side].weights()[class_id]) for side in ("hit", "truth"))
        found, true = (int(self._pixels[side][class_id]) for side in ("hit", "truth"))
        for what, weight, pixels in (("found", hit, found), ("missed", truth - hit, true - found)):
            if pixels:
                yield f"a {what} pixel weighs {weight / pixels:.3g} on average"
