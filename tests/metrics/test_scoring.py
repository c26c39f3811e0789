"""Scores of datasets: oracles, worked numbers, rules, and what every mean carries."""

from __future__ import annotations

import math
import random
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from segpipe.classes import ClassList
from segpipe.errors import ConfigError, InfrastructureError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import METRICS
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts, score_groups, score_matrix
from tests.metrics.matrices import Maps, label_maps, of_maps

DEFAULT = ScoringRules()
PEERS = {"iou": jaccard_score, "dice": f1_score, "precision": precision_score, "recall": recall_score}

every_rule = st.builds(
    ScoringRules,
    absent_class=st.sampled_from(["nan", "zero", "one"]),
    invalid_pred=st.sampled_from(["count_as_miss", "ignore"]),
    present=st.sampled_from(["either", "truth"]),
)


def score(maps: Maps, rules: ScoringRules = DEFAULT) -> Scores:
    cells = maps.cells()
    return score_counts([cells], cells.total(), maps.classes, rules)


def figures(scores: Scores) -> dict[str, bytes]:
    """Every figure of the scores, bit by bit."""
    each = {name: np.float64(one.value).tobytes() for name, one in scores.aggregates.items()}
    return each | {f"class {name}": values.tobytes() for name, values in scores.per_class.items()}


@settings(max_examples=20)  # scikit-learn takes 50 ms for an example
@given(maps=label_maps(valid_only=True, min_images=1))
def test_scores_equal_those_of_scikit_learn(maps: Maps) -> None:
    """Per class and mean over the classes that occur: IoU, Dice, precision, recall; and pixel accuracy."""
    scores = score(maps)
    truth, pred = list(chain(*maps.truth)), list(chain(*maps.pred))
    occurring = sorted({*truth, *pred})

    for name, peer in PEERS.items():
        expected = peer(truth, pred, labels=occurring, average=None, zero_division=0)
        np.testing.assert_allclose(scores.per_class[name][occurring], expected, rtol=1e-14)
        macro = peer(truth, pred, labels=occurring, average="macro", zero_division=0)
        assert scores[f"mean_{name}"] == pytest.approx(macro, rel=1e-14)
    assert scores["pixel_accuracy"] == pytest.approx(accuracy_score(truth, pred), rel=1e-14)
    micro = jaccard_score(truth, pred, labels=occurring, average="micro", zero_division=0)
    assert scores["micro_iou"] == pytest.approx(micro, rel=1e-14)
    weighted = jaccard_score(truth, pred, labels=occurring, average="weighted", zero_division=0)
    assert scores["fw_iou"] == pytest.approx(weighted, rel=1e-14)


def image_ious(maps: Maps, present: str, sizes: str = "union") -> list[dict[int, float]]:
    """IoU (or Dice) of each class present in each image, from sets of pixels."""
    found = []
    for truth_codes, pred_codes in zip(maps.truth, maps.pred, strict=True):
        scores = {}
        for class_id in range(maps.num_classes):
            valid = {at for at, code in enumerate(truth_codes) if code < maps.num_classes}
            truth = {at for at in valid if truth_codes[at] == class_id}
            pred = {at for at in valid if pred_codes[at] == class_id}
            if truth or (pred and present == "either"):
                both = len(truth & pred)
                scores[class_id] = (
                    both / len(truth | pred) if sizes == "union" else 2 * both / (len(truth) + len(pred))
                )
        found.append(scores)
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("present", ["either", "truth"])
@pytest.mark.parametrize(("metric", "sizes"), [("iou", "union"), ("dice", "sum")])
@given(maps=label_maps())
def test_per_image_means_equal_those_of_sets_of_pixels(
    present: Any, metric: str, sizes: str, maps: Maps
) -> None:
    """mIoU_I and mIoU_C, and the same for Dice, with both meanings of present."""
    scores = score(maps, ScoringRules(present=present))
    each = image_ious(maps, present, sizes)
    by_image = mean([mean(list(one.values())) for one in each if one])
    by_class = [mean([one[k] for one in each if k in one]) for k in range(maps.num_classes)]
    by_class_mean = mean([value for value in by_class if not math.isnan(value)])

    close = {"rel": 1e-13, "nan_ok": True}
    assert scores[f"mean_{metric}_per_image"] == pytest.approx(by_image, **close)
    assert scores[f"mean_{metric}_per_image_class"] == pytest.approx(by_class_mean, **close)
    assert scores.aggregates[f"mean_{metric}_per_image"].images_used == sum(bool(one) for one in each)


