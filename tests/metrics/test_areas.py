"""Areas and pixel counts, against sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from segpipe.metrics.areas import ClassAreas, InvalidPred, image_counts, matrix_counts
from tests.metrics.matrices import Maps, label_maps

every_rule = pytest.mark.parametrize("rule", ["count_as_miss", "ignore"])


def pixel_sets(maps: Maps, image: int, class_id: int, rule: InvalidPred) -> tuple[int, int, int]:
    """hit, truth and pred area of one class, by sets of pixel positions."""
    pairs = list(enumerate(zip(maps.truth[image], maps.pred[image], strict=True)))
    invalid = maps.num_classes + 1
    valid = {at for at, (truth, pred) in pairs if truth < maps.num_classes}
    if rule == "ignore":
        valid -= {at for at, (_, pred) in pairs if pred == invalid}
    truth = {at for at, (code, _) in pairs if code == class_id} & valid
    pred = {at for at, (_, code) in pairs if code == class_id} & valid
    return len(truth & pred), len(truth), len(pred)


@every_rule
@given(maps=label_maps())
def test_areas_are_sizes_of_sets_of_pixels(rule: InvalidPred, maps: Maps) -> None:
    """hit = |T and P|, truth = |T|, pred = |P| over the pixels that count."""
    areas = ClassAreas.from_cells(maps.cells(), invalid_pred=rule)

    for image in range(len(maps.truth)):
        for class_id in range(maps.num_classes):
            found = tuple(int(side[image, class_id]) for side in (areas.hit, areas.truth, areas.pred))
            assert found == pixel_sets(maps, image, class_id, rule)


@every_rule
@given(maps=label_maps())
def test_sparse_and_dense_matrices_give_the_same_areas(rule: InvalidPred, maps: Maps) -> None:
    """from_cells equals from_matrix."""
    sparse = ClassAreas.from_cells(maps.cells(), invalid_pred=rule)
    dense = ClassAreas.from_matrix(maps.matrices(), invalid_pred=rule)

    for name in ("hit", "truth", "pred", "union", "valid"):
        np.testing.assert_array_equal(getattr(sparse, name), getattr(dense, name))
        assert getattr(sparse, name).dtype == np.int64


@given(maps=label_maps())
def test_every_pixel_is_valid_ignored_or_invalid_truth(maps: Maps) -> None:
    """The truth areas and the two other kinds of truth add up to all pixels."""
    counts = image_counts(maps.cells())
    valid = ClassAreas.from_cells(maps.cells()).valid

    np.testing.assert_array_equal(valid + counts["ignored"] + counts["invalid_truth"], counts["pixels"])
    assert counts["pixels"].tolist() == [len(image) for image in maps.truth]


@given(maps=label_maps())
def test_counts_of_images_add_up_to_the_counts_of_their_sum(maps: Maps) -> None:
    """image_counts summed over images equals matrix_counts of the summed matrix."""
    each = image_counts(maps.cells())

    assert {name: int(values.sum()) for name, values in each.items()} == matrix_counts(maps.cells().total())


def test_counts_tell_the_four_odd_kinds_apart() -> None:
    """Rows are truth and columns are pred, the one before last is no class, the last invalid."""
    matrix = np.zeros((4, 4), np.int64)
    matrix[2, 0], matrix[0, 2], matrix[3, 1], matrix[1, 3] = 1, 2, 3, 4

    assert matrix_counts(matrix) == {
        "pixels": 10, "ignored": 1, "void": 2, "invalid_truth": 3, "invalid_pred": 4,
    }  # fmt: skip


def test_a_void_prediction_is_a_miss_even_where_invalid_ones_are_ignored() -> None:
    """`invalid_pred: ignore` takes out invalid predictions only."""
    matrix = np.zeros((3, 3), np.int64)
    matrix[0] = [5, 2, 4]

    assert ClassAreas.from_matrix(matrix, invalid_pred="ignore").truth.tolist() == [7]
    assert ClassAreas.from_matrix(matrix).truth.tolist() == [11]


def test_areas_pass_2_to_the_32() -> None:
    """Sums are int64 whatever came in."""
    matrix = np.full((3, 3), 2**31 - 1, np.int32)

    assert int(ClassAreas.from_matrix(matrix).truth[0]) == 3 * (2**31 - 1)
