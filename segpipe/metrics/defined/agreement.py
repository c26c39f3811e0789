"""Agreement beyond chance. Differences of products of areas, which must be exact to mean anything.

A product of two areas passes float64's 53 bits from 10^8 pixels on and int64 from 3 10^9 on, and what is left
of the difference of two such products may be small. So the three differences are integers: in int64 where n2
fits, else in Python's integers of any size; both ways give the same number, rounded once to float64.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio

LARGEST = 3_037_000_499
"""The largest n of which the square fits into int64; no sum of products of areas is larger than n2."""


@metric(
    title="MCC",
    formula="(n S - sum t p) / sqrt((n2 - sum p2) (n2 - sum t2)), S = sum tp",
    per_class=False,
    minimum=-1.0,
    nothing="NaN where all truth or all predictions are of one class, or no pixel counts",
    source="Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006",
)
def mcc(areas: ClassAreas) -> FloatArray:
    """Matthews correlation for many classes (Gorodkin's R_K), shape (...,). Range -1 to 1, best 1.

    0 for a guess. NaN where truth or prediction is of one class only (scikit-learn
    says 0 there) or no pixel counts. Void and invalid predictions are two more columns.
    `exclude_classes` does not change it: pixels are correlated, not classes averaged.

    >>> mcc(ClassAreas(hit=[1, 6], truth=[2, 6], pred=[1, 7]))
    array(0.65465367)
    """
    shared, spread = _covariances(areas)
    truth, pred = spread[..., 0], spread[..., 1]
    # The root of the product, not the product of roots: the root of a rounded square is exact.
    return np.asarray(np.clip(ratio(shared, np.sqrt(truth * pred)), -1.0, 1.0))


@metric(
    title="Cohen's kappa",
    formula="(a - e) / (1 - e), a = sum tp / n, e = sum t p / n2",
    per_class=False,
    minimum=-1.0,
    nothing="NaN where all truth and all predictions are of one and the same class, or no pixel counts",
    source="Cohen 1960, doi:10.1177/001316446002000104",
)
def kappa(areas: ClassAreas) -> FloatArray:
    """Pixel accuracy beyond that of chance, (a - e) / (1 - e), shape (...,). Range -1 to 1, best 1.

    0 for a guess. NaN where truth and prediction are of one and the same class only, or no pixel counts.
    `exclude_classes` does not change it: it is a mean over pixels.

    >>> kappa(ClassAreas(hit=[1, 6], truth=[2, 6], pred=[1, 7]))
    array(0.6)
    """
    shared, spread = _covariances(areas)
    return np.asarray(np.clip(ratio(shared, spread[..., 2]), -1.0, 1.0))


def _covariances(areas: ClassAreas) -> tuple[FloatArray, FloatArray]:
    """n S - sum t p; and n2 less sum t2, sum p2 and sum t p, (..., 3): exact, rounded once to float64."""
    kind: DTypeLike = np.int64 if (areas.valid <= LARGEST).all() else object
    sides = (areas.truth, areas.pred, areas.valid, areas.void, areas.hit.sum(axis=-1))
    truth, pred, n, void, hits = (cast(NDArray[Any], side.astype(kind)) for side in sides)
    invalid = n - pred.sum(axis=-1) - void
    both = (truth * pred).sum(axis=-1)
    predicted = (pred * pred).sum(axis=-1) + void * void + invalid * invalid
    squares = ((truth * truth).sum(axis=-1), predicted, both)
    exact = (n * hits - both, *(n * n - one for one in squares))
    shared, *spread = (np.asarray(one, np.float64) for one in exact)
    return shared, np.stack(spread, axis=-1)
