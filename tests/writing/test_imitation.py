"""Imitated networks: without doubt they are right, with doubt they err where real ones do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.writing import imitation
from segpipe.writing.imitation import CLEAR, FOG, MODEL_A, MODEL_B, NIGHT, Moment, Network, predict
from segpipe.writing.painting import Labels
from segpipe.writing.street import make_street, seen_by_networks

PERFECT = Network("perfect", blurs=0, shift_px=0, doubt=-(10**6), grain=0, thin=256)
MOMENT = Moment((1, 2), 3)


@pytest.fixture(scope="module")
def scenes() -> list[Labels]:
    """Six frames of different streets, 128 x 256."""
    return [seen_by_networks(make_street(5, number).codes(4, 128, 256)) for number in range(6)]


def accuracy(scenes: list[Labels], network: Network, weather: imitation.Weather) -> float:
    """The share of pixels that are right."""
    right = [
        predict(scene, network, weather, Moment((7, number), 4)) == scene
        for number, scene in enumerate(scenes)
    ]
    return float(np.mean(right))


@given(
    corners=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 18)), min_size=1, max_size=5
    )
)
def test_shares_of_blocks_are_what_a_count_of_pixels_says(corners: list[tuple[int, int, int]]) -> None:
    """The share of a class in a block is its pixels times 16, and all shares add up to one."""
    seen = np.zeros((8, 8), np.uint8)
    for row, column, class_id in corners:
        seen[row:, column:] = class_id
    means = imitation.block_means(seen)
    assert (means.sum(axis=0) == imitation.ONE).all()
    for class_id in range(19):
        assert means[class_id, 1, 0] == 16 * np.count_nonzero(seen[4:, :4] == class_id)


def test_a_network_without_doubt_sees_large_areas_as_they_are() -> None:
    """Away from edges nothing is changed."""
    seen = np.full((64, 64), imitation.ROAD, np.uint8)
    seen[:, 32:] = imitation.CAR
    predicted = predict(seen, PERFECT, CLEAR, MOMENT)
    assert (predicted[:, :29] == imitation.ROAD).all()
    assert (predicted[:, 35:] == imitation.CAR).all()


def test_model_a_is_clearly_better_than_model_b(scenes: list[Labels]) -> None:
    """By more than three points of pixel accuracy, in good and in bad weather."""
    for weather in (CLEAR, NIGHT):
        assert accuracy(scenes, MODEL_A, weather) > accuracy(scenes, MODEL_B, weather) + 0.03


def test_bad_weather_costs_accuracy(scenes: list[Labels]) -> None:
    """Fog and night are worse than a clear day, for both networks."""
    for network in (MODEL_A, MODEL_B):
        for weather in (FOG, NIGHT):
            assert accuracy(scenes, network, weather) < accuracy(scenes, network, CLEAR)


def test_a_thin_pole_is_broken_where_a_wall_is_not() -> None:
    """What is two pixels wide is lost in part, what is forty wide is kept."""
    seen = np.full((64, 128), imitation.BUILDING, np.uint8)
    seen[:, 30:32] = imitation.POLE
    seen[:, 70:110] = imitation.WALL
    predicted = predict(seen, MODEL_B, CLEAR, MOMENT)
    kept = predicted == seen
    assert kept[:, 30:32].mean() < 0.5 < kept[:, 75:105].mean()


def test_errors_move_slowly_from_frame_to_frame() -> None:
    """Two frames in a row err more alike than two of different sequences."""
    seen = np.full((64, 128), imitation.VEGETATION, np.uint8)
    seen[32:] = imitation.SIDEWALK
    shaky = Network("shaky", blurs=1, shift_px=0, doubt=300, grain=10, thin=256)
    here, after, other = (
        predict(seen, shaky, CLEAR, Moment(seed, frame)) for seed, frame in (((1,), 5), ((1,), 6), ((2,), 5))
    )
    assert (here != seen).any()
    assert np.mean(here != after) < np.mean(here != other) / 2


def test_a_prediction_holds_classes_only(scenes: list[Labels]) -> None:
    """A network says something everywhere, where truth is ignored too."""
    assert all(predict(scene, MODEL_B, FOG, MOMENT).max() < 19 for scene in scenes)
