"""Slices of a dataset, against images picked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.criteria import SliceConfig
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts
from segpipe.metrics.slices import (
    MAX_SLICE_CLASSES,
    Slices,
    check_slices,
    class_presence,
    cut_images,
    needed_columns,
    score_slices,
    untold,
)
from tests.finished import CLASSES, random_matrices

WEATHER = np.array(["rain", "fog", "", "rain", "fog", "rain", "clear"], object)
SPEED = np.array([0.0, 30.0, np.nan, 59.9, 60.0, -1.0, 61.0])


def rules(*slicings: Any, least: int = 1) -> ScoringRules:
    return ScoringRules(slices=tuple(map(SliceConfig.model_validate, slicings)), min_slice_images=least)


def cut(
    slicing: Any, columns: dict[str, NDArray[Any]], least: int = 1
) -> dict[tuple[str | None, ...], list[int]]:
    """Slice -> its images."""
    (one,) = cut_images(rules(slicing, least=least), 4, columns, {})
    return {
        tuple(where.values()): np.flatnonzero(one.slice_of == place).tolist()
        for place, where in enumerate(one.where)
    }


def test_every_value_of_a_column_is_a_slice_and_images_without_one_are_another() -> None:
    """Texts, numbers and truth values; values in their order, no value last."""
    assert cut("weather", {"weather": WEATHER}) == {
        ("clear",): [6], ("fog",): [1, 4], ("rain",): [0, 3, 5], (None,): [2],
    }  # fmt: skip
    assert cut("n", {"n": np.array([10, 9, 10])}) == {("9",): [1], ("10",): [0, 2]}
    assert cut("b", {"b": np.array([True, False, True])}) == {("false",): [1], ("true",): [0, 2]}
    assert cut("speed", {"speed": SPEED[:3]}) == {("0",): [0], ("30",): [1], (None,): [2]}


def test_a_bin_has_its_lower_edge_and_the_last_one_both() -> None:
    """What lies outside, and what is no number, are slices too: no image is in none."""
    assert cut({"by": "speed", "bins": [0, 30, 60]}, {"speed": SPEED}) == {
        ("below 0",): [5], ("0 to 30",): [0], ("30 to 60",): [1, 3, 4], ("above 60",): [6], (None,): [2],
    }  # fmt: skip


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(2, 6), st.randoms())
def test_even_bins_hold_about_as_many_images_each_in_any_order(
    numbers: list[int], bins: int, rng: Any
) -> None:
    """Different numbers: sizes differ by one at most. Any numbers: each in one bin, whatever the order."""
    values = np.array(numbers)
    slices = cut({"by": "n", "bins": bins}, {"n": values})
    assert sorted(image for images in slices.values() for image in images) == list(range(len(values)))
    assert len(slices) <= bins
    shuffled = rng.sample(numbers, len(numbers))
    again = cut({"by": "n", "bins": bins}, {"n": np.array(shuffled)})
    assert {key: sorted(values[images]) for key, images in slices.items()} == {
        key: sorted(shuffled[image] for image in images) for key, images in again.items()
    }
    apart = cut({"by": "n", "bins": bins}, {"n": np.arange(bins * 3)})
    assert {len(images) for images in apart.values()} <= {2, 3, 4}


def test_two_columns_are_crossed() -> None:
    """Every pair of values that occurs, the first column first; bins may be crossed as well."""
    columns = {"weather": WEATHER, "speed": SPEED}
    crossed = cut({"by": ["weather", "speed"], "bins": {"speed": [0, 60]}}, columns)
    assert crossed == {
        ("clear", "above 60"): [6], ("fog", "0 to 60"): [1, 4], ("rain", "below 0"): [5],
        ("rain", "0 to 60"): [0, 3], (None, None): [2],
    }  # fmt: skip
    assert list(crossed) == [
        ("clear", "above 60"), ("fog", "0 to 60"), ("rain", "below 0"), ("rain", "0 to 60"), (None, None),
    ]  # fmt: skip


def test_a_slice_scores_as_its_images_alone() -> None:
    """Every aggregate and class score of every slice, of all kinds of cuts, in one pass over any blocks."""
    matrices = random_matrices(9, seed=4)
    matrices[::2, 1] = 0
    cells = ConfusionCells.from_dense(matrices)
    columns = {"n": np.arange(9), "half": np.array(list("aabbaabba"), object)}
    asked = rules(
        "half", {"by": "n", "bins": [0, 4, 9]}, {"has_class": "car"}, {"by": ["half", "n"]}, least=2
    )
    present = class_presence([cells.take(range(5)), cells.take(range(5, 9))], CLASSES, ["car"])
    assert present["car"].tolist() == [bool(matrix[1].any()) for matrix in matrices]
    ways = cut_images(asked, 4, columns, present)
    scored = score_slices([cells.take(range(2)), cells.take(range(2, 9))], ways, CLASSES, asked)
    picked = [np.flatnonzero(way.slice_of == at) for way in ways for at in range(len(way.where))]
    assert len(scored) == len(picked) == 2 + 2 + 2
    assert ways[3].small == 9
    for one, images in zip(scored, picked, strict=True):
        alone = score_counts([cells.take(images)], matrices[images].sum(axis=0), CLASSES, asked)
        assert (one.images, one.pixels) == (len(images), alone.counts["pixels"])
        np.testing.assert_equal(
            dict(one.values), {name: mean.value for name, mean in alone.aggregates.items()}
        )
        assert one.uses == {name: len(mean.classes_used) for name, mean in alone.aggregates.items()}
        assert one.dropped == tuple(alone.headline.classes_dropped)
        for name, values in one.per_class.items():
            np.testing.assert_array_equal(values, alone.per_class[name])
    assert [dict(one.where) for one in scored[4:6]] == [{"has_class": "car"}, {"without_class": "car"}]
    assert scored[4].name == "with it"


def test_slices_of_few_images_are_left_out() -> None:
    """Their images are in no slice, and how many slices that are is known."""
    (one,) = cut_images(rules("weather", least=2), 4, {"weather": WEATHER}, {})
    assert isinstance(one, Slices)
    assert [dict(where) for where in one.where] == [{"weather": "fog"}, {"weather": "rain"}]
    assert (one.slice_of.tolist(), one.small) == ([1, 0, -1, 1, 0, 1, -1], 2)


def test_mistakes_are_told() -> None:
    """A column that there is not, bins of texts, more slices than fit into memory; and what is only odd."""
    columns = {"weather": WEATHER, "speed": SPEED}
    with pytest.raises(
        ConfigError, match="slices: no metadata column 'wether'; there are: weather, speed; did you"
    ):
        needed_columns(rules("wether").slices, columns)
    with pytest.raises(ConfigError, match="'weather' holds no numbers, so it has no bins"):
        check_slices(rules({"by": "weather", "bins": 3}), columns, 4)
    many = {"id": np.array([f"i{number}" for number in range(3000)], object)}
    with pytest.raises(ConfigError, match=r"3,000 slices by id .* at most 2,000 .*raise min_slice_images"):
        check_slices(rules("id"), many, MAX_SLICE_CLASSES // 2000)
    assert check_slices(rules("id", least=2), many, MAX_SLICE_CLASSES // 2000)[0].where == ()
    assert untold(columns) == [
        "1 of 7 images have no value in the metadata column 'weather'; they are a slice of their own.",
        "1 of 7 images have no value in the metadata column 'speed'; they are a slice of their own.",
    ]
