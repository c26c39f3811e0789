"""Weights are rounded once for each pixel and then summed exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels import weighted
from segpipe.kernels.oracle import count_confusion_plainly
from segpipe.kernels.weighted import UNITS_PER_WEIGHT, sum_weights
from tests.kernels.label_arrays import DTYPES, drawn, label_rules, some_values

RULES = LabelRules.of(2, no_class=[255])


def plainly(truth, pred, weights, truth_rules, pred_rules):
    """Sums of fractions, pixel by pixel; `round` of a fraction takes ties to even."""
    sums = np.zeros((truth_rules.num_codes, pred_rules.num_codes), object)
    for a, b, weight in zip(truth.flat, pred.flat, weights.flat, strict=True):
        sums[truth_rules.code(int(a)), pred_rules.code(int(b))] += round(Fraction(float(weight)) * 2**30)
    return sums


@given(
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
    weights=st.lists(
        st.floats(0, 2**20) | st.integers(0, 9).map(lambda n: (n + 0.5) / 2**30), min_size=60, max_size=60
    ),
    strip_px=st.sampled_from([7, 5000]),
)
def test_sums_are_those_of_fractions(data, dtype, weights, strip_px):
    truth_rules, pred_rules = data.draw(label_rules(3)), data.draw(label_rules(3))
    truth, pred = (drawn(some_values(dtype, rules), (6, 10), 4, 5) for rules in (truth_rules, pred_rules))
    weights = np.reshape(weights, (6, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighted, "STRIP_PX", strip_px)
        sums = sum_weights(truth, pred, weights, truth_rules, pred_rules)
    assert (sums == plainly(truth, pred, weights, truth_rules, pred_rules)).all()
    assert sums.dtype == np.int64


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "u1", "i8", "bool"])
def test_weight_one_counts_pixels_and_weight_zero_masks_them(dtype):
    truth, pred = (drawn(np.array([0, 1, 7, 255]), (3, 500), 4, seed) for seed in (1, 2))
    weights = (np.arange(1500).reshape(3, 500) % 3 > 0).astype(dtype)
    counted = count_confusion_plainly(truth[weights > 0][None], pred[weights > 0][None], RULES, RULES)[0]
    np.testing.assert_array_equal(sum_weights(truth, pred, weights, RULES, RULES), counted * UNITS_PER_WEIGHT)


def test_the_order_of_pixels_does_not_show():
    rng = np.random.default_rng(1)
    truth, pred, weights = rng.integers(0, 2, 999), rng.integers(0, 2, 999), rng.random(999) * 1e6
    order = rng.permutation(999)
    one = sum_weights(truth, pred, weights, RULES, RULES)
    np.testing.assert_array_equal(sum_weights(truth[order], pred[order], weights[order], RULES, RULES), one)


def test_the_largest_sum_fits_and_one_more_is_refused():
    labels = np.zeros(4, int)
    weights = np.array([2.0**33 - 2, 1, 0.5, 0.5 - 2**-30])
    assert sum_weights(labels, labels, weights, RULES, RULES)[0, 0] == 2**63 - 1
    weights[3] = 0.5
    with pytest.raises(
        ArrayError, match=r"weights add up to 8.58993e\+09, expected less than 2\*\*33: scale them"
    ):
        sum_weights(labels, labels, weights, RULES, RULES)


def test_many_large_weights_are_refused_although_their_sum_wraps_around():
    labels = np.zeros(8, int)
    with pytest.raises(ArrayError, match="expected less than"):
        sum_weights(labels, labels, np.full(8, 2.0**32), RULES, RULES)


@pytest.mark.parametrize("bad", [-1.0, -(2.0**-40), np.nan, np.inf, -np.inf])
def test_weights_that_are_no_weights_are_refused(bad):
    labels = np.zeros(3, int)
    with pytest.raises(ArrayError, match=r"weights hold .*; they must be finite and not negative"):
        sum_weights(labels, labels, np.array([1, bad, 1]), RULES, RULES)


def test_other_shapes_and_dtypes_are_refused():
    labels = np.zeros((2, 3), int)
    with pytest.raises(
        ShapeError, match=r"weights have shape \(3,\), expected one weight for each pixel, \(2, 3\)"
    ):
        sum_weights(labels, labels, np.ones(3), RULES, RULES)
    with pytest.raises(ArrayError, match="weights have dtype complex128, expected real numbers"):
        sum_weights(labels, labels, np.ones((2, 3), complex), RULES, RULES)
    with pytest.raises(ShapeError, match="must be equal"):
        sum_weights(labels, labels[:1], np.ones((2, 3)), RULES, RULES)


def test_no_pixels_are_no_weight():
    empty = np.zeros(0, int)
    assert not sum_weights(empty, empty, np.zeros(0), RULES, RULES).any()
