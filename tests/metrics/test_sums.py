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
    """Against fractions: off by half a step of 2^-62 per term, and the roundings of sum and quotient."""
    sums = FixedPointSums(())
    sums.add(np.zeros(len(values), np.int64), np.array(values))
    exact = sum(map(Fraction, values)) / len(values)

    found = Fraction(float(sums.mean(np.array(len(values)))))
    assert abs(found - exact) <= Fraction(1, 2**62) + exact * Fraction(1, 2**52)


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


ROWS = st.lists(st.lists(st.floats(-1e300, 1e300), min_size=4, max_size=4), min_size=1, max_size=5)


@given(rows=ROWS)
def test_row_sums_are_off_by_a_step_of_the_largest_term_at_most(rows: list[list[float]]) -> None:
    """Against fractions: half a step of 2^-61 of the largest term for each term, and the last rounding."""
    for found, row in zip(row_sums(np.array(rows)).tolist(), rows, strict=True):
        exact, largest = sum(map(Fraction, row)), max(abs(Fraction(value)) for value in row)
        assert abs(Fraction(found) - exact) <= 4 * largest / 2**62 + abs(exact) / 2**53


@given(rows=ROWS, seed=st.integers())
def test_row_sums_do_not_depend_on_order(rows: list[list[float]], seed: int) -> None:
    """The same bits for the terms in another order."""
    shuffled = [random.Random(seed).sample(row, len(row)) for row in rows]

    assert row_sums(np.array(shuffled)).tobytes() == row_sums(np.array(rows)).tobytes()


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40))
def test_streamed_and_row_means_of_terms_without_bound(values: list[float]) -> None:
    """Volume errors pass 1: off by a step of 2^-62 per term, and the roundings of sum and quotient."""
    sums = FixedPointSums(())
    sums.add(np.zeros(len(values), np.int64), np.array(values))
    exact = sum(map(Fraction, values)) / len(values)

    streamed = float(sums.mean(np.array(len(values))))
    at_once = float(row_means(np.array(values), np.ones(len(values), np.bool_)))
    largest = max(map(abs, values))
    for found in (streamed, at_once):
        assert abs(Fraction(found) - exact) <= Fraction(1, 2**62) + Fraction(largest) / 2**52


def test_row_means_leave_out_what_is_not_used() -> None:
    """An unused value may be NaN; a row of which nothing is used is NaN."""
    values = np.array([[0.1, np.nan, 0.2, 0.3], [1.0, 2.0, 3.0, 4.0]])
    used = np.array([[True, False, True, True], [False] * 4])

    found = row_means(values, used)
    assert found[0] == math.fsum([0.1, 0.2, 0.3]) / 3
    assert np.isnan(found[1])
