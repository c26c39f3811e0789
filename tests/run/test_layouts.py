"""However the label maps lie in their stores, the same pixels are counted, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray

from segpipe.errors import InputError
from segpipe.run.evaluate import evaluate
from segpipe.run.stages import preview
from tests.run.datasets import extended_matrix, figures, label_maps, pair_config, write_stacked

Maps = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
"""Image id -> truth and pred."""

ONE_THREAD = {"kind": "threads", "threads": 1}


def maps_of(seed: int, *shape: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and pred of any shape."""
    truth, pred = label_maps(1, seed, (-(-int(np.prod(shape)) // 400 // 4) * 4 + 4, 400))
    size = int(np.prod(shape))
    return truth.ravel()[:size].reshape(shape), pred.ravel()[:size].reshape(shape)


def written(
    group: zarr.Group, name: str, data: NDArray[Any], chunks: tuple[int, ...], **settings: Any
) -> None:
    """One array with every chunk written."""
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=chunks,
        config={"write_empty_chunks": True},
        **settings,
    )
    array[...] = data


def assert_counted(folder: Path, maps: Maps, **settings: Any) -> pd.DataFrame:
    """Every image and the whole are counted as the oracle does, in the same bits for two bucket sizes."""
    runs = [
        evaluate(
            pair_config(
                folder, bucket_images=size, cluster=ONE_THREAD, results=f"{folder}/{size}", **settings
            )
        )
        for size in (1, 64)
    ]
    assert figures(runs[0]) == figures(runs[1])
    expected = sum(extended_matrix(truth, pred) for truth, pred in maps.values())
    with xr.open_zarr(runs[0] / "results.zarr", consolidated=False) as results:
        np.testing.assert_array_equal(expected, results["confusion"].values)
    table = pd.read_parquet(runs[0] / "per_image.parquet").set_index("image")
    assert set(table.index) == set(maps)
    for image, (truth, pred) in maps.items():
        assert table.loc[image, "pixels"] == truth.size
        matrix = extended_matrix(truth, pred)
        right = np.trace(matrix[:-2, :-2]) / matrix[:-2].sum() if matrix[:-2].sum() else np.nan
        assert table.loc[image, "pixel_accuracy"] == pytest.approx(right, nan_ok=True)
    return table


class TestPadded:
    """Images of different sizes in one array."""

    SIZES = ((24, 32), (10, 7), (1, 32), (24, 1), (13, 29))

    def write(self, folder: Path, *, columns: bool) -> Maps:
        truth, pred = label_maps(5)
        maps = {}
        for index, (height, width) in enumerate(self.SIZES):
            maps[f"i{index}"] = truth[index, :height, :width].copy(), pred[index, :height, :width].copy()
            truth[index, height:], truth[index, :, width:] = 77, 77
            pred[index, height:], pred[index, :, width:] = 78, 78
        for name, labels, chunks in (("truth", truth, (2, 24, 32)), ("pred", pred, (3, 8, 8))):
            write_stacked(folder / f"{name}.zarr", labels, chunks=chunks, ids=list(maps))
            if columns:
                group = zarr.open_group(folder / f"{name}.zarr")
                for column, at in (("height", 0), ("width", 1)):
                    values = np.array([size[at] for size in self.SIZES])
                    written(group, column, values, (5,), dimension_names=("image",))
        return maps

    def test_what_is_beyond_the_valid_size_is_not_counted(self, tmp_path: Path) -> None:
        maps = self.write(tmp_path, columns=True)
        assert_counted(tmp_path, maps, layout="padded", max_read_amplification=9)

    def test_sizes_may_come_from_a_table(self, tmp_path: Path) -> None:
        maps = self.write(tmp_path, columns=False)
        rows = pd.DataFrame(
            {"id": list(maps), "rows": [s[0] for s in self.SIZES], "cols": [s[1] for s in self.SIZES]}
        )
        rows.iloc[::-1].to_csv(tmp_path / "sizes.csv", index=False)
        table = {"kind": "padded", "table": str(tmp_path / "sizes.csv"), "height": "rows", "width": "cols"}
        assert_counted(tmp_path, maps, layout=table, max_read_amplification=9)

    def test_missing_and_impossible_sizes_are_told_with_the_image(self, tmp_path: Path) -> None:
        maps = self.write(tmp_path, columns=False)
        with pytest.raises(
            InputError, match=r"(?s)no whole numbers in the column height and width beside.*table"
        ):
            preview(pair_config(tmp_path, layout="padded"))
        pd.DataFrame({"id": list(maps), "height": [24, 0, 5, 25, 1], "width": 4}).to_csv(
            tmp_path / "s.csv", index=False
        )
        with pytest.raises(InputError) as caught:
            preview(pair_config(tmp_path, layout={"kind": "padded", "table": str(tmp_path / "s.csv")}))
        found = {(problem.side, problem.image, problem.found) for problem in caught.value.problems}
        assert found == {
            (side, image, f"{height} x 4 px")
            for side in ("truth", "pred")
            for image, height in (("i1", 0), ("i3", 25))
        }


def test_groups_within_groups_are_walked_and_paths_are_ids(tmp_path: Path) -> None:
    """Images of one name in two groups are two images; an array in the first group is one as well."""
    maps = {"lone": maps_of(1, 9, 12), "berlin/0": maps_of(2, 5, 8), "bonn/a/0": maps_of(3, 8, 8)}
    for side, name in enumerate(("truth", "pred")):
        group = zarr.create_group(tmp_path / f"{name}.zarr").create_group("labels")
        for image, pair in maps.items():
            written(group, image, pair[side], (4, 5))
    assert_counted(tmp_path, maps, layout="nested")


class TestRaster:
    """Scenes that are counted by windows."""

    def windows(self, pair: tuple[NDArray[Any], NDArray[Any]], side: int, prefix: str = "") -> Maps:
        truth, pred = pair
        return {
            f"{prefix}y{y}-x{x}": (truth[y : y + side, x : x + side], pred[y : y + side, x : x + side])
            for y in range(0, truth.shape[0], side)
            for x in range(0, truth.shape[1], side)
        }

    def test_a_scene_tiled_differently_on_both_sides_is_counted_by_windows_and_as_a_whole(
        self, tmp_path: Path
    ) -> None:
        pair = maps_of(4, 130, 210)
        for side, (name, chunks) in enumerate((("truth", (32, 50)), ("pred", (65, 16)))):
            written(zarr.create_group(tmp_path / f"{name}.zarr"), "labels", pair[side], chunks)
        layout = {"kind": "raster", "window": 64}
        table = assert_counted(tmp_path, self.windows(pair, 64), layout=layout, max_read_amplification=9)
        assert table.loc["y64-x128", ["y", "x"]].tolist() == [64, 128]

    def test_the_scenes_of_a_group_are_told_apart(self, tmp_path: Path) -> None:
        scenes = {"a": maps_of(5, 40, 70), "b": maps_of(6, 64, 20)}
        for side, name in enumerate(("truth", "pred")):
            group = zarr.create_group(tmp_path / f"{name}.zarr").create_group("labels")
            for scene, pair in scenes.items():
                written(group, scene, pair[side], (32, 32), shards=(64, 64))
        maps = {**self.windows(scenes["a"], 32, "a/"), **self.windows(scenes["b"], 32, "b/")}
        table = assert_counted(tmp_path, maps, layout={"kind": "raster", "window": [32, 32]})
        assert table.loc["b/y32-x0", "scene"] == "b"

    def test_windows_that_cut_chunks_are_told_as_read_amplification(self, tmp_path: Path) -> None:
        truth, _ = maps_of(7, 128, 128)
        for name in ("truth", "pred"):
            written(zarr.create_group(tmp_path / f"{name}.zarr"), "labels", truth, (32, 32))
        _, fitting = preview(pair_config(tmp_path, layout={"kind": "raster", "window": 64}))
        _, cutting = preview(pair_config(tmp_path, layout={"kind": "raster", "window": 48}))
        assert fitting.read_amplification == 1.0
        # Windows begin at 0, 48 and 96 and touch 2, 2 and 1 chunks along each side, of 4.
        assert cutting.read_amplification == pytest.approx((5 / 4) ** 2)

    def test_scenes_of_different_sizes_are_refused(self, tmp_path: Path) -> None:
        truth, _ = maps_of(8, 64, 64)
        for name, labels in (("truth", truth), ("pred", truth[:60])):
            written(zarr.create_group(tmp_path / f"{name}.zarr"), "labels", labels, (32, 32))
        with pytest.raises(InputError, match=r"shape: found 28 x 32 pixels, expected 32 x 32 as in truth"):
            preview(pair_config(tmp_path, layout={"kind": "raster", "window": 32}))


class TestVolume:
    """Images of three dimensions."""

    @pytest.mark.parametrize("form", ["lone", "stacked", "grouped"])
    def test_volumes_are_counted_whole(self, tmp_path: Path, form: str) -> None:
        shape = (7, 20, 11)
        pairs = [maps_of(seed, *shape) for seed in range(1 if form == "lone" else 3)]
        for side, (name, chunks) in enumerate((("truth", (2, 20, 5)), ("pred", (7, 6, 11)))):
            group = zarr.create_group(tmp_path / f"{name}.zarr")
            if form == "lone":
                written(group, "labels", pairs[0][side], chunks)
            elif form == "stacked":
                written(group, "labels", np.stack([pair[side] for pair in pairs]), (2, *chunks))
            else:
                inner = group.create_group("labels")
                for number, pair in enumerate(pairs):
                    written(inner, str(number), pair[side], chunks)
        assert_counted(tmp_path, {str(number): pair for number, pair in enumerate(pairs)}, layout="volume")

    def test_volumes_in_one_array_may_have_predictions_in_arrays_of_their_own(self, tmp_path: Path) -> None:
        pairs = {name: maps_of(seed, 4, 6, 10) for seed, name in enumerate("abcdef")}
        truth = np.stack([pair[0] for pair in pairs.values()])
        group = zarr.create_group(tmp_path / "truth.zarr")
        written(group, "labels", truth, (2, 4, 6, 10), attributes={"image_ids": list(pairs)})
        group = zarr.create_group(tmp_path / "pred.zarr").create_group("labels")
        for name, (_, pred) in pairs.items():
            written(group, name, pred, (4, 6, 10))
        assert_counted(tmp_path, pairs, layout="volume", max_read_amplification=9)

    def test_an_absent_chunk_in_the_middle_of_a_volume_is_counted_apart(self, tmp_path: Path) -> None:
        truth, pred = maps_of(9, 6, 12, 10)
        for name, labels in (("truth", truth), ("pred", pred)):
            written(zarr.create_group(tmp_path / f"{name}.zarr"), "labels", labels, (2, 6, 5))
        (tmp_path / "pred.zarr/labels/c/1/1/0").unlink()
        with pytest.raises(InputError, match=r"(?s)missing chunk.*c/1/1/0"):
            preview(pair_config(tmp_path, layout="volume"))
        filled, lost = pred.copy(), (slice(2, 4), slice(6, 12), slice(0, 5))
        filled[lost] = 0
        assert_counted(tmp_path, {"0": (truth, filled)}, layout="volume", missing_chunks="are_fill_value")
        run = evaluate(pair_config(tmp_path, layout="volume", missing_chunks="count_as_void"))
        with xr.open_zarr(run / "results.zarr", consolidated=False) as results:
            void = results["confusion"].values[:, 5]
        assert void.sum() == 2 * 6 * 5
        np.testing.assert_array_equal(void[:5], [np.sum(truth[lost] == label) for label in range(5)])

    def test_names_of_dimensions_in_another_order_are_refused(self, tmp_path: Path) -> None:
        truth, _ = maps_of(1, 4, 8, 8)
        for name in ("truth", "pred"):
            group = zarr.create_group(tmp_path / f"{name}.zarr")
            written(group, "labels", truth, (4, 8, 8), dimension_names=("y", "x", "z"))
        with pytest.raises(InputError, match=r"(?s)dims: found the dimensions y, x, z, expected \(z, y, x\)"):
            preview(pair_config(tmp_path, layout="volume"))


class TestManifest:
    """A table that names the label maps, through several stores."""

    def write(self, folder: Path) -> Maps:
        stack, lone = maps_of(1, 3, 20, 30), maps_of(2, 40, 50)
        for side, name in enumerate(("truth", "pred")):
            first = zarr.create_group(folder / f"data/{name}/one.zarr")
            written(first, "labels", stack[side], (2, 20, 30))
            written(zarr.create_group(folder / f"data/{name}/two.zarr"), "deep/scene", lone[side], (16, 16))
        return {
            "007": (stack[0][2], stack[1][2]),
            "b": (stack[0][0], stack[1][0]),
            "part": (lone[0][5:25, 10:50], lone[1][5:25, 10:50]),
            "whole": lone,
        }

    ROWS = (
        ("007", "{}/one.zarr/labels", 2, "", "fog"),
        ("b", "{}/one.zarr/labels", 0, "", "sun"),
        ("part", "{}/two.zarr/deep/scene", None, "5:25,10:50", "fog"),
        ("whole", "{}/two.zarr/deep/scene", None, "", "rain"),
    )

    def config(self, folder: Path, rows: Any = ROWS, suffix: str = ".csv") -> dict[str, Any]:
        frame = pd.DataFrame(
            [
                {
                    "id": image,
                    "truth": path.format("truth"),
                    "pred": path.format("pred"),
                    "truth_index": index,
                    "pred_index": index,
                    "region": region,
                    "weather": weather,
                }
                for image, path, index, region, weather in rows
            ]
        )
        table = folder / f"images{suffix}"
        frame.to_csv(table, index=False) if suffix == ".csv" else frame.to_parquet(table)
        return {
            "truth": f"{folder}/data::truth",
            "pred": f"{folder}/data::pred",
            "layout": {"kind": "manifest", "table": str(table)},
        }

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_rows_may_name_any_store_position_and_region(self, tmp_path: Path, suffix: str) -> None:
        maps = self.write(tmp_path)
        table = assert_counted(
            tmp_path, maps, **self.config(tmp_path, suffix=suffix), max_read_amplification=9
        )
        assert table["weather"].to_dict() == {"007": "fog", "b": "sun", "part": "fog", "whole": "rain"}

    def test_an_index_that_is_no_number_is_told(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        rows = (("a", "{}/one.zarr/labels", "first", "", ""), ("b", "{}/one.zarr/labels", "1.0", "", ""))
        with pytest.raises(InputError, match=r"found the index -2, expected an index of 0 to 2") as caught:
            preview(pair_config(tmp_path, **self.config(tmp_path, rows)))
        assert {problem.image for problem in caught.value.problems} == {"a"}

    def test_positions_of_one_truth_may_go_with_any_position_of_any_prediction(self, tmp_path: Path) -> None:
        """Several times too, and beside gaps: no image takes the place of another."""
        truth, one = maps_of(1, 8, 20, 30)
        two = maps_of(2, 8, 20, 30)[1]
        preds = {"one": one, "two": two}
        for name, labels in {"truth": truth, **preds}.items():
            written(zarr.create_group(tmp_path / f"data/{name}.zarr"), "labels", labels, (4, 20, 30))
        for number, rows in enumerate(
            (
                [(0, "one", 5), (1, "two", 5), (2, "one", 6), (3, "two", 6)],
                [(0, "one", 5), (0, "one", 6), (2, "one", 6), (1, "one", 6)],
            )
        ):
            columns = {
                "id": [f"i{row}" for row in range(len(rows))],
                "truth": ["truth.zarr/labels"] * len(rows),
                "truth_index": [at for at, _, _ in rows],
                "pred": [f"{name}.zarr/labels" for _, name, _ in rows],
                "pred_index": [at for _, _, at in rows],
            }
            table = tmp_path / f"{number}.csv"
            pd.DataFrame(columns).to_csv(table, index=False)
            assert_counted(
                tmp_path,
                {f"i{row}": (truth[at], preds[name][of]) for row, (at, name, of) in enumerate(rows)},
                truth=f"{tmp_path}/data::truth",
                pred=f"{tmp_path}/data::pred",
                layout={"kind": "manifest", "table": str(table)},
                max_read_amplification=9,
            )

    def test_all_mistakes_of_the_table_are_told_at_once(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        rows = (
            ("a", "{}/one.zarr/labels", 3, "", ""),
            ("b", "{}/two.zarr/deep/scene", None, "0:41,0:50", ""),
            ("c", "{}/two.zarr/deep/scene", 0, "", ""),
            ("d", "{}/three.zarr/labels", None, "", ""),
            ("e", "../{}/one.zarr/labels", 0, "", ""),
            ("f", "{}/one.zarr/labels", None, "", ""),
            ("f", "{}/one.zarr", None, "", ""),
        )
        with pytest.raises(InputError) as caught:
            preview(pair_config(tmp_path, **self.config(tmp_path, rows)))
        text = str(caught.value)
        for words in (
            r"found the index 3, expected an index of 0 to 2",
            r"found the region '0:41,0:50', expected y0:y1,x0:x1 within 40 x 50 px",
            r"found the index 0, expected no index: the array is one image",
            r"no array or group at 'truth/three.zarr/labels'",
            r"the path '../truth/one.zarr/labels'",
            r"found the index -1, expected an index of 0 to 2",
            r"found a group, expected an array",
            r"'f' (2 times)",
        ):
            assert words in text, words
