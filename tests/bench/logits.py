"""Measure the argmax of logits, with the counting that follows, against NumPy argmax and np.bincount.

Both are given the same scores in memory and the same truth; ours makes label maps in a small buffer, window
by window, and counts each window, so that nothing of the size of the scores is held beside them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.argmax import argmax_labels
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.confusion import count_confusion
from tests.bench.document import met, table
from tests.bench.label_maps import smooth_pair
from tests.bench.scale import Scale
from tests.bench.timing import take_turns

METHOD = """Scores of one image whose argmax is a smooth label map with errors, and the truth, in memory.
*stream* is the time in which one core finds the largest of all scores and does nothing else; *NumPy* is
np.argmax and np.bincount of K x truth + pred. CPU time of one thread, ways in turns, medians; compiling is
left out."""

WINDOW_ROWS = 128
TARGET = 5.0
"""Times the speed of NumPy, for float32 and K = 19."""

MOST_BYTES = 1 << 28
"""Of scores; a larger image is measured by its upper rows."""


@dataclass(frozen=True)
class Case:
    """How scores are stored."""

    num_classes: int
    dtype: str
    channels_last: bool


CASES = [
    Case(classes, dtype, last)
    for classes in (19, 150)
    for dtype in ("float32", "float16")
    for last in (True, False)
]


def section(scale: Scale) -> str:
    """The rows as Markdown."""
    head = ("K", "dtype", "classes", "ns/px", "NumPy, ns/px", "x NumPy", "% of stream", "target", "met")
    rows = [_line(case, scale) for case in CASES[: scale.kernel_cases]]
    return f"{METHOD}\n\n{table(head, rows)}"


def _line(case: Case, scale: Scale) -> tuple[str, ...]:
    truth, scores = _scores(case, scale)
    axis = -1 if case.channels_last else 0
    rules = LabelRules.of(case.num_classes)
    ways = {
        "ours": lambda: _counted(truth, scores, axis, rules),
        "numpy": lambda: _plainly(truth, scores, axis, case.num_classes),
        "stream": lambda: scores.view(f"u{scores.itemsize}").max(),
    }
    timings = take_turns(ways, scale.repeats, clock=time.thread_time)
    np.testing.assert_array_equal(timings["ours"].result, timings["numpy"].result)
    ns = {name: timing.seconds / truth.size * 1e9 for name, timing in timings.items()}
    ratio = ns["numpy"] / ns["ours"]
    judged = case.num_classes == 19 and case.dtype == "float32"
    return (
        str(case.num_classes),
        case.dtype,
        "last" if case.channels_last else "first",
        f"{ns['ours']:.1f}",
        f"{ns['numpy']:.1f}",
        f"{ratio:.1f}",
        f"{100 * ns['stream'] / ns['ours']:.0f}",
        f">= {TARGET:g} x" if judged else "",
        met(ratio >= TARGET) if judged else "",
    )


def _scores(case: Case, scale: Scale) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth (y, x), and scores with the classes on the first or the last axis."""
    truth, pred = smooth_pair(1, case.num_classes, scale.size)
    row_bytes = scale.size[1] * case.num_classes * np.dtype(case.dtype).itemsize
    rows = max(1, min(scale.size[0], MOST_BYTES // row_bytes))
    truth = np.minimum(truth[:rows], case.num_classes - 1).astype(np.uint8)
    pred = np.minimum(pred[:rows], case.num_classes - 1)
    draw = np.random.default_rng(0)
    scores = draw.standard_normal((*pred.shape, case.num_classes), dtype=np.float32).astype(case.dtype)
    np.put_along_axis(scores, pred[..., np.newaxis].astype(np.int64), 8, axis=-1)
    return truth, scores if case.channels_last else np.ascontiguousarray(np.moveaxis(scores, -1, 0))


def _counted(truth: NDArray[Any], scores: NDArray[Any], axis: int, rules: LabelRules) -> NDArray[np.int64]:
    """The confusion matrix, one window of rows after the other."""
    labels = np.empty((WINDOW_ROWS, truth.shape[1]), np.int32)
    parts = []
    for start in range(0, len(truth), WINDOW_ROWS):
        rows = slice(start, min(start + WINDOW_ROWS, len(truth)))
        window = scores[rows] if axis else scores[:, rows]
        made = argmax_labels(window, axis, out=labels[: rows.stop - rows.start])
        parts.append(count_confusion(truth[rows][np.newaxis], made[np.newaxis], rules, rules))
    return _classes(ConfusionCells.concatenate(parts))


def _classes(cells: ConfusionCells) -> NDArray[np.int64]:
    summed = np.zeros((cells.num_codes, cells.num_codes), np.int64)
    np.add.at(summed, (cells.truth_codes, cells.pred_codes), cells.counts)
    return summed[: cells.num_classes, : cells.num_classes]


def _plainly(truth: NDArray[Any], scores: NDArray[Any], axis: int, num_classes: int) -> NDArray[np.int64]:
    pairs = num_classes * truth.astype(np.int64) + np.argmax(scores, axis=axis)
    return np.bincount(pairs.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)
