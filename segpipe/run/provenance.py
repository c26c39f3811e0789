"""What a report says about the run: coverage, rules in words, versions, timings, fingerprints."""

from __future__ import annotations

import platform
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segpipe.config import SIDES, EvaluationConfig, Side
from segpipe.counts.counting import PLAN_NAME
from segpipe.metrics.scores import Scores
from segpipe.planning.arrow import read_columns
from segpipe.reports.summary import RunSummary, Tally
from segpipe.run.planned import PlanSummary
from segpipe.run.record import PLANNED_NAME, read_json
from segpipe.run.reduced import Reduction
from segpipe.statistics.base import WEIGHTS_OF_PIXELS

PACKAGES = (
    "segpipe",
    "numpy",
    "numba",
    "zarr",
    "numcodecs",
    "dask",
    "distributed",
    "prefect",
    "xarray",
    "pyarrow",
)


def run_summary(
    run: Path,
    config: EvaluationConfig,
    planned: PlanSummary,
    reduction: Reduction,
    state: dict[str, Any],
    scores: Scores,
) -> RunSummary:
    """The summary of a run for its reports."""
    skipped = len(reduction.skipped)
    return RunSummary(
        suite=config.suite,
        model=config.model,
        run=run.name,
        images=Tally(
            planned=planned.images + planned.skipped_images,
            counted=reduction.images,
            skipped=planned.skipped_images + skipped,
            quarantined=reduction.quarantined_images,
        ),
        pixels=Tally(
            planned=planned.pixels + planned.skipped_pixels,
            counted=reduction.pixels,
            skipped=planned.skipped_pixels + reduction.skipped_pixels,
            quarantined=reduction.quarantined_pixels,
        ),
        alignment="id" if planned.aligned_by == "id" else "index",
        warnings=(*planned.warnings, *_found(config, reduction, scores)),
        rules=(*_selection(config, planned), *_rules(config)),
        versions=_versions(),
        timings=state.get("timings", {}),
        provenance={
            "started": state["started"],
            "host": state["host"],
            "truth": str(config.truth),
            "pred": str(config.pred),
            **{name: str(lies) for name, lies in config.overlays.items()},
            "metadata": read_json(run / PLANNED_NAME)["metadata"],
            "reader": planned.reader,
            "fingerprints": fingerprints(run),
            "plan": {name: value for name, value in planned.__dict__.items() if name != "warnings"},
            **{f"baseline {name}": run for name, run in state.get("baselines", {}).items()},
            "recounted_buckets": reduction.recounted,
        },
        config=config.to_yaml(),
    )


def fingerprints(run: Path) -> dict[str, str]:
    """One hash for all that was read of each store, from the plan's fingerprints of the buckets."""
    columns = [*(f"{side}_fingerprint" for side in SIDES), "overlay_fingerprints"]
    table = read_columns(run / PLAN_NAME, columns)
    texts = {side: "".join(table[f"{side}_fingerprint"].to_pylist()) for side in SIDES}
    for overlays in table["overlay_fingerprints"].to_pylist():
        for overlay in overlays:
            texts[overlay["name"]] = texts.get(overlay["name"], "") + overlay["hash"]
    return {side: blake2b(text.encode(), digest_size=20).hexdigest() for side, text in texts.items()}


def _found(config: EvaluationConfig, reduction: Reduction, scores: Scores) -> list[str]:
    """What the reduction found and the settings allow, in sentences."""
    sentences = []
    if reduction.images and not scores.areas.valid:
        sentences.append("No pixel counts: all of truth is ignored or invalid, so there is nothing to score.")
    for side, code, fill, void in zip(
        SIDES, ("ignored", "void"), reduction.fill_pixels, reduction.void_pixels, strict=True
    ):
        if fill:
            sentences.append(
                f"{fill:,} pixels of {side} lie in chunks that were never written, "
                "which are declared to be the fill value."
            )
        if void:
            sentences.append(
                f"{void:,} pixels of {side} lie in absent chunks and count as {code} "
                "(missing_chunks: count_as_void)."
            )
    if reduction.skipped:
        skipped = len(reduction.skipped)
        sentences.append(f"{skipped} images have absent chunks and are left out (missing_chunks: skip).")
    for side, setting in (("truth", config.invalid_truth), ("pred", config.invalid_pred)):
        images = sum(problem.side == side for problem in reduction.invalid)
        if images:
            sentences.append(
                f"{images} images hold labels in {side} that no rule names: "
                f"{scores.counts[f'invalid_{side}']:,} pixels (invalid_{side}: {setting})."
            )
    if reduction.quarantined_images:
        lost = reduction.quarantined_images
        sentences.append(f"{lost} images could not be counted and are not in these figures.")
    return sentences


def _selection(config: EvaluationConfig, planned: PlanSummary) -> list[str]:
    if config.select is None:
        return []
    asked = planned.images + planned.skipped_images
    words = f"{asked:,} of {planned.selected_from:,} images: {config.select.words()}"
    return [f"Only a selection is evaluated, {words}."]


def _small_objects(config: EvaluationConfig) -> list[str]:
    small = config.small_objects
    if small is None:
        return []
    of = "truth and objects of the prediction" if small.in_pred else "truth"
    return [
        f"Objects of {of} of fewer than {small.min_object_px} px (connectivity {small.connectivity}) are "
        "ignored (small_objects)."
    ]


def _rules(config: EvaluationConfig) -> list[str]:
    truth, pred = (_labels(config, side) for side in SIDES)
    words = truth if truth == pred else f"{truth} in truth, {pred} in predictions"
    return [
        f"Label values are {words}; ignored in truth: {list(config.ignore_labels) or 'none'}; "
        f"void in predictions: {list(config.void_labels) or 'none'}.",
        *(["Pixels where the array `valid` is 0 are ignored."] if config.valid else []),
        *_small_objects(config),
        *([_WEIGHTED] if config.weights else []),
        *([_MASKED] if config.weights and config.statistics else []),
        f"Images without a prediction: on_missing_pred: {config.on_missing_pred}.",
        f"Chunks that were never written: missing_chunks: {config.missing_chunks}.",
        f"Labels that no rule names: invalid_truth: {config.invalid_truth}, "
        f"invalid_pred: {config.invalid_pred}.",
    ]


_WEIGHTED = (
    "In scores and areas a pixel counts times its value in the array `weights`, rounded to a multiple of "
    "2^-30; of weight 0 it is ignored. Numbers of pixels, the confusion matrix and what other tools would "
    "print, except iIoU, are of pixels, whatever they weigh."
)


_MASKED = f"For what statistics count, {WEIGHTS_OF_PIXELS}."


def _labels(config: EvaluationConfig, side: Side) -> str:
    """What the raw values of one side are, in words."""
    reduced, remap = config.mapping(side)
    if reduced:
        return "class ids + 1, and 0 is no class (reduce_zero_label)"
    return "class ids" if remap is None else "remapped"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
