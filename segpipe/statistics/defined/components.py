"""Components: how many objects are found, and how many that are shown are there, by class and size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import model_validator

from segpipe.kernels.objects import Objects, count_objects, require_connectivity
from segpipe.statistics.base import Counts, Field, Pixels, Scope, Statistic, StatisticMetric, statistic
from segpipe.statistics.figures import FloatArray, ratio

SIZES = ("small", "medium", "large")
COCO = "Lin et al. 2014, doi:10.1007/978-3-319-10602-1_48 (its sizes)"
NAMES = ("truth", "found", "pred", "confirmed")


def _share(fields: Mapping[str, FloatArray], of: str, among: str, size: int | None) -> FloatArray:
    """Objects of one field among those of another, shape (..., K); of one size, or of all."""
    if size is not None:
        return ratio(fields[of][..., size], fields[among][..., size])
    return ratio(fields[of].sum(axis=-1), fields[among].sum(axis=-1))


def component_recall(fields: Mapping[str, FloatArray], size: int | None = None) -> FloatArray:
    """Objects of truth that are found / all of them, shape (..., K). Range 0 to 1, best 1.

    NaN where truth has no object of the class (and size).

    >>> fields = {"truth": np.array([[4.0, 0, 0], [0, 0, 0]]), "found": np.array([[3.0, 0, 0], [0, 0, 0]])}
    >>> component_recall(fields)
    array([0.75,  nan])
    """
    return _share(fields, "found", "truth", size)


def component_precision(fields: Mapping[str, FloatArray], size: int | None = None) -> FloatArray:
    """Predicted objects that are there / all of them, shape (..., K). Range 0 to 1, best 1.

    NaN where the prediction has no object of the class (and size).

    >>> fields = {"pred": np.array([[4.0, 0, 0], [0, 0, 0]]), "confirmed": np.array([[1.0, 0, 0], [0, 0, 0]])}
    >>> component_precision(fields)
    array([0.25,  nan])
    """
    return _share(fields, "confirmed", "pred", size)


def component_f1(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Harmonic mean of component precision and recall, shape (..., K). Range 0 to 1, best 1.

    0 where only one side has objects of the class, or none is found; NaN where neither has any.

    >>> sums = {"truth": [[4.0]], "found": [[2.0]], "pred": [[2.0]], "confirmed": [[2.0]]}
    >>> component_f1({name: np.array(values) for name, values in sums.items()})
    array([0.66666667])
    """
    precision, recall = component_precision(fields), component_recall(fields)
    score = ratio(2.0 * precision * recall, precision + recall)
    occurs = (fields["truth"] + fields["pred"]).sum(axis=-1) > 0
    return np.where(occurs & np.isnan(score), 0.0, score)


def _metric(name: str, title: str, formula: str, nothing: str, function: Any) -> StatisticMetric:
    return StatisticMetric(
        name=name, title=title, per_class=True, formula=formula, nothing=f"NaN where {nothing}",
        source=COCO, function=function,
    )  # fmt: skip


def _of_sizes() -> tuple[StatisticMetric, ...]:
    """Recall and precision of each size; a predicted object is of its own size."""
    made = []
    for at, size in enumerate(SIZES):
        for name, side, function, formula in (
            ("recall", "truth", component_recall, "found / truth"),
            ("precision", "the prediction", component_precision, "confirmed / pred"),
        ):
            made.append(
                _metric(f"component_{name}_{size}", f"Component {name}, {size}", f"{formula}, {size} ones",
                        f"{side} has no {size} object of the class", partial(function, size=at))
            )  # fmt: skip
    return tuple(made)


@statistic("components")
class Components(Statistic):
    """Connected components of every class by size, and those that the other side covers.

    A component of truth is found if at least `min_overlap` of its pixels are predicted as its class, and one
    pixel at least (0: one pixel is enough); a component of the prediction is confirmed if at least
    `min_overlap` of its pixels are of its class in truth. `small` are those of fewer than `medium_px` pixels,
    `large` those of `large_px` or more (COCO's 32^2 and 96^2). Pixels are connected over `connectivity`
    neighbours: 4 or 8 in an image, 6 or 26 in a volume. Pixels of ignored truth are taken for pixels beyond
    the edge, in truth and in pred.

    >>> truth = np.array([[[0, 1, 0, 1, 1]]])
    >>> counts = Components(connectivity=4).count(Pixels(2, truth, np.array([[[0, 0, 0, 1, 0]]])))
    >>> counts["truth"][0, 1].tolist(), counts["found"][0, 1].tolist()
    ([2, 0, 0], [1, 0, 0])
    """

    title: ClassVar[str] = "Components"
    source: ClassVar[str] = COCO
    scope: ClassVar[Scope] = "image"
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        _metric("component_recall", "Component recall", "found / truth",
                "truth has no object of the class", component_recall),
        _metric("component_precision", "Component precision", "confirmed / pred",
                "the prediction has no object of the class", component_precision),
        _metric("component_f1", "Component F1", "2 P R / (P + R), P = confirmed / pred, R = found / truth",
                "neither truth nor prediction has an object of the class", component_f1),
        *_of_sizes(),
    )  # fmt: skip

    connectivity: Literal[4, 8, 6, 26] = 8
    min_overlap: float = Setting(default=0.5, ge=0, le=1)
    medium_px: int = Setting(default=32**2, ge=1)
    large_px: int = Setting(default=96**2, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Components:
        if self.medium_px >= self.large_px:
            message = f"medium_px is {self.medium_px} and large_px {self.large_px}, expected a larger one"
            raise ValueError(message)
        return self

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Components of every class and size."""
        meanings = (
            "components of truth",
            "those of them that are found",
            "components of the prediction",
            "those of them that are confirmed",
        )
        shape = (num_classes, len(SIZES))
        return tuple(
            Field(name=name, meaning=meaning, dims=("class", "size"), shape=shape)
            for name, meaning in zip(NAMES, meanings, strict=True)
        )

    def halo(self, size: tuple[int, ...] | None) -> int | None:
        """None is read; images of so many axes must have this connectivity."""
        if size is not None:
            require_connectivity(len(size), self.connectivity)
        return 0

    def bytes_per_pixel(self, num_classes: int) -> int:
        """Codes of both sides, one side's classes, and the numbers of its components twice."""
        return 20

    def count(self, pixels: Pixels) -> Counts:
        """The components of every image."""
        counts = np.zeros((len(pixels.truth), 4, pixels.num_classes, len(SIZES)), np.int64)
        for image, sides in enumerate(zip(pixels.truth, pixels.pred, strict=True)):
            truth, pred = count_objects(*sides, pixels.num_classes, self.connectivity)
            self._add(truth, counts[image, :2])
            self._add(pred, counts[image, 2:])
        return {name: counts[:, at] for at, name in enumerate(NAMES)}

    def _add(self, objects: Objects, counts: NDArray[np.int64]) -> None:
        """Add objects to (2, class, size): all, and those that are covered."""
        labels, pixels, hits = objects
        size = np.searchsorted((self.medium_px, self.large_px), pixels, side="right")
        covered = (hits > 0) & (hits / pixels >= self.min_overlap)
        np.add.at(counts[0], (labels, size), 1)
        np.add.at(counts[1], (labels[covered], size[covered]), 1)
