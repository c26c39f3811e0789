"""The areas of images, with apart what conventions treat differently: pixels that are of no class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.conventions.base import ConventionRules

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The areas of some images.

    Attributes:
        cells: the matrices in pixels.
        known: areas of pixels with a class on both sides, (image, K).
        outside: valid truth whose prediction is no class, int64 (image, K), by truth.
        stray: truth that is neither a class nor ignored, int64 (image, K), by prediction.
        invalid_truth: pixels of such a truth, whatever was predicted.
        weighted: areas in units of weight, (image, K), where a prediction of no class is a miss; None where
            pixels have no weights.
    """

    cells: ConfusionCells
    known: ClassAreas
    outside: IntArray
    stray: IntArray
    invalid_truth: int
    weighted: ClassAreas | None

    @classmethod
    def of(cls, cells: ConfusionCells) -> Parts:
        """From matrices, of pixels or of their weights."""
        weighted = None if cells.of_pixels is None else ClassAreas.from_cells(cells)
        cells = cells.in_pixels
        classes, image = cells.num_classes, cells.image_of_cell
        truth, pred = cells.truth_codes, cells.pred_codes
        whole = ClassAreas.from_cells(cells)
        outside, stray = np.zeros_like(whole.truth), np.zeros_like(whole.truth)
        out = (truth < classes) & (pred >= classes)
        np.add.at(outside, (image[out], truth[out]), cells.counts[out])
        odd = (truth == classes + 1) & (pred < classes)
        np.add.at(stray, (image[odd], pred[odd]), cells.counts[odd])
        known = ClassAreas(whole.hit, whole.truth - outside, whole.pred)
        invalid_truth = int(cells.counts[truth == classes + 1].sum())
        return cls(cells, known, outside, stray, invalid_truth, weighted)

    def areas(self, rules: ConventionRules) -> ClassAreas:
        """The areas of every image under the rules on pixels that are of no class, (image, K)."""
        truth = self.known.truth + (self.outside if rules.out_of_range == "miss" else 0)
        pred = self.known.pred + (self.stray if rules.stray_truth == "keep pred" else 0)
        return ClassAreas(self.known.hit, truth, pred)
