"""The plan stage: the table of buckets with what is counted already, and what the rest will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segpipe.config import EvaluationConfig, Side
from segpipe.counts.counting import CountingContext
from segpipe.counts.partials import PartialStore
from segpipe.errors import InputError, Problem, first_of
from segpipe.execution.choose import choose_cluster, estimate_s, tasks_needed
from segpipe.planning.bucket import CONFUSION, Bucket
from segpipe.planning.halo import with_halo
from segpipe.planning.memory import PROCESS_BYTES, objects_memory, statistics_memory, task_memory
from segpipe.planning.plan import AbsentObjects, Plan
from segpipe.planning.plan_file import PlannedBucket, write_plan
from segpipe.planning.recount import Recount
from segpipe.run.drawn import check_cluster_column
from segpipe.run.sliced import slice_warnings
from segpipe.sources.layouts import ImageSet
from segpipe.sources.reader import readers_in_words
from segpipe.sources.representations import stored_bytes
from segpipe.statistics.base import WEIGHTS_OF_PIXELS

WARN_AMPLIFICATION = 1.5

WARN_TIMES_LABELS = 4
"""From so many times the bytes of label maps on, the plan says what the representation costs."""


@dataclass(frozen=True)
class PlanSummary:
    """A plan in figures.

    Attributes:
        images, pixels: to be evaluated.
        selected_from: how many images truth has, of which those were selected.
        skipped_images, skipped_pixels: left out by settings.
        buckets, hits: units of partial counts, and how many of them are there already, with all statistics.
        statistics: full name of a statistic -> buckets of which it is there already.
        pixels_left, stored_bytes_left: what is still to be counted.
        objects, stored_bytes, absent_objects: in the stores, of the label maps to be evaluated.
        decoded_bytes: of those label maps.
        read_amplification: bytes decoded over bytes there are.
        tasks, task_memory_bytes, cluster, estimate_s: how the rest will be counted.
        aligned_by: `id` or `index`.
        reader: what reads the arrays of both sides, and why it is not the direct reader.
        warnings: what the user should know.
    """

    images: int
    selected_from: int
    pixels: int
    skipped_images: int
    skipped_pixels: int
    buckets: int
    hits: int
    images_left: int
    pixels_left: int
    stored_bytes_left: int
    objects: int
    stored_bytes: int
    absent_objects: int
    decoded_bytes: int
    read_amplification: float
    tasks: int
    task_memory_bytes: int
    cluster: str
    estimate_s: float
    aligned_by: str
    reader: str
    warnings: list[str]
    statistics: dict[str, int] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """For people: what, and how much."""
        return [
            (
                "images",
                f"{self.images:,} of {self.selected_from:,} ({self.skipped_images:,} left out), "
                f"matched by {self.aligned_by}",
            ),
            ("pixels", f"{self.pixels:,}"),
            (
                "objects",
                f"{self.objects:,} ({self.absent_objects:,} absent), {_size(self.stored_bytes)} stored",
            ),
            ("decoded", f"{_size(self.decoded_bytes)}, read amplification {self.read_amplification:.2f}"),
            ("reader", self.reader),
            ("buckets", f"{self.buckets:,}, {self.hits:,} of them counted already"),
            *(
                (f"  {name}", f"{hits:,} of {self.buckets:,} buckets counted already")
                for name, hits in self.statistics.items()
            ),
            ("to count", f"{self.images_left:,} images, {_size(self.stored_bytes_left)} stored"),
            ("tasks", f"{self.tasks:,}, each up to {_size(self.task_memory_bytes)} beside the process"),
            ("cluster", self.cluster),
            ("estimate", f"{self.estimate_s:.1f} s on one core"),
        ]


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def survey(plan: Plan, partials: PartialStore, path: Path | None = None) -> PlanSummary:
    """Go through all buckets once: look up their keys, add up, and write plan.parquet if `path` is given.

    Raises:
        InputError: chunks are absent and nothing declares what they are; memory or read amplification
            would be too much.
    """
    summary, problems = look_through(plan, partials, path)
    # What is counted already is not read again, however much that would take.
    problems += too_much(plan, summary) if summary.images_left else []
    if problems:
        raise InputError(problems)
    return summary


def look_through(
    plan: Plan, partials: PartialStore, path: Path | None = None
) -> tuple[PlanSummary, list[Problem]]:
    """`survey`, which tells absent chunks instead of raising for them, and does not judge what it takes."""
    sums = _Sums(partials, plan.recount)
    planned = sums.through(plan.buckets())
    if path is None:
        for _ in planned:
            pass
    else:
        write_plan(path, planned)
    return _summary(plan, sums), sums.absent.problems(plan)


def counting_context(plan: Plan, partials: PartialStore) -> CountingContext:
    """What the tasks of a plan share."""
    config = plan.config
    return CountingContext(
        truth_store=config.truth.store,
        pred_store=config.pred.store,
        truth_rules=config.rules("truth"),
        pred_rules=config.rules("pred"),
        partials=str(partials.folder),
        window_images=plan.cut.window_images,
        overlay_stores={name: lies.store for name, lies in config.overlays.items()},
        other_rules=config.rules("other_pred") if config.other_pred else None,
        pred_stored_as=config.pred.representation,
        small_objects=config.small_objects,
        recount=plan.recount,
        statistics=tuple(one.config().model_dump(mode="json") for one in plan.statistics),
    )


class _Sums:
    """What adds up over the buckets of a plan."""

    def __init__(self, partials: PartialStore, recount: Recount) -> None:
        self._partials, self._recount = partials, recount
        self.absent = AbsentObjects()
        self.pixels = self.images = self.hits = self.stored_bytes = 0
        self.statistics: dict[str, int] = {}
        self.left = dict.fromkeys(("buckets", "images", "pixels", "stored_bytes", "objects"), 0)

    def through(self, buckets: Iterator[Bucket]) -> Iterator[PlannedBucket]:
        for bucket in buckets:
            anew = self._recount.wants(bucket.key)
            there = {name for name, keys in bucket.keys.items() if not anew and self._partials.has(*keys)}
            planned = PlannedBucket(bucket, CONFUSION in there, frozenset(there - {CONFUSION}))
            stored, before = bucket.stored_bytes, self.absent.stored
            self.absent.add(bucket)
            self.images += len(bucket.ids)
            self.pixels += bucket.pixels
            self.stored_bytes += stored
            self.hits += planned.complete
            for name in bucket.statistics:
                self.statistics[name] = self.statistics.get(name, 0) + (name in there)
            if not planned.complete:
                more = (1, len(bucket.ids), bucket.pixels, stored, self.absent.stored - before)
                self.left = {
                    name: old + new for (name, old), new in zip(self.left.items(), more, strict=True)
                }
            yield planned


def _summary(plan: Plan, sums: _Sums) -> PlanSummary:
    inventory = plan.inventory
    per_pixel = sum(stored_bytes(images.arrays[0]) for images in inventory.image_sets.values())
    seconds = estimate_s(sums.left["pixels"] * per_pixel, sums.left["objects"])
    cluster = choose_cluster(plan.config.cluster, seconds)
    warnings = list(_warnings(plan))
    skipped = plan.wanted.copy()
    skipped[plan.alignment.truth] = False
    return PlanSummary(
        images=plan.images,
        selected_from=len(plan.wanted),
        pixels=sums.pixels,
        skipped_images=int(skipped.sum()),
        skipped_pixels=int(inventory.truth.pixels[skipped].sum()),
        buckets=len(plan),
        hits=sums.hits,
        images_left=sums.left["images"],
        pixels_left=sums.left["pixels"],
        stored_bytes_left=sums.left["stored_bytes"],
        objects=sums.absent.stored,
        stored_bytes=sums.stored_bytes,
        absent_objects=sums.absent.absent,
        decoded_bytes=sums.pixels * per_pixel,
        read_amplification=plan.amplification,
        tasks=tasks_needed(sums.left["buckets"], seconds, cluster.slots()),
        task_memory_bytes=task_memory(with_halo(inventory, plan.halo), plan.cut)
        + statistics_memory(inventory, plan.cut, plan.statistics, len(plan.config.classes.names), plan.halo)
        + objects_memory(inventory, plan.cut, plan.config.small_objects),
        cluster=cluster.words(),
        estimate_s=seconds,
        aligned_by=plan.alignment.by,
        reader=readers_in_words({name: images.arrays for name, images in inventory.image_sets.items()}),
        warnings=warnings,
        statistics=sums.statistics,
    )


def _warnings(plan: Plan) -> Iterator[str]:
    if plan.alignment.by == "index":
        yield "Neither store has image ids: images were matched by their position."
    yield from _suspicious(plan.config)
    for name, images in plan.inventory.image_sets.items():
        yield from _warnings_of_array(name, images)
    if plan.inventory.metadata_left_out:
        names = first_of(
            list(map(repr, plan.inventory.metadata_left_out[:3])), len(plan.inventory.metadata_left_out)
        )
        yield f"Metadata that the store of pred has of itself left out, being no plain short values: {names}."
    if plan.config.weights is not None and plan.statistics:
        names = ", ".join(one.full_name for one in plan.statistics)
        yield f"The weights of pixels only mask statistics ({names}): {WEIGHTS_OF_PIXELS}."
    yield from slice_warnings(plan)
    check_cluster_column(plan.config.intervals, plan.columns)
    if plan.alignment.left_out:
        left_out = len(plan.alignment.left_out)
        yield f"{left_out} images have no prediction and are left out (on_missing_pred: skip)."
    if plan.amplification > WARN_AMPLIFICATION:
        yield (
            f"Chunks are read {plan.amplification:.1f} times on average, because truth and pred are chunked "
            "or ordered differently; rewriting one of them like the other makes the evaluation faster."
        )


def _warnings_of_array(name: str, images: ImageSet) -> Iterator[str]:
    """What one of the arrays lacks: metadata, checksums, the end of its writing; and what it costs."""
    yield from (f"Metadata of {name} left out: {column}: {why}." for column, why in images.left_out.items())
    bare = [array.path or images.store for array in images.arrays if not array.has_checksum]
    if bare:
        which = bare[0] if len(bare) == 1 else f"{len(bare)} arrays, {bare[0]} among them"
        yield (
            f"The chunks of {name} carry no checksum ({which}): a damaged bit would be read as other "
            "labels unseen. Write with a checksum (crc32c, or zstd with checksum)."
        )
    if images.never_written is not None:
        yield (
            f"The writer of {name} ({images.store}) has not finished: what its record tells of is "
            "evaluated as it is now. Call finish() of the writer, which looks for what is missing."
        )
    yield from _bulk(name, images)


def _suspicious(config: EvaluationConfig) -> Iterator[str]:
    """What may be meant, but seldom is."""
    if (config.truth.store, config.truth.array) == (config.pred.store, config.pred.array):
        yield "Truth and pred are one and the same array."
    names = config.classes.names
    declared: tuple[tuple[Side, str, tuple[int, ...], str], ...] = (
        (
            "truth",
            "ignore_labels",
            config.ignore_labels,
            "it is nowhere in truth, and scores 0 where predicted",
        ),
        ("pred", "void_labels", config.void_labels, "it is never predicted"),
    )
    for side, key, labels, so in declared:
        # Where labels are remapped, a label cannot be both.
        if config.mapping(side) == (False, None):
            yield from (
                f"The label {label} in {key} is also the class {names[label]!r}: {so}. To leave a class out "
                "of means say exclude_classes."
                for label in labels
                if 0 <= label < len(names)
            )


def _bulk(side: str, images: ImageSet) -> Iterator[str]:
    """That logits and the like take many times the bytes of the label maps that are made of them."""
    array = max(images.arrays, key=stored_bytes)
    channels = 1 if array.class_axis is None else array.shape[array.class_axis]
    as_labels = np.min_scalar_type(channels).itemsize
    if array.representation == "labels" or stored_bytes(array) < WARN_TIMES_LABELS * as_labels:
        return
    yield (
        f"{side} is stored as {array.dtype} {array.representation}, {stored_bytes(array)} bytes a pixel: "
        f"{stored_bytes(array) // as_labels} times as many as a label map, to store, to read and to decode. "
        "Unless something else needs them, store the label maps."
    )


def too_much(plan: Plan, summary: PlanSummary) -> list[Problem]:
    """Why reading would take too much memory, or read too much twice."""
    problems = []
    if summary.read_amplification > plan.config.max_read_amplification:
        problems.append(
            Problem(
                kind="read amplification",
                found=f"every chunk would be read {summary.read_amplification:.1f} times",
                expected=f"at most {plan.config.max_read_amplification:g} (max_read_amplification)",
                advice="store truth and pred with the same chunks and order, or raise max_read_amplification",
            )
        )
    cluster = choose_cluster(plan.config.cluster, summary.estimate_s)
    on = f"for one of {cluster.slots()} tasks on {cluster.words()}"
    needed, there = summary.task_memory_bytes + PROCESS_BYTES, cluster.memory_per_slot()
    if needed > there:
        problems.append(
            Problem(
                kind="memory",
                found=f"one task needs {_size(needed)}",
                expected=f"at most {_size(there)} {on}",
                advice="use fewer workers, a larger memory_limit, or smaller chunks",
            )
        )
    return problems
