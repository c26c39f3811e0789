"""The reduce stage: exactly the plan's partial counts, judged and put together in the plan's order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import SIDES, EvaluationConfig, Side
from segpipe.counts.counting import PLAN_NAME
from segpipe.counts.missing import Judged, judge_absent
from segpipe.counts.partials import Partial, PartialStore
from segpipe.counts.results import ResultsWriter
from segpipe.errors import InputError, Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.positions import InvalidValue
from segpipe.kernels.weighted import WrongWeights
from segpipe.planning.bucket import Bucket
from segpipe.planning.plan import ABSENT_ADVICE
from segpipe.planning.plan_file import read_plan
from segpipe.run.gathered import Gathered, Gatherer
from segpipe.run.images import metadata_kinds, read_images
from segpipe.sources.representations import REPRESENTATIONS, meaning
from segpipe.statistics.base import chosen_statistics, stored_field

RESULTS_NAME = "results.zarr"

SHOWN_CHUNKS = 3
"""How many of its chunks the problem of an image names."""


@dataclass
class Reduction:
    """What the reduction found.

    Attributes:
        images, pixels: counted, and part of the results.
        skipped: images left out because chunks of theirs are absent (`missing_chunks: skip`).
        skipped_pixels: of those.
        quarantined_images, quarantined_pixels: planned, but in no partial.
        invalid: images with labels that no rule names.
        wrong_weights: images with weights of pixels that are none; always an error.
        absent: images with pixels under absent chunks that nothing declares.
        fill_pixels: pixels under absent chunks that were declared to be the fill value: of truth, of pred.
        void_pixels: pixels under absent chunks that count as no class (`missing_chunks: count_as_void`):
            of truth as ignored, of pred as void.
        recounted: buckets whose partial was damaged or gone and was counted again.
        quarantined: images that could not be read when that was done.
    """

    images: int = 0
    pixels: int = 0
    skipped: list[Problem] = field(default_factory=list)
    skipped_pixels: int = 0
    quarantined_images: int = 0
    quarantined_pixels: int = 0
    invalid: list[Problem] = field(default_factory=list)
    wrong_weights: list[Problem] = field(default_factory=list)
    absent: list[Problem] = field(default_factory=list)
    fill_pixels: list[int] = field(default_factory=lambda: [0, 0])
    void_pixels: list[int] = field(default_factory=lambda: [0, 0])
    recounted: int = 0
    quarantined: list[Problem] = field(default_factory=list)


_PROBLEM_LISTS = ("skipped", "invalid", "wrong_weights", "absent", "quarantined")


def reduction_from(plain: dict[str, Any]) -> Reduction:
    """A reduction from its plain values."""
    problems = {name: [Problem(**row) for row in plain[name]] for name in _PROBLEM_LISTS}
    return Reduction(**{**plain, **problems})


def reduce_partials(
    run: Path,
    config: EvaluationConfig,
    partials: PartialStore,
    fill_declared: dict[Side, bool],
    given_up: set[int],
) -> Reduction:
    """Write results.zarr from the partials of the plan.

    Every planned bucket is taken once, by its key; a partial that is damaged or gone is counted again here.

    Args:
        run: the run's folder.
        config: its configuration.
        partials: the store that all runs share.
        fill_declared: whether absent chunks of a side are declared to be the fill value.
        given_up: buckets with quarantined images; of them there are only the parts in the run's folder.

    Raises:
        InputError: weights that are none; labels that no rule names, or absent chunks that nothing declares,
            under the setting `error`; all images are listed.
    """
    found = Reduction()
    columns = read_images(run)
    start = 0
    gatherer = Gatherer(run, partials, given_up)
    with ResultsWriter(
        run / RESULTS_NAME,
        config.class_list(),
        metadata_kinds(run),
        weighted=config.weights is not None,
        statistics=chosen_statistics(config.statistics),
    ) as writer:
        for planned in read_plan(run / PLAN_NAME):
            bucket = planned.bucket
            gathered = gatherer.of(bucket)
            if gathered is not None:
                verdict = judge(bucket, gathered.partial, config, fill_declared)
                cells = _scored(verdict)
                row = {name: start + at for at, name in enumerate(bucket.ids)}
                _append(writer, gathered, verdict.keep, cells, columns, row)
                _tally(found, verdict, cells, config, fill_declared)
            start += len(bucket.ids)
    found.quarantined_images, found.quarantined_pixels = gatherer.images, gatherer.pixels
    found.recounted, found.quarantined = gatherer.recounted, gatherer.quarantined
    errors = [
        *found.absent,
        *found.wrong_weights,
        *(problem for problem in found.invalid if is_error(problem, config)),
    ]
    if errors:
        raise InputError(errors)
    return found


def _scored(verdict: Verdict) -> ConfusionCells:
    """The counts of the images that are kept, with their weights if there are some."""
    judged, keep = verdict.judged, verdict.keep
    cells = judged.cells.take(keep)
    return cells if judged.weighted is None else cells.with_weights(judged.weighted.take(keep))


def _append(
    writer: ResultsWriter,
    gathered: Gathered,
    keep: NDArray[np.int64],
    cells: ConfusionCells,
    columns: dict[str, NDArray[Any]],
    row: dict[str, int],
) -> None:
    """Write the images of a bucket that are kept; `row` is the place of an image in the metadata columns."""
    ids = [gathered.partial.ids[image] for image in keep]
    rows = [row[name] for name in ids]
    sums = {
        stored_field(name, field): values[keep]
        for name, counted in gathered.statistics.items()
        for field, values in counted.counts.items()
    }
    writer.append(ids, cells, {name: values[rows] for name, values in columns.items()}, sums)


def _tally(
    found: Reduction,
    verdict: Verdict,
    cells: ConfusionCells,
    config: EvaluationConfig,
    fill_declared: dict[Side, bool],
) -> None:
    """Add a bucket to what was found."""
    judged, keep = verdict.judged, verdict.keep
    if config.missing_chunks == "skip":
        found.skipped += verdict.absent
        found.skipped_pixels += int(judged.cells.pixels()[judged.affected].sum())
    elif config.missing_chunks == "error":
        found.absent += verdict.absent
    found.invalid += verdict.invalid
    found.wrong_weights += verdict.wrong_weights
    found.images += len(keep)
    found.pixels += int(cells.in_pixels.counts.sum())
    for column, side in enumerate(SIDES):
        pixels = found.fill_pixels if fill_declared[side] else found.void_pixels
        pixels[column] += int(judged.absent_pixels[keep, column].sum())


@dataclass(frozen=True)
class Verdict:
    """What the settings make of the counts of some images.

    Attributes:
        judged: the counts under the rules for absent chunks.
        keep: int64; the images that are scored.
        absent: images with pixels under absent chunks that no rule takes for the fill value.
        invalid: kept images with labels that no rule names.
        wrong_weights: kept images with weights of pixels that are none.
    """

    judged: Judged
    keep: NDArray[np.int64]
    absent: list[Problem]
    invalid: list[Problem]
    wrong_weights: list[Problem]


def judge(
    bucket: Bucket, partial: Partial, config: EvaluationConfig, fill_declared: dict[Side, bool]
) -> Verdict:
    """Judge what was counted of a bucket."""
    judged = judge_absent(
        partial.counts, truth_is_fill=fill_declared["truth"], pred_is_fill=fill_declared["pred"]
    )
    skip = config.missing_chunks == "skip"
    keep = np.flatnonzero(~judged.affected) if skip else np.arange(len(partial.ids))
    place = _Places(bucket, partial, config)
    return Verdict(
        judged=judged,
        keep=keep,
        absent=_absent_problems(place, judged, config, fill_declared),
        invalid=_invalid_problems(place, partial, judged.cells, keep, config),
        wrong_weights=_weight_problems(place, partial, keep),
    )


class _Places:
    """Where the images of a partial lie."""

    def __init__(self, bucket: Bucket, partial: Partial, config: EvaluationConfig) -> None:
        self._bucket, self._ids = bucket, partial.ids
        self._at = {name: at for at, name in enumerate(bucket.ids)}
        self._stores = {name: lies.store for name, lies in config.arrays.items()}

    def of(self, image: int, side: str) -> dict[str, str]:
        """Side, store, array, image and chunks of an image of the partial, as fields of a problem."""
        at = self._at[self._ids[image]]
        lies = self._bucket.parts[side]
        place = {"side": side, "store": self._stores[side], "image": self._ids[image]}
        if lies.array[at] < 0:
            return place
        chunks = lies.units_of(at, self._bucket.sizes[at])
        more = ", ..." if len(chunks) > SHOWN_CHUNKS else ""
        shown = ", ".join(chunks[:SHOWN_CHUNKS]) + more
        return place | {"array": lies.arrays[lies.array[at]].path, "chunk": shown}


def _absent_problems(
    place: _Places, judged: Judged, config: EvaluationConfig, fill_declared: dict[Side, bool]
) -> list[Problem]:
    problems = []
    for image in np.flatnonzero(judged.affected).tolist():
        truth, pred = judged.absent_pixels[image].tolist()
        problems.append(
            Problem(
                kind="missing chunk",
                found=f"chunks absent over {truth} pixels of truth and {pred} of pred",
                expected="every chunk written",
                advice=ABSENT_ADVICE if config.missing_chunks == "error" else "",
                **place.of(image, "pred" if pred and not fill_declared["pred"] else "truth"),
            )
        )
    return problems


def _invalid_problems(
    place: _Places,
    partial: Partial,
    cells: ConfusionCells,
    keep: NDArray[np.int64],
    config: EvaluationConfig,
) -> list[Problem]:
    """Images with invalid labels, after absent chunks were judged: a lost chunk is no invalid label."""
    pixels = {
        "truth": _invalid_pixels(cells, cells.truth_codes),
        "pred": _invalid_pixels(cells, cells.pred_codes),
    }
    kept = set(keep.tolist())
    return [
        _invalid_problem(place.of(image, side), named, pixels[side][image], config, side)
        for image, values in partial.counts.invalid
        for side in SIDES
        if (named := getattr(values, side)) and image in pixels[side] and image in kept
    ]


def _invalid_pixels(cells: ConfusionCells, codes: NDArray[Any]) -> dict[int, int]:
    """How many pixels of an image have the invalid code, for the images that have some."""
    bad = codes == cells.num_classes + 1
    images, place = np.unique(cells.image_of_cell[bad], return_inverse=True)
    pixels = np.zeros(len(images), np.int64)
    np.add.at(pixels, place, cells.counts[bad])
    return dict(zip(images.tolist(), pixels.tolist(), strict=True))


def _invalid_problem(
    place: dict[str, str], named: tuple[InvalidValue, ...], pixels: int, config: EvaluationConfig, side: Side
) -> Problem:
    found = [
        f"{_meaning(config, side, one.value)} in {one.pixels} pixels, first at {_at(one.position)}"
        for one in named
    ]
    others = pixels - sum(one.pixels for one in named)
    return Problem(
        kind=f"invalid {side}",
        found="; ".join([*found, f"others in {others} pixels"] if others > 0 else found),
        expected=_expected(config, side),
        advice=_advice(config, side, named),
        **place,
    )


def _weight_problems(place: _Places, partial: Partial, keep: NDArray[np.int64]) -> list[Problem]:
    kept = set(keep.tolist())
    return [
        Problem(
            kind="weight",
            found=_wrong_weight(wrong),
            expected="finite weights, none negative, that add up to less than 2^33 in an image",
            advice="mend the weights; 0 masks a pixel, and all of them may be scaled down alike",
            **place.of(image, "weights"),
        )
        for image, wrong in partial.counts.wrong_weights
        if image in kept
    ]


def _wrong_weight(wrong: WrongWeights) -> str:
    """What is wrong with the weights of an image, in words."""
    if not wrong.position:
        return f"weights that add up to {wrong.value}"
    more = f", the first of {wrong.pixels} such pixels" if wrong.pixels > 1 else ""
    return f"{wrong.value} at {_at(wrong.position)}{more}"


def _at(position: tuple[int, ...]) -> str:
    """The place of a pixel within its image.

    >>> _at((4, 2)), _at((0, 4, 2))
    ('(y, x) = (4, 2)', '(z, y, x) = (0, 4, 2)')
    """
    return f"({', '.join(('z', 'y', 'x')[-len(position) :])}) = {position}"


def _meaning(config: EvaluationConfig, side: Side, label: int) -> str:
    return meaning(label, config.truth.representation if side == "truth" else config.pred.representation)


def _expected(config: EvaluationConfig, side: Side) -> str:
    rules = config.rules(side)
    representation = config.truth.representation if side == "truth" else config.pred.representation
    if representation != "labels":
        return REPRESENTATIONS[representation].of_pixel
    classes = sorted(value for value, code in rules.codes.items() if code < rules.num_classes)
    whole = len(classes) > 1 and len(classes) == classes[-1] - classes[0] + 1
    shown = (
        f"{classes[0]}..{classes[-1]}"
        if whole
        else ", ".join(map(str, classes[:20])) + (", ..." if classes[20:] else "")
    )
    kind, values = (
        ("ignore_labels", config.ignore_labels) if side == "truth" else ("void_labels", config.void_labels)
    )
    return f"a class ({shown}) or one of {kind} {list(values)}"


def _advice(config: EvaluationConfig, side: Side, named: tuple[InvalidValue, ...]) -> str:
    if any(one.value < 0 and _meaning(config, side, one.value) != f"label {one.value}" for one in named):
        policies = "invalid_truth: ignore" if side == "truth" else "invalid_pred: count_as_miss or ignore"
        return f"write these values again, correct the representation, or say {policies}"
    if side == "truth":
        return "list the label in ignore_labels, remap it, or say invalid_truth: ignore"
    if config.mapping(side)[0] and any(one.value == 0 for one in named):
        return (
            "reduce_zero_label takes label 0 for no class. If the predictions are class ids 0..K-1 already, "
            "say so beside their store: pred: {store: ..., reduce_zero_label: false}"
        )
    ignored = [one.value for one in named if one.value in config.ignore_labels]
    if ignored:
        return (
            f"{ignored[0]} is an ignore label of truth; ignore_labels do not apply to predictions. If the "
            f"model means 'no class' by it, say void_labels: [{ignored[0]}]: such pixels count as misses"
        )
    return "list the label in void_labels, remap it, or say invalid_pred: count_as_miss or ignore"


def is_error(problem: Problem, config: EvaluationConfig) -> bool:
    """Whether the settings call an invalid label of its side an error."""
    return (config.invalid_truth if problem.side == "truth" else config.invalid_pred) == "error"
