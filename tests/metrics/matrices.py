"""Label maps as codes, and their extended confusion matrices counted by a plain loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.kernels.cells import ConfusionCells


@dataclass(frozen=True)
class Maps:
    """Codes 0..K+1 of truth and pred, one list of pixels per image."""

    num_classes: int
    truth: list[list[int]]
    pred: list[list[int]]

    @property
    def classes(self) -> ClassList:
        return ClassList.numbered(self.num_classes)

    def matrices(self) -> NDArray[np.int64]:
        codes = self.num_classes + 2
        found = np.zeros((len(self.truth), codes, codes), np.int64)
        for image, (truth, pred) in enumerate(zip(self.truth, self.pred, strict=True)):
            for row, column in zip(truth, pred, strict=True):
                found[image, row, column] += 1
        return found

    def cells(self) -> ConfusionCells:
        return (
            ConfusionCells.from_dense(self.matrices())
            if self.truth
            else ConfusionCells.empty(self.num_classes)
        )


@st.composite
def label_maps(draw: st.DrawFn, *, valid_only: bool = False, min_images: int = 0) -> Maps:
    """A few images of a few pixels; small, so that absent and predicted-only classes are frequent."""
    num_classes = draw(st.integers(1, 5))
    codes = st.integers(0, num_classes - 1 if valid_only else num_classes + 1)
    pixels = st.lists(st.tuples(codes, codes), max_size=9, min_size=1 if valid_only else 0)
    images = draw(st.lists(pixels, min_size=min_images, max_size=5))
    return Maps(
        num_classes,
        [[truth for truth, _ in one] for one in images],
        [[pred for _, pred in one] for one in images],
    )


def of_maps(truth: object, pred: object, num_classes: int) -> Maps:
    """Images of class ids, as nested lists (image, pixel)."""
    return Maps(num_classes, np.asarray(truth).tolist(), np.asarray(pred).tolist())
