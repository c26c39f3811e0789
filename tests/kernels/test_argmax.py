"""The compiled argmax labels every pixel exactly as two lines of NumPy do, however the scores lie."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels import _argmax
from segpipe.kernels.argmax import argmax_labels

DTYPES = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")
CLASSES = (1, 2, 7, 8, 9, 16, 17, 19, 32, 33, 64, 65, 150)
SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0])


def plainly(scores, class_axis):
    labels = np.argmax(scores, class_axis).astype(np.int32)
    return np.where(np.isnan(scores).any(class_axis), -2, labels)


def drawn(dtype, shape, seed, special=0.03):
    """Scores with many ties, and with NaN of both signs, infinities and zeros of both signs among them."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(-3, 4, shape) * 0.25
    return np.where(draw.random(shape) < special, draw.choice(SPECIAL, shape), scores).astype(dtype)


def arrangements(scores):
    """The same scores in memory in other ways."""
    apart = np.zeros([2 * size for size in scores.shape], scores.dtype)
    apart[tuple(slice(None, None, 2) for _ in scores.shape)] = scores
    yield scores
    yield np.asfortranarray(scores)
    yield scores[tuple(slice(None, None, -1) for _ in scores.shape)]
    yield apart[tuple(slice(None, None, 2) for _ in scores.shape)]
    yield np.concatenate([scores, scores], axis=-1)[..., : scores.shape[-1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", CLASSES)
def test_any_number_of_classes_on_any_axis_in_any_order_of_memory(dtype, classes):
    for class_axis, pixels in ((0, (3, 45)), (1, (3, 45)), (2, (5, 7)), (-1, (1, 200)), (0, (1, 2500))):
        at = class_axis % 3
        scores = drawn(dtype, (*pixels[:at], classes, *pixels[at:]), classes)
        for arranged in arrangements(scores) if pixels[1] < 2500 else [scores]:
            np.testing.assert_array_equal(argmax_labels(arranged, class_axis), plainly(arranged, class_axis))


@settings(max_examples=150)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), special=st.sampled_from([0, 0.01, 0.5, 1.0]))
def test_any_shape_and_any_specials(data, dtype, special):
    shape = tuple(data.draw(st.lists(st.integers(0, 40), min_size=0, max_size=3)))
    at = data.draw(st.integers(0, len(shape)))
    classes = data.draw(st.integers(1, 70))
    scores = drawn(dtype, (*shape[:at], classes, *shape[at:]), data.draw(st.integers(0, 99)), special)
    expected = plainly(scores, at) if 0 not in shape else np.zeros(shape, np.int32)
    np.testing.assert_array_equal(argmax_labels(scores, at), expected)


