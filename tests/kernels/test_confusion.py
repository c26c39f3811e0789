"""The kernel counts every pixel of every array exactly as the oracle does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.classes import LabelRules
from segpipe.errors import ArrayError, ShapeError
from segpipe.kernels import _call, _runs, _scratch
from segpipe.kernels.confusion import count_confusion
from tests.kernels.label_arrays import NUM_CLASSES, PAIRS, drawn, label_rules, require_same, some_values

STRIP = _runs.STRIP
NOISE, SHORT, BLOB, LONG = 1, 4, 23, 5000


@pytest.mark.parametrize(("truth_dtype", "pred_dtype"), PAIRS)
def test_every_pair_of_dtypes_is_counted(truth_dtype, pred_dtype):
    truth_rules, pred_rules = LabelRules.of(19, no_class=[255, -1]), LabelRules.of(19, no_class=[-1])
    for run_px in (NOISE, BLOB):
        truth = drawn(some_values(truth_dtype, truth_rules), (2, 700), run_px, 1)
        pred = drawn(some_values(pred_dtype, pred_rules), (2, 700), run_px, 2)
        require_same(truth, pred, truth_rules, pred_rules)


@pytest.mark.parametrize("num_classes", [*NUM_CLASSES, 1445, 2000, 65_533])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_any_number_of_classes_is_counted(num_classes, dtype):
    rules = LabelRules.of(num_classes)
    values = np.array([0, 1, 2, 17, 200, 255, 999, 1446, 1999, 65_532, 65_533])
    values = values[values <= np.iinfo(dtype).max].astype(dtype)
    truth, pred = drawn(values, (3, 90, 70), SHORT, 3), drawn(values, (3, 90, 70), SHORT, 4)
    cells = count_confusion(truth, pred, rules, rules)
    pairs = {
        (rules.code(int(a)), rules.code(int(b))) for a, b in zip(truth[1].flat, pred[1].flat, strict=True)
    }
    part = cells.take([1])
    assert set(zip(part.truth_codes.tolist(), part.pred_codes.tolist(), strict=True)) == pairs
    assert cells.pixels().tolist() == [6300] * 3
    if num_classes <= 2000:
        require_same(truth, pred, rules, rules)


@settings(max_examples=150)
@given(data=st.data(), dtypes=st.sampled_from(PAIRS))
def test_any_rules_and_shapes_are_counted(data, dtypes):
    truth_dtype, pred_dtype = dtypes
    truth_rules = data.draw(label_rules())
    pred_rules = data.draw(label_rules(truth_rules.num_classes))
    shape = (data.draw(st.integers(0, 3)), *data.draw(st.lists(st.integers(0, 9), max_size=3)))
    run_px, seed = data.draw(st.sampled_from([NOISE, SHORT, BLOB])), data.draw(st.integers(0, 99))
    truth = drawn(some_values(truth_dtype, truth_rules), shape, run_px, seed)
    pred = drawn(some_values(pred_dtype, pred_rules), shape, run_px, seed + 1)
    require_same(truth, pred, truth_rules, pred_rules)


BOUNDARIES = sorted(
    {around + off for around in (64, 128, 256, STRIP, 2 * STRIP) for off in (-2, -1, 0, 1, 2)}
    | {1, 2, 63, 300, STRIP + 63, STRIP + 64, STRIP + 65, STRIP + 257, STRIP + 258}
)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8"])
@pytest.mark.parametrize("pixels", BOUNDARIES)
def test_runs_are_counted_right_around_words_and_strips(dtype, pixels):
    rules = LabelRules.of(3, no_class=[255])
    values = np.array([0, 1, 2, 3, 7], dtype)
    for run_px in (NOISE, 3, SHORT, BLOB, LONG):
        truth, pred = (drawn(values, (2, pixels), run_px, seed) for seed in (pixels, pixels + 1))
        require_same(truth, pred, rules, rules)


@pytest.mark.parametrize("dtype", ["u1", "i8"])
def test_a_single_pixel_is_found_wherever_it_stands(dtype):
    rules = LabelRules.of(3)
    for pixels in (STRIP + 130, 140):
        for place in {
            0,
            1,
            62,
            63,
            64,
            65,
            127,
            128,
            255,
            256,
            257,
            STRIP - 1,
            STRIP,
            pixels - 2,
            pixels - 1,
        }:
            truth, pred = np.zeros((2, 1, pixels), dtype)
            truth[0, place % pixels] = 1
            pred[0, (place + 1) % pixels] = 2
            require_same(truth, pred, rules, rules)


def test_strips_that_change_from_noise_to_smooth_and_back_are_counted():
    rules = LabelRules.of(5)
    values = np.arange(6, dtype=np.uint8)
    parts = [drawn(values, (1, 3000), run_px, run_px) for run_px in (NOISE, BLOB, NOISE, LONG, SHORT) * 2]
    truth = np.concatenate(parts, axis=1)
    require_same(truth, truth[:, ::-1].copy(), rules, rules)
    require_same(truth.astype(np.int32), truth[:, ::-1].copy(), rules, rules)


def test_words_with_any_number_of_runs_are_listed():
    """Six positions are written at once, then eight, then one by one."""
    rules = LabelRules.of(2)
    for ends in range(65):
        truth = np.zeros((1, 2 * STRIP), np.uint8)
        truth[0, 640 : 640 + 64] = np.cumsum(np.arange(64) < ends) % 2
        truth[0, 900:964] = np.cumsum(np.arange(64) < ends) % 2
        require_same(truth, np.zeros_like(truth), rules, rules)


VIEWS = {
    "crop": lambda a: a[:, 3:-4, 5:-6],
    "steps": lambda a: a[:, ::3, ::2],
    "steps backwards": lambda a: a[:, ::-2, ::-3],
    "transposed": lambda a: a.transpose(0, 2, 1),
    "images inside": lambda a: a.transpose(2, 0, 1),
    "upside down": lambda a: a[:, ::-1],
    "mirrored": lambda a: a[:, :, ::-1],
    "images backwards": lambda a: a[::-1],
    "repeated row": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "repeated column": lambda a: np.broadcast_to(a[:, :, :1], a.shape),
    "repeated image": lambda a: np.broadcast_to(a[:1], a.shape),
    "one value": lambda a: np.broadcast_to(a[:1, :1, :1], a.shape),
    "four axes": lambda a: a.reshape(3, 10, 4, 130)[:, ::2, 1:3, ::-1],
    "fortran": np.asfortranarray,
    "as it is": lambda a: a,
}


@pytest.mark.parametrize("dtype", ["u1", "u2", ">i4", "i8"])
@pytest.mark.parametrize("name", VIEWS)
def test_any_strides_are_counted(name, dtype):
    """Views are counted where they lie, on one side or on both."""
    rules = LabelRules.of(4, no_class=[255])
    values = np.array([0, 1, 2, 3, 4], dtype)
    truth, pred = (VIEWS[name](drawn(values, (3, 40, 130), BLOB, seed)) for seed in (7, 8))
    copies = truth.copy(), pred.copy()
    for sides in ((truth, pred), (copies[0], pred), (truth, copies[1])):
        require_same(*sides, rules, rules)


def test_the_fields_of_a_record_are_counted_although_they_are_not_aligned():
    records = np.zeros((2, 70), [("a", "u1"), ("truth", "<i4"), ("pred", "<i4")])
    records["truth"] = drawn(np.arange(4), (2, 70), SHORT, 1)
    records["pred"] = drawn(np.arange(4), (2, 70), SHORT, 2)
    require_same(records["truth"], records["pred"], LabelRules.of(3), LabelRules.of(3))


@pytest.mark.parametrize(
    "shape", [(0,), (3, 0), (0, 4, 4), (2, 0, 5), (1,), (4,), (1, 1, 1, 1, 1), (2, 3, 4, 5, 6)]
)
def test_odd_and_empty_shapes_are_counted(shape):
    rules = LabelRules.of(2)
    truth = drawn(np.arange(4), shape, SHORT, 1)
    require_same(truth, truth, rules, rules)


def test_sparse_labels_at_the_ends_of_64_bits_are_found():
    remap = {-(2**63): 0, 2**63 - 1: 1, 2**63: 2, 2**64 - 1: 3, 0: 4, -1: 5, 10**12: 6}
    rules = LabelRules.of(7, remap=remap, no_class=[5])
    for dtype in ("i8", "u8", ">u8"):
        values = some_values(dtype, rules)
        truth, pred = (drawn(values, (2, 3000), run_px, run_px) for run_px in (SHORT, NOISE))
        require_same(truth, pred, rules, rules)


@pytest.mark.parametrize("labels", [1, 2, 3, 4, 7, 8, 9, 100])
def test_any_number_of_sparse_labels_is_found(labels):
    rules = LabelRules.of(labels, remap={index * 1_000_003 - 5: index for index in range(labels)})
    values = some_values("i4", rules)
    require_same(drawn(values, (1, 5000), SHORT, 1), drawn(values, (1, 5000), SHORT, 2), rules, rules)


@pytest.mark.parametrize("order", ["noise first", "noise last", "all noise"])
def test_noise_in_a_large_image_is_counted_with_the_runs_before_and_after(order):
    """Labels with the same code (3 and 7) are one cell, and the next image begins at 0 again."""
    rules = LabelRules.of(19, remap={**{label: label for label in range(19)}, 3: 7, 255: 2})
    values = some_values("u1", rules)
    half = (2, _runs.LARGE_PX // 2 + 11)
    runs_px = {"noise first": (NOISE, BLOB), "noise last": (BLOB, NOISE), "all noise": (NOISE, NOISE)}[order]
    truth, pred = (
        np.concatenate([drawn(values, half, run_px, seed) for run_px in runs_px], axis=1) for seed in (1, 2)
    )
    require_same(truth, pred, rules, rules)


def test_more_cells_than_expected_make_the_output_grow():
    rules = LabelRules.of(200)
    for dtype in ("u1", "u2"):
        values = np.arange(202, dtype=dtype)
        truth, pred = (drawn(values, (4, 40_000), NOISE, seed) for seed in (1, 2))
        assert len(count_confusion(truth, pred, rules, rules).cells) > 4 * _call.FIRST_ROOM
        require_same(truth, pred, rules, rules)


def test_a_hash_table_grows_with_the_cells_of_an_image():
    rules = LabelRules.of(2000)
    truth, pred = (drawn(np.arange(2002), (2, 200_000), NOISE, seed) for seed in (1, 2))
    assert len(count_confusion(truth[:1], pred[:1], rules, rules).cells) > _call.FIRST_SLOTS
    require_same(truth, pred, rules, rules)


def test_an_image_of_more_than_2_to_the_32_pixels_is_counted():
    """One row repeated, so that neither the maps nor the test are large."""
    row = np.zeros((1, 1, 1 << 20), np.uint8)
    row[..., 5] = 1
    rows = (1 << 12) + 9
    truth = np.broadcast_to(row, (1, rows, 1 << 20))
    cells = count_confusion(truth, truth, LabelRules.of(2), LabelRules.of(2))
    assert cells.counts.tolist() == [rows * ((1 << 20) - 1), rows]


@pytest.mark.parametrize("dtype", ["u1", "i4"])
def test_memory_that_runs_out_leaves_nothing_behind(monkeypatch, dtype):
    rules = LabelRules.of(200)
    truth, pred = (drawn(np.arange(202, dtype=dtype), (2, 40_000), NOISE, seed) for seed in (1, 2))

    def no_memory(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(_call._GrowingCells, "grow", no_memory)
        with pytest.raises(MemoryError):
            count_confusion(truth, pred, rules, rules)
    scratch = _scratch.thread_scratch(_runs.STRIP, _runs.PAIRS)
    assert not scratch.table.any()
    assert not scratch.pairs[0].any()
    require_same(truth, pred, rules, rules)


def test_a_hash_table_that_cannot_grow_leaves_nothing_behind(monkeypatch):
    rules = LabelRules.of(2000)
    truth, pred = (drawn(np.arange(2002), (2, 200_000), NOISE, seed) for seed in (1, 2))
    provide = _scratch.ScratchMemory.provide

    def only_first(self, slots, hashed):
        if slots > _call.FIRST_SLOTS:
            raise MemoryError
        return provide(self, slots, hashed)

    # A hash table of this thread may already be larger than it begins with.
    monkeypatch.setattr(_scratch.ScratchMemory, "provide", only_first)
    with pytest.raises(MemoryError):
        count_confusion(truth, pred, rules, rules)
    monkeypatch.undo()
    assert not _scratch.thread_scratch(_runs.STRIP, _runs.PAIRS).table.any()
    require_same(truth, pred, rules, rules)


def test_threads_count_at_the_same_time_without_touching_each_other():
    rules = LabelRules.of(19, no_class=[255])
    maps = [
        drawn(np.arange(21, dtype=dtype), (6, 60_000), BLOB, seed)
        for seed, dtype in enumerate(["u1", "i4"] * 4)
    ]
    alone = [count_confusion(one, one[::-1], rules, rules).dense() for one in maps]
    together = threading.Barrier(4)

    def count(index):
        together.wait(30)
        return [count_confusion(maps[index], maps[index][::-1], rules, rules).dense() for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for index, results in enumerate(pool.map(count, range(4))):
            for matrices in results:
                np.testing.assert_array_equal(matrices, alone[index])


def test_the_caller_s_arrays_are_not_touched():
    rules = LabelRules.of(3)
    truth = drawn(np.arange(5, dtype=np.uint8), (2, 500), SHORT, 1)
    truth.flags.writeable = False
    before = truth.tobytes()
    count_confusion(truth, truth, rules, rules)
    assert truth.tobytes() == before


class TestRefused:
    """What cannot be counted is refused in words."""

    def setup_method(self):
        self.rules = LabelRules.of(2), LabelRules.of(2)

    def test_shapes_that_differ(self):
        with pytest.raises(
            ShapeError, match=r"truth has shape \(1, 2\) and pred has shape \(1, 3\); they must be"
        ):
            count_confusion(np.zeros((1, 2), int), np.zeros((1, 3), int), *self.rules)

    def test_one_hot_predictions(self):
        with pytest.raises(
            ShapeError, match="one-hot vectors become class ids by argmax over the class axis"
        ):
            count_confusion(np.zeros((1, 2), int), np.zeros((1, 2, 3), int), *self.rules)

    @pytest.mark.parametrize("dtype", [float, complex, "U1", object, "M8[s]"])
    def test_label_maps_that_are_not_integers(self, dtype):
        with pytest.raises(
            ArrayError, match=r"pred has dtype .*, expected integer class ids; logits and probab"
        ):
            count_confusion(np.zeros((1, 2), int), np.zeros((1, 2), dtype), *self.rules)

    def test_masked_arrays(self):
        masked = np.ma.masked_array(np.zeros((1, 2), int), mask=[[True, False]])
        with pytest.raises(ArrayError, match=r"truth is a masked array; .*truth.filled\(255\)"):
            count_confusion(masked, np.zeros((1, 2), int), *self.rules)

    def test_rules_of_different_classes(self):
        with pytest.raises(ArrayError, match="truth has 2 classes and pred has 3"):
            count_confusion(np.zeros((1, 2), int), np.zeros((1, 2), int), self.rules[0], LabelRules.of(3))

    def test_single_values(self):
        with pytest.raises(ShapeError, match="single values"):
            count_confusion(np.array(1), np.array(1), *self.rules)
