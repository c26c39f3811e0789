"""The rules for absent chunks, applied to counts: no pixel is read for another rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.cells import ConfusionCells
from segpipe.statistics.confusion import ImageCounts


@dataclass(frozen=True)
class Judged:
    """Counts under the rules for absent chunks.

    Attributes:
        cells: one matrix for each image of the counts.
        affected: bool (image,); it has absent pixels that no rule takes for the fill value.
        absent_pixels: int64 (image, 2); pixels under absent chunks, whatever the rule: of truth, of pred.
        weighted: the matrices times the weights of pixels, in units; None: pixels have no weights.
    """

    cells: ConfusionCells
    affected: NDArray[np.bool_]
    absent_pixels: NDArray[np.int64]
    weighted: ConfusionCells | None = None


def judge_absent(counts: ImageCounts, *, truth_is_fill: bool, pred_is_fill: bool) -> Judged:
    """Take absent chunks for their fill value where that is declared, and for no class elsewhere.

    An absent chunk of truth that is no fill value becomes *ignored*, one of pred becomes *void*. Whether the
    image is then scored, left out or an error is for the caller to say (`affected`).

    >>> E = ConfusionCells.from_dense(np.array([[[3, 1, 0], [0, 0, 0], [0, 0, 0]]]))
    >>> none = ConfusionCells.empty(1, 1)
    >>> lost = ConfusionCells.from_dense(np.array([[[2, 0, 0], [0, 0, 0], [0, 0, 0]]]))
    >>> counts = ImageCounts(E, none, lost, none)
    >>> judge_absent(counts, truth_is_fill=False, pred_is_fill=False).cells.dense()[0].tolist()
    [[1, 3, 0], [0, 0, 0], [0, 0, 0]]
    """
    truth = counts.absent_truth.pixels() + counts.absent_both.pixels()
    pred = counts.absent_pred.pixels() + counts.absent_both.pixels()
    affected = ((truth > 0) & (not truth_is_fill)) | ((pred > 0) & (not pred_is_fill))
    cells = counts.cells
    if affected.any():
        for part, lost_truth, lost_pred in (
            (counts.absent_truth, True, False),
            (counts.absent_pred, False, True),
            (counts.absent_both, True, True),
        ):
            no_class = np.full_like(part.truth_codes, cells.num_classes)
            cells = cells.moved(
                part,
                no_class if lost_truth and not truth_is_fill else part.truth_codes,
                no_class if lost_pred and not pred_is_fill else part.pred_codes,
            )
    weighted = None
    if counts.weighted is not None:
        judged = judge_absent(counts.weighted, truth_is_fill=truth_is_fill, pred_is_fill=pred_is_fill)
        weighted = judged.cells
    return Judged(cells, affected, np.stack([truth, pred], axis=1), weighted)
