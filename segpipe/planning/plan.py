"""The plan: every bucket with its objects and its key, and what is wrong before a pixel is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segpipe.config import SIDES, EvaluationConfig, Labelled
from segpipe.errors import InputError, Problem
from segpipe.metrics.weights import check_weights
from segpipe.planning.alignment import Alignment, align
from segpipe.planning.bucket import OTHER, Bucket, BucketSide
from segpipe.planning.buckets import Cut, cut_buckets, read_amplification, stored_units
from segpipe.planning.halo import widened, with_halo
from segpipe.planning.inventory import Inventory, take_inventory
from segpipe.planning.keys import bucket_key, statistic_key
from segpipe.planning.recount import ALL, Recount
from segpipe.planning.selection import Whole, select_from, wanted_images
from segpipe.planning.statistics import unfit_objects, unfit_statistics
from segpipe.sources.layouts import ImageSet
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.overlays import ABSENT_OVERLAY_ADVICE
from segpipe.sources.representations import fill_label
from segpipe.sources.storage import ObjectInfo
from segpipe.sources.tables import join_table
from segpipe.statistics.base import Statistic, chosen_statistics

FIRST_KEYS = 5
"""How many absent objects of an array a message names."""

ABSENT_ADVICE = (
    "Zarr writes nothing for a chunk that holds only the fill value, and nothing tells such a chunk from a "
    "lost one. If absent chunks are background in this dataset, declare it with this line of the config:\n"
    "    missing_chunks: are_fill_value\n"
    "  If they were lost, write them again, or use missing_chunks: skip or count_as_void"
)


@dataclass(frozen=True)
class Plan:
    """What will be counted, before it is known which part of it has been counted already.

    Attributes:
        config, inventory: what was asked for, what both stores hold.
        alignment, cut: the images to evaluate and their buckets.
        columns: metadata of these images.
        wanted: which images of truth were asked for, bool (image of truth,).
        whole: what the images were selected from; None if that is all of them.
        statistics: what is counted beside the confusion matrix.
    """

    config: EvaluationConfig
    inventory: Inventory
    alignment: Alignment
    cut: Cut
    columns: dict[str, NDArray[Any]]
    wanted: NDArray[np.bool_]
    whole: Whole | None = None
    statistics: tuple[Statistic, ...] = ()

    def __len__(self) -> int:
        return len(self.cut.starts) - 1

    @property
    def images(self) -> int:
        """Images to evaluate."""
        return len(self.alignment.ids)

    @cached_property
    def amplification(self) -> float:
        """Bytes decoded over bytes there are."""
        return read_amplification(with_halo(self.inventory, self.halo), self.alignment, self.cut)

    @cached_property
    def halo(self) -> int:
        """How far around images is read for statistics, px; 0 where images are whole."""
        if not self.inventory.truth.cut:
            return 0
        return max((one.halo(None) or 0 for one in self.statistics if one.scope == "halo"), default=0)

    @cached_property
    def recount(self) -> Recount:
        """What is counted anew; each day other buckets are drawn, and a plan keeps to its own day."""
        if not self.config.cache.use:
            return Recount(ALL, trusted=False)
        return Recount(self.config.cache.verify_percent, datetime.now(UTC).date().isoformat())

    def buckets(self) -> Iterator[Bucket]:
        """All buckets in order, made one at a time."""
        rules = self.config.rules("truth"), self.config.rules("pred"), self.config.small_objects
        for number in range(len(self)):
            bucket = self._bucket(self.alignment, self.cut, number)
            key = bucket_key(bucket, *rules)
            keys = {one.full_name: (statistic_key(bucket, key, one), "") for one in self.statistics}
            if self.whole is None:
                yield replace(bucket, key=key, statistics=keys)
                continue
            all_of_it = self._bucket(self.whole.alignment, self.whole.cut, int(self.whole.bucket[number]))
            whole_key = bucket_key(all_of_it, *rules)
            if whole_key == key:
                yield replace(bucket, key=key, statistics=keys)
                continue
            for one in self.statistics:
                keys[one.full_name] = keys[one.full_name][0], statistic_key(all_of_it, whole_key, one)
            yield replace(bucket, key=key, whole_key=whole_key, statistics=keys)

    def _bucket(self, alignment: Alignment, cut: Cut, number: int) -> Bucket:
        chosen = slice(*cut.starts[number : number + 2])
        truth, pred = alignment.truth[chosen], alignment.pred[chosen]
        return Bucket(
            number=number,
            ids=tuple(alignment.ids[chosen]),
            sizes=_tuples(self.inventory.truth.sizes[truth]),
            truth=_bucket_side(self.inventory.truth, truth, self.halo),
            pred=_bucket_side(self.inventory.pred, pred, self.halo),
            overlays={
                name: _bucket_side(overlay.images, overlay.position[truth], self.halo)
                for name, overlay in self.inventory.overlays.items()
            },
            filled=self._filled,
            halo=self.halo,
        )

    @cached_property
    def _filled(self) -> tuple[str, ...]:
        """What has absent chunks that are declared to be the fill value."""
        names = self.inventory.image_sets
        return tuple(name for name in names if self.missing_rule(name) == "are_fill_value")

    def missing_rule(self, name: str) -> str:
        """What an absent chunk of truth, pred or an overlay is taken for.

        The store's own declaration goes before the setting. What an overlay says is never guessed: it has
        either the fill value there, or absent chunks are an error.
        """
        setting = self.config.missing_chunks
        if self.inventory.image_sets[name].declares_missing_fill or setting == "are_fill_value":
            return "are_fill_value"
        return setting if name in SIDES else "error"


def make_plan(config: EvaluationConfig) -> Plan:
    """Look at the stores and lay out the work; no pixel is read and nothing is written.

    Raises:
        InputError: everything that is wrong with the stores, at once.
    """
    statistics = chosen_statistics(config.statistics)
    inventory = take_inventory(config)
    problems = [*unfit_statistics(statistics, config, inventory), *unfit_objects(config, inventory)]
    if problems:
        raise InputError(problems)
    wanted = wanted_images(inventory, config)
    everything = align(inventory, config, wanted)
    # Buckets are cut over all images, so that a selection finds the counts of the whole.
    cut = cut_buckets(inventory, everything, config.bucket_images)
    alignment, cut, whole = select_from(everything, cut, wanted)
    columns = {name: values[alignment.truth] for name, values in inventory.truth.columns.items()}
    if config.image_table is not None:
        columns |= join_table(config.image_table, alignment.ids)
    if config.image_weights is not None:
        check_weights(config.image_weights, columns, alignment.ids)
    return Plan(config, inventory, alignment, cut, columns, wanted, whole, statistics)


def _bucket_side(images: ImageSet, positions: NDArray[np.int64], halo: int) -> BucketSide:
    if not len(positions) or positions[0] < 0:
        # Images without a prediction are in buckets of their own.
        none = (-1,) * len(positions)
        return BucketSide((), (), none, none, ())
    numbers, index = images.array_of_image[positions], images.index_in_array[positions]
    # One array holds all of a stack; to look for others would cost more than all that follows.
    one = len(images.arrays) == 1
    used, ordinal = (numbers[:1], numbers) if one else np.unique(numbers, return_inverse=True)
    arrays = [images.arrays[number] for number in used.tolist()]
    objects = tuple(_seen(images, array, positions[ordinal == at]) for at, array in enumerate(arrays))
    around: list[dict[str, ObjectInfo | None]] = []
    if halo:
        wide = widened(images, halo)
        for at, array in enumerate(arrays):
            seen = _seen(wide, array, positions[ordinal == at])
            around.append({key: info for key, info in seen.items() if key not in objects[at]})
    return BucketSide(
        arrays=tuple(arrays),
        objects=objects,
        around=tuple(around) if any(around) else (),
        array=tuple(ordinal.tolist()),
        index=tuple(index.tolist()),
        corner=_tuples(images.corners[positions]),
    )


def _seen(images: ImageSet, array: ArrayMeta, positions: NDArray[np.int64]) -> dict[str, ObjectInfo | None]:
    prefix = f"{array.path}/" if array.path else ""
    return {key: images.objects.get(prefix + key) for key in stored_units(array, images, positions)}


def _tuples(rows: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    if (rows == rows[:1]).all():
        return (tuple(rows[0].tolist()),) * len(rows)
    return tuple(map(tuple, rows.tolist()))


@dataclass
class AbsentObjects:
    """Collects the absent objects of a plan, a few names and a number for each array."""

    stored: int = 0
    absent: int = 0
    arrays: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    totals: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, bucket: Bucket) -> None:
        """Look through one bucket."""
        for side, part in bucket.parts.items():
            for array, objects in zip(part.arrays, part.objects, strict=True):
                lost = [key for key, info in objects.items() if info is None]
                self.stored += len(objects) - len(lost)
                self.absent += len(lost)
                total = self.totals.setdefault((side, array.path), [0, 0])
                total[0] += len(lost)
                total[1] += len(objects)
                names = self.arrays.setdefault((side, array.path), [])
                names += [key for key in lost if key not in names][: FIRST_KEYS - len(names)]

    def problems(self, plan: Plan) -> list[Problem]:
        """One problem for each array with absent objects that no declaration covers."""
        found = []
        by_side = plan.inventory.image_sets
        arrays = {(side, array.path): array for side, images in by_side.items() for array in images.arrays}
        for (side, path), (absent, total) in self.totals.items():
            if not absent or plan.missing_rule(side) != "error":
                continue
            names = self.arrays[side, path]
            fill = _fill(plan, side, arrays[side, path])
            found.append(
                Problem(
                    kind="missing chunk",
                    side=side,
                    store=by_side[side].store,
                    array=path,
                    chunk=", ".join(names) + (", ..." if absent > len(names) else ""),
                    found=f"{absent} of {total} chunks absent, to be read as {fill}",
                    expected="every chunk written",
                    advice=ABSENT_ADVICE if side in SIDES else ABSENT_OVERLAY_ADVICE,
                )
            )
        return found


def _fill(plan: Plan, name: str, array: ArrayMeta) -> str:
    """The fill value of an array and what it would be taken for."""
    if name in (*SIDES, OTHER):
        return _fill_label(plan, cast(Labelled, name), array)
    meaning = "weight" if name == "weights" else "valid" if array.fill_value else "not valid"
    return f"the fill value {array.fill_value} ({meaning})"


def _fill_label(plan: Plan, side: Labelled, array: ArrayMeta) -> str:
    rules = plan.config.rules(side)
    code = rules.code(fill_label(array))
    names = (*plan.config.classes.names, "ignored" if side == "truth" else "void", "an invalid label")
    kind = "class " if code < rules.num_classes else ""
    return f"the fill value {array.fill_value} ({kind}{names[code]})"
