"""Invalid values are named with their first position and their number of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels import positions
from segpipe.kernels.positions import InvalidValue, InvalidValues, find_invalid
from tests.kernels.label_arrays import DTYPES, SHORT_PX, drawn, label_rules, some_values


def plainly(labels, rules, limit):
    """First position and number of pixels of each invalid value, pixel by pixel."""
    found = {}
    for position in np.ndindex(labels.shape):
        value = int(labels[position])
        if rules.code(value) == rules.invalid:
            first, pixels = found.get(value, (position, 0))
            found[value] = first, pixels + 1
    return tuple(InvalidValue(value, *rest) for value, rest in list(found.items())[:limit])


@given(
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
    limit=st.integers(1, 5),
    strip_px=st.sampled_from([7, 50, 5000]),
)
def test_the_first_values_are_named_with_place_and_number(data, dtype, limit, strip_px):
    rules = data.draw(label_rules(5))
    labels = drawn(some_values(dtype, rules), (11, 13), SHORT_PX, data.draw(st.integers(0, 99)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "STRIP_PX", strip_px)
        found = find_invalid(labels, np.zeros((11, 13), np.uint8), rules, LabelRules.of(5), limit)
    assert found == InvalidValues(truth=plainly(labels, rules, limit), pred=())


def test_each_side_has_its_own_rules_and_values_are_plain_integers():
    truth, pred = np.array([[255, 9]], np.uint8), np.array([[255, 255]], ">u8")
    found = find_invalid(truth, pred, LabelRules.of(2, no_class=[255]), LabelRules.of(2), limit=3)
    assert found == InvalidValues((InvalidValue(9, (0, 1), 1),), (InvalidValue(255, (0, 0), 2),))
    assert type(found.pred[0].value) is int
    assert [type(index) for index in found.truth[0].position] == [int, int]


def test_views_are_searched_in_the_order_of_their_own_rows():
    labels = np.array([[0, 7], [8, 0]])
    rules = LabelRules.of(2)
    found = find_invalid(labels.T, labels[::-1], rules, rules, limit=5)
    assert [value.value for value in found.truth] == [8, 7]
    assert found.pred == (InvalidValue(8, (0, 0), 1), InvalidValue(7, (1, 1), 1))


def test_an_empty_image_has_none():
    empty = np.zeros((0, 4), np.int8)
    assert find_invalid(empty, empty, LabelRules.of(1), LabelRules.of(1), 3) == InvalidValues((), ())


def test_other_shapes_and_dtypes_are_refused():
    rules, labels = LabelRules.of(1), np.zeros((2, 2), int)
    with pytest.raises(ShapeError, match="must be equal"):
        find_invalid(labels, labels[:1], rules, rules, 1)
    with pytest.raises(ArrayError, match="truth has dtype float64"):
        find_invalid(labels / 2, labels, rules, rules, 1)