@given(maps=label_maps())
def test_mean_pixel_accuracy_per_image(maps: Maps) -> None:
    """The mean over the images that have valid truth of the share that is right."""
    each = []
    for truth, pred in zip(maps.truth, maps.pred, strict=True):
        pairs = [(t, p) for t, p in zip(truth, pred, strict=True) if t < maps.num_classes]
        each += [mean([float(t == p) for t, p in pairs])] if pairs else []

    assert score(maps)["pixel_accuracy_per_image"] == pytest.approx(mean(each), rel=1e-13, nan_ok=True)


@given(maps=label_maps(min_images=1), rules=every_rule, seed=st.integers())
def test_no_figure_depends_on_the_order_or_the_cut_of_images(
    maps: Maps, rules: ScoringRules, seed: int
) -> None:
    """One image at a time in any order, or all at once: the same bits everywhere."""
    cells = maps.cells()
    order = random.Random(seed).sample(range(len(cells)), len(cells))
    one_by_one = score_counts((cells.take([i]) for i in order), cells.total(), maps.classes, rules)

    assert figures(one_by_one) == figures(score(maps, rules))
    assert one_by_one.counts == score(maps, rules).counts


@given(maps=label_maps(min_images=1), rules=every_rule, seed=st.integers())
def test_relabelling_moves_class_scores_and_changes_no_mean(
    maps: Maps, rules: ScoringRules, seed: int
) -> None:
    """Classes in another order: per-class scores move along, every aggregate keeps its bits."""
    new = random.Random(seed).sample(range(maps.num_classes), maps.num_classes)
    code = [*new, maps.num_classes, maps.num_classes + 1]
    moved = Maps(
        maps.num_classes,
        [[code[c] for c in image] for image in maps.truth],
        [[code[c] for c in image] for image in maps.pred],
    )
    before, after = score(maps, rules), score(moved, rules)

    for name, values in before.per_class.items():
        np.testing.assert_array_equal(after.per_class[name][new], values)
    for name in before.aggregates:
        np.testing.assert_array_equal(after[name], before[name])


@given(maps=label_maps(min_images=1), rules=every_rule)
def test_a_group_is_scored_as_a_dataset_of_its_own(maps: Maps, rules: ScoringRules) -> None:
    """score_groups equals score_counts of the group's images, for every figure."""
    cells = maps.cells()
    groups = np.arange(len(cells)) % 2
    scored = score_groups([(cells, groups)], 2, maps.classes, rules)

    for group in (0, 1):
        own = cells.take(np.flatnonzero(groups == group))
        alone = score_counts([own], own.total(), maps.classes, rules)
        assert figures(scored[group]) == figures(alone)
        assert scored[group].counts == alone.counts
        assert scored[group].images == len(own)


@given(maps=label_maps(min_images=1), rules=every_rule)
def test_every_mean_says_which_classes_are_in_it(maps: Maps, rules: ScoringRules) -> None:
    """Used and dropped classes are all classes, each once; every drop has a reason; NaN if none is used."""
    for one in score(maps, rules).aggregates.values():
        assert sorted([*one.classes_used, *one.classes_dropped]) == sorted(maps.classes.names)
        assert all(one.classes_dropped.values())
        assert set(one.flagged) <= set(one.classes_used)
        assert one.rule
        if one.classes_used and not math.isnan(one.value):
            assert one.minimum <= one.value <= one.maximum
        else:
            assert math.isnan(one.value)
            assert not one.classes_used or "NaN where" in METRICS[one.metric].nothing


@given(maps=label_maps(min_images=1))
def test_means_of_all_metrics_run_over_the_same_classes(maps: Maps) -> None:
    """No two pooled means average different class sets unseen: a class less is named with the reason."""
    scores = score(maps)
    means = {name: scores.aggregates[f"mean_{name}"] for name in METRICS if METRICS[name].per_class}

    assert len({one.classes_used for name, one in means.items() if METRICS[name].undefined == "worst"}) == 1
    for one in means.values():
        fewer = set(scores.headline.classes_used) - set(one.classes_used)
        assert {one.classes_dropped[name] for name in fewer} <= {"has no value"}


