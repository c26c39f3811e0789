"""Every metric against an oracle that shares no code: scikit-learn, sets of pixels, fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS
from segpipe.metrics.defined.overlap import fbeta
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts
from tests.metrics.matrices import Maps, label_maps

Pixels = tuple[list[int], list[int]]


def score(maps: Maps, rules: ScoringRules | None = None) -> Scores:
    cells = maps.cells()
    return score_counts([cells], cells.total(), maps.classes, rules or ScoringRules())


def valid_pixels(maps: Maps) -> Pixels:
    """All pixels of valid truth; void and invalid predictions keep their codes, as labels of their own."""
    pairs = zip(chain(*maps.truth), chain(*maps.pred), strict=True)
    valid = [(truth, pred) for truth, pred in pairs if truth < maps.num_classes]
    return [truth for truth, _ in valid], [pred for _, pred in valid]


def weighted(name: str) -> Callable[[Pixels, list[int]], float]:
    return lambda pixels, ids: getattr(peer, name)(*pixels, labels=ids, average="weighted", zero_division=0)


def micro(name: str) -> Callable[[Pixels, list[int]], float]:
    return lambda pixels, ids: getattr(peer, name)(*pixels, labels=ids, average="micro", zero_division=0)


SKLEARN: dict[str, Callable[[Pixels, list[int]], float]] = {
    "mcc": lambda pixels, ids: peer.matthews_corrcoef(*pixels),
    "kappa": lambda pixels, ids: peer.cohen_kappa_score(*pixels),
    "pixel_accuracy": lambda pixels, ids: peer.accuracy_score(*pixels),
    "micro_iou": micro("jaccard_score"),
    "micro_dice": micro("f1_score"),
    "micro_precision": micro("precision_score"),
    "fw_iou": weighted("jaccard_score"),
    "fw_dice": weighted("f1_score"),
    "fw_precision": weighted("precision_score"),
    "balanced_accuracy": lambda pixels, ids: peer.recall_score(
        *pixels, labels=sorted(set(pixels[0])), average="macro", zero_division=0
    ),
}


@settings(max_examples=25)
@given(maps=label_maps(min_images=1))
def test_figures_of_all_classes_equal_those_of_scikit_learn(maps: Maps) -> None:
    """With ignored truth left out, and void and invalid predictions as two more labels of pred."""
    scores, pixels = score(maps), valid_pixels(maps)
    ids = list(range(maps.num_classes))
    if len(set(pixels[0])) < 2 or len(set(pixels[1])) < 2 or not set(pixels[1]) & set(ids):
        return

    for name, oracle in SKLEARN.items():
        assert scores[name] == pytest.approx(oracle(pixels, ids), rel=1e-12, abs=1e-12), name


@settings(max_examples=25)
@given(maps=label_maps(valid_only=True, min_images=1), beta=st.sampled_from([0.5, 2.0, 3.0]))
def test_fbeta_equals_that_of_scikit_learn(maps: Maps, beta: float) -> None:
    """Per class; F2 and F0.5 are the registered ones."""
    truth, pred = valid_pixels(maps)
    ids = sorted({*truth, *pred})
    areas = ClassAreas.from_matrix(maps.cells().total())
    expected = peer.fbeta_score(truth, pred, beta=beta, labels=ids, average=None, zero_division=0)

    np.testing.assert_allclose(fbeta(areas, beta)[ids], expected, rtol=1e-13)
    named = {2.0: "f2", 0.5: "f05"}
    if beta in named:
        np.testing.assert_array_equal(METRICS[named[beta]].function(areas), fbeta(areas, beta))


def share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@given(maps=label_maps())
def test_figures_of_one_class_equal_those_of_sets_of_pixels(maps: Maps) -> None:
    """Specificity, negative predictive value and volume errors, void and invalid predictions included."""
    truth_codes, pred_codes = valid_pixels(maps)
    every, areas = set(range(len(truth_codes))), ClassAreas.from_matrix(maps.cells().total())

    for class_id in range(maps.num_classes):
        truth = {at for at in every if truth_codes[at] == class_id}
        pred = {at for at in every if pred_codes[at] == class_id}
        neither = len(every - truth - pred)
        expected = {
            "specificity": share(neither, len(every - truth)),
            "npv": share(neither, len(every - pred)),
            "volume_error": share(len(pred) - len(truth), len(truth)),
            "abs_volume_error": abs(share(len(pred) - len(truth), len(truth))),
        }
        for name, value in expected.items():
            assert METRICS[name].function(areas)[class_id] == pytest.approx(value, rel=1e-15, nan_ok=True)


@given(maps=label_maps())
@pytest.mark.parametrize(
    ("name", "power"),
    [("generalized_dice", 2), ("generalized_dice_simple", 1), ("generalized_dice_uniform", 0)],
)
def test_generalized_dice_equals_its_formula_in_fractions(name: str, power: int, maps: Maps) -> None:
    """2 sum w tp / sum w (t + p) over the classes in truth, w = 1 / t^power."""
    areas = ClassAreas.from_matrix(maps.cells().total())
    sides = [(int(h), int(t), int(p)) for h, t, p in zip(areas.hit, areas.truth, areas.pred, strict=True)]
    agreement = sum(Fraction(2 * hit, truth**power) for hit, truth, _ in sides if truth)
    sizes = sum(Fraction(truth + pred, truth**power) for _, truth, pred in sides if truth)

    expected = float(agreement / sizes) if sizes else math.nan
    assert METRICS[name].function(areas) == pytest.approx(expected, rel=1e-14, nan_ok=True)


@st.composite
def huge_matrices(draw: st.DrawFn) -> list[list[int]]:
    """Three classes, void and invalid predictions, up to 10^17 pixels in a cell."""
    cells = st.one_of(st.integers(0, 9), st.integers(0, 10**17))
    rows = draw(st.lists(st.lists(cells, min_size=5, max_size=5), min_size=3, max_size=3))
    return [*rows, [0] * 5, [0] * 5]


@given(matrix=huge_matrices())
def test_mcc_and_kappa_are_exact_where_products_pass_int64(matrix: list[list[int]]) -> None:
    """Against integers of any size: one rounding of each difference, nothing lost in them."""
    truth = [sum(row) for row in matrix[:3]]
    pred = [sum(row[column] for row in matrix[:3]) for column in range(5)]
    n, hits = sum(truth), sum(matrix[k][k] for k in range(3))
    shared = n * hits - sum(t * p for t, p in zip(truth, pred[:3], strict=True))
    spread = [n * n - sum(side * side for side in sides) for sides in (truth, pred)]
    chance = n * n - sum(t * p for t, p in zip(truth, pred[:3], strict=True))
    areas = ClassAreas.from_matrix(matrix)

    mcc = shared / (math.sqrt(spread[0]) * math.sqrt(spread[1])) if all(spread) else math.nan
    assert METRICS["mcc"].function(areas) == pytest.approx(mcc, rel=1e-14, abs=1e-300, nan_ok=True)
    kappa = float(Fraction(shared, chance)) if chance else math.nan
    assert METRICS["kappa"].function(areas) == pytest.approx(kappa, rel=1e-14, abs=1e-300, nan_ok=True)


@pytest.mark.parametrize("pixels", [3_037_000_498, 3_037_000_499, 4_200_000_000, 10**10])
def test_one_mistake_in_thousands_of_millions_of_pixels_shows(pixels: int) -> None:
    """On both sides of where n2 passes int64; float64 would lose the difference of products."""
    areas = ClassAreas(hit=[pixels - 1, 1], truth=[pixels, 1], pred=[pixels - 1, 2])

    assert METRICS["mcc"].function(areas) == pytest.approx(math.sqrt(0.5), rel=1e-9)
    assert METRICS["kappa"].function(areas) == pytest.approx(2 / 3, rel=1e-9)


def test_both_ways_of_agreement_give_the_same_bits() -> None:
    """Matrices that fit into int64, alone and beside one that does not."""
    small = np.array([[5, 1, 0, 2], [0, 4, 1, 0], [0] * 4, [0] * 4])
    for name in ("mcc", "kappa"):
        alone = METRICS[name].function(ClassAreas.from_matrix(small))
        beside = METRICS[name].function(ClassAreas.from_matrix(np.stack([small, small * 2**40])))
        assert beside.tolist() == [alone, alone]


def oracle_values(maps: Maps, name: str, image: int) -> dict[int, float]:
    """The values of a per-class metric in one image, by class, from its own areas alone."""
    one = METRICS[name]
    areas = ClassAreas.from_matrix(maps.matrices()[image])
    values = one.function(areas).tolist()
    present = [k for k in range(maps.num_classes) if areas.truth[k] or areas.pred[k]]
    scored = {k: one.penalty if math.isnan(values[k]) else values[k] for k in present}
    return {k: value for k, value in scored.items() if not math.isnan(value)}


def mean(values: list[float]) -> float:
    return float(sum(map(Fraction, values)) / len(values)) if values else math.nan


def worst(values: list[float], percent: float, best: float) -> list[float]:
    """The values that are farthest from the best, at least one."""
    ordered = sorted(values, key=lambda value: -abs(best - value))
    return ordered[: max(1, math.floor(Fraction(str(percent)) * len(values) / 100))]


@pytest.mark.parametrize("percent", [5.0, 40.0, 100.0])
@settings(max_examples=25)
@given(maps=label_maps(min_images=1))
def test_means_over_images_of_every_per_class_metric(percent: float, maps: Maps) -> None:
    """mIoU_I, mIoU_C and both over the worst images, for every metric that has them."""
    scores = score(maps, ScoringRules(worst_percent=percent))
    for name in METRICS:
        one = METRICS[name]
        if not one.per_class:
            continue
        each = [oracle_values(maps, name, image) for image in range(len(maps.truth))]
        images = [mean(list(values.values())) for values in each if values]
        classes = [[values[k] for values in each if k in values] for k in range(maps.num_classes)]
        classes = [values for values in classes if values]
        expected = {"_per_image": mean(images), "_per_image_class": mean([mean(own) for own in classes])}
        if one.by_image:
            expected["_per_image_worst"] = mean(worst(images, percent, one.best))
            tails = [mean(worst(own, percent, one.best)) for own in classes]
            expected["_per_image_class_worst"] = mean(tails)
        for end, value in expected.items():
            found = scores[f"mean_{name}{end}"]
            assert found == pytest.approx(value, rel=1e-12, abs=1e-15, nan_ok=True), (name, end)


@settings(max_examples=25)
@given(maps=label_maps(min_images=1))
def test_means_over_images_of_every_figure_of_all_classes(maps: Maps) -> None:
    """The mean over the images that have a value."""
    scores = score(maps)
    for name in METRICS:
        one = METRICS[name]
        if one.per_class:
            continue
        each = [float(one.function(ClassAreas.from_matrix(matrix))) for matrix in maps.matrices()]
        having = [value for value in each if not math.isnan(value)]
        close = pytest.approx(mean(having), rel=1e-12, abs=1e-15, nan_ok=True)
        assert scores[f"{name}_per_image"] == close
        assert scores.aggregates[f"{name}_per_image"].images_used == len(having)


def test_excluded_classes_leave_what_runs_over_classes_in_truth() -> None:
    """Balanced accuracy and generalized Dice of two classes of three, by hand."""
    maps = Maps(3, [[0, 0, 1, 1, 2, 2]], [[0, 1, 1, 1, 0, 2]])
    scores = score(maps, ScoringRules(exclude_classes=("class_2",)))

    assert scores["balanced_accuracy"] == (0.5 + 1.0) / 2
    assert scores["generalized_dice_uniform"] == 2 * (1 + 2) / ((2 + 2) + (2 + 3))
    one = scores.aggregates["balanced_accuracy"]
    assert one.classes_used == ("class_0", "class_1")
    assert one.classes_dropped == {"class_2": "excluded by exclude_classes"}
    assert scores["mcc"] == score(maps)["mcc"]


def test_a_class_that_fills_the_image_is_left_out_of_mean_specificity() -> None:
    """There is nothing that could be a false alarm; the reason is given."""
    one = score(Maps(2, [[0, 0]], [[0, 0]])).aggregates["mean_specificity"]

    assert math.isnan(one.value)
    assert one.classes_dropped["class_0"] == "has no value"