@settings(max_examples=60)
@given(bits=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=40), first=st.booleans())
def test_every_float16_sorts_as_its_number(bits, first):
    scores = np.array(bits, np.uint16).view(np.float16)[:, np.newaxis]
    scores = np.repeat(scores, 40, axis=1) if first else scores.T
    np.testing.assert_array_equal(
        argmax_labels(scores, 0 if first else 1), plainly(scores, 0 if first else 1)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("class_axis", [0, 1])
def test_ties_go_to_the_lowest_class(dtype, class_axis):
    rows = {
        (0.0, -0.0, 0.0): 0,
        (-0.0, 0.0, -1.0): 0,
        (-1.0, -0.0, 0.0): 1,
        (np.inf, 5.0, np.inf): 0,
        (5.0, np.inf, np.inf): 1,
        (-np.inf, -np.inf, -np.inf): 0,
        (-np.inf, -1.0, -np.inf): 1,
        (np.inf, np.nan, 1.0): -2,
        (-np.nan, 1.0, 1.0): -2,
    }
    scores = np.array(list(rows), dtype)
    labels = argmax_labels(scores if class_axis else np.ascontiguousarray(scores.T), class_axis)
    assert labels.tolist() == list(rows.values())
    many = np.repeat(scores[:, :, np.newaxis], 40, axis=2)
    assert (argmax_labels(many, 1) == labels[:, np.newaxis]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("class_axis", [0, 1])
def test_a_largest_value_that_is_no_probability_is_told(dtype, class_axis):
    rows = {
        (0.25, 0.5): 1,
        (1.0, 0.0): 0,
        (1 + 2**-10, 0.0): 0,
        (1 + 2**-9, 0.0): -3,
        (-0.0, -5.0): 0,
        (-(2**-10), -5.0): 0,
        (-(2**-9), -5.0): -3,
        (np.inf, 0.5): -3,
        (np.nan, 7.0): -2,
    }
    scores = np.array(list(rows), dtype)
    labels = argmax_labels(scores.swapaxes(0, 1 - class_axis), class_axis, probabilities=True)
    assert labels.tolist() == list(rows.values())


def test_labels_go_where_they_are_told_to_and_nowhere_else():
    scores = drawn("f4", (5, 30, 60), 1)
    buffer = np.full((40, 80), 99, np.int32)
    labels = argmax_labels(scores, 0, out=buffer[5:35, 10:70])
    assert np.shares_memory(labels, buffer)
    np.testing.assert_array_equal(labels, plainly(scores, 0))
    buffer[5:35, 10:70] = 99
    assert (buffer == 99).all()


def test_scores_that_may_not_be_written_stay_as_they_are():
    scores = drawn("f4", (30, 60, 19), 2)
    before = scores.tobytes()
    scores.setflags(write=False)
    argmax_labels(scores, 2)
    assert scores.tobytes() == before


def test_nothing_is_read_behind_the_scores():
    """Behind the last pixel there is NaN, which must not be seen."""
    for classes in (3, 11, 19, 40):
        for dtype in ("f2", "f4", "f8"):
            held = np.full(classes * 50 + 64, np.nan, dtype)
            for shape, axis in (((50, classes), 1), ((classes, 50), 0)):
                scores = held[: classes * 50].reshape(shape)
                scores[:] = drawn(dtype, shape, 3, special=0)
                np.testing.assert_array_equal(argmax_labels(scores, axis), plainly(scores, axis))


def test_more_classes_than_a_strip_has_room_for():
    scores = np.zeros((65_533, 3), np.float64)
    scores[[65_532, 40_000, 0], [0, 1, 2]] = 1
    assert argmax_labels(scores, 0).tolist() == [65_532, 40_000, 0]
    assert argmax_labels(np.ascontiguousarray(scores.T), 1).tolist() == [65_532, 40_000, 0]


def test_other_threads_run_meanwhile():
    """The GIL is not held: a thread counts while another one labels."""
    scores = np.zeros((19, 1 << 20), np.float32)
    argmax_labels(scores, 0)
    done, ticks = threading.Event(), 0

    def label():
        for _ in range(5):
            argmax_labels(scores, 0)
        done.set()

    worker = threading.Thread(target=label)
    worker.start()
    while not done.is_set():
        ticks += 1
    worker.join()
    assert ticks > 1000


class TestRefused:
    @pytest.mark.parametrize("dtype", ["i4", "?", "c8", "U1"])
    def test_what_is_no_float(self, dtype):
        with pytest.raises(ArrayError, match="expected float16, float32 or float64"):
            argmax_labels(np.zeros((2, 3), dtype), 0)

    def test_no_class(self):
        with pytest.raises(ArrayError, match=r"scores of shape \(0, 3\) have no class along axis 0"):
            argmax_labels(np.zeros((0, 3)), 0)
        with pytest.raises(ArrayError, match="have no class along axis 2"):
            argmax_labels(np.zeros((4, 3)), 2)

    def test_labels_of_another_shape(self):
        with pytest.raises(ShapeError, match=r"expected \(3,\), int32"):
            argmax_labels(np.zeros((2, 3)), 0, out=np.zeros(2, np.int32))


def test_the_key_of_infinity_is_that_of_its_bits():
    for bits, key in _argmax.INFINITY.items():
        assert int(np.array(np.inf, f"f{bits // 8}").view(f"u{bits // 8}")) == key
