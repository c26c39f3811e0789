"""Datasets drawn anew: exact sums, and every score equal to that of the dataset written out."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.replicates import ImageTable, Replicates
from segpipe.metrics.resampling import (
    Digits,
    Draws,
    LeaveOneOut,
    Multiplicities,
    bootstrap_counts,
    swaps,
    whole,
)
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts, weighted_total
from segpipe.metrics.weights import ImageWeights
from tests.metrics.matrices import Maps, label_maps

every_rule = st.builds(
    ScoringRules,
    absent_class=st.sampled_from(["nan", "zero", "one"]),
    invalid_pred=st.sampled_from(["count_as_miss", "ignore"]),
    present=st.sampled_from(["either", "truth"]),
    worst_percent=st.sampled_from([5, 30, 100]),
    exclude_classes=st.sampled_from([(), ("class_0",)]),
)


@given(data=st.data())
def test_product_is_that_of_unbounded_integers(data: st.DataObject) -> None:
    """Terms of any size that fits, of either sign, against Python's own integers."""
    rows, columns, replicates = (data.draw(st.integers(1, 4)) for _ in range(3))
    factors = np.array([[data.draw(st.integers(0, 9)) for _ in range(replicates)] for _ in range(rows)])
    largest = int(factors.sum(axis=0).max())
    bound = (1 << 62) // max(largest, 1)
    terms = [[data.draw(st.integers(-bound, bound)) for _ in range(columns)] for _ in range(rows)]
    found = Digits.of(np.array(terms, np.int64), largest).product(factors.astype(np.float64))
    for replicate in range(replicates):
        for column in range(columns):
            expected = sum(int(factors[row, replicate]) * terms[row][column] for row in range(rows))
            assert int(found[replicate, column]) == expected


def test_a_replicate_depends_on_seed_and_number_alone() -> None:
    """However many replicates are drawn at a time; and it has as many draws as there are clusters."""
    together = bootstrap_counts(50, 3, range(20))
    alone = [bootstrap_counts(50, 3, range(number, number + 1))[:, 0] for number in range(20)]
    np.testing.assert_array_equal(together, np.stack(alone, axis=1))
    assert (together.sum(axis=0) == 50).all()
    assert not np.array_equal(together, bootstrap_counts(50, 4, range(20)))
    assert len({column.tobytes() for column in together.T}) == 20


def test_draws_are_uniform() -> None:
    """Chi-squared of 200,000 draws over 100 clusters, five standard deviations wide."""
    drawn = bootstrap_counts(100, 0, range(2000)).sum(axis=1, dtype=np.int64)
    chi_squared = ((drawn - 2000) ** 2 / 2000).sum()
    assert abs(chi_squared - 99) < 5 * math.sqrt(2 * 99)


def test_draws_stay_the_same_from_version_to_version() -> None:
    """The numbers of a seed are part of what a run means; swaps have random numbers of their own."""
    assert bootstrap_counts(8, 0, range(2)).T.tolist() == FIRST_DRAWS
    (drawn,) = swaps(64, 0, 2)
    assert np.packbits(drawn.T.astype(bool), axis=1).tobytes().hex() == FIRST_SWAPS


FIRST_SWAPS = "00000000000000004ec817def0f267994c6f708c44a46583"
FIRST_DRAWS = [[0, 0, 1, 1, 1, 2, 3, 0], [0, 3, 2, 0, 0, 1, 0, 2]]


def test_few_clusters_are_swapped_in_every_way_once() -> None:
    """All 16 ways of 4 clusters; of more clusters random ways after the one that swaps none."""
    (counts,) = swaps(4, 0, 100)
    assert counts[:, 0].tolist() == [0, 0, 0, 0]
    assert sorted(map(tuple, counts.T.tolist())) == sorted(np.ndindex(2, 2, 2, 2))
    (drawn,) = swaps(70, 0, 400)
    assert drawn.shape == (70, 401)
    assert not drawn[:, 0].any()
    assert abs(drawn[:, 1:].mean() - 0.5) < 0.02


