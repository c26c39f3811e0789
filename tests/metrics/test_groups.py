"""Groups of classes: the figures of the merged label maps, from counts that were made without the groups."""

from __future__ import annotations

import numpy as np
import pytest

from segpipe.classes import ClassGroup, ClassList
from segpipe.errors import ConfigError
from segpipe.metrics.groups import REST, regroup, score_class_groups
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_matrix

CODES = 7
NAMES = ("a", "b", "c", "d", "e")


def label_pairs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of truth and prediction of some pixels; class d occurs nowhere."""
    rng = np.random.default_rng(seed)
    truth, pred = rng.choice([0, 1, 2, 4, 5, 6], (2, 400), p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    return truth, np.where(rng.random(400) < 0.5, truth, pred)


def matrix_of(truth: np.ndarray, pred: np.ndarray, codes: int = CODES) -> np.ndarray:
    matrix = np.zeros((codes, codes), np.int64)
    for pair in zip(truth.tolist(), pred.tolist(), strict=True):
        matrix[pair] += 1
    return matrix


def classes_with(**groups: tuple[int, ...]) -> ClassList:
    return ClassList(NAMES, groups=tuple(ClassGroup(name, members) for name, members in groups.items()))


def merged(values: np.ndarray, groups: list[tuple[int, ...]]) -> np.ndarray:
    """The codes of a label map whose classes are the groups, pixel by pixel."""
    place = {class_id: number for number, members in enumerate(groups) for class_id in members}
    other = {5: len(groups) + 1, 6: len(groups) + 2}
    return np.array([place.get(value, other.get(value, len(groups))) for value in values.tolist()])


def test_regrouping_counts_is_counting_regrouped_labels() -> None:
    """The grouped matrix is the one that a recount of merged label maps gives; no pixel vanishes."""
    truth, pred = label_pairs()
    for groups in ([(0, 1)], [(0, 2), (1, 4)], [(3,)], [(0, 1, 2, 3, 4)]):
        expected = matrix_of(merged(truth, groups), merged(pred, groups), len(groups) + 3)
        np.testing.assert_array_equal(regroup(matrix_of(truth, pred), groups), expected)


@pytest.mark.parametrize("invalid_pred", ["count_as_miss", "ignore"])
def test_each_group_is_a_binary_problem(invalid_pred: str) -> None:
    """Groups that overlap, in sets of pixels: hits, truth and prediction of the union of the classes."""
    truth, pred = label_pairs(1)
    classes = classes_with(whole=(0, 1, 2), core=(1, 2), absent=(3,))
    rules = ScoringRules(invalid_pred=invalid_pred)  # type: ignore[arg-type]
    scores = score_class_groups(matrix_of(truth, pred), classes, rules)
    assert scores is not None
    assert classes.groups_overlap
    valid = (truth < 5) & ((pred != 6) | (invalid_pred == "count_as_miss"))
    assert scores.areas.valid == valid.sum()
    for number, members in enumerate([(0, 1, 2), (1, 2), (3,)]):
        true, predicted = np.isin(truth, members) & valid, np.isin(pred, members) & valid
        assert scores.areas.hit[number] == (true & predicted).sum()
        assert scores.areas.truth[number] == true.sum()
        assert scores.areas.pred[number] == predicted.sum()
        assert scores.areas.rest[number] == (valid & ~true & ~predicted).sum()
        if true.any():
            union = (true | predicted).sum()
            assert scores.per_class["iou"][number] == pytest.approx((true & predicted).sum() / union)
    assert np.isnan(scores.per_class["iou"][2])
    assert scores.headline.classes_used == ("whole", "core")
    assert dict(scores.headline.classes_dropped) == {"absent": "absent from truth and prediction"}
    assert "pixel_accuracy" not in scores.aggregates


def test_groups_that_share_no_class_score_as_classes() -> None:
    """Per group and together they score what a label map of groups scores, with the rest as a class."""
    matrix = matrix_of(*label_pairs(2))
    classes = classes_with(one=(0, 4), two=(1,))
    scores = score_class_groups(matrix, classes, ScoringRules())
    expected = score_matrix(
        regroup(matrix, [(0, 4), (1,)]),
        ClassList(("one", "two", REST)),
        ScoringRules(exclude_classes=(REST,)),
    )
    assert scores is not None
    for name, values in scores.per_class.items():
        np.testing.assert_array_equal(values, expected.per_class[name][:2])
    for name, one in scores.aggregates.items():
        assert one.value == pytest.approx(expected[name], abs=0, nan_ok=True)


def test_one_group_of_each_class_is_the_class() -> None:
    """Groups of one class score what the class scores, bit for bit."""
    matrix = matrix_of(*label_pairs(3))
    classes = classes_with(**{name: (class_id,) for class_id, name in enumerate(NAMES)})
    scores = score_class_groups(matrix, classes, ScoringRules(exclude_classes=("a",)))
    plain = score_matrix(matrix, ClassList(NAMES), ScoringRules())
    assert scores is not None
    for name, values in plain.per_class.items():
        np.testing.assert_array_equal(scores.per_class[name], values)
    assert scores["mean_iou"] == plain["mean_iou"]
    assert scores["pixel_accuracy"] == plain["pixel_accuracy"]


def test_the_rule_for_what_is_absent_holds_for_groups() -> None:
    """A group that is nowhere scores what `absent_class` says; one that is only predicted scores 0."""
    matrix = np.zeros((CODES, CODES), np.int64)
    matrix[0, 0], matrix[0, 1] = 6, 2
    classes = classes_with(seen=(0,), ghost=(1, 2), absent=(3,))
    nan = score_class_groups(matrix, classes, ScoringRules())
    one = score_class_groups(matrix, classes, ScoringRules(absent_class="one"))
    assert nan is not None
    assert one is not None
    assert nan["mean_iou"] == pytest.approx((0.75 + 0) / 2)
    assert one["mean_iou"] == pytest.approx((0.75 + 0 + 1) / 3)
    assert nan.headline.flagged == {"ghost": "predicted, but nowhere in truth: scores 0"}


def test_no_groups_no_scores() -> None:
    """A class list without groups gives none; a group of no or of unknown classes is refused."""
    assert score_class_groups(np.ones((CODES, CODES)), ClassList(NAMES), ScoringRules()) is None
    for members in ((), (5,), (-1,)):
        with pytest.raises(ConfigError, match=r"groups: 'g' has the classes .*; name one or more"):
            classes_with(g=members)


def test_where_every_class_is_in_a_group_there_is_no_rest() -> None:
    """The figures of all groups together stand on all of the groups, not on all but one."""
    classes = ClassList(("a", "b", "c"), groups=(ClassGroup("ab", (0, 1)), ClassGroup("c", (2,))))
    matrix = np.diag([3, 4, 5, 0, 0])
    scores = score_class_groups(matrix, classes, ScoringRules())
    assert scores is not None
    micro = scores.aggregates["micro_iou"]
    assert (micro.classes_used, micro.classes_dropped) == (("ab", "c"), {})
