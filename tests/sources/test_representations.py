"""A reader of channels gives the label maps of the whole array, whatever box is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.sources import representations
from segpipe.sources.boxes import shape_of
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.reader import DamagedChunkError
from segpipe.sources.representations import (
    REPRESENTATIONS,
    RepresentedReader,
    expected_channels,
    fill_label,
    labels_of,
    open_labels,
    part_bytes,
    part_pixels,
    parts_of,
)
from tests.sources.stores import array_meta, expectation, view, write

SHAPE = (5, 7, 20, 30)
"""(image, class, y, x)"""


def scores(dtype: str = "f4") -> NDArray[Any]:
    """Scores with ties and with NaN in some pixels."""
    rng = np.random.default_rng(4)
    values = rng.integers(-3, 4, SHAPE).astype(dtype)
    values[rng.random(SHAPE) < 0.002] = np.nan
    return values


def expected_labels(values: NDArray[Any], axis: int) -> NDArray[np.int32]:
    labels = np.where(np.isnan(values).any(axis), -2, np.argmax(values, axis))
    return labels.astype(np.int32)


def opened(path: Path, axis: int | None, kind: str, threshold: float | None = None) -> tuple[Any, ArrayMeta]:
    seen = view(path)
    meta = replace(array_meta(seen), class_axis=axis, representation=kind, threshold=threshold)
    return open_labels(meta, seen.storage, expectation(seen, meta)), meta


def whole(meta: ArrayMeta) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in meta.label_shape)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same scores with classes first, last, sharded, and swapped."""
    folder, values = tmp_path_factory.mktemp("scores"), scores()
    write(folder / "first", values, chunks=(2, 3, 8, 16))
    write(folder / "last", np.moveaxis(values, 1, -1), chunks=(1, 20, 11, 7))
    write(folder / "shards", values, chunks=(1, 7, 5, 15), shards=(2, 7, 10, 30))
    write(folder / "swapped", values.astype(">f4"), chunks=(5, 7, 20, 30))
    return {path.name: path for path in folder.iterdir()}