@given(maps=label_maps(min_images=1))
def test_a_perfect_prediction_scores_exactly_the_best_in_every_figure(maps: Maps) -> None:
    """Pooled and per image, whatever else is ignored; agreement beyond chance needs two classes."""
    perfect = Maps(maps.num_classes, maps.truth, maps.truth)

    for one in score(perfect).aggregates.values():
        nothing = not one.classes_used or one.metric in ("mcc", "kappa")
        assert one.value == one.best or (math.isnan(one.value) and nothing)


def test_the_worked_numbers_of_one_image() -> None:
    """truth [[0,0,1,3],[0,3,1,3]] against pred [[0,0,1,1],[3,3,1,3]], class 2 absent, class 3 background."""
    maps = of_maps([[0, 0, 1, 3, 0, 3, 1, 3]], [[0, 0, 1, 1, 3, 3, 1, 3]], 4)
    without_last = score(maps, ScoringRules(exclude_classes=("class_3",)))

    assert score(maps)["mean_iou_per_image_class"] == pytest.approx(0.611111, abs=5e-7)
    assert without_last["mean_iou_per_image_class"] == pytest.approx(0.666667, abs=5e-7)
    assert score(maps)["mean_dice"] == pytest.approx(0.755556, abs=5e-7)
    assert without_last["mean_dice"] == pytest.approx(0.8, abs=5e-7)


def test_the_worked_numbers_of_two_images() -> None:
    """Pooled IoU is [.75, .5, .5]; the mean over images that have the class, without the last, .541667."""
    maps = of_maps([[0, 0, 1, 1], [0, 0, 2, 2]], [[0, 1, 1, 1], [0, 0, 2, 1]], 3)

    assert score(maps).per_class["iou"].tolist() == [0.75, 0.5, 0.5]
    without_last = score(maps, ScoringRules(exclude_classes=("class_2",)))
    assert without_last["mean_iou_per_image_class"] == pytest.approx(0.541667, abs=5e-7)


def test_the_worked_number_of_mean_iou_documentation() -> None:
    """[0,0,1,1] against [0,1,0,1] is 1/3."""
    assert score(of_maps([[0, 0, 1, 1]], [[0, 1, 0, 1]], 2))["mean_iou"] == 1 / 3


def test_the_worked_number_with_weights() -> None:
    """The same with weights [.3,.3,.3,.1] in fixed point, step 2^-30, is 0.23809524."""
    matrix = np.zeros((4, 4), np.int64)
    for truth, pred, weight in zip([0, 0, 1, 1], [0, 1, 0, 1], [0.3, 0.3, 0.3, 0.1], strict=True):
        matrix[truth, pred] += round(weight * 2**30)

    scores = score_matrix(matrix, ClassList.numbered(2), DEFAULT, units_per_pixel=2**30)
    assert scores["mean_iou"] == pytest.approx(0.23809524, abs=5e-9)
    assert scores.class_rows()[0]["truth_pixels"] == pytest.approx(0.6)
    assert repr(scores).startswith("Scores of 1 weighted pixels, 2 classes")


def test_a_lopsided_matrix_tells_truth_from_pred() -> None:
    """Rows are truth: swapping them would swap precision and recall."""
    matrix = np.zeros((4, 4), np.int64)
    matrix[0, 0], matrix[0, 1], matrix[1, 1] = 6, 2, 4
    scores = score_matrix(matrix, ClassList(("a", "b")), DEFAULT)

    assert scores.per_class["recall"].tolist() == [0.75, 1.0]
    assert scores.per_class["precision"].tolist() == [1.0, 4 / 6]


def absent_and_predicted_only() -> Scores:
    """Class 0 half right, class 1 in truth and never predicted, class 2 predicted only, class 3 absent."""
    return score(of_maps([[0, 0, 1, 0]], [[0, 0, 0, 2]], 4))


def test_a_predicted_only_class_scores_zero_stays_in_the_mean_and_is_flagged() -> None:
    """For IoU and Dice by their formula, for recall, which is 0/0, by the rule."""
    scores = absent_and_predicted_only()

    for name in ("iou", "dice", "precision", "recall"):
        one = scores.aggregates[f"mean_{name}"]
        assert scores.per_class[name][2] == 0.0
        assert one.classes_used == ("class_0", "class_1", "class_2")
        assert one.flagged["class_2"] == "predicted, but nowhere in truth: scores 0"
        assert one.classes_dropped == {"class_3": "absent from truth and prediction"}
    assert scores["mean_recall"] == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_a_never_predicted_class_has_precision_zero_and_is_flagged_there() -> None:
    """Its IoU is 0 anyway, so only the mean of precision speaks of it."""
    scores = absent_and_predicted_only()

    assert scores.aggregates["mean_precision"].flagged["class_1"] == "in truth, but never predicted: scores 0"
    assert "class_1" not in scores.aggregates["mean_iou"].flagged
    assert scores["mean_precision"] == pytest.approx((2 / 3 + 0 + 0) / 3)


