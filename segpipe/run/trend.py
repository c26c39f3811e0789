"""Whether the last runs differ from the ones before by more than runs usually do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from pydantic import Field

from segpipe.values import Frozen

Direction = Literal["rising", "falling", "steady", "unknown"]


class TrendRule(Frozen):
    """How many runs are compared with how many before them, and what counts as a change.

    Attributes:
        last, before: numbers of runs.
        min_change: smaller changes are none, in units of the score.
        errors: nor are those below this many standard errors.
    """

    last: int = Field(default=3, ge=1, le=100)
    before: int = Field(default=7, ge=2, le=1000)
    min_change: float = Field(default=0.005, ge=0, allow_inf_nan=False)
    errors: float = Field(default=2.0, ge=0, allow_inf_nan=False)


@dataclass(frozen=True)
class Trend:
    """The last runs against the ones before.

    Attributes:
        direction: `unknown` where there are too few runs.
        change: mean of the last runs less the mean of those before; NaN if unknown.
        threshold: the smallest change that counts; NaN if unknown.
    """

    direction: Direction
    change: float = math.nan
    threshold: float = math.nan


def find_trend(values: Sequence[float | None], rule: TrendRule | None = None) -> Trend:
    """The trend of scores, the oldest first; runs without a score are left out.

    With the m `last` values and the n values `before` them (at least two), the change is
    mean(last) - mean(before). It counts from max(min_change, errors * s * sqrt(1/m + 1/n)) on, where s is the
    sample standard deviation of the values before: two means of m and n independent values differ by the
    standard error s * sqrt(1/m + 1/n).

    >>> find_trend([0.70, 0.71, 0.70, 0.71, 0.70, 0.65, 0.64, 0.65]).direction
    'falling'
    >>> find_trend([0.70, 0.60, 0.72, 0.58, 0.71, 0.64, 0.66, 0.64]).direction
    'steady'
    """
    rule = rule or TrendRule()
    known = [value for value in values if value is not None and math.isfinite(value)]
    last, before = known[-rule.last :], known[: -rule.last][-rule.before :]
    if len(last) < rule.last or len(before) < 2:
        return Trend("unknown")
    change = fmean(last) - fmean(before)
    error = stdev(before) * math.sqrt(1 / len(last) + 1 / len(before))
    threshold = max(rule.min_change, rule.errors * error)
    if abs(change) < threshold or change == 0:
        return Trend("steady", change, threshold)
    return Trend("rising" if change > 0 else "falling", change, threshold)
