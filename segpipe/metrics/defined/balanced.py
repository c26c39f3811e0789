"""Metrics of all classes together in which small classes weigh as much as big ones, or more."""

from __future__ import annotations

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio
from segpipe.metrics.sums import row_means, row_sums

NOT_IN_TRUTH = "NaN where none of the classes is in truth"


@metric(
    title="Balanced accuracy",
    formula="mean over classes of tp / t",
    per_class=False,
    nothing=NOT_IN_TRUTH,
    source="Brodersen et al. 2010, doi:10.1109/ICPR.2010.764",
    over="truth classes",
)
def balanced_accuracy(areas: ClassAreas) -> FloatArray:
    """The mean of recall over the classes in truth, shape (...,). Range 0 to 1, best 1.

    NaN where no class is in truth. Classes in `exclude_classes` are left out. A class that was predicted and
    is nowhere in truth is not in it; the mean recall counts that class as 0.

    >>> balanced_accuracy(ClassAreas(hit=[1, 2, 0], truth=[2, 6, 0], pred=[3, 4, 1]))
    array(0.41666667)
    """
    return np.asarray(row_means(ratio(areas.hit, areas.truth), areas.truth > 0))


SUDRE = "Crum et al. 2006, doi:10.1109/TMI.2006.880587; Sudre et al. 2017, doi:10.1007/978-3-319-67558-9_28"


@metric(
    title="Generalized Dice",
    formula="2 sum w tp / sum w (t + p), w = 1 / t2",
    per_class=False,
    nothing=NOT_IN_TRUTH,
    source=SUDRE,
    over="truth classes",
)
def generalized_dice(areas: ClassAreas) -> FloatArray:
    """Dice of all classes, each weighted with 1 / t2, shape (...,). Range 0 to 1, best 1.

    NaN where no class is in truth; a class that is not in truth has no weight. Classes in
    `exclude_classes` are left out.

    >>> generalized_dice(ClassAreas(hit=[1, 2, 0], truth=[2, 6, 0], pred=[3, 4, 1]))
    array(0.4)
    >>> generalized_dice(ClassAreas(hit=[1, 6], truth=[2, 6], pred=[1, 7]))
    array(0.75)
    """
    return _generalized(areas, np.square(areas.truth, dtype=np.float64))


@metric(
    title="Generalized Dice, w = 1 / t",
    formula="2 sum w tp / sum w (t + p), w = 1 / t",
    per_class=False,
    nothing=NOT_IN_TRUTH,
    source=SUDRE,
    over="truth classes",
)
def generalized_dice_simple(areas: ClassAreas) -> FloatArray:
    """Dice of all classes, each weighted with 1 / t, shape (...,). Range 0 to 1, best 1.

    NaN where no class is in truth; a class that is not in truth has no weight. Classes in
    `exclude_classes` are left out.

    >>> generalized_dice_simple(ClassAreas(hit=[1, 6], truth=[2, 6], pred=[1, 7]))
    array(0.81818182)
    """
    return _generalized(areas, areas.truth.astype(np.float64))


@metric(
    title="Generalized Dice, w = 1",
    formula="2 sum tp / sum (t + p) over classes in truth",
    per_class=False,
    nothing=NOT_IN_TRUTH,
    source=SUDRE,
    over="truth classes",
)
def generalized_dice_uniform(areas: ClassAreas) -> FloatArray:
    """Dice of all classes in truth, summed without weights, shape (...,). Range 0 to 1, best 1.

    NaN where no class is in truth; a class that is not in truth has no weight. Classes in
    `exclude_classes` are left out.

    >>> generalized_dice_uniform(ClassAreas(hit=[1, 6], truth=[2, 6], pred=[1, 7]))
    array(0.875)
    """
    return _generalized(areas, np.ones(areas.truth.shape))


def _generalized(areas: ClassAreas, divisors: FloatArray) -> FloatArray:
    divisors = np.where(areas.truth > 0, divisors, np.inf)
    agreement = row_sums(2.0 * areas.hit / divisors)
    sizes = row_sums(np.add(areas.truth, areas.pred, dtype=np.float64) / divisors)
    # Each sum is rounded by itself, so that their quotient may pass 1 by a last digit.
    return np.asarray(np.minimum(ratio(agreement, sizes), 1.0))
