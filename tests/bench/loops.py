"""A confusion matrix over two stores without segpipe: by hand, with Dask, with scikit-learn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from segpipe.classes import LabelRules
from segpipe.kernels.confusion import count_confusion
from tests.bench.label_maps import IGNORE
from tests.bench.stores import NUM_CLASSES, SIDES

Labels = NDArray[Any]
Matrix = NDArray[np.int64]
Pair = tuple[Labels, Labels]
THREADS = 2
RULES = LabelRules.of(NUM_CLASSES, no_class=[IGNORE]), LabelRules.of(NUM_CLASSES)


def with_bincount(truth: Labels, pred: Labels) -> Matrix:
    """The usual way in NumPy: leave out what is ignored, count K * truth + pred."""
    valid = truth != IGNORE
    cells = NUM_CLASSES * truth[valid].astype(np.int64) + pred[valid]
    return np.bincount(cells, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)


def with_kernel(truth: Labels, pred: Labels) -> Matrix:
    """segpipe's kernel for one image."""
    return count_confusion(truth[np.newaxis], pred[np.newaxis], *RULES).total()[:NUM_CLASSES, :NUM_CLASSES]


def with_sklearn(truth: Labels, pred: Labels) -> Matrix:
    """scikit-learn; what is ignored it leaves out by itself, being no label."""
    return confusion_matrix(truth.ravel(), pred.ravel(), labels=range(NUM_CLASSES))


def zarr_reader(folder: Path) -> Callable[[int], Pair]:
    """Images through zarr-python."""
    truth, pred = (zarr.open_array(folder / f"{side}.zarr", path="labels", mode="r") for side in SIDES)
    return lambda image: (truth[image], pred[image])


def direct_reader(folder: Path) -> Callable[[int], Pair]:
    """One image per chunk, read as a file and decoded into memory that is used again: as fast as can be."""
    arrays = [zarr.open_array(folder / f"{side}.zarr", path="labels", mode="r") for side in SIDES]
    folders = [folder / f"{side}.zarr" / "labels" / "c" for side in SIDES]
    kept = threading.local()

    def read(image: int) -> Pair:
        if not hasattr(kept, "maps"):
            kept.maps = [np.empty(array.shape[1:], array.dtype) for array in arrays]
        for chunks, labels in zip(folders, kept.maps, strict=True):
            Zstd().decode((chunks / str(image) / "0" / "0").read_bytes(), labels)
        return tuple(kept.maps)

    return read


def in_threads(read: Callable[[int], Pair], count: Callable[[Labels, Labels], Matrix], images: int) -> Matrix:
    """Two threads, image by image."""
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(lambda image: count(*read(image)), range(images)))


def with_dask(folder: Path, client: Any) -> Matrix:
    """zarr-python + xarray + dask.array + np.bincount: one block per image."""
    truth, pred = (
        xr.open_zarr(folder / f"{side}.zarr", consolidated=False, chunks={"image": 1})["labels"].data
        for side in SIDES
    )
    shape = (truth.chunks[0], (NUM_CLASSES,), (NUM_CLASSES,))
    counts = da.map_blocks(_block, truth, pred, chunks=shape, dtype=np.int64)
    return client.compute(counts.sum(axis=0)).result()


def _block(truth: Labels, pred: Labels) -> Matrix:
    return with_bincount(truth, pred)[np.newaxis]
