"""A store for label maps: how it is laid out, how it is made, and how it is described to who opens it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from segpipe.classes import LabelRules
from segpipe.config import ClassesConfig
from segpipe.errors import ConfigError, InfrastructureError, InputError, Problem
from segpipe.sources.completeness import ATTRIBUTE, RECORD_FOLDER
from segpipe.writing.durable import put_durably
from segpipe.writing.label_arrays import DOCUMENT, LabelArray

LABELS = "labels"
"""The array, or the group of arrays, that holds the label maps."""

IDS = "image"
"""The array of ids."""

LAYOUT_NAMES = ("stacked", "grouped")
DESCRIPTION = {"complete", "layout", "classes", "class_labels", "no_class"}
"""What the attribute of a store that was made here holds."""

ZSTD_LEVEL = 3
CHUNK_PX = 8192
"""Images that are longer than this are cut into several chunks."""


@dataclass(frozen=True)
class Chunking:
    """The chunk of an array, and the shard if there are shards."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Labels:
    """Which labels a store may hold.

    Attributes:
        names: of the classes; empty: any label of the dtype may be written.
        ids: the label of each class.
        no_class: labels besides these: void of predictions, ignored of truth.
    """

    names: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    no_class: tuple[int, ...] = ()

    @classmethod
    def of(cls, classes: ClassesConfig, rules: LabelRules) -> Labels:
        """The labels that rules know of."""
        by_class = {code: label for label, code in rules.codes.items() if code < rules.num_classes}
        rest = sorted(label for label, code in rules.codes.items() if code == rules.no_class)
        return cls(classes.names, tuple(by_class[code] for code in sorted(by_class)), tuple(rest))

    @property
    def known(self) -> frozenset[int]:
        """All labels that may be written; none: all of the dtype."""
        return frozenset((*self.ids, *self.no_class))

    def dtype(self) -> np.dtype[Any]:
        """The smallest dtype that holds every label, and one more that names no class."""
        low, high = min(0, *self.known), max(0, *self.known)
        if high in self.ids:
            high += 1
        for name in ("uint8", "uint16", "int32", "int64"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return np.dtype(name)
        message = f"labels from {low} to {high} are too large for an integer of 64 bits"
        raise ConfigError(message)


@dataclass(frozen=True)
class Plan:
    """What a new store is to be.

    Attributes:
        ids: of the images, in their order.
        sizes: (y, x) of each image; all are equal where the store is stacked.
        chunking: of the one array, or of the array of each image.
        labels: that may be written.
        dtype: of the label maps.
        stacked: one array (image, y, x); else a group of arrays (y, x).
    """

    ids: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    chunking: Sequence[Chunking]
    labels: Labels
    dtype: np.dtype[Any]
    stacked: bool

    def attributes(self) -> dict[str, Any]:
        """The description of the store, not complete yet."""
        return {
            "complete": False,
            "layout": LAYOUT_NAMES[not self.stacked],
            "classes": list(self.labels.names),
            "class_labels": list(self.labels.ids),
            "no_class": list(self.labels.no_class),
        }


def whole_images(sizes: Sequence[tuple[int, int]], images: int = 1) -> list[Chunking]:
    """Chunks of whole images: of `images` where all have one size, else of one; very large ones are cut."""
    if len(set(sizes)) == 1:
        return [Chunking((images, *(min(size, CHUNK_PX) for size in sizes[0])))]
    return [Chunking(tuple(min(size, CHUNK_PX) for size in image)) for image in sizes]


def make_store(folder: Path, plan: Plan) -> None:
    """Make an empty store, in one step.

    Raises:
        InputError: ids that are empty, given twice, or no names for arrays.
        ConfigError: the folder exists.
        InfrastructureError: it cannot be written.
    """
    check_ids(plan.ids, names=not plan.stacked)
    if folder.exists():
        raise ConfigError(_exists(folder))
    beside = folder.parent / f".{folder.name}-{uuid4().hex}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fill(beside, plan)
        beside.rename(folder)
    except OSError as error:
        if folder.exists():
            raise ConfigError(_exists(folder)) from None
        message = f"{folder}: cannot be written ({error.strerror})"
        raise InfrastructureError(message) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _exists(folder: Path) -> str:
    return f"{folder} exists; go on writing to it with segpipe.PredictionWriter.open, or name another store"


def _fill(folder: Path, plan: Plan) -> None:
    attributes = {ATTRIBUTE: plan.attributes()}
    zarr.create_group(folder, attributes=attributes if plan.stacked else {})
    home = folder
    if plan.stacked:
        shape = (len(plan.ids), *plan.sizes[0])
        (folder / LABELS).mkdir()
        (folder / LABELS / DOCUMENT).write_bytes(array_document(shape, plan.chunking[0], plan.dtype))
    else:
        home = folder / LABELS
        zarr.create_group(home, attributes=attributes)
        for name, size, chunking in zip(plan.ids, plan.sizes, plan.chunking, strict=True):
            (home / name).mkdir()
            (home / name / DOCUMENT).write_bytes(array_document(size, chunking, plan.dtype))
    zarr.create_array(
        home / IDS,
        data=np.array(plan.ids, np.dtypes.StringDType()),
        compressors=[ZstdCodec(level=ZSTD_LEVEL, checksum=True)],
        dimension_names=(IDS,),
    )


@lru_cache(maxsize=4096)
def array_document(shape: tuple[int, ...], chunking: Chunking, dtype: np.dtype[Any]) -> bytes:
    """The metadata document of an array: zstd with checksum, and a fill value that names no class."""
    objects: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(objects),
        shape=shape,
        dtype=dtype,
        chunks=chunking.chunks,
        shards=chunking.shards,
        compressors=[ZstdCodec(level=ZSTD_LEVEL, checksum=True)],
        fill_value=np.iinfo(dtype).max,
        dimension_names=(IDS, "y", "x")[-len(shape) :],
    )
    return objects[DOCUMENT].to_bytes()


