"""From counts to scores: pooled figures, means over classes, means over images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.classes import ClassList
from segpipe.errors import InfrastructureError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.areas import COUNT_NAMES, ClassAreas, image_counts, matrix_counts
from segpipe.metrics.base import METRICS, FloatArray, Metric
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import HEADLINE, Aggregate, Scores
from segpipe.metrics.sums import FixedPointSums, row_means

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

IMAGE_METRICS = ("iou", "dice")
"""The per-class metrics that are also scored image by image and then averaged."""

ABSENT, EXCLUDED, NO_VALUE = "absent from truth and prediction", "excluded by exclude_classes", "has no value"
PREDICTED_ONLY, NEVER_PREDICTED = "predicted, but nowhere in truth", "in truth, but never predicted"
NOT_IN_TRUTH = "in truth of no image"


def score_matrix(
    matrix: ArrayLike, classes: ClassList, rules: ScoringRules, *, units_per_pixel: int = 1
) -> Scores:
    """Score one summed matrix.

    Args:
        matrix: int64 (S, S), row = truth code, column = pred code, S = K + 2.
        classes: the K classes.
        rules: the settings.
        units_per_pixel: what a pixel of weight 1 counts as, for sums of fixed-point weights.

    Returns:
        Pooled scores; means over images need the images (`score_counts`).

    >>> maps = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> score_matrix(maps, ClassList.numbered(2), ScoringRules())["mean_iou"]
    0.3333333333333333
    """
    every = np.asarray(matrix, np.int64)
    areas = ClassAreas.from_matrix(every, invalid_pred=rules.invalid_pred)
    scores = pooled_scores(areas, classes, rules, counts=matrix_counts(every), images=None)
    return replace(scores, units_per_pixel=units_per_pixel)


def score_counts(
    blocks: Iterable[ConfusionCells], total: ArrayLike, classes: ClassList, rules: ScoringRules
) -> Scores:
    """Score a dataset from the counts of its images; of an image only two or three floats stay in memory.

    Args:
        blocks: the matrices of the images, some images at a time; neither cut nor order matters, but for
            the order of `Scores.per_image`.
        total: int64 (S, S), the sum of all of them.
        classes: the K classes.
        rules: the settings.

    Raises:
        InfrastructureError: the images do not add up to the total: a damaged or mixed-up file.
    """
    sums = _GroupSums(1, classes, rules)
    each = [sums.add(block, np.zeros(len(block), np.int64)).per_image for block in blocks]
    names = each[0] if each else {}
    scores = replace(
        sums.scores(0), per_image={name: np.concatenate([one[name] for one in each]) for name in names}
    )
    whole = score_matrix(total, classes, rules)
    same_areas = all(
        np.array_equal(getattr(scores.areas, name), getattr(whole.areas, name)) for name in _AREAS
    )
    if not same_areas or scores.counts != whole.counts:
        message = (
            f"the counts of the images ({scores.counts['pixels']} pixels) do not add up to the stored total "
            f"({whole.counts['pixels']} pixels): the results are damaged; evaluate again"
        )
        raise InfrastructureError(message)
    return scores


def score_groups(
    blocks: Iterable[tuple[ConfusionCells, IntArray]],
    num_groups: int,
    classes: ClassList,
    rules: ScoringRules,
) -> list[Scores]:
    """Score groups of images, each as a dataset of its own.

    Args:
        blocks: pairs of the matrices of some images, and the group 0..G-1 of each image, int64 (image,).
        num_groups: G.
        classes: the K classes.
        rules: the settings.
    """
    sums = _GroupSums(num_groups, classes, rules)
    for cells, groups in blocks:
        sums.add(cells, groups)
    return [sums.scores(group) for group in range(num_groups)]


def pooled_scores(
    areas: ClassAreas, classes: ClassList, rules: ScoringRules, *, counts: dict[str, int], images: int | None
) -> Scores:
    """Scores of summed areas (K,): per class, means over classes, all classes together."""
    records = list(METRICS.values())
    per_class = {one.name: class_values(one, areas, rules) for one in records if one.per_class}
    means = [_class_mean(one, areas, classes, rules) for one in records if one.per_class]
    overall = [_overall(one, areas, classes) for one in records if not one.per_class]
    named = {one.name: one for one in means + overall}
    aggregates = {HEADLINE: named.pop(HEADLINE), **named}
    return Scores(
        classes=classes, rules=rules, images=images, counts=counts, areas=areas,
        per_class=per_class, aggregates=aggregates,
    )  # fmt: skip


def class_values(metric: Metric, areas: ClassAreas, rules: ScoringRules) -> FloatArray:
    """A per-class metric after the rules, (..., K).

    A class that occurs and has no value (recall where it is not in truth, precision where it was never
    predicted) scores the worst value, so that the means of all metrics run over the same classes; a
    class that is absent scores what `absent_class` says.
    """
    values = metric.function(areas)
    undefined = areas.occurs & np.isnan(values)
    worst = metric.worst if np.isfinite(metric.worst) else np.nan
    return np.where(areas.occurs, np.where(undefined, worst, values), rules.absent_value)


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of every image by itself.

    Attributes:
        present: which classes each image has, by the rule `present`, bool (image, K).
        per_class: metric name -> float64 (image, K); meaningful where present.
        per_image: `pixel_accuracy`, `mean_iou`, `mean_dice` -> float64 (image,); NaN where an image has
            nothing to score.
    """

    present: BoolArray
    per_class: dict[str, FloatArray]
    per_image: dict[str, FloatArray]


