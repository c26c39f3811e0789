"""Calibration and the threshold sweep, against their definitions and scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from segpipe.config import StatisticConfig
from segpipe.errors import ConfigError
from segpipe.kernels import probabilities
from segpipe.kernels.probabilities import probability_strips
from segpipe.statistics.base import STATISTICS, Counts, Pixels, chosen_statistics, real_values
from tests.statistics import oracles

REPRESENTATIONS = {"logits": (4, 4), "probabilities": (3, 3), "binary": (2, 1)}
"""Representation -> classes and channels."""

Scored = tuple[str, Pixels]


@st.composite
def scored_pixels(draw: st.DrawFn) -> Pixels:
    """One image with scores, and codes of which some are ignored, void and invalid."""
    representation = draw(st.sampled_from(sorted(REPRESENTATIONS)))
    classes, channels = REPRESENTATIONS[representation]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(1, 1), (3, 5), (2, 2, 3)]))
    scores = rng.normal(0, draw(st.sampled_from([0.1, 3.0, 300.0])), (channels, *shape))
    if representation != "logits":
        # Quarters: many lie on the edge of a bin, and 0 and 1 occur.
        scores = np.round(4 * rng.random(scores.shape)) / 4
    stored = scores.astype(draw(st.sampled_from([np.float16, np.float32, np.float64])))
    values = np.moveaxis(stored.astype(float), 0, -1)
    pred = (values[..., 0] >= 0.5).astype(int) if channels == 1 else values.argmax(-1)
    odd = rng.random(shape) < 0.1
    pred = np.where(odd, rng.integers(classes, classes + 2, shape), pred)
    truth = rng.integers(0, classes + 2, shape)
    return Pixels(classes, truth[None], pred[None], stored[None], representation)


def by_hand(pixels: Pixels, bins: int) -> dict[str, Any]:
    """The sums of calibration, pixel by pixel."""
    edges = [at / bins for at in range(bins)]
    table = np.zeros((3, bins))
    squares, minus_log = [], []
    for at in np.ndindex(pixels.truth.shape[1:]):
        label, guess = int(pixels.truth[0][at]), int(pixels.pred[0][at])
        if max(label, guess) < pixels.num_classes:
            p = oracles.probabilities(pixels.scores[0][(slice(None), *at)], pixels.representation)
            place = max(index for index, edge in enumerate(edges) if edge <= max(p))
            table[:, place] += 1, label == guess, max(p)
            all_squares = math.fsum((each - (index == label)) ** 2 for index, each in enumerate(p))
            squares.append(all_squares / (2 if len(p) == 2 else 1))
            minus_log.append(-math.log(max(p[label], 2**-52)))
    sums = {"squares": math.fsum(squares), "minus_log": math.fsum(minus_log)}
    return dict(zip(("pixels", "right", "confidence"), table, strict=True)) | sums


@given(pixels=scored_pixels(), bins=st.sampled_from([1, 4, 10, 15]))
def test_calibration_is_its_definition(pixels: Pixels, bins: int) -> None:
    """Every pixel is in the bin of its confidence, whose edges are i / bins; the last one is closed."""
    one = STATISTICS["calibration"](bins=bins)
    values = real_values(one.count(pixels), one.fields(pixels.num_classes))
    for name, expected in by_hand(pixels, bins).items():
        np.testing.assert_allclose(values[name][0], expected, atol=1e-8, err_msg=name)


@given(pixels=scored_pixels(), bins=st.sampled_from([2, 8, 64]))
def test_the_sweep_is_its_definition(pixels: Pixels, bins: int) -> None:
    """Every pixel is counted once for each class, in the bin of its probability."""
    expected = np.zeros((2, pixels.num_classes, bins), int)
    for at in np.ndindex(pixels.truth.shape[1:]):
        label, guess = int(pixels.truth[0][at]), int(pixels.pred[0][at])
        if max(label, guess) < pixels.num_classes:
            p = oracles.probabilities(pixels.scores[0][(slice(None), *at)], pixels.representation)
            for class_id, each in enumerate(p):
                expected[int(class_id == label), class_id, min(math.floor(each * bins), bins - 1)] += 1
    counts = STATISTICS["threshold_sweep"](bins=bins).count(pixels)
    assert counts["negative"][0].tolist() == expected[0].tolist()
    assert counts["positive"][0].tolist() == expected[1].tolist()


@given(st.integers(0, 2**32 - 1))
def test_the_sweep_scores_as_scikit_learn_does(seed: int) -> None:
    """AP, AUROC and F1 of scores that are rounded down to thresholds, class by class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (1, 5, 5))
    truth[0, 0, :2] = 0, 1
    scores = np.floor(rng.random((1, 1, 5, 5)) * 8) / 8
    pred = (scores[:, 0] >= 0.5).astype(int)
    one = STATISTICS["threshold_sweep"](bins=8)
    values = real_values(one.count(Pixels(2, truth, pred, scores, "binary")), one.fields(2))
    found = {metric.name: metric.function(values)[0, 1] for metric in one.metrics}
    flat, p = truth.ravel(), scores.ravel()
    assert found["average_precision"] == pytest.approx(average_precision_score(flat, p), abs=1e-14)
    assert found["auroc"] == pytest.approx(roc_auc_score(flat, p), abs=1e-14)
    best = max(f1_score(flat, p >= threshold / 8) for threshold in range(8))
    assert found["best_f1"] == pytest.approx(best, abs=1e-14)