AXES = {"first": 1, "last": -1, "shards": 1, "swapped": 1}


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("part", [1, 3000, 1 << 24])
def test_any_box_is_that_part_of_the_argmax(
    stores: dict[str, Path], name: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of one chunk, of a few, and all at once."""
    monkeypatch.setattr(representations, "PART_BYTES", part)
    reader, _ = opened(stores[name], AXES[name] % 4, "logits")
    labels = expected_labels(scores(), 1)
    for box in (
        (slice(0, 5), slice(0, 20), slice(0, 30)),
        (slice(1, 4), slice(3, 17), slice(5, 6)),
        (slice(4, 5), slice(19, 20), slice(0, 30)),
        (slice(2, 2), slice(0, 20), slice(0, 30)),
    ):
        read = reader.read(box)
        assert read.dtype == np.int32
        np.testing.assert_array_equal(read, labels[box])


@settings(max_examples=200)
@given(data=st.data())
def test_parts_cover_a_box_once_and_cut_no_chunk_in_vain(data: st.DataObject) -> None:
    """Every pixel is in one part, and a part is small, or lies within one chunk."""
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    units = tuple(data.draw(st.integers(1, 6)) for _ in sizes)
    starts = [data.draw(st.integers(0, size)) for size in sizes]
    box = tuple(
        slice(start, data.draw(st.integers(start, size))) for start, size in zip(starts, sizes, strict=True)
    )
    most = data.draw(st.integers(1, 300))
    seen = np.zeros(sizes, np.int64)
    for part in parts_of(box, units, most):
        seen[part] += 1
        inside = all(
            p.start // u == (p.stop - 1) // u for p, u in zip(part, units, strict=True) if p.stop > p.start
        )
        assert np.prod(shape_of(part)) <= most or inside
        for p, b, unit in zip(part, box, units, strict=True):
            assert p.start in (b.start, b.stop) or p.start % unit == 0
    expected = np.zeros(sizes, np.int64)
    expected[box] = 1
    np.testing.assert_array_equal(seen, expected)


def test_no_more_is_read_at_a_time_than_was_projected(stores: dict[str, Path], monkeypatch: Any) -> None:
    """The boxes that are asked of the array itself."""
    monkeypatch.setattr(representations, "PART_BYTES", 20_000)
    reader, meta = opened(stores["first"], 1, "logits")
    asked: list[int] = []
    read = reader._reader.read

    def watched(box: Any) -> Any:
        asked.append(int(np.prod(shape_of(box))) * meta.dtype.itemsize)
        return read(box)

    monkeypatch.setattr(reader._reader, "read", watched)
    reader.read(whole(meta))
    assert len(asked) > 4
    assert max(asked) <= part_bytes(meta)
    assert part_bytes(meta) < 2 * 20_000 or part_pixels(meta) < 2 * 8 * 16


def test_parts_that_were_never_stored_are_told_without_the_class_axis(tmp_path: Path) -> None:
    """One absent class is enough; what all classes lack is told once."""
    write(tmp_path, np.ones((4, 6, 8), "f4"), chunks=(2, 3, 8))
    for key in ("0/0/0", "1/0/0", "1/1/0"):
        (tmp_path / "c" / key).unlink()
    reader, meta = opened(tmp_path, 0, "logits")
    boxes = reader.absent(whole(meta))
    assert sorted((box[0].start, box[0].stop) for box in boxes) == [(0, 3), (3, 6)]
    assert reader.absent((slice(2, 4), slice(1, 3)))[0] == (slice(0, 1), slice(0, 2))


def test_every_damaged_chunk_is_named_with_its_pixels(tmp_path: Path, monkeypatch: Any) -> None:
    """Those of all parts at once, from the corner of the box."""
    monkeypatch.setattr(representations, "PART_BYTES", 1)
    write(tmp_path, np.ones((4, 6, 8), "f4"), chunks=(2, 3, 4))
    for key in ("0/0/1", "1/1/0"):
        (tmp_path / "c" / key).write_bytes(b"no zstd")
    reader, _ = opened(tmp_path, 0, "logits")
    with pytest.raises(DamagedChunkError) as found:
        reader.read((slice(1, 6), slice(0, 8)))
    assert {problem.chunk for problem in found.value.problems} == {"c/0/0/1", "c/1/1/0"}
    spans = [[(part.start, part.stop) for part in region] for region in found.value.regions]
    assert sorted(spans) == [[(0, 2), (4, 8)], [(2, 5), (0, 4)]]


def test_labels_as_they_are_need_no_other_reader(tmp_path: Path) -> None:
    """And keep their dtype where an axis of size 1 is dropped."""
    labels = np.arange(24, dtype="u2").reshape(2, 3, 4, 1)
    write(tmp_path, labels, chunks=(1, 3, 4, 1))
    reader, _ = opened(tmp_path, None, "labels")
    assert not isinstance(reader, RepresentedReader)
    reader, meta = opened(tmp_path, 3, "labels")
    assert reader.read(whole(meta)).dtype == np.uint16
    np.testing.assert_array_equal(reader.read(whole(meta)), labels[..., 0])


class TestOneHot:
    """One channel is hot, or none; two are no label. The oracle counts."""

    @given(data=st.data(), dtype=st.sampled_from(["u1", "i2", "?", "i8"]))
    def test_any_channels(self, data: st.DataObject, dtype: str) -> None:
        rng = np.random.default_rng(data.draw(st.integers(0, 999)))
        channels = data.draw(st.integers(1, 6))
        values = (rng.random((channels, 9, 8)) < 1 / channels).astype(dtype)
        values = values * values.dtype.type(data.draw(st.sampled_from([1, 100])))
        axis = data.draw(st.integers(0, 2))
        labels = REPRESENTATIONS["one_hot"].labels(np.moveaxis(values, 0, axis), axis, None)
        for y, x in np.ndindex(9, 8):
            hot = np.flatnonzero(values[:, y, x])
            assert labels[y, x] == (-1 if len(hot) == 0 else -2 if len(hot) > 1 else hot[0])


class TestBinary:
    """p >= t is positive, in the dtype of the scores."""

    @pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    def test_a_score_that_was_the_threshold_reaches_it(self, threshold: float, dtype: str) -> None:
        value = np.array(threshold, dtype)
        below = np.nextafter(value, np.array(-1, dtype))
        values = np.array([value, below, np.nan, np.inf, -np.inf], dtype)
        assert REPRESENTATIONS["binary"].labels(values, None, threshold).tolist() == [1, 0, -2, 1, 0]

    def test_integers_are_compared_with_any_number(self) -> None:
        values = np.array([[127], [128]], "u1")
        assert REPRESENTATIONS["binary"].labels(values, 1, 127.5).tolist() == [0, 1]


def test_a_pixel_that_was_never_stored_has_the_label_of_the_fill_value(tmp_path: Path) -> None:
    """What the plan says of absent chunks."""
    write(tmp_path, np.ones((3, 6, 8), "f4"), chunks=(3, 6, 8), fill_value=np.nan)
    _, meta = opened(tmp_path, 0, "logits")
    assert fill_label(meta) == -2
    zeros = replace(meta, fill_value=0.0)
    assert fill_label(zeros) == 0
    assert fill_label(replace(zeros, dtype=np.dtype("u1"), representation="one_hot")) == -1
    binary = replace(zeros, shape=(6, 8), class_axis=None, representation="binary", threshold=-1.0)
    assert fill_label(binary) == 1
    assert labels_of(np.zeros((2, 2), "f4"), binary).tolist() == [[1, 1], [1, 1]]


def test_the_channels_are_those_of_the_rules(tmp_path: Path) -> None:
    """One for each class, or those that are remapped; others are no class."""
    write(tmp_path, np.ones((3, 6, 8), "f4"), chunks=(3, 6, 8))
    _, meta = opened(tmp_path, 0, "logits")
    assert expected_channels(meta, LabelRules.of(3, no_class=[-1])) == ""
    assert expected_channels(meta, LabelRules.of(2, no_class=[2])) == ""
    assert expected_channels(meta, LabelRules.of(2)) == "2, one for each class"
    assert expected_channels(meta, LabelRules.of(4)) == "4, one for each class"
    assert expected_channels(meta, LabelRules.of(2, remap={0: 1, 1: 0, 2: 0})) == ""
    assert expected_channels(meta, LabelRules.of(2, remap={1: 0, 2: 1})) == "those of the remap, 1, 2"
    huge = replace(meta, shape=(1 << 60, 6, 8))
    assert expected_channels(huge, LabelRules.of(3)) == "3, one for each class"
