"""The scores of groups of classes, of datasets that are drawn anew from the images of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import FloatArray, Metric, chosen_metrics
from segpipe.metrics.groups import REST
from segpipe.metrics.replicates import ImageTable, Replicates
from segpipe.metrics.resampling import Draws
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.sums import row_means
from segpipe.metrics.weights import ImageWeights

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GroupTable:
    """What is needed of every image so that the groups of any draw of images can be scored.

    Attributes:
        classes: the groups, in place of classes.
        rules: how counts are scored.
        each: of each group the images with the group and all other classes for classes.
        every: the images with the groups, and the rest, for classes; None where groups overlap.
        union: the same as `each`, of the union of all groups; None where its absence needs no look.
    """

    classes: ClassList
    rules: ScoringRules
    each: tuple[ImageTable, ...]
    every: ImageTable | None
    union: ImageTable | None

    @classmethod
    def of(
        cls, blocks: Callable[[], Iterable[ConfusionCells]], classes: ClassList, rules: ScoringRules,
        clusters: IntArray, weights: ImageWeights | None = None,
    ) -> GroupTable:  # fmt: skip
        """The table of a dataset.

        Args:
            blocks: gives the matrices of the images, some images at a time, as often as it is called.
            classes: the K classes and their groups, one at least.
            rules: the settings; `exclude_classes` does not touch groups.
            clusters: int64 (image,), the cluster 0.. of each image.
            weights: of the images, in their order.
        """
        names = tuple(group.name for group in classes.groups)
        members = [group.members for group in classes.groups]
        alone = tuple(one.name for one in chosen_metrics(rules.metrics) if one.per_class)

        def table(
            groups: Sequence[tuple[int, ...]], called: tuple[str, ...], **changed: object
        ) -> ImageTable:
            own = replace(rules, **{"exclude_classes": (), **changed})  # type: ignore[arg-type]
            regrouped = (cells.regrouped(groups) for cells in blocks())
            return ImageTable.of(regrouped, ClassList((*called, REST)), own, clusters, weights)

        union = tuple(sorted({class_id for group in members for class_id in group}))
        return cls(
            classes=ClassList(names),
            rules=rules,
            each=tuple(
                table([own], (name,), metrics=alone) for name, own in zip(names, members, strict=True)
            ),
            every=None if classes.groups_overlap else table(members, names, exclude_classes=(REST,)),
            union=None
            if rules.absent_class == "nan"
            else table([union], ("union",), metrics=(), absent_class="nan"),
        )

    @property
    def num_clusters(self) -> int:
        """How many clusters of images there are to draw from."""
        return self.each[0].num_clusters

    @property
    def records(self) -> list[Metric]:
        """The metrics."""
        return chosen_metrics(self.rules.metrics)

    @property
    def bytes_per_replicate(self) -> int:
        """What the scores of one replicate take while they are computed."""
        return max(one.bytes_per_replicate for one in (*self.each, *([self.every] if self.every else [])))

    def with_images_of(self, other: GroupTable) -> GroupTable:
        """The images of both tables; the clusters of the other one come after those of this one."""
        pairs = zip(self.each, other.each, strict=True)
        return replace(
            self,
            each=tuple(one.with_images_of(more) for one, more in pairs),
            every=self.every and other.every and self.every.with_images_of(other.every),
            union=self.union and other.union and self.union.with_images_of(other.union),
        )

    def replicates(self, draws: Iterable[Draws]) -> Replicates:
        """The scores of all replicates, some at a time; at least one."""
        return Replicates.joined([self._scored(each) for each in draws])

    def _scored(self, draws: Draws) -> Replicates:
        scored = [table.replicates([draws]).per_class for table in self.each]
        of_each = [one for one in self.records if one.per_class]
        values = {one.name: np.stack([own[one.name][:, 0] for own in scored], axis=1) for one in of_each}
        there = self._there(draws)
        aggregates: dict[str, FloatArray] = {}
        for one in of_each:
            used = ~np.isnan(values[one.name]) & there[:, None]
            aggregates[one.pooled_name] = row_means(np.nan_to_num(values[one.name]), used)
        if self.every is not None:
            together = self.every.replicates([draws]).aggregates
            aggregates |= {one.name: together[one.name] for one in self.records if not one.per_class}
        return Replicates(aggregates, values)

    def _there(self, draws: Draws) -> NDArray[np.bool_]:
        """Of which replicates any group occurs, bool (R,)."""
        if self.union is None:
            # Without a rule for absent groups they have no value, and no mean.
            return np.ones(len(draws), np.bool_)
        return ~np.isnan(self.union.replicates([draws]).per_class["iou"][:, 0])
