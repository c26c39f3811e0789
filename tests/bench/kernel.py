"""Measure the kernel against np.bincount, scikit-learn and the speed at which memory can be read.

`python -m tests.bench.kernel` prints a Markdown table. All ways take turns in one run, each figure is the
median of CPU times of one thread, and ratios are what carries over to another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from segpipe.classes import LabelRules
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.jit import compiled
from tests.bench.label_maps import IGNORE, noise_pair, smooth_pair

Labels = NDArray[Any]

BATCH_BYTES = 1 << 26
"""Label maps that are counted in one call, both sides: more than fits in a cache."""

SPARSE_STEP = 100_003
"""Between two label values that are far apart."""


@dataclass(frozen=True)
class Case:
    """What is counted: a picture (smooth or noise), K, the dtypes, and whether labels lie far apart."""

    picture: str
    num_classes: int
    truth_dtype: str = "uint8"
    pred_dtype: str = "uint8"
    sparse: bool = False


@dataclass(frozen=True)
class Row:
    """The result of a case; all times in ns per pixel, medians. NaN: not measured."""

    case: Case
    kernel: float
    stream: float
    bincount: float
    sklearn: float

    @property
    def of_stream(self) -> float:
        """The kernel's speed as a share of the stream limit, 0 to 1."""
        return self.stream / self.kernel


CASES = [
    *(Case(picture, classes) for picture in ("smooth", "noise") for classes in (19, 150)),
    *(Case("smooth", 19, dtype, dtype) for dtype in ("uint16", "int32", ">i4", "int64", "uint64")),
    *(Case("smooth", 19, "uint8", dtype) for dtype in ("uint16", "int32", "int64")),
    Case("smooth", 1000, "uint16", "uint16"),
    Case("smooth", 19, "int32", "int32", sparse=True),
    Case("smooth", 19, "int64", "int64", sparse=True),
    Case("noise", 19, "int32", "int32"),
]


@compiled
def _xor(words: NDArray[np.uint64]) -> int:
    """Read everything and do nothing else that takes time."""
    total = np.uint64(0)
    for index in range(words.size):
        total ^= words[index]
    return int(total)


def measure(cases: list[Case] = CASES, repeats: int = 9) -> list[Row]:
    """The rows of the table, one for each case."""
    return [_measure(case, repeats) for case in cases]


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    head = "| maps | K | truth | pred | ns/px | x np.bincount | x scikit-learn | % of stream |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        case = row.case
        lines.append(
            f"| {case.picture}{', sparse labels' * case.sparse} | {case.num_classes} | {case.truth_dtype} "
            f"| {case.pred_dtype} | {row.kernel:.3f} | {row.bincount / row.kernel:.1f} "
            f"| {row.sklearn / row.kernel:.0f} | {100 * row.of_stream:.0f} |"
        )
    return "\n".join(lines)


def _measure(case: Case, repeats: int) -> Row:
    truth, pred, rules = _maps(case)
    words = [np.ascontiguousarray(side).reshape(-1).view(np.uint64) for side in (truth, pred)]
    ways: dict[str, Callable[[], Any]] = {
        "kernel": lambda: count_confusion(truth, pred, *rules),
        "stream": lambda: [_xor(side) for side in words],
        "bincount": lambda: _bincount(truth[:1], pred[:1], case),
        "sklearn": lambda: confusion_matrix(
            truth[0, :64].ravel(), pred[0, :64].ravel(), labels=list(rules[1].codes)
        ),
    }
    pixels = {
        "kernel": truth.size,
        "stream": truth.size,
        "bincount": truth[0].size,
        "sklearn": truth[0, :64].size,
    }
    medians = {name: time_s / pixels[name] * 1e9 for name, time_s in _take_turns(ways, repeats).items()}
    return Row(case, **medians)


def _maps(case: Case) -> tuple[Labels, Labels, tuple[LabelRules, LabelRules]]:
    """Images that are not alike byte for byte, and the rules of both sides."""
    draw = smooth_pair if case.picture == "smooth" else noise_pair
    truth, pred = draw(1, case.num_classes)
    pair_bytes = truth.size * sum(np.dtype(name).itemsize for name in (case.truth_dtype, case.pred_dtype))
    shifts = range(0, 64 * max(1, BATCH_BYTES // pair_bytes), 64)
    truth, pred = (np.stack([np.roll(side, shift, axis=-1) for shift in shifts]) for side in (truth, pred))
    remap = None
    if case.sparse:
        remap = {SPARSE_STEP * class_id: class_id for class_id in range(case.num_classes)}
        truth, pred = SPARSE_STEP * truth, SPARSE_STEP * pred
    ignore = [] if case.num_classes > IGNORE else [IGNORE * (SPARSE_STEP if case.sparse else 1)]
    rules = LabelRules.of(case.num_classes, remap=remap, no_class=ignore)
    return truth.astype(case.truth_dtype), pred.astype(case.pred_dtype), (rules, rules)


def _bincount(truth: Labels, pred: Labels, case: Case) -> NDArray[np.int64]:
    """The usual way in NumPy: leave out what is ignored, count K * truth + pred."""
    if case.sparse:
        truth, pred = truth // SPARSE_STEP, pred // SPARSE_STEP
    valid = (truth >= 0) & (truth < case.num_classes)
    cells = case.num_classes * truth[valid].astype(np.int64) + pred[valid].astype(np.int64)
    return np.bincount(cells, minlength=case.num_classes**2)


def _take_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median CPU time of each way, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            start = time.thread_time()
            way()
            times[name].append(time.thread_time() - start)
    return {name: float(np.median(measured[1:])) for name, measured in times.items()}


if __name__ == "__main__":
    print(table(measure()))
