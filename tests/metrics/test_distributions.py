"""How the scores of images are spread, against NumPy on lists of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.classes import ClassList
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.distributions import FIGURES, Distribution
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts, weighted_total
from segpipe.metrics.weights import ImageWeights
from tests.metrics.matrices import Maps, label_maps

NUMPY: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean,
    "sd": lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan,
    "lowest": np.min,
    "lower_quartile": lambda values: np.quantile(values, 0.25),
    "median": np.median,
    "upper_quartile": lambda values: np.quantile(values, 0.75),
    "highest": np.max,
    "worst": lambda values: np.mean(np.sort(values)[: max(1, int(len(values) * 0.4))]),
}


def distributions(
    blocks: Sequence[ConfusionCells],
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> tuple[Distribution, ...]:
    """Of images in blocks."""
    total = np.sum([cells.total() for cells in blocks], axis=0)
    if weights is not None:
        total = weighted_total(blocks, total, weights)
    return score_counts(blocks, total, classes, rules, weights).distributions


def ious(maps: Maps, class_id: int, present: str) -> list[float]:
    """From lists of pixels."""
    found = []
    for truth, pred in zip(maps.truth, maps.pred, strict=True):
        pairs = [pair for pair in zip(truth, pred, strict=True) if pair[0] < maps.num_classes]
        sides = [{at for at, pair in enumerate(pairs) if pair[side] == class_id} for side in range(2)]
        if sides[0] or (sides[1] and present == "either"):
            found.append(len(sides[0] & sides[1]) / len(sides[0] | sides[1]))
    return found


@settings(max_examples=30)
@given(maps=label_maps(), present=st.sampled_from(["either", "truth"]))
def test_figures_are_those_of_numpy(maps: Maps, present: str) -> None:
    """Of the IoU of every class in the images that have it; NaN where no image has."""
    rules = ScoringRules(present=present, worst_percent=40)  # type: ignore[arg-type]
    iou, dice = distributions([maps.cells()], maps.classes, rules)
    assert (iou.metric, dice.metric) == ("iou", "dice")
    for class_id in range(maps.num_classes):
        values = np.array(ious(maps, class_id, present))
        assert iou.images[class_id] == len(values)
        for name in FIGURES:
            expected = NUMPY[name](values) if len(values) else np.nan
            found = getattr(iou, name)[class_id]
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True), name


@settings(max_examples=20)
@given(maps=label_maps(min_images=1), data=st.data())
def test_order_and_cut_do_not_show_and_weight_zero_leaves_out(maps: Maps, data: st.DataObject) -> None:
    """Bit by bit; images of weight 0 might as well not be there."""
    cells, number = maps.cells(), len(maps.truth)
    order = data.draw(st.permutations(range(number)))
    drawn = st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=number, max_size=number)
    weights = np.array(data.draw(drawn))
    weights[0] = 1.0
    units = ImageWeights.of(weights[order], pixels=100)
    blocks = [cells.take([place]) for place in order]
    found = distributions(blocks, maps.classes, ScoringRules(), units)
    rest = distributions([cells.take(np.flatnonzero(weights))], maps.classes, ScoringRules())
    for one, other in zip(found, rest, strict=True):
        for name in ("images", *FIGURES):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_means_are_those_of_the_mean_per_image_and_class() -> None:
    """The mean over the classes of the means of the distribution is the aggregate, bit by bit."""
    cells = ConfusionCells.from_dense(np.random.default_rng(0).integers(0, 9, (30, 5, 5)))
    classes = ClassList.numbered(3)
    scores = score_counts([cells], cells.total(), classes, ScoringRules())
    iou, _ = scores.distributions
    assert iou.mean.mean() == pytest.approx(scores["mean_iou_per_image_class"], rel=1e-15)
    assert iou.worst.mean() == pytest.approx(scores["mean_iou_per_image_class_worst"], rel=1e-15)
