"""The stacked layout: one array (image, y, x), ids and columns beside it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from segpipe.errors import InputError
from segpipe.sources.layouts import ImageSet
from segpipe.sources.layouts.stacked import find_images
from tests.sources.conformance import SAMPLE, LayoutTests, Sample
from tests.sources.stores import label_maps, rewrite_quietly, view, write, write_group


def dataset(sample: Sample = SAMPLE, **columns: Any) -> xr.Dataset:
    """A sample as users have it in xarray."""
    texts = {name: ("image", np.array(list(values), dtype=object)) for name, values in columns.items()}
    return xr.Dataset(
        {"labels": (("image", "y", "x"), sample.maps)},
        coords={"image": np.array(sample.ids, dtype=object), **texts},
    )


def save(ds: xr.Dataset, folder: Path, zarr_format: Any = 3) -> ImageSet:
    """Write with xarray, without its warning about consolidated metadata, and find the images."""
    encoding = {"labels": {"chunks": (2, 8, 16)}}
    ds.to_zarr(folder, mode="w", zarr_format=zarr_format, consolidated=zarr_format == 2, encoding=encoding)
    return find_images(view(folder), "labels")


class TestXarrayStores(LayoutTests):
    """Stores that xarray writes, of both formats."""

    name = "stacked"

    @pytest.fixture(params=[2, 3])
    def write(self, request: pytest.FixtureRequest) -> Any:
        def write_sample(folder: Path, sample: Sample) -> str:
            ds = dataset(sample, weather=sample.weather)
            ds.to_zarr(folder, zarr_format=request.param, consolidated=request.param == 2)
            return "labels"

        return write_sample


class TestZarrStores(LayoutTests):
    """Stores that zarr-python writes, the ids in an attribute."""

    name = "stacked"

    @pytest.fixture
    def write(self) -> Any:
        def write_sample(folder: Path, sample: Sample) -> str:
            write_group(folder, {}, {"image_ids": sample.ids})
            write(folder, sample.maps, "labels", dimension_names=["image", "y", "x"])
            weather = zarr.create_array(
                str(folder), name="weather", shape=(3,), dtype="string", dimension_names=["image"]
            )
            weather[:] = np.array(sample.weather)
            return "labels"

        return write_sample


def stacked(folder: Path, maps: Any = SAMPLE.maps, **settings: Any) -> zarr.Array[Any]:
    """A group with an array `labels` and no ids."""
    write_group(folder, {})
    return write(folder, maps, "labels", **settings)


class TestIds:
    """Where ids come from, and what they must be."""

    def test_without_ids_images_are_told_apart_by_position(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        assert find_images(view(tmp_path), "labels").ids is None

    def test_whole_numbers_become_text(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, np.array([10, 2, 33]), "image", chunks=(3,))
        assert find_images(view(tmp_path), "labels").ids == ["10", "2", "33"]

    def test_an_attribute_of_the_array_serves(self, tmp_path: Path) -> None:
        stacked(tmp_path).update_attributes({"image_ids": ["x", 7, "z"]})
        assert find_images(view(tmp_path), "labels").ids == ["x", "7", "z"]

    def test_an_array_at_the_root_of_the_store_has_attributes_too(self, tmp_path: Path) -> None:
        write(tmp_path, SAMPLE.maps).update_attributes({"image_ids": ["x", "y", "z"]})
        assert find_images(view(tmp_path), "").ids == ["x", "y", "z"]

    def test_places_that_agree_are_fine_and_places_that_differ_are_not(self, tmp_path: Path) -> None:
        array = stacked(tmp_path)
        write(tmp_path, np.array([1, 2, 3]), "image", chunks=(3,))
        array.update_attributes({"image_ids": ["1", "2", "3"]})
        assert find_images(view(tmp_path), "labels").ids == ["1", "2", "3"]
        array.update_attributes({"image_ids": ["1", "3", "2"]})
        words = "different ids in the array image and the attribute `image_ids` of the array"
        with pytest.raises(InputError, match=words):
            find_images(view(tmp_path), "labels")

    @pytest.mark.parametrize(
        ("ids", "words"),
        [
            (["a", "b", "a"], r"ids given more than once: 'a' \(2 times\)"),
            (["a", "", " "], "empty ids at positions 1, 2"),
            (["a", "b", "c" * 4097], "an id of 4,097 letters, expected at most 4,096"),
            (["a", "b"], "2 ids in the attribute `image_ids` of the array, expected 3"),
            ("abc", "`image_ids` that is no list of texts"),
            (["a", "b", 1.5], "`image_ids` that is no list of texts"),
        ],
    )
    def test_ids_that_cannot_be_used(self, tmp_path: Path, ids: Any, words: str) -> None:
        stacked(tmp_path).update_attributes({"image_ids": ids})
        with pytest.raises(InputError, match=words):
            find_images(view(tmp_path), "labels")

    @pytest.mark.parametrize("attributes", [{"scale_factor": 2.0}, {"add_offset": 1}])
    def test_values_that_stand_for_others_are_refused(
        self, tmp_path: Path, attributes: dict[str, float]
    ) -> None:
        """xarray would show other labels than are stored; what changes nothing is fine."""
        array = stacked(tmp_path)
        array.update_attributes({"scale_factor": 1.0, "add_offset": 0})
        assert len(find_images(view(tmp_path), "labels").arrays) == 1
        array.update_attributes(attributes)
        ((name, value),) = attributes.items()
        with pytest.raises(InputError, match=rf"packed: found .* others \({name} {value}\), expected"):
            find_images(view(tmp_path), "labels")

    def test_ids_that_are_floats_are_refused(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, np.array([1.0, 2.0, 3.0]), "image", chunks=(3,))
        with pytest.raises(InputError, match="values of dtype float64 are no ids"):
            find_images(view(tmp_path), "labels")

    def test_ids_whose_chunks_were_never_stored_are_refused(self, tmp_path: Path) -> None:
        """They would be read as fill value: two images of the same wrong name."""
        stacked(tmp_path)
        write(tmp_path, np.array([5, 6, 7]), "image", chunks=(1,))
        (tmp_path / "image/c/1").unlink()
        with pytest.raises(
            InputError, match=r"(?s)1 of its 3 chunks were never stored .*c/1.*are_fill_value"
        ):
            find_images(view(tmp_path), "labels")

    def test_an_id_of_0_in_an_absent_chunk_is_good_if_the_store_declares_it(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        ids = write(tmp_path, np.array([0, 6, 7]), "image", chunks=(1,))
        with pytest.raises(InputError, match="never stored"):
            find_images(view(tmp_path), "labels")
        ids.update_attributes({"segpipe": {"missing_chunks": "are_fill_value"}})
        assert find_images(view(tmp_path), "labels").ids == ["0", "6", "7"]

    def test_photographs_named_image_are_no_ids(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, label_maps((3, 20, 30, 3)), "image", chunks=(1, 20, 30, 3))
        assert find_images(view(tmp_path), "labels").ids is None

    def test_ids_that_change_after_the_listing_are_an_error(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, np.array([5, 6, 7]), "image", chunks=(3,), compressors=None)
        seen = view(tmp_path)
        chunk = tmp_path / "image/c/0"
        rewrite_quietly(chunk, chunk.read_bytes()[::-1])
        with pytest.raises(InputError, match="it was written again"):
            find_images(seen, "labels")

    def test_damaged_ids_are_an_error(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, np.array([5, 6, 7]), "image", chunks=(3,))
        (tmp_path / "image/c/0").write_bytes(b"nonsense")
        with pytest.raises(InputError, match=r"values that cannot be read .*array image"):
            find_images(view(tmp_path), "labels")


class TestColumns:
    """Metadata over the images."""

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_texts_numbers_and_bools_are_read(self, tmp_path: Path, zarr_format: int) -> None:
        ds = dataset(weather=["sun", "regen", "大雨"])
        ds["speed"] = ("image", np.array([1.5, np.nan, 3.0], "float32"))
        ds["lane"] = ("image", np.array([1, -2, 3], "int16"))
        ds["night"] = ("image", np.array([True, False, True]))
        ds["elsewhere"] = ("y", np.arange(20))
        columns = save(ds, tmp_path, zarr_format).columns
        assert set(columns) == {"weather", "speed", "lane", "night"}
        assert columns["weather"].tolist() == ["sun", "regen", "大雨"]
        np.testing.assert_array_equal(columns["speed"], [1.5, np.nan, 3.0])
        assert columns["lane"].tolist() == [1, -2, 3]
        assert columns["night"].tolist() == [True, False, True]
        assert {name: values.dtype for name, values in columns.items()} == {
            "weather": np.dtype(object),
            "speed": np.dtype("float64"),
            "lane": np.dtype("int64"),
            "night": np.dtype(bool),
        }

    def test_the_first_dimension_may_have_any_name(self, tmp_path: Path) -> None:
        stacked(tmp_path, dimension_names=["slice", "y", "x"])
        write(tmp_path, np.array([1, 2, 3]), "depth", chunks=(3,), dimension_names=["slice"])
        write(tmp_path, np.array([1, 2, 3]), "other", chunks=(3,), dimension_names=["image"])
        assert set(find_images(view(tmp_path), "labels").columns) == {"depth"}

    def test_without_names_only_arrays_over_image_are_columns(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, np.array([1, 2, 3]), "lane", chunks=(3,), dimension_names=["image"])
        write(tmp_path, np.array([1, 2, 3]), "unnamed", chunks=(3,))
        write(tmp_path, np.array([1, 2]), "short", chunks=(2,), dimension_names=["image"])
        assert set(find_images(view(tmp_path), "labels").columns) == {"lane"}

    def test_a_column_of_another_length_is_an_error(self, tmp_path: Path) -> None:
        stacked(tmp_path, dimension_names=["image", "y", "x"])
        write(tmp_path, np.array([1, 2]), "lane", chunks=(2,), dimension_names=["image"])
        with pytest.raises(InputError, match=r"2 values, expected 3, one for each image .*array lane"):
            find_images(view(tmp_path), "labels")

    def test_a_column_that_cannot_be_used_is_left_out_with_the_reason(self, tmp_path: Path) -> None:
        """A column that nobody asks for must not stop an evaluation, and must not be wrong either."""
        stacked(tmp_path, dimension_names=["image", "y", "x"])
        over = {"chunks": (3,), "dimension_names": ["image"]}
        write(tmp_path, np.array([0, 0, 0]), "night", **over)
        write(tmp_path, np.array([1, 2, 3]), "packed", **over).update_attributes({"scale_factor": 0.1})
        write(tmp_path, np.array([1j, 2, 3]), "wave", **over)
        images = find_images(view(tmp_path), "labels")
        assert images.columns == {}
        assert set(images.left_out) == {"night", "packed", "wave"}
        assert "1 of its 1 chunks were never stored" in images.left_out["night"]
        assert "packed (scale_factor)" in images.left_out["packed"]
        assert "complex128" in images.left_out["wave"]

    def test_columns_of_zeros_are_read_where_the_group_declares_absent_chunks(self, tmp_path: Path) -> None:
        write_group(tmp_path, {}, {"segpipe": {"missing_chunks": "are_fill_value"}})
        write(tmp_path, SAMPLE.maps, "labels", dimension_names=["image", "y", "x"])
        write(tmp_path, np.array([0, 0, 0]), "night", chunks=(3,), dimension_names=["image"])
        images = find_images(view(tmp_path), "labels")
        assert images.columns["night"].tolist() == [0, 0, 0]
        assert images.declares_missing_fill


class TestDeclaration:
    """A store can declare that absent chunks are fill value."""

    def test_nothing_is_declared_by_default(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        assert not find_images(view(tmp_path), "labels").declares_missing_fill

    def test_the_array_declares_it(self, tmp_path: Path) -> None:
        stacked(tmp_path).update_attributes({"segpipe": {"missing_chunks": "are_fill_value"}})
        assert find_images(view(tmp_path), "labels").declares_missing_fill

    @pytest.mark.parametrize("value", [{"missing_chunks": "zero"}, "are_fill", {"missing_chunks": 0}])
    def test_another_declaration_is_an_error(self, tmp_path: Path, value: Any) -> None:
        stacked(tmp_path).update_attributes({"segpipe": value})
        with pytest.raises(InputError, match="the attribute `segpipe` declares missing_chunks"):
            find_images(view(tmp_path), "labels")


class TestRefusals:
    """Arrays that are no stack of label maps."""

    def test_a_group_lists_its_arrays_with_their_shapes(self, tmp_path: Path) -> None:
        stacked(tmp_path)
        write(tmp_path, label_maps((4, 5)), "other")
        zarr.create_group(str(tmp_path / "more"))
        words = r"(?s)labels \(3, 20, 30\), other \(4, 5\); groups in it: more.*STORE::array.*layout: grouped"
        with pytest.raises(InputError, match=words):
            find_images(view(tmp_path), "")

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((20, 30), r"(?s)2 dimensions, shape \(20, 30\), expected 3.*layout: grouped"),
            ((2, 3, 20, 30), r"(?s)4 dimensions, .*representation: logits` .*class_axis: 1"),
            ((20,), r"1 dimensions, shape \(20,\), expected 3"),
            ((0, 20, 30), "empty dataset: found 0 images"),
            ((3, 0, 30), "images of 0 x 30 px, expected at least one pixel"),
        ],
    )
    def test_other_shapes_are_refused_in_words(self, tmp_path: Path, shape: Any, words: str) -> None:
        write_group(tmp_path, {})
        chunks = tuple(max(size, 1) for size in shape)
        zarr.create_array(str(tmp_path), name="labels", shape=shape, dtype="uint8", chunks=chunks)
        with pytest.raises(InputError, match=words):
            find_images(view(tmp_path), "labels")

    @pytest.mark.parametrize(
        "names", [("y", "x", "image"), ("image", "x", "y"), ("class", "y", "x"), ("y", "image", "x")]
    )
    def test_another_order_of_dimensions_is_refused(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        stacked(tmp_path, dimension_names=names)
        with pytest.raises(InputError, match=rf"the dimensions {', '.join(names)}, expected \(image, y, x\)"):
            find_images(view(tmp_path), "labels")

    @pytest.mark.parametrize(
        "names", [("image", "y", "x"), ("slice", "row", "col"), ("time", "lat", "lon"), ("a", "b", None)]
    )
    def test_names_that_fit_or_say_nothing_are_accepted(self, tmp_path: Path, names: Any) -> None:
        stacked(tmp_path, dimension_names=names)
        assert len(find_images(view(tmp_path), "labels")) == 3

    def test_bools_are_label_maps_of_two_values(self, tmp_path: Path) -> None:
        stacked(tmp_path, SAMPLE.maps > 9)
        assert len(find_images(view(tmp_path), "labels")) == 3

    def test_everything_that_is_wrong_is_said_at_once(self, tmp_path: Path) -> None:
        array = stacked(tmp_path, dimension_names=["image", "y", "x"])
        array.update_attributes({"image_ids": ["a", "a", ""], "segpipe": 1})
        write(tmp_path, np.array([1, 2]), "lane", chunks=(2,), dimension_names=["image"])
        with pytest.raises(InputError) as caught:
            find_images(view(tmp_path), "labels")
        assert [problem.kind for problem in caught.value.problems] == ["attribute", "metadata", "ids", "ids"]
