"""Metrics of one class that look at how much was predicted, not where."""

from __future__ import annotations

import math

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio

NOTHING = "NaN where the class is not in truth; such a class is left out of means"
SOURCE = "Heimann et al. 2009, doi:10.1109/TMI.2009.2013851"


@metric(
    title="Volume error",
    formula="(p - t) / t",
    per_class=True,
    best=0.0,
    minimum=-1.0,
    maximum=math.inf,
    nothing=NOTHING,
    source=SOURCE,
    undefined="left out",
)
def volume_error(areas: ClassAreas) -> FloatArray:
    """How much more than the truth was predicted, (p - t) / t, shape (..., K). Range from -1, best 0.

    Negative where too little was predicted. NaN where the class is not in truth, and such a class is left
    out of means. Errors of two signs cancel in a mean.

    >>> volume_error(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array([ 0.5       , -0.33333333])
    """
    return ratio(areas.pred - areas.truth, areas.truth)


@metric(
    title="Absolute volume error",
    formula="|p - t| / t",
    per_class=True,
    best=0.0,
    minimum=0.0,
    maximum=math.inf,
    nothing=NOTHING,
    source=SOURCE,
    undefined="left out",
)
def abs_volume_error(areas: ClassAreas) -> FloatArray:
    """How far the predicted size is from the true one, |p - t| / t, shape (..., K). Range from 0, best 0.

    NaN where the class is not in truth, and such a class is left out of means.

    >>> abs_volume_error(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array([0.5       , 0.33333333])
    """
    return ratio(np.abs(areas.pred - areas.truth), areas.truth)
