"""The iIoU of Cityscapes: from weights of pixels, by hand, and by sets of the pixels of every instance."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.classes import ClassList
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.weighted import UNITS_PER_WEIGHT
from segpipe.metrics.conventions.base import CONVENTIONS, INSTANCE_CLASSES, ConventionRules
from segpipe.metrics.conventions.scoring import ConventionScore, chosen_conventions, score_conventions

CLASSES = ClassList(("road", "person", "car", "train"))
PERSON, CAR = 1, 2


def matrices(
    truth: list[list[int]], pred: list[list[int]], weights: list[list[float | Fraction]]
) -> ConfusionCells:
    """Pixels, and their weights beside them, counted one pixel at a time."""
    found = np.zeros((2, len(truth), 6, 6), np.int64)
    for image, pixels in enumerate(zip(truth, pred, weights, strict=True)):
        for row, column, weight in zip(*pixels, strict=True):
            found[0, image, row, column] += 1
            found[1, image, row, column] += round(weight * UNITS_PER_WEIGHT)
    return ConfusionCells.from_dense(found[0]).with_weights(ConfusionCells.from_dense(found[1]))


def figures(cells: ConfusionCells) -> dict[str, ConventionScore]:
    """Every convention that there is for these classes, by name."""
    blocks = [([f"image-{index}" for index in range(len(cells))], cells)]
    return {one.name: one for one in score_conventions(blocks, CLASSES, weighted=True)}


def test_every_instance_counts_alike_and_false_alarms_count_as_pixels() -> None:
    """Persons of 4, 1 and 1 pixels have the mean size 2, and so weigh 2/4, 2/1 and 2/1 a pixel.

    The first and the last are found, the second is missed; a road pixel is taken for a person, one for a car:

    IoU of person = 5 / (5 + 1 + 1), iTP = 4/2 + 2, iFN = 2, FP = 1, so its iIoU = 4 / (4 + 1 + 2). There is
    no true car, so its iIoU is 0; there is no train at all, so it is left out; road has no instances.
    """
    found = figures(
        matrices(
            [[1, 1, 1, 1, 1], [1, 0, 0, 0]],
            [[1, 1, 1, 1, 0], [1, 1, 2, 0]],
            [[0.5, 0.5, 0.5, 0.5, 2], [2, 1, 1, 1]],
        )
    )
    one = found["cityscapes-iiou"]

    assert found["cityscapes"].per_class["person"] == 5 / 7
    assert list(one.per_class) == ["person", "car", "train"]
    assert [one.per_class["person"], one.per_class["car"]] == [4 / 7, 0.0]
    assert math.isnan(one.per_class["train"])
    assert one.value == pytest.approx(2 / 7, rel=1e-15)
    assert not one.refused


def test_it_is_told_why_the_figure_differs() -> None:
    """Road is left out, and what is missed is small: 5 found pixels weigh 4, the missed one 2."""
    cells = matrices([[1, 1, 1, 1, 1, 1, 0]], [[1, 1, 1, 1, 1, 0, 0]], [[0.5, 0.5, 0.5, 0.5, 2, 2, 1]])
    one = figures(cells)["cityscapes-iiou"]

    assert [(step.rule, step.because) for step in one.telling] == [
        ("chosen", "classes person, car, train"),
        (
            "weighing",
            "person 0.8333 to 0.6667, as a found pixel weighs 0.8 on average "
            "and a missed pixel weighs 2 on average",
        ),
    ]
    assert one.telling[-1].value == one.value == pytest.approx(4 / 6)


@st.composite
def instance_maps(draw: st.DrawFn) -> list[list[tuple[int, int, int]]]:
    """Images of pixels: truth (4 ignored, 5 invalid), number of the instance, prediction."""
    pixel = st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 5))
    return draw(st.lists(st.lists(pixel, max_size=12), min_size=1, max_size=4))


@settings(max_examples=40)
@given(
    images=instance_maps(),
    mean_sizes=st.tuples(*[st.fractions(1, 5000, max_denominator=100) for _ in range(3)]),
)
def test_it_is_that_of_the_sets_of_pixels_of_the_instances(
    images: list[list[tuple[int, int, int]]], mean_sizes: tuple[Fraction, ...]
) -> None:
    """Every instance is a set; the mean sizes are given, as those of the scripts are."""
    size_of = dict(zip((1, 2, 3), mean_sizes, strict=True))
    instances: dict[tuple[int, int, int], set[tuple[int, int]]] = {}
    predicted: dict[int, set[tuple[int, int]]] = {name: set() for name in size_of}
    true: dict[int, set[tuple[int, int]]] = {name: set() for name in size_of}
    for image, pixels in enumerate(images):
        for place, (truth, number, pred) in enumerate(pixels):
            if truth in size_of:
                instances.setdefault((image, truth, number), set()).add((image, place))
                true[truth].add((image, place))
            if pred in size_of and truth < 4:
                predicted[pred].add((image, place))

    def weight(image: int, truth: int, number: int) -> Fraction:
        return size_of[truth] / len(instances[image, truth, number]) if truth in size_of else Fraction(1)

    found = figures(
        matrices(
            [[truth for truth, _, _ in pixels] for pixels in images],
            [[pred for _, _, pred in pixels] for pixels in images],
            [[weight(at, truth, number) for truth, number, _ in one] for at, one in enumerate(images)],
        )
    )["cityscapes-iiou"]

    expected = {}
    for name, size in size_of.items():
        own = [one for (_, truth, _), one in instances.items() if truth == name]
        hit = sum((size / len(one) * len(one & predicted[name]) for one in own), Fraction(0))
        miss = sum((size / len(one) * len(one - predicted[name]) for one in own), Fraction(0))
        union = hit + miss + len(predicted[name] - true[name])
        expected[CLASSES.names[name]] = float(hit / union) if union else math.nan
    assert found.per_class == pytest.approx(expected, rel=1e-6, nan_ok=True)
    scored = [value for value in expected.values() if not math.isnan(value)]
    mean = sum(scored) / len(scored) if scored else math.nan
    assert found.value == pytest.approx(mean, rel=1e-6, nan_ok=True)


def test_weights_of_one_change_nothing() -> None:
    """The same bits as the IoU of these classes, and no reason."""
    rng = np.random.default_rng(3)
    truth, pred = rng.integers(0, 6, (2, 3, 50)).tolist()
    found = figures(matrices(truth, pred, [[1.0] * 50] * 3))
    plain = found["cityscapes"].per_class

    assert found["cityscapes-iiou"].per_class == {name: plain[name] for name in ("person", "car", "train")}
    assert [step.rule for step in found["cityscapes-iiou"].telling] == ["chosen"]


def test_a_perfect_prediction_scores_exactly_one() -> None:
    """Whatever the weights are."""
    weights = [[0.1, 0.7, 3.3, 1e-9]]
    assert figures(matrices([[1, 1, 2, 2]], [[1, 1, 2, 2]], weights))["cityscapes-iiou"].value == 1.0


def test_sums_larger_than_int64_are_exact() -> None:
    """Three images whose weights fill an int64 each."""
    large = float(1 << 32)
    cells = matrices([[1, 1]] * 3, [[1, 0]] * 3, [[large, large / 2]] * 3)
    assert figures(cells)["cityscapes-iiou"].per_class["person"] == pytest.approx(2 / 3, rel=1e-15)


def test_it_needs_weights_of_pixels_and_classes_that_have_instances() -> None:
    """`all` leaves it out where something is missing; asked for by name, all that is missing is said."""
    asked, other = ["cityscapes-iiou"], ClassList(("road", "sky"))

    assert chosen_conventions(asked, CLASSES, weighted=True) == [CONVENTIONS["cityscapes-iiou"]]
    for classes, weighted in ((CLASSES, False), (other, True), (other, False)):
        assert not {one.name for one in chosen_conventions("all", classes, weighted=weighted)} & set(asked)
    no_weights = "it needs pixels with weights that undo the sizes of instances, and they have none (weights)"
    no_classes = f"scores the classes {', '.join(INSTANCE_CLASSES)}, and the class list has none of them"
    with pytest.raises(ConfigError) as caught:
        chosen_conventions(asked, CLASSES)
    assert str(caught.value) == f"conventions: 'cityscapes-iiou' {no_weights.removeprefix('it ')}"
    with pytest.raises(ConfigError) as caught:
        chosen_conventions(asked, other)
    assert str(caught.value) == f"conventions: 'cityscapes-iiou' {no_classes}; {no_weights}"


def test_a_convention_weighs_instances_in_the_iou_of_a_dataset_only() -> None:
    """Other figures have no such form that anybody has defined."""
    with pytest.raises(ValueError, match=r"weighing by instances: found .*'dice'.*, expected the macro IoU"):
        ConventionRules(weighing="instances", metric="dice")
