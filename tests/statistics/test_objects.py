"""Components: found by flooding, covered pixel by pixel; small ones dropped."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.config import StatisticConfig
from segpipe.errors import ArrayError, ConfigError
from segpipe.kernels.objects import count_objects, drop_small_objects
from segpipe.statistics.base import STATISTICS, Pixels, chosen_statistics
from tests.statistics import oracles
from tests.statistics.maps import K, blocky_pairs

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]
CONNECTIVITY = {(2, False): 4, (2, True): 8, (3, False): 6, (3, True): 26}


@given(pair=blocky_pairs(), corners=st.booleans())
def test_components_are_those_of_each_class_by_itself(pair: Pair, corners: bool) -> None:
    """Class, size and covered pixels of each, in images and volumes."""
    found = count_objects(*pair, K, CONNECTIVITY[pair[0].ndim, corners])
    listed = [sorted(zip(*(part.tolist() for part in side), strict=True)) for side in found]
    assert listed == oracles.objects(*pair, K, corners)


@settings(max_examples=25)
@given(pair=blocky_pairs(), corners=st.booleans(), least=st.integers(1, 9))
def test_small_objects_become_no_class(pair: Pair, corners: bool, least: int) -> None:
    """Pixels of objects of fewer than so many pixels, and no others; what came in is as it was."""
    codes = pair[0].astype(np.uint16)
    before, expected = codes.copy(), codes.copy()
    for class_id in range(K):
        for pixels in oracles.components(before == class_id, corners):
            if len(pixels) < least:
                expected[tuple(np.array(sorted(pixels)).T)] = K
    kept = drop_small_objects(codes, K, least, CONNECTIVITY[codes.ndim, corners])
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(codes, before)


def test_objects_are_sorted_by_size_and_overlap() -> None:
    """One of 4 pixels, half of it found; one of 9, a third; one of 1, missed. Exactly half is enough."""
    truth = np.zeros((5, 12), int)
    truth[:2, :2], truth[:3, 4:7], truth[4, 11] = 1, 1, 1
    pred = np.zeros_like(truth)
    pred[0, :2], pred[0, 4:7] = 1, 1
    pixels = Pixels(2, truth[np.newaxis], pred[np.newaxis])
    sizes = {"medium_px": 4, "large_px": 9}
    for share, found in ((0.5, [0, 1, 0]), (0.0, [0, 1, 1]), (0.51, [0, 0, 0])):
        counts = STATISTICS["components"](**sizes, min_overlap=share).count(pixels)
        assert counts["truth"][0, 1].tolist() == [1, 1, 1]
        assert counts["found"][0, 1].tolist() == found
        assert counts["pred"][0, 1].tolist() == counts["confirmed"][0, 1].tolist() == [2, 0, 0]


def test_shares_are_those_of_each_size_or_of_all() -> None:
    """Recall of truth, precision of the prediction, F1 of both; 0 where one side has objects, else NaN."""
    fields = {
        "truth": np.array([[4.0, 2, 0], [1, 0, 0], [0, 0, 0]]),
        "found": np.array([[1.0, 2, 0], [0, 0, 0], [0, 0, 0]]),
        "pred": np.array([[2.0, 0, 2], [0, 0, 0], [0, 0, 0]]),
        "confirmed": np.array([[1.0, 0, 2], [0, 0, 0], [0, 0, 0]]),
    }
    scores = {metric.name: metric.function(fields) for metric in STATISTICS["components"].metrics}
    assert len(scores) == 9
    nan = np.nan
    for name, expected in {
        "component_recall": [0.5, 0, nan],
        "component_precision": [0.75, nan, nan],
        "component_f1": [0.6, 0, nan],
        "component_recall_small": [0.25, 0, nan],
        "component_recall_medium": [1, nan, nan],
        "component_precision_medium": [nan, nan, nan],
        "component_precision_large": [1, nan, nan],
    }.items():
        np.testing.assert_allclose(scores[name], expected, rtol=1e-15)


def test_a_connectivity_that_images_have_not_is_told() -> None:
    """4 and 8 are of images, 6 and 26 of volumes: told when the plan asks for the halo."""
    one = STATISTICS["components"](connectivity=6)
    assert one.halo((3, 4, 5)) == one.halo(None) == 0
    with pytest.raises(ArrayError, match="connectivity 6 in 2 dimensions, expected 4 or 8"):
        one.halo((4, 5))
    with pytest.raises(ArrayError, match="connectivity 8 in 3 dimensions, expected 6 or 26"):
        drop_small_objects(np.zeros((1, 1, 1), np.uint16), 1, 2, 8)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, and the command."""
    monkeypatch.setitem(sys.modules, "cc3d", None)
    with pytest.raises(ConfigError, match=r"connected-components-3d.*pip install 'segpipe\[statistics\]'"):
        drop_small_objects(np.zeros((1, 1), np.uint16), 1, 2, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connectivity": 5}, r"statistics.0 \(components\).connectivity"),
        ({"medium_px": 9, "large_px": 9}, "medium_px is 9 and large_px 9, expected a larger one"),
        ({"min_overlap": 1.5}, r"statistics.0 \(components\).min_overlap"),
    ],
)
def test_wrong_parameters_are_told(options: dict[str, float], message: str) -> None:
    """By their key."""
    with pytest.raises(ConfigError, match=message):
        chosen_statistics([StatisticConfig.model_validate({"kind": "components", **options})])