@pytest.mark.parametrize("classes", [2, 5])
def test_brier_and_log_loss_are_those_of_scikit_learn(classes: int) -> None:
    """Of two classes and of more."""
    rng = np.random.default_rng(classes)
    p = rng.dirichlet(np.ones(classes), size=(1, 6, 7)).transpose(0, 3, 1, 2)
    truth = rng.integers(0, classes, (1, 6, 7))
    truth[0, 0, :classes] = range(classes)
    one = STATISTICS["calibration"]()
    counts = one.count(Pixels(classes, truth, p.argmax(1), p, "probabilities"))
    found = {
        metric.name: metric.function(real_values(counts, one.fields(classes)))[0] for metric in one.metrics
    }
    flat = p[0].reshape(classes, -1).T
    columns = flat[:, 1] if classes == 2 else flat
    assert found["brier"] == pytest.approx(brier_score_loss(truth.ravel(), columns), abs=1e-8)
    assert found["nll"] == pytest.approx(log_loss(truth.ravel(), flat), abs=1e-8)


def test_reliability_by_hand() -> None:
    """Two bins: of (0.25, 0.25) none is right, of (0.75, 1.0) one."""
    p = np.array([0.75, 0.75, 0.25, 0.0])
    scores = np.stack([p, 1 - p])[np.newaxis, :, np.newaxis]
    truth, pred = np.array([[[1, 1, 1, 0]]]), np.array([[[0, 0, 1, 1]]])
    one = STATISTICS["calibration"](bins=8)
    counts = one.count(Pixels(2, truth, pred, scores, "probabilities"))
    assert counts["pixels"][0].tolist() == [0, 0, 0, 0, 0, 0, 3, 1]
    assert counts["right"][0].tolist() == [0, 0, 0, 0, 0, 0, 1, 0]
    assert (counts["confidence"][0] / 2**30).tolist() == [0, 0, 0, 0, 0, 0, 2.25, 1]
    values = real_values(counts, one.fields(2))
    found = {metric.name: float(metric.function(values)[0]) for metric in one.metrics}
    assert found["ece"] == (1.25 + 1) / 4
    assert found["mce"] == 1.0
    assert found["brier"] == (0.75**2 * 2 + 0.25**2 + 1) / 4
    assert found["nll"] == pytest.approx((2 * math.log(4) - math.log(0.75) + 52 * math.log(2)) / 4, abs=1e-9)


