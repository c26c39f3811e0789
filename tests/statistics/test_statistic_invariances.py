"""What every registered statistic keeps to: perfect is best, ignored pixels do not matter, names neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.statistics.base import STATISTICS, Pixels, Statistic, real_values
from tests.statistics.maps import K, blocky_pairs

every_statistic = pytest.mark.parametrize("kind", sorted(STATISTICS))
few = settings(max_examples=15)


@st.composite
def images(draw: st.DrawFn) -> Pixels:
    """One image in which something is odd, with scores and a second prediction; 16ths add up exactly."""
    truth, pred = draw(blocky_pairs().filter(lambda maps: maps[0].ndim == 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.integers(0, 4, (K, *truth.shape)) / 16
    np.put_along_axis(scores, np.minimum(pred, K - 1)[np.newaxis], 0.5, axis=0)
    other = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, K + 2, truth.shape), pred)
    return Pixels(K, truth[None], pred[None], scores[None], "probabilities", other[None])


def asked(kind: str, pixels: Pixels) -> dict[str, Any]:
    """What the statistic counts of what it needs."""
    one: Statistic = STATISTICS[kind]()
    needs = one.needs
    given_ = replace(
        pixels,
        scores=pixels.scores if "scores" in needs else None,
        representation=pixels.representation if "scores" in needs else "",
        other=pixels.other if "other" in needs else None,
    )
    return one.count(given_)


@every_statistic
@few
@given(pixels=images())
def test_a_perfect_prediction_is_the_best(kind: str, pixels: Pixels) -> None:
    """Exactly, or NaN where there is nothing to score, whatever lies on ignored pixels."""
    one = STATISTICS[kind]()
    perfect = np.where(pixels.truth < K, pixels.truth, pixels.pred)
    scores = np.moveaxis(np.eye(K)[np.minimum(perfect, K - 1)], -1, 1)
    values = real_values(
        asked(kind, replace(pixels, pred=perfect, other=perfect, scores=scores)), one.fields(K)
    )
    for metric in one.metrics:
        figures = metric.function(values)
        assert ((figures == metric.best) | np.isnan(figures)).all(), metric.name


@every_statistic
@few
@given(pixels=images(), seed=st.integers(0, 2**32 - 1))
def test_ignored_pixels_do_not_matter(kind: str, pixels: Pixels, seed: int) -> None:
    """Whatever is predicted there: any class, none, any score."""
    rng = np.random.default_rng(seed)
    ignored = pixels.truth >= K
    other = replace(
        pixels,
        pred=np.where(ignored, rng.integers(0, K + 2, ignored.shape), pixels.pred),
        other=np.where(ignored, rng.integers(0, K + 2, ignored.shape), pixels.other),
        scores=np.where(ignored[:, np.newaxis], rng.random(pixels.scores.shape), pixels.scores),
    )
    before, after = asked(kind, pixels), asked(kind, other)
    for name, counts in before.items():
        np.testing.assert_array_equal(after[name], counts, err_msg=name)


@every_statistic
@few
@given(pixels=images(), names=st.permutations(range(K)))
def test_classes_may_be_renamed(kind: str, pixels: Pixels, names: list[int]) -> None:
    """Sums of a class go with it, others stay: no class is treated as background, or first."""
    table = np.array([*names, K, K + 1])
    sides = {name: table[getattr(pixels, name)] for name in ("truth", "pred", "other")}
    renamed = replace(pixels, **sides, scores=pixels.scores[:, np.argsort(names)])
    before, after = asked(kind, pixels), asked(kind, renamed)
    for field in STATISTICS[kind]().fields(K):
        expected = before[field.name]
        if "class" in field.dims:
            expected = np.take(expected, np.argsort(names), axis=1 + field.dims.index("class"))
        np.testing.assert_array_equal(after[field.name], expected, err_msg=field.name)
