"""Measure the kernel against np.bincount, scikit-learn and the speed at which memory can be read.

All ways take turns in one run, each figure is the median of CPU times of one thread, and ratios are what
carries over to another machine.
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
from tests.bench.document import met, table
from tests.bench.label_maps import IGNORE, noise_pair, smooth_pair
from tests.bench.scale import Scale
from tests.bench.timing import take_turns

Labels = NDArray[Any]

BATCH_BYTES = 1 << 26
"""Label maps that are counted in one call, both sides: more than fits in a cache."""

MOST_IMAGES = 16
"""In such a batch."""

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


METHOD = """Label maps of 1024 x 2048, in batches larger than the caches. *stream* is the time in which one
core reads the same bytes and does nothing else; *np.bincount* is given a mask and K x truth + pred;
*scikit-learn* is confusion_matrix with labels. CPU time of one thread, ways in turns, medians; compiling is
left out."""

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


def measure(scale: Scale) -> list[Row]:
    """The rows of the table, one for each case."""
    return [_measure(case, scale) for case in CASES[: scale.kernel_cases]]


def section(scale: Scale) -> str:
    """The rows as Markdown."""
    rows = measure(scale)
    head = (
        "maps",
        "K",
        "truth",
        "pred",
        "ns/px",
        "x np.bincount",
        "x scikit-learn",
        "% of stream",
        "target",
        "met",
    )
    return f"{METHOD}\n\n{table(head, map(_line, rows))}"


def _line(row: Row) -> list[object]:
    case = row.case
    return [
        case.picture + ", sparse labels" * case.sparse,
        case.num_classes,
        case.truth_dtype,
        case.pred_dtype,
        f"{row.kernel:.3f}",
        f"{row.bincount / row.kernel:.1f}",
        f"{row.sklearn / row.kernel:.0f}",
        f"{100 * row.of_stream:.0f}",
        *_target(row),
    ]


def _target(row: Row) -> tuple[str, str]:
    """What was asked of the kernel for such maps, and whether it does that."""
    times = row.bincount / row.kernel
    in_bytes = row.case.truth_dtype == row.case.pred_dtype == "uint8"
    if row.case.picture == "noise":
        return ("5 x np.bincount", met(times >= 5)) if in_bytes else ("", "")
    if in_bytes:
        return "25 x np.bincount, 40 % of stream", met(times >= 25 and row.of_stream >= 0.4)
    return "2.5 x the time of its stream", met(row.of_stream >= 1 / 2.5)


def _measure(case: Case, scale: Scale) -> Row:
    truth, pred, rules = _maps(case, scale.size)
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
    timings = take_turns(ways, scale.repeats, time.thread_time)
    return Row(case, **{name: timing.seconds / pixels[name] * 1e9 for name, timing in timings.items()})


def _maps(case: Case, size: tuple[int, int]) -> tuple[Labels, Labels, tuple[LabelRules, LabelRules]]:
    """Images that are not alike byte for byte, and the rules of both sides."""
    draw = smooth_pair if case.picture == "smooth" else noise_pair
    truth, pred = draw(1, case.num_classes, size)
    pair_bytes = truth.size * sum(np.dtype(name).itemsize for name in (case.truth_dtype, case.pred_dtype))
    shifts = range(0, 64 * min(MOST_IMAGES, max(1, BATCH_BYTES // pair_bytes)), 64)
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
