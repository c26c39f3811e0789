"""Figures of statistics and of groups of drawn datasets: as if each had been written out and scored."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.classes import ClassGroup, ClassList
from segpipe.criteria import IntervalRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics import resampling, statistic_replicates
from segpipe.metrics.comparison import paired_differences
from segpipe.metrics.group_replicates import GroupTable
from segpipe.metrics.groups import score_class_groups
from segpipe.metrics.intervals import table_intervals
from segpipe.metrics.resampling import Multiplicities, bootstrap_counts, leave_one_out, whole
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores, StatisticScores
from segpipe.metrics.statistic_replicates import StatisticTable
from segpipe.metrics.statistic_scores import score_statistic
from segpipe.metrics.sums import digits_of, value_of
from segpipe.metrics.weights import ImageWeights
from segpipe.statistics.base import STATISTICS, Counts, Field, Statistic, StatisticMetric

K = 3
CLASSES = ClassList(("a", "b", "c"))
RULES = ScoringRules(exclude_classes=("c",))
DRAWS = IntervalRules(replicates=100, per_class=True)
KINDS = [("threshold_sweep", {"bins": 4}), ("calibration", {"bins": 3}), ("components", {}), ("churn", {})]
every_kind = pytest.mark.parametrize(("kind", "given"), KINDS)


def sums_of(one: Statistic, images: int, seed: int = 0) -> Counts:
    """Random sums that a statistic could have; the second image has none of anything."""
    rng = np.random.default_rng(seed)
    counts = {}
    for field in one.fields(K):
        values = rng.integers(0, 50, (images, *field.shape)) << field.step_bits
        counts[field.name] = values + (rng.integers(0, 2**30, values.shape) if field.step_bits else 0)
        counts[field.name] *= rng.random(values.shape) < 0.7
        counts[field.name][1:2] = 0
    for part, all_of_it in (("found", "truth"), ("confirmed", "pred"), ("right", "pixels")):
        if {part, all_of_it} <= counts.keys():
            counts[part] = np.minimum(counts[part], counts[all_of_it])
    return counts


def taken(counts: Counts, images: Any) -> Counts:
    return {name: values[images] for name, values in counts.items()}


def table_of(one: Statistic, blocks: list[Counts], clusters: NDArray[Any], **more: Any) -> StatisticTable:
    return StatisticTable.of(one, lambda: blocks, CLASSES, RULES, np.asarray(clusters, np.int64), **more)


def same_scores(scores: StatisticScores | Scores, found: Any, replicate: int) -> None:
    for name, values in found.aggregates.items():
        expected = pytest.approx(scores.aggregates[name].value, rel=1e-13, nan_ok=True)
        assert values[replicate] == expected, name
    for name, values in found.per_class.items():
        np.testing.assert_array_equal(values[replicate], scores.per_class[name], err_msg=name)


@every_kind
def test_a_replicate_scores_as_the_dataset_written_out(kind: str, given: dict[str, Any]) -> None:
    """Drawn by clusters, from blocks in any order; pooled figures to the last bit."""
    one = STATISTICS[kind](**given)
    counts, clusters = sums_of(one, 9), np.array([0, 0, 3, 1, 2, 1, 4, 4, 4])
    order = np.array([4, 0, 8, 2, 6, 1, 3, 5, 7])
    blocks = [taken(counts, order[:2]), taken(counts, order[2:3]), taken(counts, order[3:])]
    drawn = bootstrap_counts(5, 7, range(4))
    found = table_of(one, blocks, clusters[order]).replicates([Multiplicities(drawn, 5)])
    for replicate in range(4):
        images = np.repeat(np.arange(9), drawn[clusters, replicate])
        scores = score_statistic(one, [taken(counts, images)], CLASSES, RULES)
        same_scores(scores, found, replicate)


@every_kind
def test_a_jackknife_replicate_is_the_rest_of_the_dataset(kind: str, given: dict[str, Any]) -> None:
    """Without one cluster each; and only images that take part are there."""
    one = STATISTICS[kind](**given)
    counts, clusters = sums_of(one, 8, seed=1), np.array([0, 1, -1, 2, 1, 0, -1, 3])
    found = table_of(one, [counts], clusters).replicates(leave_one_out(4))
    for cluster in range(4):
        images = np.flatnonzero((clusters >= 0) & (clusters != cluster))
        same_scores(score_statistic(one, [taken(counts, images)], CLASSES, RULES), found, cluster)


@every_kind
def test_weights_of_images_count_in_replicates_too(kind: str, given: dict[str, Any]) -> None:
    """An image of weight 3 is there three times as often; one of weight 0 never."""
    one = STATISTICS[kind](**given)
    counts, weights = sums_of(one, 6, seed=2), np.array([1, 2, 0, 3, 1, 1])
    drawn = bootstrap_counts(6, 3, range(3))
    table = table_of(one, [counts], np.arange(6), weights=weights.astype(float))
    found = table.replicates([Multiplicities(drawn, 6)])
    for replicate in range(3):
        images = np.repeat(np.arange(6), drawn[:, replicate].astype(int) * weights)
        same_scores(score_statistic(one, [taken(counts, images)], CLASSES, RULES), found, replicate)


class Objects(Statistic):
    """How many objects there are: a figure that is no quotient, as a package may bring one."""

    title: ClassVar[str] = "Objects"
    source: ClassVar[str] = "here"
    metrics: ClassVar[tuple[StatisticMetric, ...]] = (
        StatisticMetric(name="objects", title="Objects", per_class=False, formula="objects", nothing="",
                        source="here", maximum=np.inf, function=lambda fields: fields["objects"]),
    )  # fmt: skip

    def fields(self, num_classes: int) -> tuple[Field, ...]:
        """Halves of objects."""
        return (Field(name="objects", meaning="", dims=(), shape=(), step_bits=1),)


def test_a_figure_that_is_no_quotient_is_scaled_as_it_should_be() -> None:
    """Whatever power of two the weights were brought to."""
    table = table_of(Objects(), [{"objects": np.array([3, 5])}], np.arange(2), weights=np.array([10.0, 0.25]))
    found = table.replicates([Multiplicities(np.array([[1, 2], [1, 0]], np.uint16), 2)])
    assert found.aggregates["objects"].tolist() == [15.625, 30.0]
    blocks = [{"objects": np.array([3, 5])}]
    scores = score_statistic(Objects(), blocks, CLASSES, RULES, np.array([10.0, 0.25]))
    assert scores.aggregates["objects"].value == 15.625


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_neither_memory_nor_blocks_show_in_intervals(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All replicates at once or one by one, sums kept or read again: every bit is the same."""
    one = STATISTICS["threshold_sweep"](bins=4)
    counts, rules = sums_of(one, 10, seed=4), DRAWS.model_copy(update={"method": method})
    clusters = np.array([4, 4, 0, 2, 3, 1, 5, 6, 6, 0])
    weights = np.arange(10) / 8
    expected = repr(table_intervals(table_of(one, [counts], clusters, weights=weights), rules))
    reads = []

    def blocks() -> Any:
        reads.append(1)
        return (taken(counts, [image]) for image in range(10))

    monkeypatch.setattr(statistic_replicates, "KEPT_BYTES", 0)
    monkeypatch.setattr(statistic_replicates, "BLOCK_BYTES", 3 * one.image_bytes(K))
    monkeypatch.setattr(resampling, "COUNTS_BYTES", 12 * one.image_bytes(K) * 3)
    table = StatisticTable.of(one, blocks, CLASSES, RULES, clusters, weights)
    assert repr(table_intervals(table, rules)) == expected
    replicates = 100 if method == "bootstrap" else 7
    assert len(reads) == 2 + -(-replicates // 3)


@settings(max_examples=30)
@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
    factors=st.lists(st.integers(0, 2**30), min_size=6, max_size=6),
    bits=st.integers(0, 60),
)
def test_sums_of_any_size_are_exact_and_rounded_at_the_end(
    numbers: list[int], factors: list[int], bits: int
) -> None:
    """Python's own integers say what the sum is; beyond int64 too, with weights and without."""
    for weights in (None, factors[: len(numbers)]):
        units = None if weights is None else np.array(weights)
        digits = digits_of(np.array(numbers), units)
        exact = sum(number * weight for number, weight in zip(numbers, weights or [1] * 6, strict=False))
        found = float(value_of([digit.sum(axis=0) for digit in digits], bits))
        rounded = float(Fraction(exact, 2**bits))
        assert found == (rounded if abs(exact) < 2**84 else pytest.approx(rounded, rel=2**-51))


