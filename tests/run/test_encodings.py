"""One dataset in every legal encoding gives one and the same matrix, whatever the truth is written as."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray

from segpipe.counts.results import ResultsReader
from segpipe.run import stages
from tests.run.datasets import extended_matrix, label_maps, pair_config, write_stacked
from tests.sources.encodings import FORMAT_2, FORMAT_3, SHARDED, SHARDS

TRUTH, PRED = label_maps(7)
MATRIX = extended_matrix(TRUTH, PRED)
ONE_THREAD = {"kind": "threads", "threads": 1}
NAMES = ("image", "y", "x")

Write = Callable[[Path, NDArray[Any]], Any]
"""Writes pred.zarr; returns settings, or None."""


def written(path: Path, labels: NDArray[Any], **settings: Any) -> None:
    """The array `labels` with these settings of zarr-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of extension codecs, which are the subject here.
        array = zarr.create_array(
            str(path / "pred.zarr"),
            name="labels",
            shape=labels.shape,
            dtype=settings.pop("dtype", labels.dtype),
            config={"write_empty_chunks": True},
            **{"chunks": (2, 10, 32), **settings},
        )
        array[...] = labels


def by_zarr(**settings: Any) -> Write:
    """The prediction as zarr-python writes it."""
    return lambda path, labels: written(path, labels, **settings)


def as_xarray(fill: int | None) -> Write:
    """The prediction as xarray writes it, with or without the attribute that makes floats of it."""

    def write(path: Path, labels: NDArray[Any]) -> None:
        dataset = xr.Dataset({"labels": (NAMES, labels)})
        encoding = {} if fill is None else {"_FillValue": np.uint8(fill)}
        dataset["labels"].encoding = {"chunks": (3, 24, 32), **encoding}
        dataset.to_zarr(path / "pred.zarr", zarr_format=2, write_empty_chunks=True)

    return write


def zipped(path: Path, labels: NDArray[Any]) -> dict[str, Any]:
    """A zip archive of a store."""
    written(path, labels)
    shutil.make_archive(str(path / "pred.zarr"), "zip", path / "pred.zarr")
    return {"pred": f"{path}/pred.zarr.zip::labels"}


def one_channel(path: Path, labels: NDArray[Any]) -> None:
    """A trailing axis of one channel."""
    written(path, labels[..., None], chunks=(2, 24, 32, 1), dimension_names=(*NAMES, "channel"))


def grouped(path: Path, labels: NDArray[Any]) -> dict[str, Any]:
    """One array for each image, on both sides."""
    for side, maps in (("truth", TRUTH), ("pred", labels)):
        shutil.rmtree(path / f"{side}.zarr", ignore_errors=True)
        group = zarr.create_group(path / f"{side}.zarr").create_group("labels")
        for number, image in enumerate(maps):
            array = group.create_array(str(number), shape=image.shape, dtype=image.dtype, chunks=(24, 32))
            array[...] = image
    return {"layout": "grouped"}


ENCODED: dict[str, Write] = {
    **{f"format 3, {name}": by_zarr(**settings) for name, settings in FORMAT_3.items()},
    **{
        name: by_zarr(**settings, chunks=(1, 12, 32), shards=(4, 24, 32))
        for name, settings in SHARDED.items()
    },
    **{name: by_zarr(zarr_format=2, **settings) for name, settings in FORMAT_2.items()},
    "int64": by_zarr(dtype="int64"),
    "big-endian int32, format 2": by_zarr(dtype=">i4", zarr_format=2),
    "uint16": by_zarr(dtype="uint16"),
    "big-endian uint16": by_zarr(dtype="uint16", serializer=zarr.codecs.BytesCodec(endian="big")),
    "odd chunks": by_zarr(chunks=(3, 7, 11)),
    "one chunk": by_zarr(chunks=(7, 24, 32)),
    "chunks larger than the array": by_zarr(chunks=(9, 50, 40)),
    "one pixel in a row": by_zarr(chunks=(7, 24, 1)),
    "xarray": as_xarray(None),
    "xarray with _FillValue": as_xarray(0),
    "zip archive": zipped,
    "trailing channel axis of 1": one_channel,
    "grouped": grouped,
}


def test_there_are_encodings_to_speak_of() -> None:
    """In two formats, with and without shards."""
    assert len(ENCODED) > 40
    assert len(SHARDS) > 1


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth, written plainly once."""
    return write_stacked(tmp_path_factory.mktemp("truth") / "truth.zarr", TRUTH, chunks=(2, 24, 32))


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding_gives_the_same_matrix(name: str, truth: Path, tmp_path: Path) -> None:
    settings = ENCODED[name](tmp_path, PRED) or {}
    side = {"truth": f"{truth}::labels"} if settings.get("layout") != "grouped" else {}
    config = pair_config(tmp_path, cluster=ONE_THREAD, max_read_amplification=99, **side, **settings)
    run = stages.start(config)
    stages.plan(run)
    stages.count(run)
    stages.reduce(run)
    np.testing.assert_array_equal(ResultsReader(run / "results.zarr").total(), MATRIX)
