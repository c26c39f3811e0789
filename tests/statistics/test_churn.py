"""Churn between two predictions, pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segpipe.statistics.base import STATISTICS, Pixels, real_values
from segpipe.statistics.defined.churn import MEANINGS

K = 3
codes = st.integers(0, K + 1)


@given(st.lists(st.tuples(codes, codes, codes), min_size=1, max_size=30))
def test_churn_is_its_definition(pixels: list[tuple[int, int, int]]) -> None:
    """Eight areas of every class, of pixels whose truth is a class; void and invalid are no class."""
    expected = {name: [0] * K for name in MEANINGS}
    for truth, pred, other in pixels:
        if truth >= K:
            continue
        pred, other = min(pred, K), min(other, K)
        agree = pred == other
        for name, class_id, counted in (
            ("truth", truth, True),
            ("right", truth, pred == truth),
            ("other_right", truth, other == truth),
            ("both_right", truth, agree and pred == truth),
            ("same", truth, agree),
            ("pred", pred, True),
            ("other", other, True),
            ("both", pred, agree),
        ):
            if counted and class_id < K:
                expected[name][class_id] += 1
    truth, pred, other = np.array(pixels).T[:, np.newaxis]
    counts = STATISTICS["churn"]().count(Pixels(K, truth, pred, other=other))
    assert {name: values[0].tolist() for name, values in counts.items()} == expected


def test_flips_by_hand() -> None:
    """Ten pixels: the new model breaks 1 of 6, repairs 2 of 4, and changes one error into another."""
    truth = np.zeros((1, 10), int)
    other = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1]])
    pred = np.array([[1, 0, 0, 0, 0, 0, 0, 0, 2, 1]])
    one = STATISTICS["churn"]()
    values = real_values(one.count(Pixels(K, truth, pred, other=other)), one.fields(K))
    found = {metric.name: metric.function(values)[0].tolist() for metric in one.metrics}
    assert found == {
        "churn": 0.4,
        "negative_flip_rate": 0.1,
        "repair_rate": 0.5,
        "agreement_iou": [5 / 8, 1 / 5, 0.0],
    }
