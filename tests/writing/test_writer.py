"""The prediction writer: what it writes, what it refuses, and what it says is there."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import segpipe
from segpipe.planning.plan import make_plan
from segpipe.run.stages import preview
from tests.run.datasets import pair_config, write_stacked
from tests.writing.predictions import (
    CLASSES,
    IMAGES,
    SIZE,
    image_ids,
    label_maps,
    new_store,
    objects,
    stored,
    truth_like,
)


def written(folder: Path, images_per_chunk: int = 1) -> segpipe.PredictionWriter:
    """A store of which every image was written, not finished."""
    writer = new_store(folder, images_per_chunk)
    writer.write(image_ids(), label_maps())
    return writer


@pytest.mark.parametrize(
    ("chunk", "shard"),
    [
        ((1, *SIZE), None),
        ((4, *SIZE), None),
        ((3, 5, 16), None),
        ((1, *SIZE), (4, *SIZE)),
        ((2, 6, 8), (6, 12, 16)),
    ],
    ids=str,
)
def test_images_come_in_any_order_and_lie_as_in_the_truth(
    tmp_path: Path, chunk: tuple[int, ...], shard: tuple[int, ...] | None
) -> None:
    """One at a time, shuffled: the array is the one that NumPy would hold, on the truth's grid."""
    truth = truth_like(tmp_path, chunk, shard)
    maps = label_maps()
    with segpipe.create_store(tmp_path / "pred.zarr", like=truth, classes=CLASSES) as writer:
        for at in np.random.default_rng(1).permutation(IMAGES):
            writer.write(f"img_{at}", maps[at])
        writer.finish()
    array = zarr.open_array(tmp_path / "pred.zarr", path="labels", mode="r")
    np.testing.assert_array_equal(array[:], maps)
    assert (array.chunks, array.shards, array.dtype) == (chunk, shard, np.uint8)
    assert "'checksum': True" in str(array.metadata.to_dict()["codecs"])
    assert zarr.open_array(tmp_path / "pred.zarr", path="image", mode="r")[:].tolist() == image_ids()
    assert segpipe.PredictionWriter.open(tmp_path / "pred.zarr").missing() == []


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_an_image_of_background_is_written_and_one_that_was_not_is_missing(
    tmp_path: Path, images_per_chunk: int
) -> None:
    """Both would read the same from an array whose empty chunks are left out."""
    writer = new_store(tmp_path, images_per_chunk)
    for name in image_ids()[:-1]:
        writer.write(name, np.zeros(SIZE, np.uint8))
    assert writer.missing() == ["img_9"]
    with pytest.raises(segpipe.IncompleteError, match=r"1 of 10 images were not written \('img_9'\)"):
        writer.finish()
    writer.write("img_9", np.zeros(SIZE, np.uint8))
    writer.finish()
    assert len(objects(tmp_path / "pred.zarr")) == -(-IMAGES // images_per_chunk)


def test_a_store_is_declared_complete_only_by_finish(tmp_path: Path) -> None:
    """The attribute says so; half a store counts its images and names the first."""
    writer = new_store(tmp_path)
    attributes = tmp_path / "pred.zarr" / "zarr.json"
    writer.write(image_ids()[:3], label_maps()[:3])
    with pytest.raises(segpipe.IncompleteError, match=r"7 of 10 .*'img_3', 'img_4', .*'img_7', \.\.\.\)"):
        writer.finish()
    assert json.loads(attributes.read_text())["attributes"]["segpipe"]["complete"] is False
    writer.write(image_ids()[3:], label_maps()[3:])
    writer.finish()
    described = json.loads(attributes.read_text())["attributes"]["segpipe"]
    assert described["complete"] is True
    assert described["classes"] == [f"class_{index}" for index in range(CLASSES)]


def test_an_evaluation_tells_images_that_were_never_written(tmp_path: Path) -> None:
    """They follow the rule for missing images; they are not background."""
    writer = new_store(tmp_path, 4)
    writer.write(image_ids()[:8], label_maps()[:8])
    writer.write("img_8", label_maps()[8])
    words = r"2 problems:\nmissing image: found an image that was never written, in an unfinished store"
    with pytest.raises(segpipe.InputError, match=words) as refused:
        make_plan(pair_config(tmp_path))
    # The ninth image waits for the tenth, with which it shares a chunk.
    assert [problem.image for problem in refused.value.problems] == ["img_8", "img_9"]
    plan = make_plan(pair_config(tmp_path, on_missing_pred="skip"))
    assert plan.alignment.ids == image_ids()[:8]
    writer.write("img_9", label_maps()[9])
    assert make_plan(pair_config(tmp_path)).images == IMAGES


def test_an_evaluation_of_a_whole_store_whose_writer_has_not_finished_says_so(tmp_path: Path) -> None:
    """It may still be written again; after `finish` there is nothing to say."""
    truth_like(tmp_path)
    writer = new_store(tmp_path)
    writer.write(image_ids(), label_maps())
    _, summary = preview(pair_config(tmp_path))
    [said] = [warning for warning in summary.warnings if "has not finished" in warning]
    assert said.startswith("The writer of pred (")
    assert "Call finish() of the writer" in said
    writer.finish()
    _, summary = preview(pair_config(tmp_path))
    assert not [warning for warning in summary.warnings if "finish" in warning]


def test_truth_that_is_unfinished_is_an_error(tmp_path: Path) -> None:
    """Else the dataset would shrink without a word."""
    new_store(tmp_path, name="truth.zarr").write(image_ids()[:4], label_maps()[:4])
    write_stacked(tmp_path / "pred.zarr", label_maps().astype(np.uint8), ids=image_ids())
    with pytest.raises(segpipe.InputError, match="unfinished store: found 6 of 10 images that were never"):
        make_plan(pair_config(tmp_path))


def test_a_batch_with_mistakes_is_refused_whole_and_all_of_them_are_told(tmp_path: Path) -> None:
    """Ids, dtype, shape and labels, each with its image."""
    writer = new_store(tmp_path)
    good = np.zeros(SIZE, np.uint8)
    batch = [good, good, np.zeros((CLASSES, *SIZE), np.float32), np.zeros((1, *SIZE), int), good + 5, good]
    with pytest.raises(segpipe.InputError) as refused:
        writer.write(["img_0", "stranger", "img_1", "img_2", "img_3", "img_0"], batch)
    told = str(refused.value)
    for words in (
        "6 problems",
        "found an id given 2 times in one batch",
        "unknown image: found no such image",
        r"dtype: found float32 of shape (5, 12, 16), expected an integer dtype",
        "logits.argmax(1)",
        "the shape (1, 12, 16), expected (12, 16), the (y, x) of this image",
        "found the labels 5 (192 px, first at (0, 0)), expected the labels of the 5 classes (0 to 4)",
    ):
        assert words in told
    assert len(writer.missing()) == IMAGES


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_writing_again_changes_nothing_and_other_pixels_are_an_error(
    tmp_path: Path, images_per_chunk: int
) -> None:
    """A loop that was stopped may write its last batch again; a second model may not mix itself in."""
    writer = written(tmp_path, images_per_chunk)
    before = objects(tmp_path / "pred.zarr")
    writer.write(image_ids()[:6], label_maps()[:6])
    other = label_maps()[:3].copy()
    other[1, 0, 0] ^= 1
    with pytest.raises(segpipe.InputError, match=r"different content.*image img_1\)") as refused:
        writer.write(image_ids()[:3], other)
    assert len(refused.value.problems) == 1
    assert objects(tmp_path / "pred.zarr") == before


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_overwriting_is_said_and_takes_the_declaration_back(tmp_path: Path, images_per_chunk: int) -> None:
    """Until the store is finished again; the neighbours in a chunk stay what they were."""
    written(tmp_path, images_per_chunk).finish()
    attributes = tmp_path / "pred.zarr" / "zarr.json"
    maps = label_maps()
    maps[5] = (maps[5] + 1) % CLASSES
    with segpipe.PredictionWriter.open(tmp_path / "pred.zarr", overwrite=True) as writer:
        writer.write("img_4", maps[4])
        assert json.loads(attributes.read_text())["attributes"]["segpipe"]["complete"] is True
        writer.write("img_5", maps[5])
        assert json.loads(attributes.read_text())["attributes"]["segpipe"]["complete"] is False
        writer.finish()
    np.testing.assert_array_equal(stored(tmp_path / "pred.zarr"), maps)


class HostTensor:
    """What a tensor library hands over that NumPy does not know."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def numpy(self) -> Any:
        """The data."""
        return self._data

    def tolist(self) -> Any:
        """The data as a list."""
        return self._data.tolist()


class DeviceTensor:
    """A tensor that is not in the host's memory."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        message = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first"
        raise TypeError(message)


def test_tensors_of_the_host_are_taken_and_others_are_explained(tmp_path: Path) -> None:
    """No tensor library is imported for it; ids may be a tensor of numbers."""
    writer = segpipe.create_store(tmp_path / "pred.zarr", ids=range(10), shape=SIZE, classes=CLASSES)
    writer.write(HostTensor(np.arange(2)), HostTensor(label_maps()[:2]))
    assert writer.missing() == [str(index) for index in range(2, 10)]
    with pytest.raises(
        segpipe.InputError, match=r"cuda:0 device(.|\n)*logits\.argmax\(1\)\.cpu\(\)\.numpy\(\)"
    ):
        writer.write([2, 3], DeviceTensor())


def test_sizes_that_differ_make_one_array_for_each_image(tmp_path: Path) -> None:
    """In a group that the layout `grouped` reads, missing images included."""
    sizes = [(4, 5), (6, 3), (7, 7)]
    maps = [np.full(size, index, np.int64) for index, size in enumerate(sizes)]
    truth = segpipe.create_store(tmp_path / "truth.zarr", ids=list("cab"), shape=sizes, classes=CLASSES)
    truth.write(list("cab"), maps)
    truth.finish()
    # The truth knows its classes; its images are in the order of their names.
    writer = segpipe.create_store(tmp_path / "pred.zarr", like=f"{tmp_path}/truth.zarr::labels")
    assert writer.ids == ["a", "b", "c"]
    writer.write(["c", "a"], maps[:2])
    with pytest.raises(segpipe.InputError, match=r"never written, in an unfinished store.*image b\)"):
        make_plan(pair_config(tmp_path, layout="grouped"))
    writer.write("b", maps[2])
    writer.finish()
    assert make_plan(pair_config(tmp_path, layout="grouped")).images == 3
    assert zarr.open_array(tmp_path / "pred.zarr", path="labels/b", mode="r")[:].tolist() == maps[2].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ids": ["a"]}, "give `like` .*or else both `ids` and `shape`"),
        ({"ids": ["a"], "shape": (4, 4)}, "say which classes there are"),
        ({"ids": ["a"], "shape": (4,), "classes": 2}, r"shape: found \(4,\), expected \(y, x\)"),
        ({"ids": ["a", "a"], "shape": (4, 4), "classes": 2}, "found an id given 2 times"),
        ({"ids": [], "shape": (4, 4), "classes": 2}, "0 images"),
        ({"ids": ["a/b", "c"], "shape": [(4, 4), (5, 5)], "classes": 2}, "cannot name an array.*image a/b"),
        ({"ids": "abc", "shape": (4, 4), "classes": 2}, "ids: found 'abc', expected a sequence"),
        ({"ids": ["\udcff"], "shape": (4, 4), "classes": 2}, r"no Unicode text: '.udcff'"),
        ({"ids": ["a", "b"], "shape": [(4, 4), (5,)], "classes": 2}, "one .* for each of 2 ids"),
        ({"ids": ["a"], "shape": (4, 4), "classes": 2, "no_class": 1}, r"no_class: found \[1\], which are"),
        ({"ids": ["a"], "shape": (4, 4), "classes": "cityscape"}, "did you mean cityscapes"),
        ({"ids": ["a"], "shape": (4, 4), "classes": 0}, "1 to 65533 classes"),
    ],
    ids=str,
)
def test_a_store_that_cannot_be_made_says_why(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    """And leaves nothing behind."""
    with pytest.raises(segpipe.SegpipeError, match=words):
        segpipe.create_store(tmp_path / "pred.zarr", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_truth_without_ids_and_a_folder_that_exists_are_errors(tmp_path: Path) -> None:
    """Nothing is matched by position unseen, nothing is written over."""
    write_stacked(tmp_path / "bare.zarr", label_maps().astype(np.uint8))
    with pytest.raises(segpipe.InputError, match="truth: found no image ids"):
        segpipe.create_store(tmp_path / "pred.zarr", like=f"{tmp_path}/bare.zarr::labels", classes=CLASSES)
    with pytest.raises(segpipe.ConfigError, match=r"bare\.zarr exists; go on writing to it with"):
        segpipe.create_store(tmp_path / "bare.zarr", ids=["a"], shape=(4, 4), classes=2)
    with pytest.raises(segpipe.InputError, match="found no store that segpipe made"):
        segpipe.PredictionWriter.open(tmp_path / "bare.zarr")
    with pytest.raises(segpipe.ConfigError, match="a folder of this machine"):
        segpipe.create_store("s3://bucket/pred.zarr", ids=["a"], shape=(4, 4), classes=2)


def test_labels_that_name_no_class_are_declared(tmp_path: Path) -> None:
    """And the dtype has room for one more, which absent chunks would be read as."""
    options = {"ids": image_ids(), "shape": SIZE}
    writer = segpipe.create_store(tmp_path / "a.zarr", classes=CLASSES, no_class=[255], **options)
    writer.write("img_0", np.full(SIZE, 255))
    # A chunk that holds nothing but the fill value is there all the same.
    assert len(objects(tmp_path / "a.zarr")) == 1
    many = segpipe.create_store(tmp_path / "b.zarr", classes=256, **options)
    many.write("img_0", np.full(SIZE, 255))
    arrays = [zarr.open_array(tmp_path / name, path="labels", mode="r") for name in ("a.zarr", "b.zarr")]
    assert [str(array.dtype) for array in arrays] == ["uint8", "uint16"]
    assert [int(array.fill_value) for array in arrays] == [255, 65535]
    sparse = segpipe.create_store(
        tmp_path / "c.zarr", classes={"names": ["a", "b"], "ids": [7, 900]}, **options
    )
    with pytest.raises(segpipe.InputError, match=r"labels 0 \(192 px.*expected the labels of the 2 classes"):
        sparse.write("img_0", np.zeros(SIZE, int))
    sparse.write("img_0", np.full(SIZE, 900))


@pytest.mark.parametrize("images_per_chunk", [1, 4])
def test_a_chunk_that_was_lost_is_noticed_and_can_be_written_again(
    tmp_path: Path, images_per_chunk: int
) -> None:
    """Its images are missing again; their neighbours are not filled with what was never there."""
    writer = written(tmp_path, images_per_chunk)
    (tmp_path / "pred.zarr" / "labels" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(segpipe.IncompleteError, match=f"{images_per_chunk} of 10 images"):
        writer.finish()
    lost = image_ids()[images_per_chunk : 2 * images_per_chunk]
    assert writer.missing() == lost
    for name in lost:
        writer.write(name, label_maps()[image_ids().index(name)])
    writer.finish()
    np.testing.assert_array_equal(stored(tmp_path / "pred.zarr"), label_maps())


def test_the_same_pixels_again_bring_back_a_chunk_that_was_lost(tmp_path: Path) -> None:
    """A retry does nothing only where its pixels still are."""
    writer = written(tmp_path, 1)
    chunk = tmp_path / "pred.zarr" / "labels" / "c" / "1" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.unlink()
    writer.write(image_ids()[1], label_maps()[1])
    assert chunk.read_bytes() == whole
    writer.finish()


def test_a_chunk_that_others_changed_is_not_merged_with(tmp_path: Path) -> None:
    """Overwriting one image of a chunk reads the others back; they must be what was written."""
    written(tmp_path, 4)
    array = zarr.open_array(tmp_path / "pred.zarr", path="labels", mode="r+")
    array[1, 0, 0] = 4 - array[1, 0, 0] if array[1, 0, 0] != 2 else 0
    writer = segpipe.PredictionWriter.open(tmp_path / "pred.zarr", overwrite=True)
    writer.write("img_0", np.zeros(SIZE, int))
    assert writer.missing() == ["img_1"]


def test_an_image_that_waits_and_is_damaged_is_missing(tmp_path: Path) -> None:
    """What waits carries the hash of its pixels in its name."""
    writer = new_store(tmp_path, 4)
    writer.write(image_ids()[:3], label_maps()[:3])
    (waiting,) = (tmp_path / "pred.zarr" / "image" / ".segpipe" / "waiting" / "0").glob("2-*")
    (other,) = waiting.parent.glob("1-*")
    waiting.write_bytes(other.read_bytes())
    writer.write(image_ids()[3:], label_maps()[3:])
    with pytest.raises(segpipe.IncompleteError, match=r"1 of 10 .*'img_2'"):
        writer.finish()


def test_threads_share_a_writer_and_a_pickled_one_is_the_same(tmp_path: Path) -> None:
    """Four threads, chunks of four images: no image is lost."""
    writer = pickle.loads(pickle.dumps(new_store(tmp_path, 4)))
    maps = label_maps()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda at: writer.write(f"img_{at}", maps[at]), range(IMAGES)))
    writer.finish()
    np.testing.assert_array_equal(stored(tmp_path / "pred.zarr"), maps)


def test_a_finished_store_keeps_no_label_maps_beside_the_array(tmp_path: Path) -> None:
    """And can be copied: the copy is complete as well."""
    written(tmp_path, 4).finish()
    shutil.copytree(tmp_path / "pred.zarr", tmp_path / "copy.zarr")
    record = tmp_path / "copy.zarr" / "image" / ".segpipe"
    assert {path.name for path in record.iterdir()} <= {"written", "locks", "new"}
    assert list((record / "new").iterdir()) == []
    assert segpipe.PredictionWriter.open(tmp_path / "copy.zarr").missing() == []
    group = zarr.open_group(tmp_path / "copy.zarr", mode="r")
    assert sorted(name for name, _ in group.members()) == ["image", "labels"]


def test_a_store_cannot_lead_a_writer_out_of_its_folder(tmp_path: Path) -> None:
    """Ids of a store from elsewhere are no paths."""
    sizes = [(4, 5), (6, 3)]
    segpipe.create_store(tmp_path / "pred.zarr", ids=["aaaa", "b"], shape=sizes, classes=CLASSES)
    names = zarr.open_array(tmp_path / "pred.zarr", path="labels/image", mode="r+")
    names[0] = "../x"
    with pytest.raises(segpipe.InputError, match=r"cannot name an array.*image \.\./x"):
        segpipe.PredictionWriter.open(tmp_path / "pred.zarr")


@pytest.mark.parametrize("damaged", ["image/c/0", "image/zarr.json", "labels/zarr.json"])
def test_a_store_that_is_damaged_is_told_when_it_is_opened(tmp_path: Path, damaged: str) -> None:
    """Whatever the libraries raise for it."""
    segpipe.create_store(tmp_path / "pred.zarr", ids=["a", "b"], shape=(4, 5), classes=CLASSES)
    (tmp_path / "pred.zarr" / damaged).write_bytes(b"{")
    with pytest.raises(segpipe.InputError, match=r"cannot be read .*pred\.zarr"):
        segpipe.PredictionWriter.open(tmp_path / "pred.zarr")
