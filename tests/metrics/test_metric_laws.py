"""Laws that hold for every registered metric; a new metric is tested the moment it exists."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segpipe.errors import ConfigError
from segpipe.metrics.areas import AREA_NAMES, ClassAreas
from segpipe.metrics.base import METRICS
from tests.metrics.matrices import Maps, label_maps

every_metric = pytest.mark.parametrize("name", sorted(METRICS))
few = settings(max_examples=25)
"""Every law is swept over every metric, so each needs fewer examples."""


@st.composite
def large_areas(draw: st.DrawFn) -> ClassAreas:
    sizes = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 10**17))
    parts = np.array(draw(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=30)), np.int64)
    hit, missed = parts[:, 0], parts[:, 1]
    if len(parts) == 1:
        missed = np.zeros(1, np.int64)
    # Every missed pixel of a class is a false alarm of the next one.
    return ClassAreas(hit=hit, truth=hit + missed, pred=hit + np.roll(missed, 1))


def areas_of(maps: Maps) -> ClassAreas:
    return ClassAreas.from_matrix(maps.matrices())


def same_bits(one: object, other: object) -> None:
    np.testing.assert_array_equal(np.asarray(one, np.float64), np.asarray(other, np.float64))


@every_metric
def test_the_record_says_what_a_reader_and_a_plot_need(name: str) -> None:
    """Name, words, formula, range; the good end is an end of the range; the docstring tells the NaN rule."""
    one = METRICS[name]

    assert one.name == name == one.function.__name__
    assert one.title
    assert one.formula
    assert one.minimum < one.maximum
    assert one.minimum <= one.best <= one.maximum
    assert one.worst in {one.minimum, one.maximum} - {one.best}
    assert one.penalty == one.worst or math.isnan(one.penalty)
    assert one.direction == {
        one.maximum: "higher is better",
        one.minimum: "lower is better",
    }.get(one.best, "nearer to 0 is better")
    assert one.nothing.startswith("NaN where")
    assert one.source
    assert "exclude" in one.exclusion
    assert json.loads(json.dumps(one.document(), allow_nan=False))["name"] == name
    assert "NaN" in (one.function.__doc__ or "")
    assert "best" in one.summary or "Range" in one.summary


@every_metric
@few
@given(maps=label_maps())
def test_scores_stay_in_their_range(name: str, maps: Maps) -> None:
    """NaN, or between minimum and maximum, to the last digit."""
    one = METRICS[name]
    scores = one.function(areas_of(maps))

    defined = scores[~np.isnan(scores)]
    assert np.all((defined >= one.minimum) & (defined <= one.maximum))


@every_metric
@few
@given(maps=label_maps())
def test_shapes_and_dtype(name: str, maps: Maps) -> None:
    """(..., K) for a per-class metric, (...,) for one of all classes; float64."""
    scores = METRICS[name].function(areas_of(maps))
    images = len(maps.truth)

    assert scores.shape == ((images, maps.num_classes) if METRICS[name].per_class else (images,))
    assert scores.dtype == np.float64


@every_metric
@few
@given(truth=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=7))
def test_a_perfect_prediction_scores_exactly_the_best(name: str, truth: list[int]) -> None:
    """No epsilon, no rounding, for areas of any size.

    NaN only where there is nothing to score: no pixels, or one class where pixels of another are needed.
    """
    truth = [area // len(truth) for area in truth]
    scores = METRICS[name].function(ClassAreas(hit=truth, truth=truth, pred=truth))
    occurs = np.array(truth) > 0 if METRICS[name].per_class else np.array(sum(truth) > 0)

    assert np.all((scores == METRICS[name].best) | np.isnan(scores))
    if np.count_nonzero(truth) != 1 or name not in NEED_OTHERS:
        assert not np.isnan(scores[occurs]).any()


NEED_OTHERS = ("mcc", "kappa", "specificity", "npv")


@every_metric
def test_nothing_to_score_is_nan(name: str) -> None:
    """Never 0, 1 or -1; and its bits are those of NumPy's own NaN, so that stored bytes do not vary."""
    scores = METRICS[name].function(ClassAreas(hit=[0, 0], truth=[0, 0], pred=[0, 0]))

    assert set(scores.reshape(-1).view(np.uint64).tolist()) == {np.array(np.nan).view(np.uint64).item()}


