"""Arrays that the kernel must count right, and rules to count them by."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.oracle import count_confusion_plainly
from tests.thorough import THOROUGH

BIG = [">i2", ">u2", ">i4", ">u4", ">i8", ">u8"]
DTYPES = ["bool", *"u1 i1 u2 i2 u4 i4 u8 i8".split(), *BIG]
_OTHERS = DTYPES[7:] + DTYPES[:7]
PAIRS = list(product(DTYPES, DTYPES) if THOROUGH else zip(DTYPES, _OTHERS, strict=True))
"""Dtypes of truth and pred; the kernel is compiled for each pair of widths and byte orders, in a second."""

NUM_CLASSES = [1, 2, 19, 150, 1000]
SHORT_PX = 4
EXTREMES = [0, 1, 2, 127, 128, 254, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def limits(dtype: Any) -> tuple[int, int]:
    """The lowest and highest value of a dtype."""
    kind = np.dtype(dtype)
    return (0, 1) if kind.kind == "b" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))


def some_values(dtype: Any, rules: LabelRules) -> NDArray[Any]:
    """Values that the rules name, their neighbours and the ends of the dtype."""
    low, high = limits(dtype)
    wanted = {near for value in [*rules.codes, *EXTREMES] for near in (value - 1, value, value + 1)}
    return np.array(sorted({low, high} | {value for value in wanted if low <= value <= high}), dtype)


def drawn(values: NDArray[Any], shape: tuple[int, ...], run_px: float, seed: int) -> NDArray[Any]:
    """Runs of random values whose lengths are about `run_px` on average, in the order of rows."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    ends = rng.random(size) < 1 / run_px
    return values[rng.integers(0, len(values), size)[np.cumsum(ends) % max(size, 1)]].reshape(shape)


def require_same(
    truth: NDArray[Any], pred: NDArray[Any], truth_rules: LabelRules, pred_rules: LabelRules
) -> None:
    """The kernel and the oracle agree, every pixel is counted, and cells are in order."""
    cells = count_confusion(truth, pred, truth_rules, pred_rules)
    plain = count_confusion_plainly(truth, pred, truth_rules, pred_rules)
    np.testing.assert_array_equal(cells.dense(), plain)
    assert cells.pixels().tolist() == [int(np.prod(truth.shape[1:]))] * len(truth)
    assert (np.diff(cells.cells.astype(np.int64))[np.diff(cells.image_of_cell) == 0] > 0).all()
    assert (cells.counts > 0).all()


@st.composite
def label_rules(draw: st.DrawFn, num_classes: int | None = None) -> LabelRules:
    """Rules with classes near 0 or anywhere, and some labels that are no class."""
    classes = draw(st.sampled_from(NUM_CLASSES)) if num_classes is None else num_classes
    anywhere = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-300, 300), st.sampled_from(EXTREMES))
    remap = draw(st.none() | st.dictionaries(anywhere, st.integers(0, classes - 1), max_size=8))
    no_class = draw(st.lists(st.one_of(anywhere, st.just(-1), st.just(255)), max_size=3))
    return LabelRules.of(
        classes, remap=remap, no_class=[value for value in no_class if value not in (remap or {})]
    )
