"""Weights of images: the same as repeating the images, and never a question of order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segpipe.classes import ClassList
from segpipe.errors import ConfigError, InfrastructureError, InputError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts, score_groups, weighted_total
from segpipe.metrics.weights import ImageWeights, check_weights

CLASSES = ClassList(("a", "b", "c"))
RULES = ScoringRules(worst_percent=40)


def matrices(images: int = 7, seed: int = 0) -> np.ndarray:
    """Extended matrices; class c is in some images only."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 30, (images, 5, 5))
    found[::2, 2], found[::2, :, 2] = 0, 0
    return found


def scored(found: np.ndarray, weights: np.ndarray | None, cut: int = 3) -> Scores:
    cells = ConfusionCells.from_dense(found)
    blocks = [
        cells.take(np.arange(start, min(start + cut, len(found)))) for start in range(0, len(found), cut)
    ]
    if weights is None:
        return score_counts(blocks, found.sum(axis=0), CLASSES, RULES)
    own = ImageWeights.of(weights, pixels=int(found.sum()))
    total = weighted_total(blocks, found.sum(axis=0), own)
    return score_counts(blocks, total, CLASSES, RULES, own)


def values_of(scores: Scores) -> dict[str, Any]:
    return {name: one.value for name, one in scores.aggregates.items()}


def test_whole_weights_are_as_good_as_repeated_images() -> None:
    """Pooled figures, areas and means over images; 0 leaves an image out."""
    found, weights = matrices(), np.array([1, 2, 0, 3, 1, 0, 2])
    weighted, repeated = scored(found, weights), scored(found.repeat(weights, axis=0), None)
    for row, expected in zip(weighted.class_rows(), repeated.class_rows(), strict=True):
        assert row == pytest.approx(expected, nan_ok=True)
    plain = {name for name in values_of(repeated) if "worst" not in name}
    for name in plain:
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-12, nan_ok=True), name
    assert weighted.counts["pixels"] == found.sum()
    assert weighted.aggregates["mean_iou_per_image"].images_used == 5
    assert weighted.aggregates["mean_iou_per_image"].images_dropped == 2


@pytest.mark.parametrize("factor", [1, 0.1, 1e100, 1e-100])
def test_equal_weights_are_no_weights(factor: float) -> None:
    """Every score is the same to the bit, whatever the weight that all images have."""
    found = matrices()
    weighted, plain = scored(found, np.full(7, factor)), scored(found, None)
    for name, value in values_of(plain).items():
        assert weighted[name] == pytest.approx(value, rel=1e-13, nan_ok=True), name
    if factor == 1:
        assert str(values_of(weighted)) == str(values_of(plain))


def test_weighted_means_are_the_weighted_means() -> None:
    """Against NumPy: the mean over images of the images' own scores, and the worst of them."""
    found, weights = matrices(), np.array([0.25, 1.5, 0.3, 0.0, 2.0, 0.7, 1.0])
    scores = scored(found, weights)
    each = scored(found, None).per_image["mean_iou"]
    assert scores["mean_iou_per_image"] == pytest.approx(np.average(each, weights=weights), rel=1e-8)
    worst = np.argsort(np.where(weights > 0, each, np.inf))[:2]
    expected = np.average(each[worst], weights=weights[worst])
    assert scores["mean_iou_per_image_worst"] == pytest.approx(expected, rel=1e-8)
    np.testing.assert_array_equal(scores.per_image["mean_iou"], each)


def test_neither_order_nor_cut_shows() -> None:
    """Weighted sums are integers: the figures are the same bits for every order and cut."""
    found = matrices(20)
    weights = np.random.default_rng(4).random(20) ** 4
    first = values_of(scored(found, weights, cut=1))
    order = np.random.default_rng(5).permutation(20)
    assert str(values_of(scored(found[order], weights[order], cut=7))) == str(first)


def test_groups_of_images_are_weighted_too() -> None:
    """Each group of images scores as if it were alone, with the weights of its own images."""
    found, weights = matrices(), np.array([0.5, 1.0, 2.0, 0.5, 1.0, 2.0, 4.0])
    groups = np.array([0, 1, 0, 1, 1, 0, 1])
    own = ImageWeights.of(weights, pixels=int(found.sum()))
    blocks = [(ConfusionCells.from_dense(found), groups)]
    for group, scores in enumerate(score_groups(blocks, 2, CLASSES, RULES, own)):
        alone = scored(found[groups == group], weights[groups == group])
        for name, value in values_of(alone).items():
            assert scores[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name


def test_sums_stay_within_integers() -> None:
    """Of a dataset of 10^13 pixels weights keep fewer places, so that no sum overflows."""
    found = matrices(4) + 10**11
    weights = np.array([1.0, 1000.0, 3.0, 1000.0])
    scores = scored(found, weights)
    total = (found[:, :3] * weights[:, None, None]).sum(axis=(0, 2))
    pixels = [row["truth_pixels"] for row in scores.class_rows()]
    assert pixels == pytest.approx(total, rel=1e-4)
    assert ImageWeights.of(weights, pixels=2**32 - 1).units.max() == 1000 * 2**20
    assert ImageWeights.of(weights, pixels=2**44 - 1).units.max() == 1000 * 2**8


def test_images_that_do_not_add_up_are_refused() -> None:
    """The stored sum is held against the images under weights as well."""
    found = matrices()
    weights = ImageWeights.of(np.ones(7), pixels=int(found.sum()))
    with pytest.raises(InfrastructureError, match="do not add up to the stored total"):
        weighted_total([ConfusionCells.from_dense(found)], found.sum(axis=0) + 1, weights)


COLUMNS = {
    "good": np.array([0.0, 1.0, 2.5]),
    "flag": np.array([True, False, True]),
    "bad": np.array([-1.0, np.nan, np.inf]),
    "tiny": np.array([1.0, 1e-101, 0.0]),
    "zero": np.zeros(3),
    "text": np.array(["1", "2", "3"], object),
}
IDS = ["i0", "i1", "i2"]


def test_weights_are_numbers_that_are_finite_and_not_negative() -> None:
    """All images with a bad weight are listed; a column that holds none is told."""
    assert check_weights("good", COLUMNS, IDS).tolist() == [0, 1, 2.5]
    assert check_weights("flag", COLUMNS, IDS).tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="3 problems") as caught:
        check_weights("bad", COLUMNS, IDS)
    assert [(one.image, one.found) for one in caught.value.problems] == [
        ("i0", "-1 in the column 'bad'"),
        ("i1", "nan in the column 'bad'"),
        ("i2", "inf in the column 'bad'"),
    ]
    with pytest.raises(InputError, match=r"found 1e-101 .*, expected 0, or a number from 1e-100 to 1e\+100"):
        check_weights("tiny", COLUMNS, IDS)
    for name, words in {
        "zero": "every weight in the column 'zero' is 0",
        "text": "the column 'text' holds text; weights are numbers",
        "goood": "no metadata column 'goood'; there are: good, flag, .*; did you mean good",
    }.items():
        with pytest.raises(ConfigError, match=words):
            check_weights(name, COLUMNS, IDS)
