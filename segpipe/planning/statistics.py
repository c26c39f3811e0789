"""Whether statistics can be counted from what the stores hold, said before a pixel is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segpipe.classes import LabelRules
from segpipe.config import EvaluationConfig
from segpipe.errors import ArrayError, Problem
from segpipe.kernels.objects import drop_small_objects
from segpipe.planning.bucket import OTHER
from segpipe.planning.inventory import Inventory
from segpipe.sources.metadata import ArrayMeta
from segpipe.statistics.base import Statistic

SCORES = ("logits", "probabilities", "binary")
"""Representations that hold a score for each pixel."""


def unfit_statistics(
    statistics: Sequence[Statistic], config: EvaluationConfig, inventory: Inventory
) -> list[Problem]:
    """Every reason why one of the statistics cannot be counted."""
    problems = [problem for one in statistics for problem in _reasons(one, config, inventory)]
    if config.other_pred is not None and not any("other" in one.needs for one in statistics):
        problems.append(
            Problem(
                kind="statistic",
                side=OTHER,
                store=config.other_pred.store,
                found="a second prediction, which no statistic reads",
                expected="a statistic that compares predictions, such as churn",
                advice="name it in `statistics`, or leave `other_pred` out",
            )
        )
    return problems


def _reasons(one: Statistic, config: EvaluationConfig, inventory: Inventory) -> Iterator[Problem]:
    if "scores" in one.needs:
        yield from _of_scores(one, config, inventory)
    if "scores" in one.needs and config.small_objects is not None and config.small_objects.in_pred:
        found = "scores, which are counted while they are read, and small_objects.in_pred"
        advice = "leave one of the two out: objects of the prediction are known when all of it is read"
        yield _problem(one, found, "statistics of label maps", advice)
    yield from _too_large(one, config, inventory)
    if "other" in one.needs and config.other_pred is None:
        yield _problem(one, "one prediction", "two", "name the second one, other_pred: STORE::array")
    if inventory.truth.cut:
        yield from _of_cut_images(one, inventory)


def _too_large(one: Statistic, config: EvaluationConfig, inventory: Inventory) -> Iterator[Problem]:
    """That the sums of an image could pass int64; sums over images cannot."""
    pixels = int(inventory.truth.sizes.prod(axis=1).max(initial=0))
    field = min(one.fields(len(config.classes.names)), key=lambda field: field.most_pixels)
    if pixels > field.most_pixels:
        found, expected = f"an image of {pixels:,} pixels", f"at most {field.most_pixels:,}"
        advice = f"evaluate parts of it (layout raster), or leave this out: {field.name} is summed in 64 bits"
        yield _problem(one, found, expected, advice)


def unfit_objects(config: EvaluationConfig, inventory: Inventory) -> list[Problem]:
    """Why small objects cannot be told.

    Raises:
        ConfigError: connected-components-3d is not installed.
    """
    small, truth = config.small_objects, inventory.truth
    if small is None:
        return []
    found, expected, advice = "", "whole images: objects may lie across the edges of windows", ""
    try:
        one_pixel = np.zeros((1,) * truth.sizes.shape[1], np.uint16)
        drop_small_objects(one_pixel, 1, small.min_object_px, small.connectivity)
    except ArrayError as error:
        found, expected = str(error), "4 or 8 in images (y, x), 6 or 26 in volumes (z, y, x)"
        advice = "change small_objects.connectivity"
    if truth.cut:
        found, advice = "a scene that is cut into windows", "leave small_objects out"
    place = {"side": "truth", "store": truth.store, "advice": advice}
    return [Problem(kind="small objects", found=found, expected=expected, **place)] if found else []


def _of_scores(one: Statistic, config: EvaluationConfig, inventory: Inventory) -> Iterator[Problem]:
    representation = config.pred.representation
    if one.scope != "pixel":
        found = f"scores wanted for scope {one.scope}"
        yield _problem(one, found, "scope pixel: scores are read in parts", "mend the statistic")
    elif representation not in SCORES:
        found, expected = f"predictions stored as {representation}", f"one of {', '.join(SCORES)}"
        yield _problem(one, found, expected, "store the scores, or leave this statistic out")
    elif not all(one_channel_each(config.rules("pred"), array) for array in inventory.pred.arrays):
        expected = "one channel for each class and no other, or binary scores of class 1"
        yield _problem(one, "channels that are merged or no class", expected, "see remap and void_labels")
    else:
        dtypes = {array.dtype for array in inventory.pred.arrays}
        for why in sorted({one.unfit(representation, dtype) for dtype in dtypes} - {""}):
            yield _problem(one, why, "scores that it can count", "leave this statistic out")


def one_channel_each(rules: LabelRules, array: ArrayMeta) -> bool:
    """Whether every class has one channel and every channel a class; binary scores are those of class 1."""
    binary = array.class_axis is None or array.representation == "binary"
    codes = [rules.code(channel) for channel in range(2 if binary else array.shape[array.class_axis or 0])]
    every = list(range(rules.num_classes))
    return codes == every if binary else sorted(codes) == every


def _of_cut_images(one: Statistic, inventory: Inventory) -> Iterator[Problem]:
    truth = inventory.truth
    scene = max((array.label_shape for array in truth.arrays), key=lambda shape: shape[-1] * shape[-2])
    window = truth.sizes.max(axis=0).tolist()
    found = f"{_by(scene)} pixels, cut into windows of {_by(window)}"
    if one.scope == "image":
        yield _problem(
            one,
            found,
            "whole images: objects may lie across the edges of windows",
            f"set layout.window to {max(scene)} if that fits in memory, or leave this statistic out",
        )
    elif one.scope == "halo" and one.halo(None) is None:
        advice = "give the width in pixels beside `kind`; a share of the image's size would be far too wide"
        yield _problem(one, found, "a declared width, in pixels", advice)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _problem(one: Statistic, found: str, expected: str, advice: str) -> Problem:
    return Problem(kind="statistic", found=f"{found}, for {one.full_name}", expected=expected, advice=advice)