@pytest.mark.parametrize(("rule", "expected"), [("nan", 0.5), ("zero", 0.25), ("one", 0.75)])
def test_an_absent_class_counts_as_its_rule_says(rule: Any, expected: float) -> None:
    """One class of IoU 1/2 and one that is absent: .5, .25 or .75; not so in per-image means."""
    scores = score(of_maps([[0, 0]], [[0, 0]], 2), ScoringRules(absent_class=rule))
    half = score_matrix(
        [[2, 0, 2, 0], [0] * 4, [0] * 4, [0] * 4], ClassList.numbered(2), ScoringRules(absent_class=rule)
    )

    assert half["mean_iou"] == expected
    assert rule in half.aggregates["mean_iou"].rule
    assert scores["mean_iou_per_image"] == scores["mean_iou_per_image_class"] == 1.0


@pytest.mark.parametrize("rule", ["nan", "zero", "one"])
def test_no_class_at_all_is_nan_whatever_an_absent_class_counts_as(rule: Any) -> None:
    """Nothing but ignored pixels; and no images."""
    for maps in (Maps(2, [[2, 2]], [[0, 1]]), Maps(2, [], [])):
        scores = score(maps, ScoringRules(absent_class=rule))
        assert all(math.isnan(one.value) for one in scores.aggregates.values())
        assert all(not one.classes_used for one in scores.aggregates.values())


def test_excluded_classes_leave_means_over_classes_and_nothing_else() -> None:
    """They are counted, have scores of their own, and stay in pixel accuracy, micro and weighted figures."""
    maps = of_maps([[0, 0, 1, 2]], [[0, 1, 1, 0]], 3)
    all_in, without = score(maps), score(maps, ScoringRules(exclude_classes=("class_2",)))

    for name in ("pixel_accuracy", "micro_iou", "fw_iou", "pixel_accuracy_per_image"):
        assert without[name] == all_in[name]
        assert "exclude" not in "".join(without.aggregates[name].classes_dropped.values())
    for name in ("mean_iou", "mean_iou_per_image", "mean_iou_per_image_class", "mean_recall"):
        assert without.aggregates[name].classes_dropped == {"class_2": "excluded by exclude_classes"}
        assert without[name] > all_in[name]
    np.testing.assert_array_equal(without.per_class["iou"], all_in.per_class["iou"])


def test_all_classes_excluded_is_nan() -> None:
    """A mean over no classes has no value."""
    scores = score(of_maps([[0]], [[0]], 1), ScoringRules(exclude_classes=("class_0",)))

    assert math.isnan(scores["mean_iou"])
    assert math.isnan(scores["mean_iou_per_image"])
    assert scores["pixel_accuracy"] == 1.0


def test_ignoring_invalid_predictions_raises_recall_only_by_what_is_left_out() -> None:
    """One hit, one invalid prediction: recall 1/2 as a miss, 1 if ignored."""
    maps = Maps(1, [[0, 0]], [[0, 2]])

    assert score(maps)["mean_recall"] == 0.5
    assert score(maps, ScoringRules(invalid_pred="ignore"))["mean_recall"] == 1.0
    assert score(maps, ScoringRules(invalid_pred="ignore")).counts["invalid_pred"] == 1


def test_an_image_without_valid_truth_is_left_out_of_per_image_means_and_counted() -> None:
    """Two images, one of nothing but ignored pixels."""
    one = score(Maps(1, [[0, 0], [1, 1]], [[0, 1], [0, 0]])).aggregates["mean_iou_per_image"]

    assert (one.value, one.images_used, one.images_dropped) == (0.5, 1, 1)
    assert one.basis == "1 of 1 classes, 1 of 2 images"


def test_a_class_only_predicted_is_no_part_of_per_image_means_if_present_means_truth() -> None:
    """The reason is given."""
    maps = of_maps([[0, 0]], [[0, 1]], 2)
    scores = score(maps, ScoringRules(present="truth"))

    assert scores["mean_iou_per_image"] == 0.5
    assert scores["mean_iou"] == 0.25
    assert scores.aggregates["mean_iou_per_image"].classes_dropped == {"class_1": "in truth of no image"}


