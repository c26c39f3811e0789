"""Small datasets that tests write to real Zarr stores, and what a run of them left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig, make_config
from segpipe.reports.words import same_for_same_counts

CLASSES = ("road", "car", "person", "tree", "sky")
IGNORE = 255


def label_maps(images: int = 40, seed: int = 0, shape: tuple[int, int] = (24, 32)) -> tuple[Any, Any]:
    """Truth with an ignored border and a prediction with errors, both (image, y, x) uint8."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, len(CLASSES), (images, shape[0] // 4, shape[1] // 4))
    truth = blocks.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    pred = np.where(rng.random(truth.shape) < 0.2, rng.integers(0, len(CLASSES), truth.shape), truth)
    truth[:, :2] = IGNORE
    return truth, pred.astype(np.uint8)


def write_stacked(
    folder: Path,
    labels: NDArray[Any],
    *,
    chunks: tuple[int, ...] | None = None,
    ids: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> Path:
    """A store with the array `labels` and, if ids are given, `image` and metadata columns beside it."""
    group = zarr.create_group(folder)
    options.setdefault("config", {"write_empty_chunks": True})
    options.setdefault("compressors", zarr.codecs.ZstdCodec(level=1, checksum=True))
    array = group.create_array(
        "labels",
        shape=labels.shape,
        dtype=labels.dtype,
        chunks=chunks or (4, *labels.shape[1:]),
        dimension_names=("image", "y", "x"),
        **options,
    )
    array[...] = labels
    beside = {**({"image": ids} if ids is not None else {}), **(columns or {})}
    for name, values in beside.items():
        column = group.create_array(name, shape=(len(values),), dtype=str, dimension_names=("image",))
        column[...] = np.array(values, dtype=object)
    return folder


def write_pair(folder: Path, images: int = 40, seed: int = 0) -> tuple[Any, Any]:
    """truth.zarr and pred.zarr, chunked differently, with ids and the column `weather`."""
    truth, pred = label_maps(images, seed)
    ids = image_ids(images)
    weather = [("rain", "fog", "clear")[index % 3] for index in range(images)]
    write_stacked(folder / "truth.zarr", truth, ids=ids, columns={"weather": weather})
    write_stacked(folder / "pred.zarr", pred, chunks=(6, 12, 32), ids=ids)
    return truth, pred


def image_ids(images: int) -> list[str]:
    """img_000, img_001, ..."""
    return [f"img_{index:03d}" for index in range(images)]


def pair_config(folder: Path, **settings: Any) -> EvaluationConfig:
    """The configuration of what `write_pair` writes."""
    values = {
        "suite": "suite",
        "model": "model",
        "truth": f"{folder}/truth.zarr::labels",
        "pred": f"{folder}/pred.zarr::labels",
        "classes": list(CLASSES),
        "ignore_labels": [IGNORE],
        "results": f"{folder}/results",
        "cluster": {"kind": "threads", "threads": 2},
        "bucket_images": 8,
    }
    return make_config({**values, **settings})


def figures(run: Path) -> dict[str, bytes]:
    """Every byte of a run that must be the same for the same counts."""
    names = (
        "scores.json",
        "per_class.csv",
        "per_group.csv",
        "per_slice.csv",
        "per_class_distribution.csv",
        "confusion.csv",
        "per_image.parquet",
        "per_image_class.parquet",
    )
    files = {name: (run / name).read_bytes() for name in names}
    for name in ("report.md", "report.html"):
        files[name] = same_for_same_counts((run / name).read_text()).encode()
    for path in sorted((run / "results.zarr").rglob("*")):
        if path.is_file():
            files[str(path.relative_to(run))] = path.read_bytes()
    return files


def extended_matrix(truth: NDArray[Any], pred: NDArray[Any]) -> NDArray[np.int64]:
    """The oracle: (K+2, K+2) counted one pair of values at a time."""
    codes = len(CLASSES) + 2
    matrix = np.zeros((codes, codes), np.int64)
    for true_value in np.unique(truth):
        row = true_value if true_value < len(CLASSES) else codes - 2 if true_value == IGNORE else codes - 1
        for value, count in zip(*np.unique(pred[truth == true_value], return_counts=True), strict=True):
            matrix[row, value if value < len(CLASSES) else codes - 1] += count
    return matrix
