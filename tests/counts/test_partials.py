"""Partial counts come back as they were written, or not at all; absent chunks are judged like pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segpipe.counts.missing import judge_absent
from segpipe.counts.partials import DamagedPartialError, Partial, PartialStore, decode, encode
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.positions import InvalidValue, InvalidValues
from segpipe.statistics.confusion import ImageCounts

K = 3
CODES = arrays(np.int64, (2, 3, 12), elements=st.integers(0, K + 1))
"""Truth and pred codes of three images of 12 pixels."""
ABSENT = arrays(np.bool_, (2, 3, 12))


def matrices(truth: NDArray[Any], pred: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The oracle: dense (image, K+2, K+2) of some pixels."""
    dense = np.zeros((len(truth), K + 2, K + 2), np.int64)
    for image in range(len(truth)):
        np.add.at(dense[image], (truth[image][where[image]], pred[image][where[image]]), 1)
    return dense


def counts_of(codes: NDArray[Any], absent: NDArray[np.bool_]) -> ImageCounts:
    """What counting gives of these pixels."""
    truth, pred = absent
    masks = (np.ones_like(truth), truth & ~pred, pred & ~truth, truth & pred)
    cells, *parts = (ConfusionCells.from_dense(matrices(codes[0], codes[1], mask)) for mask in masks)
    return ImageCounts(cells, *parts)


@given(codes=CODES, absent=ABSENT, fill=st.tuples(st.booleans(), st.booleans()))
def test_judged_counts_are_those_of_judged_pixels(
    codes: NDArray[Any], absent: NDArray[np.bool_], fill: tuple[bool, bool]
) -> None:
    """Every rule for absent chunks, applied to counts, gives what it gives applied to pixels."""
    judged = judge_absent(counts_of(codes, absent), truth_is_fill=fill[0], pred_is_fill=fill[1])

    lost = [mask & (not is_fill) for mask, is_fill in zip(absent, fill, strict=True)]
    expected = matrices(
        *(np.where(mask, K, side) for mask, side in zip(lost, codes, strict=True)), absent[0] | True
    )
    np.testing.assert_array_equal(judged.cells.dense(), expected)
    np.testing.assert_array_equal(judged.affected, (lost[0] | lost[1]).any(axis=1))
    np.testing.assert_array_equal(judged.absent_pixels, absent.sum(axis=2).T)
    assert (judged.cells.counts > 0).all()
    for first, last in zip(judged.cells.offsets, judged.cells.offsets[1:], strict=False):
        assert (np.diff(judged.cells.cells[first:last].astype(np.int64)) > 0).all()


VALUE = st.builds(
    InvalidValue,
    st.integers(-(2**63), 2**64 - 1),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(1, 10**12),
)
INVALID = st.builds(InvalidValues, st.lists(VALUE).map(tuple), st.lists(VALUE).map(tuple))


def same(one: Partial, other: Partial) -> bool:
    """All of their values and dtypes."""
    parts = ("cells", "absent_truth", "absent_pred", "absent_both")
    fields = ("num_classes", "offsets", "cells", "counts")
    pairs = [
        (getattr(getattr(one.counts, part), field), getattr(getattr(other.counts, part), field))
        for part in parts
        for field in fields
    ]
    alike = all(
        np.array_equal(*pair) and np.asarray(pair[0]).dtype == np.asarray(pair[1]).dtype for pair in pairs
    )
    return alike and one.ids == other.ids and one.counts.invalid == other.counts.invalid


@given(codes=CODES, absent=ABSENT, ids=st.tuples(*[st.text()] * 3), values=INVALID)
def test_partials_come_back(
    codes: NDArray[Any], absent: NDArray[np.bool_], ids: tuple[str, ...], values: InvalidValues
) -> None:
    """Counts, ids of any text and invalid values of any integer; and the bytes are a function of them."""
    counts = counts_of(codes, absent)
    partial = Partial(
        ids,
        ImageCounts(
            counts.cells, counts.absent_truth, counts.absent_pred, counts.absent_both, ((1, values),)
        ),
    )
    data = encode(partial, "key")

    assert same(decode(data, "key", Partial), partial)
    assert encode(decode(data, "key", Partial), "key") == data


def small() -> Partial:
    """A partial of one image."""
    cells = ConfusionCells.from_dense(np.eye(K + 2, dtype=np.int64)[np.newaxis])
    none = ConfusionCells.empty(K, 1)
    return Partial(("a",), ImageCounts(cells, none, none, none))


def test_no_changed_byte_goes_unseen(tmp_path: Path) -> None:
    """Each byte of the file with each of its bits flipped, each shorter file, and one byte more."""
    store = PartialStore(tmp_path)
    store.write("ab12", small())
    data = store.path("ab12").read_bytes()
    damaged = [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]
    for wrong in [*damaged, *(data[:length] for length in range(len(data))), data + b"\0"]:
        with pytest.raises(DamagedPartialError):
            decode(wrong, "ab12", Partial)
    store.path("ab12").write_bytes(damaged[99])
    assert store.read("ab12") is None


def test_partial_of_another_name_is_not_taken(tmp_path: Path) -> None:
    """A file that was copied over another one counts as damaged."""
    store = PartialStore(tmp_path)
    store.write("ab12", small())
    store.path("ab13").write_bytes(store.path("ab12").read_bytes())

    assert store.read("ab12") is not None
    assert store.read("ab13") is None
    assert store.read("ab14") is None


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Only the file itself, in the folder that its key names."""
    PartialStore(tmp_path).write("ab12", small())
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "ab/ab12"
    ]
