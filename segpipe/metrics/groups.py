"""Scores of groups of classes, from the same counts: each group against all that is not in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.classes import ClassList
from segpipe.metrics.areas import ClassAreas, matrix_counts
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE, Aggregate, Scores
from segpipe.metrics.scoring import (
    ABSENT,
    NEVER_PREDICTED,
    NO_VALUE,
    PREDICTED_ONLY,
    class_values,
    score_matrix,
)
from segpipe.metrics.sums import row_means

IntArray = NDArray[np.int64]

REST = "(in no group)"
"""The name of the classes of no group, where groups make a label map of their own."""


def score_class_groups(
    matrix: ArrayLike, classes: ClassList, rules: ScoringRules, *, units_per_pixel: float = 1
) -> Scores | None:
    """Score the groups of a class list.

    Of each group the classes are one, and all other classes another: a binary problem. Groups that share
    no class can be seen as classes of a label map as well; then there are also the figures of all groups
    together, in which the classes of no group are one more class.

    Args:
        matrix: int64 (S, S), row = truth code, column = pred code, S = K + 2.
        classes: the K classes and their groups.
        rules: the settings; `exclude_classes` does not touch groups.
        units_per_pixel: what a pixel of weight 1 counts as.

    Returns:
        Scores whose classes are the groups; None where there are no groups.

    >>> from segpipe.classes import ClassGroup
    >>> classes = ClassList(("car", "bus", "road"), groups=(ClassGroup("vehicle", (0, 1)),))
    >>> matrix = [[3, 2, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 8, 0, 0], [0] * 5, [0] * 5]
    >>> score_class_groups(matrix, classes, ScoringRules())["mean_iou"]
    0.75
    """
    if not classes.groups:
        return None
    every, rules = np.asarray(matrix, np.int64), replace(rules, exclude_classes=())
    pairs = np.stack([regroup(every, [group.members]) for group in classes.groups])
    areas = ClassAreas.from_matrix(pairs, invalid_pred=rules.invalid_pred)
    names = tuple(group.name for group in classes.groups)
    records = [one for one in chosen_metrics(rules.metrics) if one.per_class]
    per_group = {one.name: class_values(one, areas, rules)[:, 0] for one in records}
    undefined = {one.name: np.isnan(one.function(areas)[:, 0]) for one in records}
    each = ClassAreas(areas.hit[:, 0], areas.truth[:, 0], areas.pred[:, 0], valid=areas.valid[0])
    means = [_mean(one, per_group[one.name], undefined[one.name], each, names, rules) for one in records]
    together = [] if classes.groups_overlap else _together(every, classes, rules)
    named = {one.name: one for one in [*means, *together]}
    return Scores(
        classes=ClassList(names), rules=rules, images=None, counts=matrix_counts(every), areas=each,
        per_class=per_group, aggregates={HEADLINE: named.pop(HEADLINE), **named},
        units_per_pixel=units_per_pixel,
    )  # fmt: skip


def regroup(matrix: IntArray, groups: list[tuple[int, ...]]) -> IntArray:
    """The matrix of a label map whose classes are groups: A^T E A, with A the code-to-group matrix.

    Args:
        matrix: int64 (K + 2, K + 2).
        groups: class ids of each group; no class is in two of them.

    Returns:
        int64 (G + 3, G + 3): the groups, all classes of no group, ignored or void, invalid.

    >>> regroup(np.arange(25).reshape(5, 5), [(0, 2)])
    array([[24, 12, 16, 18],
           [12,  6,  8,  9],
           [32, 16, 18, 19],
           [42, 21, 23, 24]])
    """
    place = np.full(len(matrix), len(groups))
    place[-2:] = len(groups) + 1, len(groups) + 2
    for number, members in enumerate(groups):
        place[list(members)] = number
    belongs = (place[:, None] == np.arange(len(groups) + 3)).astype(np.int64)
    return np.asarray(belongs.T @ matrix @ belongs, np.int64)


def _mean(
    metric: Metric, values: FloatArray, undefined: NDArray[np.bool_], areas: ClassAreas,
    names: tuple[str, ...], rules: ScoringRules,
) -> Aggregate:  # fmt: skip
    """The mean over groups of summed counts; NaN where no group occurs."""
    occurs = areas.occurs
    used = ~np.isnan(values) & occurs.any()
    why = np.where(occurs, NO_VALUE, ABSENT)
    noted = np.flatnonzero(used & occurs & (undefined | (areas.truth == 0)))
    return Aggregate(
        name=f"mean_{metric.name}", title=f"Mean {metric.title} of groups",
        value=float(row_means(values, used)), averaging="pooled",
        rule="mean over groups, each against all other classes, of counts summed over all images; "
        f"absent groups: {rules.absent_class}",
        formula=metric.formula, best=metric.best, minimum=metric.minimum, maximum=metric.maximum,
        classes_used=tuple(names[at] for at in np.flatnonzero(used)),
        classes_dropped={names[at]: str(why[at]) for at in np.flatnonzero(~used)},
        flagged={
            names[at]: f"{NEVER_PREDICTED if areas.truth[at] else PREDICTED_ONLY}: scores {values[at]:g}"
            for at in noted
        },
        metric=metric.name, main=metric.main,
    )  # fmt: skip


def _together(matrix: IntArray, classes: ClassList, rules: ScoringRules) -> list[Aggregate]:
    """The figures of all groups together; a class of no group is in none of them but as the rest."""
    regrouped = regroup(matrix, [group.members for group in classes.groups])
    names = (*(group.name for group in classes.groups), REST)
    scores = score_matrix(regrouped, ClassList(names), replace(rules, exclude_classes=(REST,)))
    no_rest = {member for group in classes.groups for member in group.members} == set(range(len(classes)))
    return [
        replace(
            one,
            title=f"{one.title} of groups",
            classes_dropped={
                name: why for name, why in one.classes_dropped.items() if not (no_rest and name == REST)
            },
        )
        for one in scores.aggregates.values()
        if one.name.removeprefix("mean_") not in scores.per_class
    ]