def test_sums_over_images_may_pass_int64() -> None:
    """Calibration of 2^34 pixels, of which each is sure and wrong: the sums of 2^-30 are beyond 2^63."""
    one = STATISTICS["calibration"](bins=1)
    pixels = 2**26
    image = {"pixels": pixels, "right": 0, "confidence": pixels << 30, "squares": pixels << 31,
             "minus_log": 36 * pixels << 30}  # fmt: skip
    counts = {field.name: np.full((256, *field.shape), image[field.name]) for field in one.fields(K)}
    assert sum(int(value) for value in counts["minus_log"]) > 2**63
    scores = score_statistic(one, [counts], CLASSES, RULES)
    assert [scores.aggregates[name].value for name in ("ece", "brier", "nll")] == [1, 2, 36]
    table = table_of(one, [counts], np.arange(256))
    found = table.replicates([whole(256), Multiplicities(bootstrap_counts(256, 0, range(2)), 256)])
    assert found.aggregates["nll"].tolist() == [36, 36, 36]
    assert table_intervals(table, DRAWS).aggregates["brier"].low == 2


def test_predictions_are_swapped_image_by_image() -> None:
    """p of five images is that of all 32 ways to swap them, each written out; the interval that of pairs."""
    one = STATISTICS["components"]()
    a, b = sums_of(one, 5, seed=5), sums_of(one, 5, seed=6)
    found = paired_differences(*(table_of(one, [side], np.arange(5)) for side in (a, b)), DRAWS)
    values = []
    for swap in range(32):
        flags = np.array([swap >> image & 1 for image in range(5)])
        sides = []
        for own, other in ((a, b), (b, a)):
            mixed = {
                name: np.where(flags.reshape(-1, *(1,) * (own[name].ndim - 1)), other[name], own[name])
                for name in own
            }
            sides.append(score_statistic(one, [mixed], CLASSES, RULES))
        values.append({name: sides[1].aggregates[name].value - sides[0].aggregates[name].value
                       for name in sides[0].aggregates})  # fmt: skip
    for name, difference in found.aggregates.items():
        away = np.abs([each[name] for each in values])
        known = away[~np.isnan(away)]
        assert difference.p == np.mean(known >= away[0] - 1e-9), name
        assert difference.value == pytest.approx(values[0][name], abs=1e-13)
    assert found.per_class["component_recall"][0].interval.low <= found.per_class["component_recall"][0].value


