"""The Zarr stores that are measured, in every form, and the configurations to evaluate them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from segpipe.sources.storage import RACY_S
from tests.bench.label_maps import IGNORE, smooth_pair

NUM_CLASSES = 19
DISTINCT = 4
"""Pairs that are drawn; the others are these, moved by some rows and columns, so no two are alike."""

WRITTEN = {"compressors": [ZstdCodec(level=3, checksum=True)], "config": {"write_empty_chunks": True}}
SIDES = ("truth", "pred")
Size = tuple[int, int]


@dataclass(frozen=True)
class Form:
    """How label maps lie in a store: images per chunk, images per shard, dtype."""

    chunk: int = 1
    shard: int | None = None
    dtype: str = "uint8"

    def words(self) -> str:
        """The form in words."""
        shards = f" in shards of {self.shard}" if self.shard else ""
        return f"{self.dtype}, {self.chunk} image{'s' * (self.chunk > 1)} per chunk{shards}"


@contextmanager
def dataset(write: Callable[[Path], object]) -> Iterator[Path]:
    """A temporary folder that `write` fills with stores, old enough to be listed without waiting."""
    with tempfile.TemporaryDirectory(prefix="segpipe-bench-") as name:
        write(Path(name))
        time.sleep(RACY_S)
        yield Path(name)


def label_maps(number: int, size: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Truth and prediction of one image, each uint8 (y, x)."""
    turn, base = divmod(number, DISTINCT)
    truth, pred = _drawn(base, size)
    return tuple(np.roll(side, (37 * turn, 64 * turn), (0, 1)) for side in (truth, pred))


@lru_cache(maxsize=8 * DISTINCT)
def _drawn(base: int, size: Size) -> tuple[NDArray[np.uint8], ...]:
    return tuple(side.astype(np.uint8) for side in smooth_pair(base, NUM_CLASSES, size))


def write_stacked(folder: Path, images: int, size: Size, form: Form = Form()) -> Path:
    """truth.zarr and pred.zarr with the arrays `labels` and `image`; every chunk is written."""
    unit = form.shard or form.chunk
    arrays = [_stacked(folder / f"{side}.zarr", images, size, form) for side in SIDES]
    for start in range(0, images, unit):
        pairs = [label_maps(number, size) for number in range(start, min(start + unit, images))]
        for array, maps in zip(arrays, zip(*pairs, strict=True), strict=True):
            array[start : start + len(maps)] = np.stack(maps).astype(form.dtype)


