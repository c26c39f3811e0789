"""Extended confusion matrices of many images, stored sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ConfusionCells:
    """The non-zero cells of one extended confusion matrix per image (compressed sparse rows).

    Row = truth code, column = pred code, both 0..K+1 (`segpipe.classes.LabelRules`); S = K + 2.

    Attributes:
        num_classes: K.
        offsets: int64 (image + 1,); the cells of image i are offsets[i] to offsets[i + 1].
        cells: uint32 (cell,); row * S + column, strictly increasing within an image.
        counts: int64 (cell,); pixels, never 0; or sums of their weights (`segpipe.kernels.weighted`).
        of_pixels: int64 (cell,); the pixels, where `counts` are sums of their weights. None: `counts` are.
    """

    num_classes: int
    offsets: NDArray[np.int64]
    cells: NDArray[np.uint32]
    counts: NDArray[np.int64]
    of_pixels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_codes(self) -> int:
        """S = K + 2."""
        return self.num_classes + 2

    @property
    def image_of_cell(self) -> NDArray[np.int64]:
        """The image that each cell belongs to, int64 (cell,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    @property
    def truth_codes(self) -> NDArray[np.int64]:
        """The row of each cell, int64 (cell,)."""
        return self.cells.astype(np.int64) // self.num_codes

    @property
    def pred_codes(self) -> NDArray[np.int64]:
        """The column of each cell, int64 (cell,)."""
        return self.cells.astype(np.int64) % self.num_codes

    @property
    def in_pixels(self) -> ConfusionCells:
        """The matrices without the weights of pixels."""
        if self.of_pixels is None:
            return self
        return ConfusionCells(self.num_classes, self.offsets, self.cells, self.of_pixels)

    def with_weights(self, weighted: ConfusionCells) -> ConfusionCells:
        """The matrices with sums of weights for counts.

        Args:
            weighted: the same images' sums of weights, in cells that are here as well.

        >>> E = ConfusionCells.from_dense(np.array([[[3, 1, 0], [0, 0, 0], [2, 0, 0]]]))
        >>> sums = ConfusionCells.from_dense(np.array([[[5, 0, 0], [0, 0, 0], [9, 0, 0]]]))
        >>> E.with_weights(sums).counts, E.with_weights(sums).of_pixels
        (array([5, 0, 9]), array([3, 1, 2]))
        """
        counts, codes = np.zeros_like(self.counts), np.int64(self.num_codes**2)
        own, other = (one.image_of_cell * codes + one.cells for one in (self, weighted))
        counts[np.searchsorted(own, other)] = weighted.counts
        return ConfusionCells(self.num_classes, self.offsets, self.cells, counts, self.counts)

    def pixels(self) -> NDArray[np.int64]:
        """The sum of the counts of each image, int64 (image,)."""
        running = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        pixels: NDArray[np.int64] = running[self.offsets[1:]] - running[self.offsets[:-1]]
        return pixels

    def dense(self) -> NDArray[np.int64]:
        """The matrices, int64 (image, S, S)."""
        matrices = np.zeros((len(self), self.num_codes**2), np.int64)
        matrices[self.image_of_cell, self.cells] = self.counts
        return matrices.reshape(-1, self.num_codes, self.num_codes)

    def total(self) -> NDArray[np.int64]:
        """The sum over the images, int64 (S, S)."""
        total = np.zeros(self.num_codes**2, np.int64)
        np.add.at(total, self.cells, self.counts)
        return total.reshape(self.num_codes, self.num_codes)

    def take(self, images: NDArray[np.int64] | Sequence[int]) -> ConfusionCells:
        """The matrices of some images, in the order given."""
        chosen = np.asarray(images, np.int64)
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        pixels = None if self.of_pixels is None else self.of_pixels[where]
        return ConfusionCells(self.num_classes, offsets, self.cells[where], self.counts[where], pixels)

    def moved(
        self, part: ConfusionCells, truth_codes: NDArray[np.int64], pred_codes: NDArray[np.int64]
    ) -> ConfusionCells:
        """The matrices with a part of their counts in other cells.

        Args:
            part: counts of the same images that are in the matrices.
            truth_codes, pred_codes: int64 (cell of the part,); where they are moved to.

        >>> E = ConfusionCells.from_dense(np.array([[[3, 1, 0], [0, 0, 0], [0, 0, 0]]]))
        >>> part = ConfusionCells.from_dense(np.array([[[2, 0, 0], [0, 0, 0], [0, 0, 0]]]))
        >>> E.moved(part, np.array([1]), np.array([0])).dense()[0].tolist()
        [[1, 1, 0], [2, 0, 0], [0, 0, 0]]
        """
        if not len(part.cells):
            return self
        codes = np.int64(self.num_codes)
        image = np.concatenate([self.image_of_cell, part.image_of_cell, part.image_of_cell])
        target = truth_codes * codes + pred_codes
        cell = np.concatenate([self.cells.astype(np.int64), part.cells.astype(np.int64), target])
        count = np.concatenate([self.counts, -part.counts, part.counts])
        keys, place = np.unique(image * codes**2 + cell, return_inverse=True)
        sums = np.zeros(len(keys), np.int64)
        np.add.at(sums, place, count)
        keys, sums = keys[sums != 0], sums[sums != 0]
        offsets = np.searchsorted(keys // codes**2, np.arange(len(self) + 1))
        return ConfusionCells(self.num_classes, offsets, (keys % codes**2).astype(np.uint32), sums)

    def of_classes(self, chosen: Sequence[int]) -> ConfusionCells:
        """The matrices over some of the classes: truth of others is ignored, predictions of others are void.

        Args:
            chosen: their ids, in the new order.

        >>> E = ConfusionCells.from_dense(np.arange(16).reshape(1, 4, 4))
        >>> E.of_classes([1]).dense()[0].tolist()
        [[5, 10, 7], [10, 20, 14], [13, 26, 15]]
        """
        place = np.full(self.num_codes, len(chosen))
        place[list(chosen)], place[-1] = np.arange(len(chosen)), len(chosen) + 1
        return self._placed(place, len(chosen))

    def regrouped(self, groups: Sequence[Sequence[int]]) -> ConfusionCells:
        """The matrices of label maps whose classes are groups of classes, and at last all that are in none.

        Args:
            groups: class ids of each group; no class is in two of them.

        >>> E = ConfusionCells.from_dense(np.arange(25).reshape(1, 5, 5))
        >>> E.regrouped([(0, 2)]).dense()[0].tolist()
        [[24, 12, 16, 18], [12, 6, 8, 9], [32, 16, 18, 19], [42, 21, 23, 24]]
        """
        place = np.full(self.num_codes, len(groups))
        place[-2:] = len(groups) + 1, len(groups) + 2
        for number, members in enumerate(groups):
            place[list(members)] = number
        return self._placed(place, len(groups) + 1)

    def _placed(self, place: NDArray[np.int64], num_classes: int) -> ConfusionCells:
        """The matrices over other codes, (S,) -> 0..num_classes + 1."""
        codes = np.int64(num_classes + 2)
        target = place[self.truth_codes] * codes + place[self.pred_codes]
        keys, where = np.unique(self.image_of_cell * codes**2 + target, return_inverse=True)
        sums = np.zeros(len(keys), np.int64)
        np.add.at(sums, where, self.counts)
        offsets = np.searchsorted(keys // codes**2, np.arange(len(self) + 1))
        return ConfusionCells(num_classes, offsets, (keys % codes**2).astype(np.uint32), sums)

    def times(self, factors: NDArray[np.int64]) -> ConfusionCells:
        """The matrices, each times a whole number (image,)."""
        counts = self.counts * np.repeat(factors, np.diff(self.offsets))
        return ConfusionCells(self.num_classes, self.offsets, self.cells, counts)

    @classmethod
    def empty(cls, num_classes: int, images: int = 0) -> ConfusionCells:
        """Matrices of zeros."""
        return cls(num_classes, np.zeros(images + 1, np.int64), np.empty(0, np.uint32), np.empty(0, np.int64))

    @classmethod
    def from_dense(cls, matrices: NDArray[np.int64]) -> ConfusionCells:
        """From matrices (image, S, S).

        >>> ConfusionCells.from_dense(np.array([[[0, 2, 0], [0, 0, 0], [0, 0, 1]]])).cells
        array([1, 8], dtype=uint32)
        """
        flat = np.asarray(matrices, np.int64).reshape(len(matrices), matrices.shape[-1] ** 2)
        image, cell = np.nonzero(flat)
        offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(flat, axis=1))])
        return cls(matrices.shape[-1] - 2, offsets, cell.astype(np.uint32), flat[image, cell])

    @classmethod
    def concatenate(cls, parts: Sequence[ConfusionCells]) -> ConfusionCells:
        """The images of several parts, one after the other; at least one part."""
        ends = np.cumsum([0] + [part.offsets[-1] for part in parts])
        offsets = [part.offsets[1:] + start for part, start in zip(parts, ends[:-1], strict=True)]
        return cls(
            parts[0].num_classes,
            np.concatenate([np.zeros(1, np.int64), *offsets]),
            np.concatenate([part.cells for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )
