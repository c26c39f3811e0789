"""The grouped layout: one array for each image, its name the id, sizes as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from segpipe.errors import InputError
from segpipe.sources.layouts.grouped import find_images
from tests.sources.conformance import SAMPLE, LayoutTests, Sample
from tests.sources.stores import consolidate, label_maps, view, write, write_group


class TestGroups(LayoutTests):
    """A group of arrays whose attributes are the metadata; with and without consolidated metadata."""

    name = "grouped"

    @pytest.fixture(params=[(2, False), (2, True), (3, False), (3, True)])
    def write(self, request: pytest.FixtureRequest) -> Any:
        zarr_format, consolidated = request.param

        def write_sample(folder: Path, sample: Sample) -> str:
            zarr.create_group(str(folder), zarr_format=zarr_format)
            write_group(folder / "truth", {}, zarr_format=zarr_format)
            for name, labels, weather in zip(sample.ids, sample.maps, sample.weather, strict=True):
                array = write(folder / "truth", labels, name, chunks=(8, 16), zarr_format=zarr_format)
                array.update_attributes({"weather": weather})
            if consolidated:
                consolidate(folder)
            return "truth"

        return write_sample


MAPS = {"b": label_maps((5, 6)), "a": label_maps((3, 9)), "c": label_maps((4, 4))}


def test_images_are_sorted_by_name_and_keep_their_own_sizes(tmp_path: Path) -> None:
    """Every array is one image, whatever the others are."""
    write_group(tmp_path, MAPS)
    images = find_images(view(tmp_path), "")
    assert images.ids == ["a", "b", "c"]
    assert images.sizes.tolist() == [[3, 9], [5, 6], [4, 4]]
    assert images.index_in_array.tolist() == [-1, -1, -1]
    assert [images.arrays[array].path for array in images.array_of_image] == ["a", "b", "c"]


def test_an_attribute_that_some_images_lack_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """A column has a value for each image, of one kind; whole numbers and floats are one kind."""
    write_group(tmp_path, MAPS)
    for name, attributes in (
        ("a", {"lane": 1, "speed": 1, "mixed": 1, "night": True, "list": [1], "wide": 2**70}),
        ("b", {"speed": 2.5, "mixed": "x", "night": False, "list": [2], "wide": 2**70}),
        ("c", {"lane": 3, "speed": 3, "mixed": 2, "night": True, "list": [3], "wide": 2**70}),
    ):
        zarr.open_array(str(tmp_path), path=name).update_attributes(attributes)
    images = find_images(view(tmp_path), "")
    assert {name: values.tolist() for name, values in images.columns.items()} == {
        "speed": [1.0, 2.5, 3.0],
        "night": [True, False, True],
    }
    assert set(images.left_out) == {"lane", "mixed", "wide"}
    assert "found int, nothing" in images.left_out["lane"]
    assert "found int, str" in images.left_out["mixed"]
    assert "more than 64 bits" in images.left_out["wide"]


def test_columns_that_are_arrays_are_joined_by_id_and_never_by_position(tmp_path: Path) -> None:
    """The array `image` says to which image each value belongs."""
    write_group(tmp_path, MAPS)
    over = {"chunks": (3,), "dimension_names": ["image"]}
    write(tmp_path, np.array([10, 20, 30]), "lane", **over)
    images = find_images(view(tmp_path), "")
    assert images.columns == {}
    assert "no array `image` beside it" in images.left_out["lane"]
    ids = zarr.create_array(
        str(tmp_path), name="image", shape=(3,), dtype="string", dimension_names=["image"]
    )
    ids[:] = np.array(["c", "a", "b"])
    assert find_images(view(tmp_path), "").columns["lane"].tolist() == [20, 30, 10]
    ids[:] = np.array(["c", "a", "d"])
    images = find_images(view(tmp_path), "")
    assert images.columns == {}
    assert "are not the names of the arrays" in images.left_out["image"]
    assert "`image` cannot be used" in images.left_out["lane"]


def test_other_arrays_in_the_group_are_problems_all_named_at_once(tmp_path: Path) -> None:
    """Wrong dimensions, wrong dtypes and empty images of a whole group come in one message."""
    write_group(tmp_path, MAPS | {"stack": label_maps((2, 4, 4)), "logits": label_maps((4, 4), "float32")})
    write(tmp_path, label_maps((4,)), "vector", chunks=(4,))
    zarr.create_array(str(tmp_path), name="empty", shape=(0, 4), dtype="uint8", chunks=(1, 4))
    with pytest.raises(InputError, match="3 dimensions") as caught:
        find_images(view(tmp_path), "")
    assert [(problem.kind, problem.array) for problem in caught.value.problems] == [
        ("shape", "empty"),
        ("dtype", "logits"),
        ("shape", "stack"),
        ("shape", "vector"),
    ]


def test_an_empty_group_is_an_empty_dataset(tmp_path: Path) -> None:
    """The groups below are named: the images may be there."""
    write_group(tmp_path, {})
    with pytest.raises(InputError, match="empty dataset: found 0 images, expected at least one"):
        find_images(view(tmp_path), "")
    write_group(tmp_path / "city", MAPS)
    with pytest.raises(InputError, match=r"(?s)0 images.*name one of the groups in it: city"):
        find_images(view(tmp_path), "")


def test_an_array_is_no_group(tmp_path: Path) -> None:
    """The message says which layout reads it."""
    write(tmp_path, SAMPLE.maps)
    with pytest.raises(InputError, match=r"(?s)an array of shape \(3, 20, 30\), expected a group.*stacked"):
        find_images(view(tmp_path), "")


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A file name need not be Unicode; an id must be."""
    write_group(tmp_path, MAPS)
    (tmp_path / "a").rename(f"{tmp_path}/\udcff")
    with pytest.raises(InputError, match="ids that are no valid text"):
        find_images(view(tmp_path), "")


@pytest.mark.parametrize("group", [True, False])
def test_absent_chunks_are_declared_by_the_group_or_by_every_array(tmp_path: Path, group: bool) -> None:
    """One array that declares nothing leaves the set undeclared."""
    declared = {"segpipe": {"missing_chunks": "are_fill_value"}}
    write_group(tmp_path, MAPS, declared if group else None)
    if not group:
        for name in "ab":
            zarr.open_array(str(tmp_path), path=name).update_attributes(declared)
        assert not find_images(view(tmp_path), "").declares_missing_fill
        zarr.open_array(str(tmp_path), path="c").update_attributes(declared)
    assert find_images(view(tmp_path), "").declares_missing_fill