GROUPED = {
    "apart": (ClassGroup("one", (0, 2)), ClassGroup("two", (3,))),
    "whole": (ClassGroup("one", (0, 2)), ClassGroup("two", (1, 3)), ClassGroup("three", (4,))),
    "overlapping": (ClassGroup("one", (0, 1)), ClassGroup("two", (1,)), ClassGroup("never", (4,))),
}


def cells_of(images: int, seed: int = 0) -> ConfusionCells:
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 30, (images, 7, 7)) * (rng.random((images, 7, 7)) < 0.4)
    matrices[:, 4] = matrices[:, :, 4] = 0
    matrices[1] = 0
    return ConfusionCells.from_dense(matrices)


@pytest.mark.parametrize("groups", GROUPED)
@pytest.mark.parametrize("absent_class", ["nan", "zero"])
def test_groups_of_a_replicate_score_as_its_summed_matrix(groups: str, absent_class: Any) -> None:
    """Each group, their means, and figures of all groups together; weighted too."""
    classes = ClassList(("a", "b", "c", "d", "e"), groups=GROUPED[groups])
    rules = ScoringRules(absent_class=absent_class, exclude_classes=("a",), metrics=("dice", "npv", "mcc"))
    cells, weights = cells_of(6), np.array([1, 2, 1, 3, 0, 1])
    drawn = bootstrap_counts(6, 1, range(5))
    drawn[:, 0] = [0, 6, 0, 0, 0, 0]
    units = ImageWeights.of(weights, pixels=int(cells.total().sum()))
    tables = [GroupTable.of(lambda: [cells], classes, rules, np.arange(6), own) for own in (None, units)]
    for table, weight in zip(tables, (np.ones(6, int), weights), strict=True):
        found = table.replicates([Multiplicities(drawn, 6)])
        for replicate in range(5):
            times = drawn[:, replicate].astype(int) * weight
            scores = score_class_groups((cells.dense() * times[:, None, None]).sum(axis=0), classes, rules)
            assert scores is not None
            assert found.aggregates.keys() == scores.aggregates.keys()
            same_scores(scores, found, replicate)


def test_groups_are_compared_in_pairs() -> None:
    """A difference of a group is that of the runs, with an interval and p."""
    classes = ClassList(("a", "b", "c", "d", "e"), groups=GROUPED["apart"])
    sides = [cells_of(8, seed) for seed in (1, 2)]
    tables = [GroupTable.of(lambda own=own: [own], classes, ScoringRules(), np.arange(8)) for own in sides]
    found = paired_differences(*tables, DRAWS).per_class["iou"][1]
    scores = [score_class_groups(own.total(), classes, ScoringRules()) for own in sides]
    assert [found.a, found.b] == [own.per_class["iou"][1] for own in scores if own]
    assert found.interval.low <= found.value <= found.interval.high
    assert 0 < found.p <= 1