def score_images(areas: ClassAreas, classes: ClassList, rules: ScoringRules) -> ImageScores:
    """Score every image by itself; `areas` are (image, K)."""
    present = areas.occurs if rules.present == "either" else areas.truth > 0
    per_class = {name: METRICS[name].function(areas) for name in IMAGE_METRICS}
    used = present & rules.kept(classes)
    means = {f"mean_{name}": row_means(values, used) for name, values in per_class.items()}
    return ImageScores(
        present, per_class, {"pixel_accuracy": METRICS["pixel_accuracy"].function(areas), **means}
    )


_AREAS = ("hit", "truth", "pred")


class _GroupSums:
    """What scoring needs of each group: integers only, so that neither order nor cut of the blocks shows."""

    def __init__(self, num_groups: int, classes: ClassList, rules: ScoringRules) -> None:
        shape = (num_groups, len(classes))
        self._classes, self._rules, self._kept = classes, rules, rules.kept(classes)
        self._present = "in truth or prediction" if rules.present == "either" else "in truth"
        self._images = np.zeros(num_groups, np.int64)
        self._counts = {name: np.zeros(num_groups, np.int64) for name in COUNT_NAMES}
        self._areas = {name: np.zeros(shape, np.int64) for name in _AREAS}
        self._having = np.zeros(shape, np.int64)
        self._class_sums = {name: FixedPointSums(shape) for name in IMAGE_METRICS}
        self._image_sums = {name: FixedPointSums((num_groups,)) for name in _IMAGE_MEANS}
        self._scored = {name: np.zeros(num_groups, np.int64) for name in _IMAGE_MEANS}

    def add(self, cells: ConfusionCells, groups: IntArray) -> ImageScores:
        """Add images, each to its group; returns what they score by themselves."""
        areas = ClassAreas.from_cells(cells, invalid_pred=self._rules.invalid_pred)
        np.add.at(self._images, groups, 1)
        for name, counts in image_counts(cells).items():
            np.add.at(self._counts[name], groups, counts)
        for name in _AREAS:
            np.add.at(self._areas[name], groups, getattr(areas, name))
        images = score_images(areas, self._classes, self._rules)
        self._add_image_scores(images, groups)
        return images

    def _add_image_scores(self, images: ImageScores, groups: IntArray) -> None:
        image, class_id = np.nonzero(images.present)
        places = groups[image] * len(self._classes) + class_id
        np.add.at(self._having.reshape(-1), places, 1)
        for name, sums in self._class_sums.items():
            sums.add(places, images.per_class[name][image, class_id])
        for name, image_sums in self._image_sums.items():
            values = images.per_image[name]
            scored = ~np.isnan(values)
            image_sums.add(groups[scored], values[scored])
            np.add.at(self._scored[name], groups[scored], 1)

    def scores(self, group: int) -> Scores:
        areas = ClassAreas(*(self._areas[name][group] for name in _AREAS))
        counts = {name: int(values[group]) for name, values in self._counts.items()}
        images = int(self._images[group])
        pooled = pooled_scores(areas, self._classes, self._rules, counts=counts, images=images)
        more = [self._image_mean(name, group, pooled) for name in _IMAGE_MEANS]
        more += [self._image_class_mean(name, group, pooled) for name in IMAGE_METRICS]
        return replace(pooled, aggregates={**pooled.aggregates, **{one.name: one for one in more}})

    def _image_mean(self, name: str, group: int, pooled: Scores) -> Aggregate:
        """The mean over images of what each image scores (mIoU_I; mean pixel accuracy)."""
        number = self._scored[name][group]
        used, inner = (
            self._kept & (self._having[group] > 0),
            f"the mean over the classes present ({self._present})",
        )
        if name == "pixel_accuracy":
            used, inner = pooled.areas.occurs, "its pixel accuracy"
        return self._like(
            pooled, name, f"{name}_per_image", group,
            value=float(self._image_sums[name].row(group).mean(number)),
            rule=f"mean over images of {inner}; images with nothing to score are left out",
            used=used, images_used=int(number),
        )  # fmt: skip

    def _image_class_mean(self, name: str, group: int, pooled: Scores) -> Aggregate:
        """The mean over classes of the mean over the images that have the class (mIoU_C)."""
        having = self._having[group]
        used = self._kept & (having > 0)
        means = self._class_sums[name].row(group).mean(having)
        return self._like(
            pooled, f"mean_{name}", f"mean_{name}_per_image_class", group,
            value=float(row_means(means, used)),
            rule=f"mean over classes of the mean over the images that have the class ({self._present})",
            used=used, images_used=int(self._scored[f"mean_{name}"][group]),
        )  # fmt: skip

    def _like(
        self, pooled: Scores, like: str, name: str, group: int, *,
        value: float, rule: str, used: BoolArray, images_used: int,
    ) -> Aggregate:  # fmt: skip
        """A per-image aggregate of the metric of a pooled one."""
        names, occurs, one = self._classes.names, pooled.areas.occurs, pooled.aggregates[like]
        excluded = ~self._kept & (like != "pixel_accuracy")
        why = np.where(excluded, EXCLUDED, np.where(occurs, NOT_IN_TRUTH, ABSENT))
        return replace(
            one, name=name, title=f"{one.title} {_PER_IMAGE_TITLES[name]}", value=value,
            averaging="per-image", rule=rule,
            classes_used=_names(self._classes, used),
            classes_dropped={names[index]: str(why[index]) for index in np.flatnonzero(~used)},
            flagged={name: why for name, why in one.flagged.items() if used[names.index(name)]},
            images_used=images_used, images_dropped=int(self._images[group]) - images_used,
        )  # fmt: skip