def test_strips_of_any_size_and_order_in_memory_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pixel once, also where channels come last, and to the last bit."""
    logits = np.random.default_rng(0).normal(0, 5, (5, 6, 150)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(logits, 0, -1))
    whole = _all(logits)
    np.testing.assert_allclose(whole.sum(axis=0), 1.0, atol=1e-12)
    powers = np.exp(logits.astype(float)).reshape(5, -1)
    np.testing.assert_allclose(whole, powers / powers.sum(axis=0), atol=1e-12)
    monkeypatch.setattr(probabilities, "STRIP_BYTES", 64)
    for other in (logits, np.moveaxis(last, -1, 0), logits[:, :, ::-1]):
        values = _all(other).reshape(logits.shape)
        np.testing.assert_array_equal(
            values if other.strides[-1] > 0 else values[..., ::-1].copy(), whole.reshape(logits.shape)
        )


def _all(logits: NDArray[Any]) -> NDArray[np.float64]:
    values = np.full((5, 900), np.nan)
    for pixels, part in probability_strips(logits, "logits", 5):
        values[:, pixels] = part
    return values


def test_infinite_logits_share_what_there_is() -> None:
    """And minus infinity has none."""
    logits = np.array([[np.inf, -np.inf, 0], [np.inf, 0, -1000], [1, 0, -np.inf]])
    [(_, values)] = probability_strips(logits, "logits", 3)
    assert values.T.tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0]]


def test_softmax_and_log_are_made_of_single_steps() -> None:
    """A fused multiply-add rounds once where two steps round twice: sums would depend on the CPU."""
    from segpipe.kernels import _confidence, _softmax

    test_reliability_by_hand()
    _all(np.zeros((5, 6, 150)))
    for function in (_softmax.softmax, _confidence.add_confidence):
        # What came from the cache cannot be looked at: the same types are compiled anew, by the same options.
        anew = numba.jit(**function.targetoptions)(function.py_func)
        for types in function.signatures:
            anew.compile(types)
        assert anew.signatures
        for code in anew.inspect_asm().values():
            assert "mulsd" in code or "mulpd" in code or "fmul" in code
            assert not any(word in code for word in ("vfmadd", "vfnmadd", "vfmsub", "fmadd", "fmla"))


@settings(max_examples=20)
@given(pixels=scored_pixels(), kind=st.sampled_from(["calibration", "threshold_sweep"]))
def test_pixels_that_are_left_out_do_not_matter(pixels: Pixels, kind: str) -> None:
    """Scores of ignored truth and of void and invalid predictions may be anything, NaN as well."""
    left_out = (pixels.truth >= pixels.num_classes) | (pixels.pred >= pixels.num_classes)
    spoilt = np.where(left_out[:, np.newaxis], np.nan, pixels.scores)
    same(STATISTICS[kind]().count(pixels), STATISTICS[kind]().count(_with_scores(pixels, spoilt)))


def _with_scores(pixels: Pixels, scores: NDArray[Any]) -> Pixels:
    return Pixels(pixels.num_classes, pixels.truth, pixels.pred, scores, pixels.representation)


def same(one: Counts, other: Counts) -> None:
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "threshold_sweep", "bins": 100}, "bins is 100, expected a power of 2: 64, 128, 256"),
        ({"kind": "calibration", "bins": 0}, r"statistics.0 \(calibration\).bins"),
    ],
)
def test_wrong_parameters_are_told(options: dict[str, Any], message: str) -> None:
    """By their key, with what is expected."""
    with pytest.raises(ConfigError, match=message):
        chosen_statistics([StatisticConfig.model_validate(options)])


@pytest.mark.parametrize("kind", ["calibration", "threshold_sweep"])
def test_whole_numbers_are_no_probabilities(kind: str) -> None:
    """Told before anything is counted."""
    assert "int8 are no probabilities" in STATISTICS[kind]().unfit("binary", np.dtype(np.int8))
    assert STATISTICS[kind]().unfit("binary", np.dtype(np.float16)) == ""


@pytest.mark.parametrize("bins", [49, 98, 103, 107])
def test_an_edge_belongs_to_the_bin_above_it(bins: int) -> None:
    """Also where i / bins x bins is a little less than i, in floating point."""
    edges = np.arange(bins) / bins
    assert (edges * bins < np.arange(bins)).any()
    codes = np.zeros((1, 1, bins), int)
    scores = edges[np.newaxis, np.newaxis, np.newaxis]
    counts = STATISTICS["calibration"](bins=bins).count(Pixels(1, codes, codes, scores, "probabilities"))
    assert counts["pixels"].tolist() == [[1] * bins]
