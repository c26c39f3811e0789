"""Measure intervals: their time and memory, and how often they hold the true score."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from segpipe.classes import ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.intervals import score_intervals
from segpipe.metrics.rules import ScoringRules
from tests.bench.commands import watch
from tests.bench.document import met, mib, table
from tests.bench.scale import Scale
from tests.bench.simulation import SCORES, Case, coverage, true_scores

REPLICATES = 2000
METHOD = """Every aggregate of every metric, pooled and per image, and the pooled scores of every class, from
counts in memory: seconds are wall time, once, in a process of its own, whose peak is in the last column. The
target is that of the bootstrap where an image has 15 of the 150 classes, as real ones have; with all classes
in every image there is ten times as much to add up."""

COVERAGE = """How many of simulated datasets have an interval of 95 % that holds the true score
(`tests/bench/simulation.py`): a sample of that many images, of which those of one video resemble each other.
Percentile intervals of few images, or of few videos, are too narrow, which is why such intervals say so;
those of the jackknife (Student's t) less so. Drawing images where videos are what is independent is worse
than either."""


def section(scale: Scale) -> str:
    """The tables as Markdown."""
    return "\n\n".join([METHOD, _times(scale), COVERAGE, _coverage(scale)])


def _times(scale: Scale) -> str:
    rows = []
    for method, each in (("bootstrap", 15), ("jackknife", 15), ("bootstrap", 150)):
        each = min(each, scale.interval_classes)
        words = [method, str(scale.interval_images), str(scale.interval_classes), str(each)]
        finished = watch([sys.executable, "-m", "tests.bench.intervals", *words])
        times = json.loads(finished.output)
        fast, small = times["seconds"] < 10, finished.driver_bytes < 1e9
        target = method == "bootstrap" and each == 15
        what = (
            f"{method}, {scale.interval_images:,} images of {scale.interval_classes} classes, {each} in each"
        )
        limits = ["< 10 s, < 954 MiB (1 GB)", met(fast and small)] if target else ["", ""]
        figures = [f"{times['seconds']:.1f}", f"{times['cpu_s']:.1f}", mib(finished.driver_bytes)]
        rows.append([what, *figures, *limits])
    return table(["what", "seconds", "CPU seconds", "peak MiB", "target", "met"], rows)


def _coverage(scale: Scale) -> str:
    truth = true_scores(400 * scale.simulations)
    methods = ("bootstrap", "jackknife")
    cases = [Case(videos, 1, False, method) for videos in (10, 30, 100) for method in methods]
    for videos in (10, 30):
        cases.append(Case(videos, 8, False, "bootstrap"))
        cases += [Case(videos, 8, True, method) for method in methods]
    rows = []
    for case in cases[: scale.simulated_cases]:
        held = coverage(case, truth, scale.simulations)
        drawn = "videos" if case.by_video else "images"
        sample = (
            f"{case.videos} videos of {case.per_video}" if case.per_video > 1 else f"{case.videos} images"
        )
        rows.append([sample, drawn, case.method, *(f"{100 * held[name]:.1f} %" for name in SCORES)])
    error = 100 * (0.95 * 0.05 / scale.simulations) ** 0.5
    note = f"{scale.simulations} datasets each: the standard error of a share near 95 % is {error:.1f} %."
    return f"{note}\n\n{table(['sample', 'drawn', 'method', *SCORES], rows)}"


def counts(images: int, num_classes: int, each: int) -> list[ConfusionCells]:
    """Counts of images that have `each` of the classes, some images at a time."""
    random, codes, blocks = np.random.default_rng(0), num_classes + 2, []
    for start in range(0, images, 500):
        number = min(500, images - start)
        chosen = np.argsort(random.random((number, num_classes)), axis=1)[:, :each]
        right, wrong = chosen * codes + chosen, chosen * codes + np.roll(chosen, 1, axis=1)
        cells = np.sort(np.concatenate([right, wrong], axis=1), axis=1) if each > 1 else right
        offsets = np.arange(number + 1) * cells.shape[1]
        pixels = random.integers(1, 100_000, cells.size)
        blocks.append(ConfusionCells(num_classes, offsets, cells.reshape(-1).astype(np.uint32), pixels))
    return blocks


def measured(method: str, images: int, num_classes: int, each: int) -> dict[str, Any]:
    """Seconds of one set of intervals."""
    blocks, classes = counts(images, num_classes, each), ClassList.numbered(num_classes)
    asked = {"method": method, "replicates": REPLICATES, "per_class": True}
    rules = IntervalRules.model_validate(asked)
    start, cpu_start = time.perf_counter(), time.process_time()
    score_intervals(blocks, classes, ScoringRules(), rules, np.arange(images))
    return {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu_start}


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], *map(int, sys.argv[2:]))))
