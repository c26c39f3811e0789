"""Measure what each statistic costs beside reading and the confusion matrix."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from segpipe.kernels.argmax import argmax_labels
from segpipe.statistics.base import STATISTICS, Pixels, Statistic
from tests.bench.document import table
from tests.bench.label_maps import IGNORE, smooth_pair
from tests.bench.loops import direct_reader, with_kernel
from tests.bench.scale import Scale
from tests.bench.stores import NUM_CLASSES, dataset, write_stacked
from tests.bench.timing import take_turns

METHOD = """One pair of smooth label maps of {height} x {width} (K = {classes}), or the same truth and float32
logits; CPU time of one thread per megapixel, ways in turns, medians of {repeats}, with the parameters that a
statistic has by itself. *Reading* is that of a chunk with zstd (logits: of random numbers, which hardly
compress), decoded into memory that is used again, and the confusion matrix (logits: the argmax first).
Compiling is left out. A statistic that needs several passes reads nothing twice."""

LABELS, LOGITS = "label maps", "logits"
LOGITS_LEVEL = 1


def section(scale: Scale) -> str:
    """The table as Markdown."""
    height, width = scale.size
    method = METHOD.format(height=height, width=width, classes=NUM_CLASSES, repeats=scale.repeats)
    rows = [*_of_labels(scale), *_of_logits(scale)]
    head = ["statistic", "scope", "of", "ms per megapixel", "reading, ms per megapixel", "x reading"]
    return f"{method}\n\n{table(head, rows)}"


def _of_labels(scale: Scale) -> list[list[str]]:
    with dataset(lambda folder: write_stacked(folder, 1, scale.size)) as folder:
        read = direct_reader(folder)
        truth, pred = (_codes(side)[np.newaxis] for side in read(0))
        pixels = Pixels(NUM_CLASSES, truth, pred, other=pred[:, ::-1])
        chosen = [one for one in _statistics() if "scores" not in one.needs]
        return _rows(chosen, pixels, LABELS, lambda: with_kernel(*read(0)), scale)


def _of_logits(scale: Scale) -> list[list[str]]:
    truth, pred = (_codes(side) for side in smooth_pair(0, NUM_CLASSES, scale.size))
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((NUM_CLASSES, *scale.size), np.float32)
    np.put_along_axis(logits, pred[np.newaxis].astype(np.int64), 8, axis=0)
    pixels = Pixels(NUM_CLASSES, truth[np.newaxis], pred[np.newaxis], logits[np.newaxis], "logits")
    chosen = [one for one in _statistics() if "scores" in one.needs]
    with dataset(partial(_write, logits=logits)) as folder:
        kept = np.empty_like(logits)
        return _rows(chosen, pixels, LOGITS, lambda: _read(folder / "chunk", kept, truth), scale)


def _codes(labels: NDArray[Any]) -> NDArray[np.uint16]:
    return np.where(labels == IGNORE, NUM_CLASSES, labels).astype(np.uint16)


def _statistics() -> list[Statistic]:
    return [STATISTICS[kind]() for kind in sorted(STATISTICS)]


def _write(folder: Path, logits: NDArray[Any]) -> None:
    (folder / "chunk").write_bytes(Zstd(LOGITS_LEVEL).encode(logits))


def _read(chunk: Path, kept: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.int64]:
    Zstd().decode(chunk.read_bytes(), kept)
    return with_kernel(truth, argmax_labels(kept, 0))


def _rows(
    chosen: list[Statistic], pixels: Pixels, of: str, read: Callable[[], Any], scale: Scale
) -> list[list[str]]:
    ways: Mapping[str, Callable[[], Any]] = {
        "reading": read,
        **{one.kind: partial(one.count, pixels) for one in chosen},
    }
    timings = take_turns(ways, scale.repeats, clock=time.thread_time)
    ms = {name: timing.seconds * 1e9 / pixels.truth.size for name, timing in timings.items()}
    return [
        [
            one.kind,
            one.scope,
            of,
            f"{ms[one.kind]:.2f}",
            f"{ms['reading']:.2f}",
            f"{ms[one.kind] / ms['reading']:.1f}",
        ]
        for one in chosen
    ]