def test_scores_of_each_image_keep_the_order_of_the_images() -> None:
    """Scores.per_image is (image,) in the order of the blocks."""
    cells = of_maps([[0, 0], [0, 0], [0, 0]], [[0, 0], [1, 1], [0, 1]], 2).cells()
    scores = score_counts(
        [cells.take([0]), cells.take([1, 2])], cells.total(), ClassList.numbered(2), DEFAULT
    )

    assert scores.per_image["pixel_accuracy"].tolist() == [1.0, 0.0, 0.5]
    assert scores.per_image["mean_iou"].tolist() == [1.0, 0.0, 0.25]


def test_images_that_do_not_add_up_to_the_total_are_refused() -> None:
    """A damaged or mixed-up file is not scored."""
    cells = of_maps([[0, 0, 1]], [[0, 0, 0]], 2).cells()

    with pytest.raises(
        InfrastructureError, match=r"counts of the images \(3 pixels\) do not add up .* \(6 pixels\)"
    ):
        score_counts([cells], 2 * cells.total(), ClassList.numbered(2), DEFAULT)
    moved = cells.total()[[1, 0, 2, 3]]
    with pytest.raises(InfrastructureError, match="do not add up"):
        score_counts([cells], moved, ClassList.numbered(2), DEFAULT)


def test_thousands_of_classes_are_scored_without_dense_matrices() -> None:
    """K = 5000: a dense matrix per image would be 200 MB."""
    cells = ConfusionCells(5000, np.array([0, 1]), np.array([4999 * 5002 + 4999], np.uint32), np.array([7]))
    (scores,) = score_groups([(cells, np.zeros(1, np.int64))], 1, ClassList.numbered(5000), DEFAULT)

    assert scores["mean_iou"] == 1.0
    assert scores.headline.classes_used == ("class_4999",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"absent_class": "skip"}, "absent_class: found 'skip', expected one of nan, zero, one"),
        ({"invalid_pred": "error"}, "invalid_pred: found 'error', expected one of count_as_miss, ignore"),
        ({"present": "pred"}, "present: found 'pred', expected one of either, truth"),
    ],
)
def test_a_rule_that_does_not_exist_is_refused(settings: dict[str, Any], words: str) -> None:
    """The message names the key, the value and the choices."""
    with pytest.raises(ConfigError, match=words):
        ScoringRules(**settings)


def test_an_excluded_class_must_exist() -> None:
    """A misspelt name would silently change the mean."""
    with pytest.raises(ConfigError, match="exclude_classes: no class 'car'; the classes are class_0"):
        score(of_maps([[0]], [[0]], 1), ScoringRules(exclude_classes=("car",)))


@given(rules=every_rule)
def test_rules_survive_as_plain_data_and_are_told_in_words(rules: ScoringRules) -> None:
    """document and back; a sentence for each setting."""
    assert ScoringRules(**rules.document()) == rules
    words = " ".join(rules.in_words())
    for key in ("absent_class", "invalid_pred", "present"):
        assert f"({key}: {getattr(rules, key)})" in words


def test_scores_print_as_a_table() -> None:
    """The headline first, what each figure stands on, every class."""
    lines = repr(absent_and_predicted_only()).splitlines()

    assert lines[0] == "Scores of 1 images, 4 pixels, 4 classes"
    assert lines[1].split()[:2] == ["mean_iou", "0.1667"]
    assert "pooled, 3 of 4 classes" in lines[1]
    assert [line.split()[0] for line in lines[-4:]] == [f"'class_{k}'" for k in range(4)]


def test_a_long_list_of_classes_is_cut_in_print() -> None:
    """And the reader is told."""
    scores = score_matrix(np.zeros((52, 52)), ClassList.numbered(50), DEFAULT)

    assert "and 10 more classes" in repr(scores)
    assert "and 10 more classes" in scores._repr_html_()


def test_the_notebook_table_escapes_class_names() -> None:
    """Class names may come from anywhere."""
    scores = score_matrix(np.ones((3, 3)), ClassList(("<script>alert(1)</script>",)), DEFAULT)

    assert "<script>" not in scores._repr_html_()
    assert "&lt;script&gt;" in scores._repr_html_()


def test_scores_become_data_frames() -> None:
    """Classes by default, aggregates on demand."""
    scores = absent_and_predicted_only()

    assert scores.to_pandas().loc["class_2", "pred_pixels"] == 1
    assert scores.to_pandas("scores").loc["mean_iou", "classes_used"] == 3
