"""Sums that depend on no order, against exact fractions."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segpipe.metrics.sums import FixedPointSums, row_means, row_sums

shares = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(values=shares, seed=st.integers())
def test_streamed_means_do_not_depend_on_order_or_cut(values: list[float], seed: int) -> None:
    """The same bits for the terms one by one, and for all of them shuffled at once."""
    one_by_one, at_once = FixedPointSums((1,)), FixedPointSums((1,))
    for value in values:
        one_by_one.add(np.zeros(1, np.int64), np.array([value]))
    shuffled = random.Random(seed).sample(values, len(values))
    at_once.add(np.zeros(len(values), np.int64), np.array(shuffled))

    number = np.array([len(values)])
    assert one_by_one.mean(number).tobytes() == at_once.mean(number).tobytes()


@given(values=shares)
def test_streamed_means_are_exact_to_one_rounding_of_each_term(values: list[float]) -> None:
    """Against fractions: off by half a step of 2^-62 per term, and the last rounding."""
    sums = FixedPointSums(())
    sums.add(np.zeros(len(values), np.int64), np.array(values))
    exact = sum(map(Fraction, values)) / len(values)

    found = Fraction(float(sums.mean(np.array(len(values)))))
    assert abs(found - exact) <= Fraction(1, 2**62) + exact * Fraction(1, 2**53)


@given(value=st.floats(-1, 1), number=st.integers(1, 10**6))
def test_a_term_that_ends_before_the_step_is_exact(value: float, number: int) -> None:
    """Negative terms too; the mean of one term is the term where its last bit is worth 2^-62 or more."""
    value = round(value * 2**40) / 2**40
    sums = FixedPointSums((2,))
    sums.add(np.array([1]), np.array([value]))

    assert sums.mean(np.array([0, 1]))[1] == value
    assert sums.mean(np.array([0, number]))[1] == float(Fraction(value) / number)


def test_places_do_not_mix_and_an_empty_place_is_nan() -> None:
    """Every place of the array has a sum of its own; rows share memory."""
    sums = FixedPointSums((2, 2))
    sums.add(np.array([3, 0, 3]), np.array([0.25, 1.0, 0.5]))

    np.testing.assert_array_equal(sums.mean(np.array([[1, 0], [0, 2]])), [[1.0, np.nan], [np.nan, 0.375]])
    np.testing.assert_array_equal(sums.row(1).mean(np.array([0, 2])), [np.nan, 0.375])


def test_a_million_perfect_images_are_exactly_one() -> None:
    """Nothing stalls and nothing is lost."""
    sums = FixedPointSums(())
    sums.add(np.zeros(10**6, np.int64), np.ones(10**6))

    assert float(sums.mean(np.array(10**6))) == 1.0


@given(rows=st.lists(st.lists(st.floats(-1e300, 1e300), min_size=4, max_size=4), min_size=1, max_size=5))
def test_row_sums_are_rounded_once(rows: list[list[float]]) -> None:
    """The exact sum of each row, rounded once."""
    found = row_sums(np.array(rows), empty=np.zeros(len(rows), np.bool_))

    assert found.tolist() == [float(sum(map(Fraction, row))) for row in rows]


def test_row_means_leave_out_what_is_not_used() -> None:
    """An unused value may be NaN; a row of which nothing is used is NaN."""
    values = np.array([[0.1, np.nan, 0.2, 0.3], [1.0, 2.0, 3.0, 4.0]])
    used = np.array([[True, False, True, True], [False] * 4])

    found = row_means(values, used)
    assert found[0] == math.fsum([0.1, 0.2, 0.3]) / 3
    assert np.isnan(found[1])
