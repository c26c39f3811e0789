"""Laws that hold for every registered statistic; a new one is tested the moment it exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segpipe.config import StatisticConfig
from segpipe.errors import ConfigError
from segpipe.statistics.base import STATISTICS, Counts, Pixels, Statistic, chosen_statistics, real_values

K = 3
every_statistic = pytest.mark.parametrize("kind", sorted(STATISTICS))


def some_pixels(kind: str, seed: int = 0, images: int = 3, shape: tuple[int, int] = (12, 16)) -> Pixels:
    """Blocks of truth with an ignored row, predictions with errors, void and invalid pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, (images, shape[0] // 4, shape[1] // 4)).repeat(4, axis=1).repeat(4, axis=2)
    truth[:, 0] = K
    pred, other = (np.where(rng.random(truth.shape) < 0.3, rng.integers(0, K + 2, truth.shape), truth)
                   for _ in range(2))  # fmt: skip
    needs = STATISTICS[kind].needs
    known = np.clip(pred, 0, K - 1)
    scores = rng.random((images, K, *shape)).astype(np.float32)
    np.put_along_axis(scores, known[:, None], 2.0, axis=1)
    return Pixels(
        num_classes=K,
        truth=truth,
        pred=pred,
        scores=(scores / scores.sum(axis=1, keepdims=True)) if "scores" in needs else None,
        representation="probabilities" if "scores" in needs else "",
        other=other if "other" in needs else None,
        core=(slice(0, shape[0]), slice(0, shape[1])),
    )


def part_of(pixels: Pixels, images: Any, rows: slice = slice(None)) -> Pixels:
    """Some images, and of these some rows."""
    truth = pixels.truth[images][:, rows]
    return Pixels(
        num_classes=K,
        truth=truth,
        pred=pixels.pred[images][:, rows],
        scores=None if pixels.scores is None else pixels.scores[images][:, :, rows],
        representation=pixels.representation,
        other=None if pixels.other is None else pixels.other[images][:, rows],
        core=(slice(0, truth.shape[1]), slice(0, truth.shape[2])),
    )


def made(kind: str) -> Statistic:
    return STATISTICS[kind]()


def same(one: Counts, other: Counts) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


@every_statistic
def test_the_record_says_what_plan_and_reports_need(kind: str) -> None:
    """Names, words, scope and figures; scores are read in parts, so only scope `pixel` may ask for them."""
    one = made(kind)
    fields = one.fields(K)

    assert one.kind == kind == kind.lower()
    assert one.title
    assert one.source
    assert type(one).__doc__
    assert one.scope == "pixel" or "scores" not in one.needs
    assert len({field.name for field in fields}) == len(fields)
    assert all(len(field.dims) == len(field.shape) for field in fields)
    assert all(dict(zip(field.dims, field.shape, strict=True)).get("class", K) == K for field in fields)
    assert one.metrics
    for metric in one.metrics:
        assert metric.title
        assert metric.formula
        assert metric.source
        assert metric.nothing.startswith("NaN where")
        assert metric.minimum <= metric.best <= metric.maximum


@every_statistic
def test_counts_are_whole_numbers_of_every_image_and_repeat(kind: str) -> None:
    """int64 (image, *shape) for each field, the same again, and the arrays that came in are untouched."""
    pixels = some_pixels(kind)
    before = pixels.truth.copy(), pixels.pred.copy()
    counts = made(kind).count(pixels)

    assert {name: values.shape for name, values in counts.items()} == {
        field.name: (3, *field.shape) for field in made(kind).fields(K)
    }
    assert all(values.dtype == np.int64 for values in counts.values())
    same(made(kind).count(some_pixels(kind)), counts)
    np.testing.assert_array_equal(pixels.truth, before[0])
    np.testing.assert_array_equal(pixels.pred, before[1])


@every_statistic
def test_no_pixel_adds_more_than_a_field_says(kind: str) -> None:
    """Also where scores are sure and wrong: so the plan knows which images have sums beyond 64 bits."""
    pixels = some_pixels(kind)
    if pixels.scores is not None:
        pixels = replace(
            pixels, scores=np.eye(K, dtype=np.float32)[(pixels.truth + 1) % K].transpose(0, 3, 1, 2)
        )
    counts = made(kind).count(pixels)
    for field in made(kind).fields(K):
        most = pixels.truth[0].size * field.largest << field.step_bits
        assert (np.abs(counts[field.name]) <= most).all()


@every_statistic
def test_images_are_counted_by_themselves(kind: str) -> None:
    """Batches and order of images do not matter; of scope `pixel` neither does a cut through an image."""
    pixels, one = some_pixels(kind), made(kind)
    whole = one.count(pixels)
    backwards = one.count(part_of(pixels, [2, 1, 0]))
    same({name: values[::-1] for name, values in backwards.items()}, whole)
    single = [one.count(part_of(pixels, [image])) for image in range(3)]
    same({name: np.concatenate([part[name] for part in single]) for name in whole}, whole)
    if one.scope == "pixel":
        upper, lower = (one.count(part_of(pixels, slice(None), rows)) for rows in (slice(5), slice(5, None)))
        same({name: upper[name] + lower[name] for name in whole}, whole)


@every_statistic
def test_metrics_are_vectorised_in_range_and_undefined_of_nothing(kind: str) -> None:
    """One function serves images and dataset; where nothing was counted it gives NaN and no warning."""
    one = made(kind)
    fields = one.fields(K)
    counts = one.count(some_pixels(kind))
    for metric in one.metrics:
        values = metric.function(real_values(counts, fields))
        assert values.shape == ((3, K) if metric.per_class else (3,))
        there = values[~np.isnan(values)]
        assert ((there >= metric.minimum - 1e-12) & (there <= metric.maximum + 1e-12)).all()
        for image in range(3):
            alone = metric.function(real_values({name: held[image] for name, held in counts.items()}, fields))
            np.testing.assert_array_equal(alone, values[image])
        nothing = metric.function({field.name: np.zeros(field.shape) for field in fields})
        assert np.isnan(nothing).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["soft_overlop"], r"statistics.0: no statistic 'soft_overlop'.*did you mean soft_overlap\?"),
        ([{"kind": "soft_overlap", "bins": 3}], r"statistics.0 \(soft_overlap\).bins: no such key"),
        (["soft_overlap", "soft_overlap"], r"statistics.1: is the same as statistics.0: soft_overlap with"),
        (
            ["calibration", {"kind": "calibration", "bins": 5}],
            r"statistics.1: calibration is there already \(statistics.0\); give one of them a name",
        ),
        (
            [{"kind": "calibration", "name": "5 bins"}],
            r"statistics.0 \(calibration\).name: input should be small letters, digits and _.*'5 bins'",
        ),
        (
            ["components", {"kind": "components", "name": "small", "medium_px": 9}],
            "statistics.1.name: component_recall_small is a name of statistics.0 already",
        ),
        (
            ["boundary_iou", {"kind": "boundary_iou", "name": "truth", "width_px": 9}],
            "statistics.1.name: boundary_iou_truth is a name of statistics.0 already",
        ),
    ],
)
def test_a_statistic_that_cannot_be_made_is_told_by_its_key(settings: list[Any], message: str) -> None:
    """Unknown kinds and parameters are mistakes of the configuration."""
    with pytest.raises(ConfigError, match=message):
        chosen_statistics([StatisticConfig.model_validate(one) for one in settings])