def write_copied(folder: Path, images: int, form: Form, side_px: int) -> None:
    """As `write_stacked`, with maps of noise and every chunk a copy of the first: many objects soon."""
    maps = np.random.default_rng(1).integers(0, NUM_CLASSES, (form.chunk, side_px, side_px))
    for side in SIDES:
        array = _stacked(folder / f"{side}.zarr", images, (side_px, side_px), form)
        array[: form.chunk] = maps.astype(form.dtype)
        chunks = folder / f"{side}.zarr" / "labels" / "c"
        data = (chunks / "0" / "0" / "0").read_bytes()
        for number in range(1, -(-images // form.chunk)):
            (chunks / str(number) / "0").mkdir(parents=True)
            (chunks / str(number) / "0" / "0").write_bytes(data)


def write_grouped(folder: Path, sizes: Sequence[Size], drawn: Size) -> None:
    """truth.zarr and pred.zarr with one array for each image in the group `labels`.

    The maps are drawn at one size, and cut or repeated to the others.
    """
    for number, size in enumerate(sizes):
        for side, labels in zip(SIDES, label_maps(number, drawn), strict=True):
            group = zarr.open_group(folder / f"{side}.zarr")
            array = group.create_array(
                f"labels/{image_id(number)}",
                shape=size,
                chunks=size,
                chunk_key_encoding={"name": "default", "separator": "."},
                dtype="uint8",
                **WRITTEN,
            )
            array[...] = np.tile(
                labels, [-(-whole // part) for whole, part in zip(size, drawn, strict=True)]
            )[: size[0], : size[1]]


def write_grouped_copied(folder: Path, images: int, size: Size) -> None:
    """As `write_grouped`, every array a copy of the first."""
    write_grouped(folder, [size], size)
    for side in SIDES:
        group = folder / f"{side}.zarr" / "labels"
        files = {path.name: path.read_bytes() for path in (group / image_id(0)).iterdir()}
        for number in range(1, images):
            array = group / image_id(number)
            array.mkdir()
            for name, data in files.items():
                (array / name).write_bytes(data)


def write_raster(folder: Path, side_px: int, chunk_px: int) -> None:
    """truth.zarr and pred.zarr with one scene `labels` (y, x), whose chunks are copies of the first."""
    for side, labels in zip(SIDES, label_maps(0, (chunk_px, chunk_px)), strict=True):
        group = zarr.create_group(folder / f"{side}.zarr")
        array = group.create_array(
            "labels", shape=(side_px, side_px), chunks=(chunk_px, chunk_px), dtype="uint8", **WRITTEN
        )
        array[:chunk_px, :chunk_px] = labels
        _copy_first(folder / f"{side}.zarr/labels", array.cdata_shape)


def write_logits(folder: Path, images: int, size: Size, num_classes: int, chunk_px: int) -> None:
    """truth.zarr with label maps, pred.zarr with float32 logits, all chunks alike."""
    maps = np.random.default_rng(1).integers(0, num_classes, (images, *size), dtype=np.uint8)
    truth = _stacked(folder / "truth.zarr", images, size, Form())
    truth[...] = maps
    group = zarr.create_group(folder / "pred.zarr")
    group["image"] = zarr.open_array(folder / "truth.zarr", path="image")[:]
    array = group.create_array(
        "labels",
        shape=(images, num_classes, *size),
        chunks=(1, num_classes, chunk_px, chunk_px),
        dtype="float32",
        dimension_names=("image", "class", "y", "x"),
        **WRITTEN,
    )
    logits = np.random.default_rng(2).standard_normal((num_classes, chunk_px, chunk_px), np.float32)
    array[0, :, :chunk_px, :chunk_px] = logits
    _copy_first(folder / "pred.zarr/labels", array.cdata_shape)


def _copy_first(array: Path, grid: Sequence[int]) -> None:
    """Give every chunk of an array the object of the first."""
    first = array.joinpath("c", *("0" for _ in grid))
    for place in np.ndindex(*grid):
        path = array.joinpath("c", *map(str, place))
        if path != first:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(first)


def shuffle_pred(folder: Path) -> None:
    """Give the predictions other ids, so that they lie in another order than the truth."""
    ids = zarr.open_array(folder / "pred.zarr", path="image")
    ids[:] = np.random.default_rng(1).permutation(ids[:])


def write_config(folder: Path, **settings: Any) -> Path:
    """The configuration file of the stores in a folder."""
    values = {
        "suite": "bench",
        "model": "model",
        "truth": f"{folder}/truth.zarr::labels",
        "pred": f"{folder}/pred.zarr::labels",
        "classes": NUM_CLASSES,
        "ignore_labels": [IGNORE],
        "results": f"{folder}/results",
    }
    path = folder / "evaluation.yaml"
    path.write_text(yaml.safe_dump({**values, **settings}))
    return path


def image_id(number: int) -> str:
    """img00000007"""
    return f"img{number:08d}"


def _stacked(path: Path, images: int, size: Size, form: Form) -> zarr.Array[Any]:
    group = zarr.create_group(path)
    ids = group.create_array(
        "image", shape=(images,), chunks=(100_000,), dtype=str, dimension_names=("image",), **WRITTEN
    )
    ids[:] = np.array([image_id(number) for number in range(images)], dtype=object)
    return group.create_array(
        "labels",
        shape=(images, *size),
        chunks=(form.chunk, *size),
        shards=None if form.shard is None else (form.shard, *size),
        dtype=form.dtype,
        dimension_names=("image", "y", "x"),
        **WRITTEN,
    )