def check_ids(ids: Sequence[str], *, names: bool) -> None:
    """Check that every image has an id of its own; `names`: they become names of arrays.

    Raises:
        InputError: all that is wrong with them.
    """
    problems = [] if ids else [Problem(kind="empty dataset", found="0 images", expected="at least one")]
    if any(not name.strip() for name in ids):
        problems.append(Problem(kind="ids", found="an empty id", expected="an id for each image"))
    problems += [
        Problem(kind="ids", found=f"an id that is no Unicode text: {name!a}", advice="give other ids")
        for name in ids
        if any("\ud800" <= letter <= "\udfff" for letter in name)
    ]
    counts = Counter(ids)
    problems += [
        Problem(kind="ids", image=name, found=f"an id given {times} times")
        for name, times in counts.items()
        if times > 1
    ]
    for name in ids if names else ():
        if "/" in name or "\0" in name or name in (".", "..", IDS) or name.startswith("__"):
            problems.append(_no_name(name, "an id that cannot name an array"))
        elif len(name.encode(errors="replace")) > 250:
            problems.append(_no_name(f"{name[:40]}...", f"an id of {len(name)} characters"))
    if problems:
        raise InputError(problems)


def _no_name(name: str, found: str) -> Problem:
    return Problem(
        kind="ids",
        image=name,
        found=found,
        expected="text without slashes, where images of many sizes are one array each",
        advice="give other ids",
    )