@every_metric
@few
@given(maps=label_maps(min_images=1), seed=st.integers())
def test_another_order_of_classes_only_reorders_scores(name: str, maps: Maps, seed: int) -> None:
    """Per class: the same bits in the new order; of all classes: the same bits."""
    areas = areas_of(maps)
    order = random.Random(seed).sample(range(maps.num_classes), maps.num_classes)
    moved = areas.of_classes(np.array(order))

    before, after = METRICS[name].function(areas), METRICS[name].function(moved)
    same_bits(after, before[:, order] if METRICS[name].per_class else before)


ROUNDED_UP = ClassAreas(hit=[0] * 3, truth=[2**53 + 3] * 3, pred=[2**53 + 3] * 3)
"""All wrong, and in float64 the areas add up to more than all pixels."""


@every_metric
@few
@given(areas=large_areas(), seed=st.integers())
@example(areas=ROUNDED_UP, seed=0)
def test_range_and_order_hold_for_large_areas_too(name: str, areas: ClassAreas, seed: int) -> None:
    """Up to 30 classes of up to 10^17 pixels, where float64 rounds."""
    one = METRICS[name]
    order = np.array(random.Random(seed).sample(range(len(areas.hit)), len(areas.hit)))
    scores = one.function(areas)
    defined = scores[~np.isnan(scores)]

    assert np.all((defined >= one.minimum) & (defined <= one.maximum))
    moved = one.function(areas.of_classes(order))
    same_bits(moved, scores[order] if one.per_class else scores)


@every_metric
@few
@given(maps=label_maps(min_images=1))
def test_one_function_serves_one_image_and_many(name: str, maps: Maps) -> None:
    """Leading dims are free: scores of many are the scores of each, to the last bit."""
    areas = areas_of(maps)
    together = METRICS[name].function(areas)

    for image in range(len(maps.truth)):
        same_bits(METRICS[name].function(areas[image]), together[image])
    same_bits(METRICS[name].function(areas[:, None])[:, 0], together)


@every_metric
@few
@given(maps=label_maps(), exponent=st.integers(0, 30))
def test_scores_do_not_depend_on_the_unit_of_area(name: str, maps: Maps, exponent: int) -> None:
    """Fixed-point weights scale all areas by one power of two: no bit changes."""
    areas = areas_of(maps)
    scaled = ClassAreas(*(getattr(areas, side) << exponent for side in AREA_NAMES))

    same_bits(METRICS[name].function(scaled), METRICS[name].function(areas))


@every_metric
def test_areas_that_fill_int64_do_not_overflow(name: str) -> None:
    """Fixed-point weights may add up to almost 2^63; twice that is no negative number."""
    whole = 2**62 - 1
    small = ClassAreas(hit=[1, 1], truth=[2, 2], pred=[2, 2])
    large = ClassAreas(hit=[whole // 2] * 2, truth=[whole] * 2, pred=[whole] * 2)

    np.testing.assert_allclose(METRICS[name].function(large), METRICS[name].function(small), 1e-15, 1e-15)


@every_metric
def test_metrics_do_not_touch_their_input(name: str) -> None:
    """Areas given read-only are enough."""
    areas = ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4])
    for side in AREA_NAMES:
        getattr(areas, side).flags.writeable = False

    METRICS[name].function(areas)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    """The message lists the metrics and guesses what was meant."""
    with pytest.raises(
        ConfigError, match=r"no metric 'iuo'; known: abs_volume_error, .*volume_error; did you mean iou\?"
    ):
        METRICS["iuo"]
