"""One dataset in the ways in which label maps are stored, and where each chunk of it lies as a file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from segpipe.config import EvaluationConfig
from tests.run.datasets import image_ids, pair_config

SIDES = ("truth", "pred")


@dataclass(frozen=True)
class Encoding:
    """How label maps (image, 24, 32) are written: every chunk has a checksum.

    Stacked: an image has a chunk of its own, or two images are a shard. Grouped: each has two chunks, or is
    one shard.
    """

    zarr_format: int
    grouped: bool
    sharded: bool

    @property
    def images_per_unit(self) -> int:
        """Images that lose something with one storage unit."""
        return 2 if self.sharded and not self.grouped else 1

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Arguments of `create_array`."""
        checksum = {2: numcodecs.Zstd(level=1, checksum=True), 3: ZstdCodec(level=1, checksum=True)}
        found: dict[str, Any] = {"compressors": checksum[self.zarr_format], "chunks": (1, 24, 32)}
        if self.sharded:
            found |= {"chunks": (1, 12, 32), "shards": (2, 24, 32)}
        if self.grouped:
            found["chunks"] = (12, 32)
            found |= {"shards": (24, 32)} if self.sharded else {}
        return found | changes


ENCODINGS = {
    "format 2": Encoding(2, grouped=False, sharded=False),
    "format 3": Encoding(3, grouped=False, sharded=False),
    "format 3, sharded": Encoding(3, grouped=False, sharded=True),
    "format 2, grouped": Encoding(2, grouped=True, sharded=False),
    "format 3, grouped": Encoding(3, grouped=True, sharded=False),
    "format 3, grouped, sharded": Encoding(3, grouped=True, sharded=True),
}


@dataclass(frozen=True)
class Store:
    """One side of a dataset on disk: the group `labels` of arrays, or the array `labels`."""

    path: Path
    encoding: Encoding

    def array(self, image: int) -> str:
        """The path of the array that holds an image, within the store."""
        return f"labels/{image_ids(image + 1)[-1]}" if self.encoding.grouped else "labels"

    def key(self, image: int) -> str:
        """The key of the first storage unit of an image, relative to its array."""
        place = (0, 0) if self.encoding.grouped else (image // self.encoding.images_per_unit, 0, 0)
        parts = [str(at) for at in place]
        return ".".join(parts) if self.encoding.zarr_format == 2 else "/".join(["c", *parts])

    def chunk(self, image: int) -> Path:
        """The file of that storage unit."""
        return self.path / self.array(image) / self.key(image)

    def sharing(self, image: int) -> set[str]:
        """The ids of the images that lie in that storage unit."""
        per_unit = self.encoding.images_per_unit
        first = image // per_unit * per_unit
        return {image_ids(at + 1)[-1] for at in range(first, first + per_unit)}

    def document(self, image: int = 0) -> Path:
        """The metadata document of the array of an image."""
        name = "zarr.json" if self.encoding.zarr_format == 3 else ".zarray"
        return self.path / self.array(image) / name

    def edit(self, change: Callable[[dict[str, Any]], Any], image: int = 0) -> None:
        """Change the metadata of the array of an image, and nothing else."""
        document = json.loads(self.document(image).read_text())
        change(document)
        self.document(image).write_text(json.dumps(document))


def write_store(path: Path, labels: NDArray[Any], encoding: Encoding, **changes: Any) -> Store:
    """Write label maps (image, y, x) with ids."""
    settings = encoding.settings(dtype=labels.dtype, **changes)
    settings.setdefault("config", {"write_empty_chunks": True})
    ids = image_ids(len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.create_group(path, zarr_format=encoding.zarr_format)
        if encoding.grouped:
            inner = group.create_group("labels")
            for name, image in zip(ids, labels, strict=True):
                inner.create_array(name, shape=image.shape, **settings)[...] = image
        else:
            attributes = {"image_ids": ids}
            array = group.create_array("labels", shape=labels.shape, attributes=attributes, **settings)
            array[...] = labels
    return Store(path, encoding)


def write_sides(folder: Path, truth: Any, pred: Any, encoding: Encoding, **changes: Any) -> dict[str, Store]:
    """truth.zarr and pred.zarr."""
    maps = {"truth": truth, "pred": pred}
    return {side: write_store(folder / f"{side}.zarr", maps[side], encoding, **changes) for side in SIDES}


def config_of(folder: Path, encoding: Encoding, **settings: Any) -> EvaluationConfig:
    """The configuration of what `write_sides` writes."""
    return pair_config(folder, **{"layout": "grouped" if encoding.grouped else "stacked", **settings})


def background(labels: NDArray[Any], images: list[int]) -> NDArray[Any]:
    """The same label maps with some images that hold nothing but label 0."""
    changed = labels.copy()
    changed[images] = np.zeros_like(changed[0])
    return changed