class PredictionStore:
    """An existing store of label maps, opened by its folder.

    A **row** is what one run of storage units holds: some images of the one array, or one image where each
    has an array of its own. No object belongs to two rows.

    Raises:
        InputError: there is none, or no prediction writer made it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = next((home for home in (folder, folder / LABELS) if _described(home)), folder)
        described = _described(self.home)
        if described is None:
            raise InputError(_no_store(folder))
        self.record_folder = self.home / RECORD_FOLDER
        try:
            self._open(described)
        except InputError:
            raise
        except Exception as error:
            # zarr-python raises whatever it likes for metadata and ids that are damaged.
            raise InputError(_damaged_store(folder, error)) from error

    def _open(self, described: dict[str, Any]) -> None:
        self.labels = Labels(*(tuple(described[key]) for key in ("classes", "class_labels", "no_class")))
        self.ids: list[str] = [str(name) for name in _read_array(self.home / IDS)]
        self.stacked = described["layout"] == LAYOUT_NAMES[0]
        # Ids become paths: a store from elsewhere must not lead a writer out of its folder.
        check_ids(self.ids, names=not self.stacked)
        first = self.home / LABELS if self.stacked else self.home / self.ids[0]
        self._first = LabelArray(first, (first / DOCUMENT).read_bytes())
        self.dtype = self._first.meta.dtype

    def size(self, position: int) -> tuple[int, int]:
        """(y, x) of an image."""
        height, width = self._array(position).meta.shape[-2:]
        return height, width

    def row_of(self, position: int) -> int:
        """The row that an image lies in."""
        return position // self._first.row_images if self.stacked else position

    def positions(self, row: int) -> range:
        """The images of a row."""
        return self._first.indices(row) if self.stacked else range(row, row + 1)

    def rows(self) -> range:
        """All rows."""
        return range(self.row_of(len(self.ids) - 1) + 1)

    def files(self, row: int) -> list[Path]:
        """Where the objects of a row lie."""
        return self._first.files(row) if self.stacked else self._array(row).files(0)

    def encoded(self, row: int, maps: Sequence[NDArray[Any]]) -> dict[Path, bytes]:
        """The objects of a row from all its label maps, in order."""
        return self._first.encoded(row, maps) if self.stacked else self._array(row).encoded(0, maps)

    def read(self, row: int) -> list[NDArray[Any]]:
        """The label maps (y, x) of a row, as they lie on the disk."""
        return self._first.read(row) if self.stacked else self._array(row).read(0)

    @property
    def complete(self) -> bool:
        """Whether the store is declared complete, now."""
        return bool((_described(self.home) or {}).get("complete"))

    @property
    def begun_ns(self) -> int:
        """When the store was made: its ids are written once, and never again."""
        return (self.home / IDS / DOCUMENT).stat().st_mtime_ns

    def declare(self, *, complete: bool) -> None:
        """Say in the store's attributes whether it is complete."""
        document = json.loads((self.home / DOCUMENT).read_bytes())
        document["attributes"][ATTRIBUTE] |= {"complete": complete}
        put_durably(self.home / DOCUMENT, json.dumps(document, indent=1).encode(), self.record_folder / "new")

    def _array(self, position: int) -> LabelArray:
        if self.stacked:
            return self._first
        folder = self.home / self.ids[position]
        return LabelArray(folder, (folder / DOCUMENT).read_bytes())


def _described(home: Path) -> dict[str, Any] | None:
    """What a prediction writer said of a store when it made it."""
    try:
        described = json.loads((home / DOCUMENT).read_bytes())["attributes"][ATTRIBUTE]
        return described if DESCRIPTION <= set(described) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _read_array(folder: Path) -> NDArray[Any]:
    return np.asarray(zarr.open_array(folder, mode="r", zarr_format=3)[:])


def _damaged_store(folder: Path, error: Exception) -> Problem:
    words = " ".join(str(error).split())[:200]
    return Problem(
        kind="store",
        found=f"metadata or ids that cannot be read ({type(error).__name__}: {words})",
        expected="a store as segpipe made it",
        store=str(folder),
        advice="restore it, or make it anew",
    )


def _no_store(folder: Path) -> Problem:
    return Problem(
        kind="store",
        found="no store that segpipe made" if folder.exists() else "no such folder",
        expected="a store made by segpipe.create_store or `segpipe import`",
        store=str(folder),
        advice="import to a folder that does not exist yet, or make a store with segpipe.create_store first",
    )
