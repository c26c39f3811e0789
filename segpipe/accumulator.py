"""Count label maps as they come, in a loop that has no Zarr store, and score the sum at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.classes import ClassList, rules_of_sides
from segpipe.errors import ArrayError, ConfigError
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.positions import find_invalid
from segpipe.kernels.weighted import UNIT_BITS, sum_weights

if TYPE_CHECKING:
    from segpipe.metrics.scores import Scores


InvalidTruth = Literal["error", "ignore"]
InvalidPred = Literal["error", "count_as_miss", "ignore"]

PART = (1 << UNIT_BITS) - 1
"""The bits of a sum that are less than a pixel."""


class ConfusionAccumulator:
    """The sum of extended confusion matrices over all label maps that it was shown.

    Sums are whole numbers: pixels, or units of 2^-30 of a weight. So neither the order nor the size of the
    updates shows, and merged parts give the bits of the whole. Once one update has had weights, a pixel
    of an update without weights counts with weight 1, exactly.

    Args:
        num_classes: K.
        ignore_labels: truth values whose pixels take no part.
        void_labels: pred values that are declared to be no class.
        remap: raw value -> class id, for both sides; None means that values are class ids already.
        invalid_truth: pixels of true values that no rule names stop `result` (`error`), or take no part.
        invalid_pred: such predictions stop `result`, are misses, or their pixels take no part.

    Raises:
        ConfigError: the number of classes, the rules for labels, or a word that is none of these.

    >>> seen = ConfusionAccumulator(2)
    >>> seen.update([0, 0, 1, 1], [0, 1, 0, 1])
    >>> seen.counts[:2, :2].tolist(), round(seen.result()["mean_iou"], 6)
    ([[1, 1], [1, 1]], 0.333333)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_labels: Iterable[int] = (),
        void_labels: Iterable[int] = (),
        remap: Mapping[int, int] | None = None,
        invalid_truth: InvalidTruth = "error",
        invalid_pred: InvalidPred = "error",
    ) -> None:
        self._invalid = {"truth": str(invalid_truth), "pred": str(invalid_pred)}
        for side, known in (("truth", get_args(InvalidTruth)), ("pred", get_args(InvalidPred))):
            if self._invalid[side] not in known:
                message = f"invalid_{side}: found {self._invalid[side]!r}, expected one of {', '.join(known)}"
                raise ConfigError(message)
        self._strange: dict[str, int] = {}
        self._truth_rules, self._pred_rules = rules_of_sides(
            num_classes, ignore_labels=ignore_labels, void_labels=void_labels, remap=remap
        )
        self.reset()

    @property
    def counts(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """The extended confusion matrix (K + 2, K + 2), row = truth code, column = pred code; a copy.

        int64, pixels; or float64, sums of weights, if any update had weights.
        """
        return self._whole + self._parts / (PART + 1) if self._weighted else self._whole.copy()

    def update(self, truth: ArrayLike, pred: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Count label maps; after an error nothing has been counted.

        Args:
            truth: raw label values, any integer or bool dtype, any shape.
            pred: the same of the prediction, the shape of `truth`.
            weights: one finite number >= 0 for each pixel, the shape of `truth`, rounded to multiples of
                2^-30; a pixel of weight 0 takes no part. None: every pixel counts as one.

        Raises:
            ShapeError: the shapes differ.
            ArrayError: a dtype or a weight cannot be used, or weights add up to 2^33 or more.
        """
        truth, pred = np.asanyarray(truth), np.asanyarray(pred)
        if weights is None:
            new = count_confusion(truth[None], pred[None], self._truth_rules, self._pred_rules).total()
            self._add(new, 0)
        else:
            new = sum_weights(truth, pred, np.asanyarray(weights), self._truth_rules, self._pred_rules)
            self._weighted = True
            self._add(0, new)
        if new[-1].any() or new[:, -1].any():
            self._remember_invalid(truth, pred)

    def merge(self, other: ConfusionAccumulator) -> None:
        """Add what another accumulator, of the same rules, has counted; it stays as it is.

        Raises:
            ArrayError: the number of classes or the rules for labels differ.
        """
        if (self._truth_rules, self._pred_rules) != (other._truth_rules, other._pred_rules):
            message = (
                "accumulators with other num_classes, ignore_labels, void_labels or remap cannot be merged"
            )
            raise ArrayError(message)
        self._weighted = self._weighted or other._weighted
        self._strange = {**other._strange, **self._strange}
        self._add(other._whole, other._parts)

    def result(self) -> Scores:
        """All pooled scores of what was counted so far, as `segpipe.metrics.scoring.score_matrix` gives them.

        Weighted sums are scored in their units: scores are ratios.

        Raises:
            ArrayError: labels that no rule names were seen, and `invalid_truth` and `invalid_pred` do not say
                what they are.
        """
        from segpipe.metrics.rules import ScoringRules
        from segpipe.metrics.scoring import score_matrix

        self._check_invalid()
        rules = ScoringRules(invalid_pred="ignore" if self._invalid["pred"] == "ignore" else "count_as_miss")
        classes = ClassList.numbered(self._truth_rules.num_classes)
        return score_matrix(self._units() if self._weighted else self._whole, classes, rules)

    def reset(self) -> None:
        """Forget everything that was counted."""
        side = self._truth_rules.num_codes
        self._whole = np.zeros((side, side), np.int64)
        self._parts = np.zeros((side, side), np.int64)
        self._weighted = False
        self._strange = {}

    def _remember_invalid(self, truth: NDArray[Any], pred: NDArray[Any]) -> None:
        """Keep the first label of each side that no rule names."""
        found = find_invalid(truth, pred, self._truth_rules, self._pred_rules, limit=1)
        for side, values in (("truth", found.truth), ("pred", found.pred)):
            for one in values:
                self._strange.setdefault(side, one.value)

    def _check_invalid(self) -> None:
        sides = (
            ("truth", "ignore_labels", "ignore", self.counts[-1].sum()),
            ("pred", "void_labels", "count_as_miss", self.counts[:, -1].sum()),
        )
        problems = [
            f"{side} held labels that no rule names, such as {self._strange[side]}, in {pixels:,.12g} "
            f"pixels: list them in {key}, remap them, or say invalid_{side}={policy!r}"
            for side, key, policy, pixels in sides
            if pixels and self._invalid[side] == "error"
        ]
        if problems:
            raise ArrayError("\n".join(problems))

    def _add(self, whole: NDArray[np.int64] | int, units: NDArray[np.int64] | int) -> None:
        """Add pixels and units of 2^-30; full pixels are carried over, so that neither can overflow."""
        parts = self._parts + (units & PART)
        self._whole = self._whole + whole + (units >> UNIT_BITS) + (parts >> UNIT_BITS)
        self._parts = parts & PART

    def _units(self) -> NDArray[np.int64]:
        """The sums in units of 2^-30; in coarser ones where two bits of an int64 would not stay free."""
        too_many = max(0, int(self._whole.sum()).bit_length() + UNIT_BITS - 61)
        return (self._whole << UNIT_BITS - too_many) + (self._parts >> too_many)
