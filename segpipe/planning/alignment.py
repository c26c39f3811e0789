"""Which image of pred belongs to which image of truth, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig
from segpipe.errors import InputError, Problem
from segpipe.planning.inventory import Inventory
from segpipe.sources.layouts import ImageSet


@dataclass(frozen=True)
class Alignment:
    """The images to evaluate: in the order of truth, those without a prediction last.

    Attributes:
        ids: (image,); what the image is called.
        truth: int64 (image,); its position among the images of truth.
        pred: int64 (image,); its position among the images of pred, -1 if it has no prediction.
        by: `id` or `index`.
        left_out: one problem for each image of truth that settings leave out.
    """

    ids: list[str]
    truth: NDArray[np.int64]
    pred: NDArray[np.int64]
    by: str
    left_out: list[Problem]


def align(inventory: Inventory, config: EvaluationConfig, wanted: NDArray[np.bool_]) -> Alignment:
    """Match the images of both sides by id, or by index where neither side has ids.

    Args:
        inventory: what both stores hold.
        config: the settings.
        wanted: which images of truth will be evaluated, bool (image,); of the others no problem is told.

    Raises:
        InputError: missing, extra images or shapes that differ (all of them at once).
    """
    truth, pred = inventory.truth, inventory.pred
    if (truth.ids is None) != (pred.ids is None):
        raise InputError(_one_sided(truth, pred))
    if truth.ids is None or pred.ids is None:
        positions = _by_index(truth, pred)
        ids = [str(index) for index in range(len(positions))]
    else:
        positions = _positions(truth.ids, pred.ids)
        ids = truth.ids
    problems = list(_shape_problems(inventory, np.where(wanted, positions, -1), ids))
    never = set(pred.never_written or ())
    missing = [_missing(truth, ids[index], never) for index in np.flatnonzero(wanted & (positions < 0))]
    if config.on_missing_pred == "error":
        problems += missing
    if config.on_extra_pred == "error" and pred.ids is not None:
        problems += _extra(pred, positions)
    if problems:
        raise InputError(problems)
    skip = config.on_missing_pred == "skip"
    kept = np.flatnonzero(positions >= 0)
    if skip and not wanted[kept].any():
        raise InputError(_nothing_in_common(truth, pred, ids))
    if not skip:
        kept = np.concatenate([kept, np.flatnonzero(positions < 0)])
    return Alignment(
        ids=[ids[index] for index in kept],
        truth=kept,
        pred=positions[kept],
        by="id" if truth.ids is not None else "index",
        left_out=missing if skip else [],
    )


def _positions(truth_ids: list[str], pred_ids: list[str]) -> NDArray[np.int64]:
    if truth_ids == pred_ids:
        return np.arange(len(truth_ids), dtype=np.int64)
    where = {name: index for index, name in enumerate(pred_ids)}
    return np.array([where.get(name, -1) for name in truth_ids], np.int64)


def _by_index(truth: ImageSet, pred: ImageSet) -> NDArray[np.int64]:
    if len(truth) != len(pred):
        raise InputError(
            Problem(
                kind="number of images",
                side="pred",
                store=pred.store,
                found=f"{len(pred)} images",
                expected=f"{len(truth)} as in truth",
                advice="give both stores image ids (an array `image`), so that images can be matched",
            )
        )
    return np.arange(len(truth), dtype=np.int64)


def _one_sided(truth: ImageSet, pred: ImageSet) -> Problem:
    side, bare = ("pred", pred) if truth.ids is not None else ("truth", truth)
    other = "truth" if side == "pred" else "pred"
    return Problem(
        kind="image ids",
        side=side,
        store=bare.store,
        found="no image ids",
        expected=f"image ids, since {other} has them",
        advice="write the ids as an array `image` beside the label maps, or as the attribute image_ids",
    )


def _missing(truth: ImageSet, image: str, never_written: set[str]) -> Problem:
    unfinished = image in never_written
    return Problem(
        kind="missing image",
        side="pred",
        image=image,
        found="an image that was never written, in an unfinished store" if unfinished else "no prediction",
        expected=f"one for every image of {truth.store}",
        advice="complete the predictions, or say on_missing_pred: skip (coverage drops) or count_as_void",
    )


def _nothing_in_common(truth: ImageSet, pred: ImageSet, ids: list[str]) -> Problem:
    other = pred.ids[0] if pred.ids else "none"
    return Problem(
        kind="image ids",
        side="pred",
        store=pred.store,
        found=f"no prediction for any image of {truth.store} (first ids: truth {ids[0]!r}, pred {other!r})",
        expected="at least one id that both sides have",
        advice="check that both stores belong together and write their ids alike",
    )


def _extra(pred: ImageSet, positions: NDArray[np.int64]) -> list[Problem]:
    assert pred.ids is not None
    known = set(positions.tolist())
    return [
        Problem(
            kind="extra image",
            side="pred",
            store=pred.store,
            image=name,
            found="a prediction without truth",
            advice="check that both stores belong together; on_extra_pred: ignore evaluates a subset",
        )
        for index, name in enumerate(pred.ids)
        if index not in known
    ]


def _shape_problems(inventory: Inventory, positions: NDArray[np.int64], ids: list[str]) -> Iterator[Problem]:
    truth, pred = inventory.truth, inventory.pred
    matched = np.flatnonzero(positions >= 0)
    other = positions[matched]
    if truth.sizes.shape[1] != pred.sizes.shape[1]:
        yield _other_axes(truth, pred)
        return
    wrong = (truth.sizes[matched] != pred.sizes[other]).any(axis=1)
    one_array = len(truth.arrays) == len(pred.arrays) == 1
    for image, partner in list(zip(matched[wrong], other[wrong], strict=True))[: 1 if one_array else None]:
        yield Problem(
            kind="shape",
            side="pred",
            store=pred.store,
            array=pred.arrays[pred.array_of_image[partner]].path,
            image="" if one_array else ids[image],
            found=f"{_by(pred.sizes[partner])} pixels",
            expected=f"{_by(truth.sizes[image])} as in truth",
            advice="nothing is resized unseen: store predictions at the size of the truth",
        )


def _other_axes(truth: ImageSet, pred: ImageSet) -> Problem:
    return Problem(
        kind="shape",
        side="pred",
        store=pred.store,
        array=pred.arrays[0].path,
        found=f"images of {pred.sizes.shape[1]} dimensions",
        expected=f"{truth.sizes.shape[1]} as in truth",
        advice="store predictions in the form of the truth: (y, x) images or (z, y, x) volumes",
    )


def _by(size: NDArray[np.int64]) -> str:
    return " x ".join(map(str, size.tolist()))
