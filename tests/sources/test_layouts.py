"""The layouts beside `stacked` and `grouped` under the suite that all layouts share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import zarr

from segpipe.errors import ConfigError, InputError
from tests.sources.conformance import SAMPLE, LayoutTests, Sample
from tests.sources.stores import write, write_group


def write_groups(folder: Path, sample: Sample, ids: list[str], shape: tuple[int, ...] = (20, 30)) -> str:
    """An array for each image in the group `truth`, or in groups in it; the weather is an attribute."""
    write_group(folder, {})
    for name, labels, weather in zip(ids, sample.maps, sample.weather, strict=True):
        path, _, last = f"truth/{name}".rpartition("/")
        if not (folder / path).exists():
            zarr.open_group(folder).require_group(path)
        array = write(
            folder / path, labels.reshape(shape), last, chunks=tuple(-(-side // 2) for side in shape)
        )
        array.update_attributes({"weather": weather})
    return "truth"


class TestNested(LayoutTests):
    """Groups within groups."""

    name = "nested"
    ids: ClassVar[list[str]] = ["berlin/a", "berlin/deep/a", "c"]

    @pytest.fixture
    def write(self) -> Any:
        return lambda folder, sample: write_groups(folder, sample, self.ids)


class TestRaster(LayoutTests):
    """A group of scenes, each of which is one window."""

    name = "raster"
    ids: ClassVar[list[str]] = ["a/y0-x0", "b/y0-x0", "c/y0-x0"]
    own_columns: ClassVar[set[str]] = {"scene", "y", "x"}

    @pytest.fixture
    def write(self) -> Any:
        return lambda folder, sample: write_groups(folder, sample, sample.ids)


class TestVolumes(LayoutTests):
    """A group of volumes."""

    name = "volume"
    size: ClassVar[list[int]] = [2, 10, 30]

    @pytest.fixture
    def write(self) -> Any:
        return lambda folder, sample: write_groups(folder, sample, sample.ids, (2, 10, 30))


class TestPadded(LayoutTests):
    """An array whose images are followed by padding; the sizes lie beside it."""

    name = "padded"
    own_columns: ClassVar[set[str]] = {"height", "width"}

    @pytest.fixture
    def write(self) -> Any:
        def write_sample(folder: Path, sample: Sample) -> str:
            write_group(folder, {}, {"image_ids": sample.ids})
            padded = np.pad(sample.maps, ((0, 0), (0, 5), (0, 9)), constant_values=99)
            write(folder, padded, "labels", dimension_names=["image", "y", "x"])
            columns = {"weather": np.array(sample.weather), "height": np.full(3, 20), "width": np.full(3, 30)}
            for name, values in columns.items():
                dtype = "string" if values.dtype.kind == "U" else "int32"
                column = zarr.create_array(
                    str(folder), name=name, shape=(3,), dtype=dtype, dimension_names=["image"]
                )
                column[:] = values
            return "labels"

        return write_sample


class TestManifest(LayoutTests):
    """A table beside two stores."""

    name = "manifest"

    def options(self, folder: Path) -> dict[str, Any]:
        return {"table": str(folder / "images.csv")}

    @pytest.fixture
    def write(self) -> Any:
        def write_sample(folder: Path, sample: Sample) -> str:
            write_group(folder, {})
            write_group(folder / "one.zarr", {"labels": sample.maps[:2]})
            write_group(
                folder / "two.zarr", {"scene": np.pad(sample.maps[2], ((3, 1), (2, 8)), constant_values=1)}
            )
            rows = {
                "id": sample.ids,
                "truth": ["one.zarr/labels", "one.zarr/labels", "two.zarr/scene"],
                "truth_index": [0, 1, None],
                "region": ["", "", "3:23,2:32"],
                "weather": sample.weather,
            }
            pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
            return "truth"

        return write_sample

    def test_a_wrong_path_lists_the_arrays_that_there_are(self, write: Any, tmp_path: Path) -> None:
        """The path is the name of a column: the columns are listed."""
        write(tmp_path, SAMPLE)
        with pytest.raises(ConfigError, match=r"has no column 'nowhere'; it has id, truth, truth_index"):
            self.find(tmp_path, "nowhere")
        (tmp_path / "images.csv").write_text("id,truth\na,one.zarr/lables\n")
        with pytest.raises(InputError, match=r"(?s)no array or group at 'one.zarr/lables'.*one.zarr/labels"):
            self.find(tmp_path, "truth")
