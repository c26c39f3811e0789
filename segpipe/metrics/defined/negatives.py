"""Metrics of one class that count the pixels that are not of the class."""

from __future__ import annotations

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio

SOURCE = "Altman and Bland 1994, doi:10.1136/bmj.308.6943.1552 and doi:10.1136/bmj.309.6947.102"


@metric(
    title="Specificity",
    formula="tn / (tn + fp)",
    per_class=True,
    nothing="NaN where every pixel that counts is of the class; such a class is left out of means",
    source=SOURCE,
    undefined="left out",
)
def specificity(areas: ClassAreas) -> FloatArray:
    """The share of other pixels not predicted as the class, tn / (n - t), (..., K). Range 0 to 1, best 1.

    NaN where every pixel that counts is of the class, and such a
    class is left out of means. Near 1 for every small class, whatever is predicted. Also called true
    negative rate.

    >>> specificity(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array([0.66666667, 0.        ])
    """
    return ratio(areas.rest, areas.valid[..., None] - areas.truth)


@metric(
    title="NPV",
    formula="tn / (tn + fn)",
    per_class=True,
    nothing="NaN where every pixel that counts was predicted as the class; such a class is left out of means",
    source=SOURCE,
    undefined="left out",
)
def npv(areas: ClassAreas) -> FloatArray:
    """The share of the pixels predicted as others that is so, tn / (n - p), (..., K). Range 0 to 1, best 1.

    NaN where every pixel that counts was predicted as the class, and
    such a class is left out of means. Also called negative predictive value.

    >>> npv(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array([0.8, 0. ])
    """
    return ratio(areas.rest, areas.valid[..., None] - areas.pred)
