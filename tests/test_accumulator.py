"""A streaming sum has the bits of the whole, whatever the updates were."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.accumulator import ConfusionAccumulator
from segpipe.arrays import confusion
from segpipe.errors import ArrayError, ConfigError, ShapeError

TRUTH, PRED, WEIGHTS = [0, 0, 1, 1], [0, 1, 0, 1], [0.3, 0.3, 0.3, 0.1]


ALLOWED = {"invalid_truth": "ignore", "invalid_pred": "count_as_miss"}


def label_maps(seed, size=600):
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 9, 255], np.uint8), (2, size))


def test_the_worked_example_scores_one_third():
    seen = ConfusionAccumulator(2)
    seen.update(TRUTH, PRED)
    assert seen.result()["mean_iou"] == pytest.approx(1 / 3, abs=1e-15)


def test_the_worked_example_with_weights_scores_what_the_documentation_says():
    seen = ConfusionAccumulator(2)
    seen.update(TRUTH, PRED, WEIGHTS)
    assert seen.result()["mean_iou"] == pytest.approx(0.23809524, abs=5e-9)
    np.testing.assert_allclose(seen.counts[:2, :2], [[0.3, 0.3], [0.3, 0.1]], atol=2**-31)
    assert seen.counts.dtype == np.float64


@given(
    cuts=st.lists(st.integers(0, 600), max_size=6), weighted=st.sampled_from(["never", "always", "sometimes"])
)
def test_cut_and_merged_updates_have_the_bits_of_one(cuts, weighted):
    truth, pred = label_maps(1)
    weights = np.random.default_rng(2).random(600) * 1000
    if weighted == "sometimes":
        weights[:300] = 1
    whole, parts = (ConfusionAccumulator(3, ignore_labels=[255], **ALLOWED) for _ in range(2))
    whole.update(truth, pred, None if weighted == "never" else weights)
    ends = sorted({0, 300, 600, *cuts})
    for index, (start, stop) in enumerate(pairwise(ends)):
        bare = weighted == "never" or (weighted == "sometimes" and stop <= 300)
        part = ConfusionAccumulator(3, ignore_labels=[255])
        (part if index % 2 else parts).update(
            truth[start:stop], pred[start:stop], None if bare else weights[start:stop]
        )
        parts.merge(part)
    assert parts.counts.tobytes() == whole.counts.tobytes()
    assert parts.counts.dtype == (np.int64 if weighted == "never" else np.float64)
    assert parts.result()["mean_iou"] == whole.result()["mean_iou"]


def test_rules_are_those_of_confusion():
    truth, pred = label_maps(3)
    rules = {"remap": {0: 1, 1: 0, 2: 0}, "ignore_labels": [255], "void_labels": [9]}
    seen = ConfusionAccumulator(2, **rules)
    seen.update(truth.reshape(20, 30), pred.reshape(20, 30))
    np.testing.assert_array_equal(seen.counts, confusion(truth, pred, 2, **rules))


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 0.5, 0.0]])
def test_labels_that_no_rule_names_stop_the_result_until_they_are_declared(weights):
    """After everything was counted: both sides at once, with a label; the counts are there all the same."""
    seen, other = ConfusionAccumulator(2), ConfusionAccumulator(2)
    other.update([0, 1, 2, 2], [0, 7, 1, 1], weights)
    seen.merge(other)
    held = "2" if weights is None else "0.5"
    words = (
        rf"truth held labels that no rule names, such as 2, in {held} pixels: list them in ignore_labels.*\n"
        r"pred held .* such as 7, in 1 pixels: list them in void_labels, .* say invalid_pred='count_as_miss'"
    )
    with pytest.raises(ArrayError, match=words):
        seen.result()
    assert seen.counts[1, 3] == 1
    for policy, iou in (("count_as_miss", 0.5), ("ignore", 1.0)):
        allowed = ConfusionAccumulator(2, invalid_truth="ignore", invalid_pred=policy)
        allowed.merge(seen)
        assert allowed.result()["mean_iou"] == iou
    seen.reset()
    assert np.isnan(seen.result()["mean_iou"])


def test_a_policy_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="invalid_pred: found 'skip', expected one of error, count_as_miss"):
        ConfusionAccumulator(2, invalid_pred="skip")


def test_weights_beyond_the_range_of_units_are_still_summed_and_scored():
    """2^33 pixels of weight 1 are 2^63 units; the sum goes on, and the scores stay exact ratios."""
    seen, other = ConfusionAccumulator(2), ConfusionAccumulator(2)
    seen.update(TRUTH, PRED, np.full(4, 2.0**30))
    for _ in range(6):
        other.reset()
        other.merge(seen)
        seen.merge(other)
    assert seen.counts[:2, :2].tolist() == [[2.0**36] * 2] * 2
    assert seen.result()["mean_iou"] == pytest.approx(1 / 3, abs=1e-15)


def test_fractions_are_carried_exactly():
    seen = ConfusionAccumulator(1)
    for _ in range(10):
        seen.update([0], [0], [0.3])
    assert seen.counts[0, 0] == 10 * round(0.3 * 2**30) / 2**30


def test_reset_forgets_everything_weights_too():
    seen = ConfusionAccumulator(2)
    seen.update(TRUTH, PRED, WEIGHTS)
    seen.reset()
    assert seen.counts.tolist() == np.zeros((4, 4)).tolist()
    assert seen.counts.dtype == np.int64
    assert np.isnan(seen.result()["mean_iou"])


def test_counts_are_a_copy_and_a_merged_accumulator_stays_as_it_is():
    seen, other = ConfusionAccumulator(2), ConfusionAccumulator(2)
    seen.update(TRUTH, PRED)
    other.merge(seen)
    other.update(TRUTH, PRED)
    seen.counts[:] = 77
    assert seen.counts[:2, :2].tolist() == [[1, 1], [1, 1]]
    assert other.counts[:2, :2].tolist() == [[2, 2], [2, 2]]


def test_an_accumulator_can_be_merged_with_itself():
    seen = ConfusionAccumulator(2)
    seen.update(TRUTH, PRED, WEIGHTS)
    before = seen.counts
    seen.merge(seen)
    np.testing.assert_array_equal(seen.counts, 2 * before)


class TestRefused:
    """A refused update has counted nothing, and says what to do."""

    @pytest.fixture
    def seen(self):
        accumulator = ConfusionAccumulator(2, ignore_labels=[255])
        accumulator.update(TRUTH, PRED)
        yield accumulator
        assert accumulator.counts[:2, :2].tolist() == [[1, 1], [1, 1]]
        assert accumulator.counts.dtype == np.int64

    def test_logits(self, seen):
        with pytest.raises(
            ArrayError, match="pred has dtype float64, expected integer class ids; logits and prob"
        ):
            seen.update(TRUTH, np.random.default_rng(1).random(4))

    def test_one_hot_vectors(self, seen):
        with pytest.raises(
            ShapeError, match="one-hot vectors become class ids by argmax over the class axis"
        ):
            seen.update(TRUTH, np.eye(2, dtype=int)[PRED])

    def test_weights_of_another_shape(self, seen):
        with pytest.raises(ShapeError, match="expected one weight for each pixel"):
            seen.update(TRUTH, PRED, [1.0])

    def test_negative_weights(self, seen):
        with pytest.raises(ArrayError, match=r"weights hold -1\.0"):
            seen.update(TRUTH, PRED, [1, 1, 1, -1])

    @pytest.mark.parametrize(
        "other", [{"num_classes": 3}, {"num_classes": 2}, {"num_classes": 2, "void_labels": [255]}]
    )
    def test_other_rules(self, seen, other):
        with pytest.raises(
            ArrayError, match="accumulators with other num_classes, ignore_labels, void_labels or"
        ):
            seen.merge(ConfusionAccumulator(**other))

    def test_contradictions(self, seen):
        with pytest.raises(ConfigError, match="label 1 is remapped to class 0 and declared to be no class"):
            ConfusionAccumulator(2, remap={1: 0}, ignore_labels=[1])
