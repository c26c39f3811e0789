"""The areas of the classes, which is all that most metrics need of an extended confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.kernels.cells import ConfusionCells

IntArray = NDArray[np.int64]
InvalidPred = Literal["count_as_miss", "ignore"]

AREA_NAMES = ("hit", "truth", "pred", "void", "valid")

COUNT_NAMES: Mapping[str, str] = {
    "pixels": "all pixels, whatever their value",
    "ignored": "pixels whose truth is a value in ignore_labels",
    "void": "pixels whose prediction is a value in void_labels",
    "invalid_truth": "pixels whose truth is a value that no rule names",
    "invalid_pred": "pixels whose prediction is a value that no rule names",
}
"""The pixel counts that every report prints. A pixel of ignored truth and invalid prediction is in both."""


@dataclass(frozen=True, eq=False, init=False)
class ClassAreas:
    """Areas in pixels, of one matrix or of many at once (leading dims are free).

    Attributes:
        hit: int64 (..., K), pixels of the class that were predicted as the class (tp).
        truth: int64 (..., K), pixels of the class that count (t). A void or invalid prediction on a
            valid truth pixel is a miss of the true class and nobody's false alarm, so it is in here.
        pred: int64 (..., K), pixels of valid truth that were predicted as the class (p).
        void: int64 (...,), pixels of valid truth whose prediction is void; 0 if not given.
        valid: int64 (...,), the number n of pixels that count: the sum of the truth areas, unless the
            classes are some of all, or overlap, and it is given.

    >>> areas = ClassAreas(hit=[1, 2], truth=[2, 2], pred=[1, 3])
    >>> areas.union, areas.valid, areas.rest
    (array([2, 3]), array(4), array([2, 1]))
    """

    hit: IntArray
    truth: IntArray
    pred: IntArray
    void: IntArray
    valid: IntArray

    def __init__(
        self,
        hit: ArrayLike,
        truth: ArrayLike,
        pred: ArrayLike,
        void: ArrayLike | None = None,
        valid: ArrayLike | None = None,
    ) -> None:
        sides = [np.asarray(side, np.int64) for side in (hit, truth, pred)]
        void = np.zeros(sides[1].shape[:-1], np.int64) if void is None else np.asarray(void, np.int64)
        valid = sides[1].sum(axis=-1, dtype=np.int64)[()] if valid is None else valid
        for name, value in zip(AREA_NAMES, (*sides, void, np.asarray(valid, np.int64)), strict=True):
            object.__setattr__(self, name, value)

    def __getitem__(self, leading: Any) -> ClassAreas:
        """The areas of some of the matrices: any index into the leading dims."""
        parts = {name: getattr(self, name)[leading] for name in AREA_NAMES}
        return ClassAreas(**parts)

    def of_classes(self, chosen: NDArray[Any]) -> ClassAreas:
        """The areas of some of the classes, by ids or by a mask (K,); the pixels that count stay the same."""
        hit, truth, pred = (side[..., chosen] for side in (self.hit, self.truth, self.pred))
        return ClassAreas(hit, truth, pred, self.void, self.valid)

    @property
    def union(self) -> IntArray:
        """Pixels of the class in truth or in pred, int64 (..., K)."""
        # In this order no sum is larger than the number of pixels.
        return self.truth + (self.pred - self.hit)

    @property
    def rest(self) -> IntArray:
        """Pixels that count and are of the class neither in truth nor in pred, int64 (..., K) (tn)."""
        return self.valid[..., None] - self.union

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Whether the class is in truth or in pred, bool (..., K)."""
        return (self.truth > 0) | (self.pred > 0)

    @classmethod
    def from_matrix(cls, matrices: ArrayLike, *, invalid_pred: InvalidPred = "count_as_miss") -> ClassAreas:
        """Areas from extended confusion matrices.

        Args:
            matrices: int64 (..., S, S), row = truth code, column = pred code, S = K + 2.
            invalid_pred: what an invalid prediction on a valid truth pixel is: `count_as_miss`, or
                `ignore`, which takes the pixel out of the truth area. A void prediction is a miss always.

        >>> matrix = [[5, 1, 0, 2], [0, 4, 1, 0], [9, 9, 9, 9], [9, 9, 9, 9]]
        >>> ClassAreas.from_matrix(matrix)
        ClassAreas(hit=array([5, 4]), truth=array([8, 5]), pred=array([5, 5]), void=array(1), valid=array(13))
        >>> ClassAreas.from_matrix(matrix, invalid_pred="ignore").truth
        array([6, 5])
        """
        every = np.asarray(matrices, np.int64)
        num_classes = every.shape[-1] - 2
        valid = every[..., :num_classes, :]
        counted = valid if invalid_pred == "count_as_miss" else valid[..., : num_classes + 1]
        known = valid[..., :num_classes]
        return cls(
            hit=np.diagonal(known, axis1=-2, axis2=-1),
            truth=counted.sum(axis=-1, dtype=np.int64),
            pred=known.sum(axis=-2, dtype=np.int64),
            void=valid[..., num_classes].sum(axis=-1, dtype=np.int64),
        )

    @classmethod
    def from_cells(cls, cells: ConfusionCells, *, invalid_pred: InvalidPred = "count_as_miss") -> ClassAreas:
        """Areas of every image, (image, K), without making a dense matrix; arguments as `from_matrix`."""
        codes, classes, image = cells.num_codes, cells.num_classes, cells.image_of_cell * cells.num_codes
        truth, pred = _codes(cells)
        shape = (len(cells), codes)
        # Sums over all codes, of which the classes are a part: cheaper than to pick out cells first.
        hits = _sums(image + truth, np.where(truth == pred, cells.counts, 0), shape)
        truths = _sums(image + truth, cells.counts, shape)
        preds = _sums(image + pred, np.where(truth < classes, cells.counts, 0), shape)
        if invalid_pred == "ignore":
            left = np.flatnonzero((pred == codes - 1) & (truth < classes))
            np.subtract.at(truths, (image[left] // codes, truth[left]), cells.counts[left])
        return cls(hits[:, :classes], truths[:, :classes], preds[:, :classes], void=preds[:, classes])


def _codes(cells: ConfusionCells) -> tuple[IntArray, IntArray]:
    """Truth code and pred code of every cell, without the slow remainder of a division."""
    truth = cells.truth_codes
    return truth, cells.cells - truth * cells.num_codes


def _sums(places: IntArray, counts: IntArray, shape: tuple[int, int]) -> IntArray:
    total = np.zeros(shape[0] * shape[1], np.int64)
    np.add.at(total, places, counts)
    return total.reshape(shape)


def matrix_counts(matrix: ArrayLike) -> dict[str, int]:
    """The pixel counts (`COUNT_NAMES`) of one extended confusion matrix (S, S).

    >>> matrix_counts([[5, 1, 0, 2], [0, 4, 1, 0], [3, 0, 0, 1], [0, 7, 0, 0]])
    {'pixels': 24, 'ignored': 4, 'void': 1, 'invalid_truth': 7, 'invalid_pred': 3}
    """
    every = np.asarray(matrix, np.int64)
    rows, columns = every.sum(axis=1), every.sum(axis=0)
    return dict(
        zip(
            COUNT_NAMES,
            (int(every.sum()), *map(int, (rows[-2], columns[-2], rows[-1], columns[-1]))),
            strict=True,
        )
    )


def image_counts(cells: ConfusionCells) -> dict[str, IntArray]:
    """The pixel counts (`COUNT_NAMES`) of every image, each int64 (image,), whatever the pixels weigh."""
    cells = cells.in_pixels
    truth, pred = _codes(cells)
    odd = np.flatnonzero((truth >= cells.num_classes) | (pred >= cells.num_classes))
    image, counts, shape = (
        cells.image_of_cell[odd] * cells.num_codes,
        cells.counts[odd],
        (len(cells), cells.num_codes),
    )
    rows, columns = _sums(image + truth[odd], counts, shape), _sums(image + pred[odd], counts, shape)
    sums = (cells.pixels(), rows[:, -2], columns[:, -2], rows[:, -1], columns[:, -1])
    return dict(zip(COUNT_NAMES, sums, strict=True))