_IMAGE_MEANS = ("pixel_accuracy", *(f"mean_{name}" for name in IMAGE_METRICS))
_PER_IMAGE_TITLES = {
    "pixel_accuracy_per_image": "per image",
    "mean_iou_per_image": "per image (mIoU_I)",
    "mean_dice_per_image": "per image",
    "mean_iou_per_image_class": "per image and class (mIoU_C)",
    "mean_dice_per_image_class": "per image and class",
}


def _names(classes: ClassList, chosen: BoolArray) -> tuple[str, ...]:
    return tuple(classes.names[index] for index in np.flatnonzero(chosen))


def _class_mean(metric: Metric, areas: ClassAreas, classes: ClassList, rules: ScoringRules) -> Aggregate:
    """The mean over classes of summed counts (macro); NaN where no class that is kept occurs."""
    values, kept = class_values(metric, areas, rules), rules.kept(classes)
    # Where nothing occurs there is nothing to score, whatever an absent class counts as.
    used = kept & ~np.isnan(values) & (areas.occurs & kept).any()
    why = np.where(kept, np.where(areas.occurs, NO_VALUE, ABSENT), EXCLUDED)
    return Aggregate(
        name=f"mean_{metric.name}", title=f"Mean {metric.title}",
        value=float(row_means(values, used)), averaging="pooled",
        rule=f"mean over classes, of counts summed over all images; absent classes: {rules.absent_class}",
        formula=metric.formula, best=metric.best, minimum=metric.minimum, maximum=metric.maximum,
        classes_used=_names(classes, used),
        classes_dropped={classes.names[i]: str(why[i]) for i in np.flatnonzero(~used)},
        flagged=_flagged(metric, areas, classes, used),
    )  # fmt: skip


def _flagged(metric: Metric, areas: ClassAreas, classes: ClassList, used: BoolArray) -> dict[str, str]:
    """Classes in the mean that a reader should know of."""
    undefined = np.isnan(metric.function(areas))
    notes = {}
    for index in np.flatnonzero(used & areas.occurs):
        if areas.truth[index] == 0:
            notes[classes.names[index]] = f"{PREDICTED_ONLY}: scores {metric.worst:g}"
        elif undefined[index]:
            notes[classes.names[index]] = f"{NEVER_PREDICTED}: scores {metric.worst:g}"
    return notes


def _overall(metric: Metric, areas: ClassAreas, classes: ClassList) -> Aggregate:
    """A figure of all classes together; excluded classes are in it."""
    occurs = areas.occurs
    return Aggregate(
        name=metric.name, title=metric.title, value=float(metric.function(areas)), averaging="pooled",
        rule="all classes together, of counts summed over all images; exclude_classes does not change it",
        formula=metric.formula, best=metric.best, minimum=metric.minimum, maximum=metric.maximum,
        classes_used=_names(classes, occurs),
        classes_dropped={classes.names[i]: ABSENT for i in np.flatnonzero(~occurs)},
        flagged={},
    )  # fmt: skip