def written_out(
    maps: Maps, images: list[int], rules: ScoringRules, weights: NDArray[np.float64] | None
) -> Scores:
    """The scores of a dataset in which the images really are, one after the other."""
    cells = maps.cells().take(images)
    if weights is None:
        return score_counts([cells], cells.total(), maps.classes, rules)
    own = ImageWeights.of(weights[images], pixels=max(1, int(cells.total().sum())))
    return score_counts([cells], weighted_total([cells], cells.total(), own), maps.classes, rules, own)


def assert_same(found: Replicates, at: int, expected: Scores) -> None:
    assert set(found.aggregates) == set(expected.aggregates)
    for name, values in found.aggregates.items():
        np.testing.assert_allclose(values[at], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    for name, rows in found.per_class.items():
        np.testing.assert_allclose(rows[at], expected.per_class[name], rtol=1e-12, err_msg=name)


@settings(max_examples=8)
@given(maps=label_maps(min_images=1), rules=every_rule, data=st.data())
def test_scores_of_replicates_are_those_of_datasets_written_out(
    maps: Maps, rules: ScoringRules, data: st.DataObject
) -> None:
    """Every aggregate and class, under all rules, with clusters of images and with weights."""
    number = len(maps.truth)
    clusters = np.array(data.draw(st.lists(st.integers(0, 3), min_size=number, max_size=number)))
    weights = data.draw(
        st.none()
        | st.lists(st.sampled_from([0.25, 1.0, 3.0, 7.0]), min_size=number, max_size=number).map(np.array)
    )
    units = None if weights is None else ImageWeights.of(weights, pixels=1000)
    table = ImageTable.of([maps.cells()], maps.classes, rules, clusters, units)
    names = sorted(set(clusters.tolist()))
    counts = bootstrap_counts(len(names), 1, range(5))
    replicates = table.replicates([Multiplicities(counts, len(names))])
    for at in range(5):
        images = [
            image
            for place, name in enumerate(names)
            for image in np.flatnonzero(clusters == name).tolist()
            for _ in range(counts[place, at])
        ]
        assert_same(replicates, at, written_out(maps, images, rules, weights))


@settings(max_examples=8)
@given(maps=label_maps(min_images=2), rules=every_rule, data=st.data())
def test_scores_without_one_cluster_are_those_of_the_other_images(
    maps: Maps, rules: ScoringRules, data: st.DataObject
) -> None:
    """The jackknife's shortcut and the general way, against the dataset without these images."""
    number = len(maps.truth)
    clusters = np.array(data.draw(st.lists(st.integers(0, 3), min_size=number, max_size=number)))
    names = sorted(set(clusters.tolist()))
    table = ImageTable.of([maps.cells()], maps.classes, rules, clusters)
    draws: list[Draws] = [LeaveOneOut(len(names), at, at + 1) for at in range(len(names))]
    replicates = table.replicates(draws)
    for at, name in enumerate(names):
        rest = np.flatnonzero(clusters != name).tolist()
        assert_same(replicates, at, written_out(maps, rest, rules, None))


@settings(max_examples=8)
@given(maps=label_maps(min_images=1), rules=every_rule)
def test_the_dataset_itself_scores_what_it_scores(maps: Maps, rules: ScoringRules) -> None:
    """The replicate in which every image is once."""
    number = len(maps.truth)
    table = ImageTable.of([maps.cells()], maps.classes, rules, np.arange(number))
    found = table.replicates([whole(number)])
    assert_same(found, 0, written_out(maps, list(range(number)), rules, None))


def test_very_large_counts_do_not_overflow() -> None:
    """Replicates of areas near the limit of int64: every ratio stays what it is."""
    matrices = np.zeros((3, 4, 4), np.int64)
    matrices[0, 0, 0], matrices[0, 0, 1] = 3 << 58, 1 << 58
    matrices[1, 1, 1] = matrices[2, 1, 1] = 5
    cells = ConfusionCells.from_dense(matrices)
    maps = Maps(2, [[0]] * 3, [[0]] * 3)
    table = ImageTable.of([cells], maps.classes, ScoringRules(metrics=("recall",)), np.arange(3))
    counts = np.array([[3], [0], [0]], np.uint16)
    found = table.replicates([Multiplicities(counts, 3)])
    assert found.aggregates["pixel_accuracy"].tolist() == [0.75]
    assert found.per_class["iou"].tolist() == [[0.75, 0.0]]
