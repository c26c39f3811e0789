"""The results dataset: counts of every image, their sum, and the scores, in one Zarr store for xarray.

Everything is cut at fixed boundaries, so that the bytes are a function of the counts alone: not of how many
images were appended at a time, nor of who counted them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray

from segpipe.classes import ClassGroup, ClassList
from segpipe.config import StatisticConfig
from segpipe.counts.arrays import group_attributes, write_array, write_chunk, write_document, write_group
from segpipe.counts.columns import COLUMN_DTYPES, ColumnKind, clean_text, plain_column, stored_names
from segpipe.errors import InfrastructureError, InputError, Problem
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.weighted import UNIT_BITS
from segpipe.metrics.areas import COUNT_NAMES, image_counts
from segpipe.metrics.base import METRICS
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Aggregate, Interval, Scores, StatisticScores
from segpipe.metrics.scoring import weighted_total
from segpipe.metrics.sums import UnitSums
from segpipe.metrics.weights import ImageWeights, check_weights
from segpipe.statistics.base import Counts, Statistic, chosen_statistics, stored_field
from segpipe.statistics.figures import Figure

SCHEMA = 1
IMAGES_PER_CHUNK = 16_384
CELLS_PER_CHUNK = 262_144
CODES_PER_CHUNK = 512
IMAGES_PER_BLOCK, CELLS_PER_BLOCK, CLASSES_PER_BLOCK = 1024, 262_144, 262_144
"""How many images, cells, and images times classes are scored at a time: some tens of megabytes at most."""

NO_CLASS_NAMES = {"truth": ("(ignored)", "(invalid)"), "pred": ("(void)", "(invalid)")}
"""How the two codes that are no class are called, next to the class names."""

IMAGE_SCORES = ("pixel_accuracy", "mean_iou")
"""The scores of an image by itself that are stored."""


class Block(NamedTuple):
    """Some images of the results, in their order.

    Attributes:
        ids: (image,).
        cells: their extended confusion matrices, of sums of weights where pixels have weights.
        columns: metadata column -> values (image,).
    """

    ids: list[str]
    cells: ConfusionCells
    columns: dict[str, NDArray[Any]]


class ResultsWriter:
    """Writes the counts of images, some at a time, in their final order.

    Args:
        path: the folder of the store; it must not exist.
        classes: the K classes.
        columns: metadata column -> kind (`segpipe.counts.columns.column_kind`).
        weighted: pixels have weights.
        statistics: what was counted beside the confusion matrix.

    Use it as a context manager, or call `close`; without that the store is not complete.
    """

    def __init__(
        self,
        path: str | Path,
        classes: ClassList,
        columns: Mapping[str, ColumnKind] | None = None,
        *,
        weighted: bool = False,
        statistics: Sequence[Statistic] = (),
    ) -> None:
        self._path, self._classes = Path(path), classes
        self._weights = UnitSums(((len(classes) + 2) ** 2,)) if weighted else None
        self._kinds = dict(columns or {})
        self._statistics = tuple(statistics)
        self._fields = {
            stored_field(one.full_name, field.name): field
            for one in statistics
            for field in one.fields(len(classes))
        }
        self._names = stored_names(self._kinds, _reserved() | _reserved_by(self._statistics, self._fields))
        zarr.create_group(self._path, zarr_format=3, attributes=self._attributes())
        self._total = np.zeros((len(classes) + 2) ** 2, np.int64)
        self._cells = 0
        self._growing = self._create_growing()
        self._growing["cell_offset"].append(np.zeros(1, np.int64))

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()

    def append(
        self,
        ids: Sequence[str],
        cells: ConfusionCells,
        columns: Mapping[str, ArrayLike] | None = None,
        sums: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        """Add images after those that are there.

        Args:
            ids: (image,).
            cells: their matrices, of sums of weights if pixels have weights (`ConfusionCells.with_weights`).
            columns: every column of the constructor, (image,).
            sums: every field of the statistics, by `stored_field`, (image, *shape).
        """
        self._check(ids, cells, {**(columns or {}), **(sums or {})})
        rows: dict[str, NDArray[Any]] = {"image": _texts(ids)}
        for name, kind in self._kinds.items():
            rows[self._names[name]] = plain_column(name, (columns or {})[name], kind)
        rows |= {f"image_{name}": counts for name, counts in image_counts(cells).items()}
        rows["cell_offset"] = cells.offsets[1:] - cells.offsets[0] + self._cells
        truth = cells.truth_codes
        pred = cells.cells - truth * cells.num_codes
        rows |= {"cell_truth": truth, "cell_pred": pred, "cell_pixels": cells.in_pixels.counts}
        if self._weights is not None:
            rows[CELL_WEIGHTS] = cells.counts
            self._weights.add(cells.cells, cells.counts)
        for name, values in (rows | dict(sums or {})).items():
            self._growing[name].append(values)
        self._cells += len(cells.counts)
        np.add.at(self._total, cells.cells, cells.in_pixels.counts)

    def close(self) -> None:
        """Write what is left, the sum over the images, and the metadata."""
        for growing in self._growing.values():
            growing.finish()
        codes = len(self._classes) + 2
        if self._weights is not None:
            weights = self._weights.weights().reshape(codes, codes)
            _store(self._path, WEIGHTED_CONFUSION, weights, ("truth", "pred"), _WEIGHTED_CONFUSION)
        _store(self._path, "confusion", self._total.reshape(codes, codes), ("truth", "pred"), _CONFUSION)
        for side, extra in NO_CLASS_NAMES.items():
            _store(self._path, side, _texts([*self._classes.names, *extra]), (side,), _NAMES[side])
        _store(self._path, "class_name", _texts(self._classes.names), ("class_name",), _NAMES["class_name"])
        _store(self._path, "class_id", np.arange(codes - 2), ("class_name",), _NAMES["class_id"])
        write_group(self._path, self._attributes())

    def _check(self, ids: Sequence[str], cells: ConfusionCells, columns: Mapping[str, ArrayLike]) -> None:
        lengths = {len(ids), len(cells), *(len(np.asarray(values)) for values in columns.values())}
        weighted = (cells.of_pixels is None) == (self._weights is None)
        expected = {*self._kinds, *self._fields}
        others = set(columns) != expected or cells.num_classes != len(self._classes)
        if len(lengths) > 1 or others or not weighted:
            message = (
                f"append: {len(ids)} ids, {len(cells)} matrices of {cells.num_classes} classes, columns "
                f"{sorted(columns)}; expected one length, {len(self._classes)} classes, {sorted(expected)}"
            )
            raise ValueError(message)

    def _attributes(self) -> dict[str, Any]:
        return {
            "title": "segpipe results",
            "segpipe_schema": SCHEMA,
            # xarray makes coordinates of the names that it finds here.
            "coordinates": " ".join(["class_id", *self._names.values()]),
            "class_colors": [None if color is None else list(color) for color in self._classes.colors],
            "class_groups": [[group.name, list(group.members)] for group in self._classes.groups],
            "metadata_columns": [[name, self._names[name], kind] for name, kind in self._kinds.items()],
            **({"statistics": [one.document() for one in self._statistics]} if self._statistics else {}),
        }

    def _create_growing(self) -> dict[str, _Growing]:
        growing = {"image": _Growing(self._path, "image", np.dtype(object), "image", _NAMES["image"])}
        for name, kind in self._kinds.items():
            attributes = {"long_name": clean_text(name)}
            stored = self._names[name]
            growing[stored] = _Growing(self._path, stored, COLUMN_DTYPES[kind], "image", attributes)
        for name, meaning in COUNT_NAMES.items():
            attributes = {"long_name": meaning, "units": "pixel"}
            growing[f"image_{name}"] = _Growing(self._path, f"image_{name}", _INT, "image", attributes)
        cells = _CELLS if self._weights is None else _CELLS | _CELLS_OF_WEIGHTS
        for name, (code, dim, meaning) in cells.items():
            growing[name] = _Growing(self._path, name, code, dim, {"long_name": meaning})
        for name, one in self._fields.items():
            said: dict[str, Any] = {"long_name": one.meaning, "units": one.units}
            if one.step_bits:
                # xarray multiplies by it.
                said["scale_factor"] = 2.0**-one.step_bits
            dims = ("image", *(stored_dim(name, dim) for dim in one.dims))
            growing[name] = _Growing(self._path, name, _INT, "image", said, one.shape, dims)
        return growing


_INT = np.dtype(np.int64)
_CODE = np.dtype(np.uint16)
_CELLS: dict[str, tuple[np.dtype[Any], str, str]] = {
    "cell_offset": (_INT, "image_edge", "cells of image i are cell_offset[i] to cell_offset[i + 1]"),
    "cell_truth": (_CODE, "cell", "truth code of the cell: class id, K ignored, K + 1 invalid"),
    "cell_pred": (_CODE, "cell", "pred code of the cell: class id, K void, K + 1 invalid"),
    "cell_pixels": (_INT, "cell", "pixels of the cell"),
}
CELL_WEIGHTS, WEIGHTED_CONFUSION = "cell_weight_units", "weighted_confusion"
"""Arrays that there are only where pixels have weights."""
_CELLS_OF_WEIGHTS = {
    CELL_WEIGHTS: (_INT, "cell", f"sum of the weights of the pixels of the cell, in units of 2^-{UNIT_BITS}"),
}
_WEIGHTED_CONFUSION = {
    "long_name": "sum of the weights of the pixels of each pair of truth and prediction, over all images",
    "units": "pixel",
}
_CONFUSION = {"long_name": "pixels of each pair of truth and prediction, over all images", "units": "pixel"}
_NAMES = {
    "image": {"long_name": "image id"},
    "class_name": {"long_name": "class"},
    "class_id": {"long_name": "class id"},
    "truth": {"long_name": "class in truth"},
    "pred": {"long_name": "predicted class"},
}
_AREAS = {
    "truth_pixels": ("truth", "pixels of the class in truth that count"),
    "pred_pixels": ("pred", "pixels of valid truth predicted as the class"),
    "hit_pixels": ("hit", "pixels of the class predicted as the class"),
}


def _reserved() -> set[str]:
    """Every name that results or tables give to a figure of their own."""
    images = {f"image_{name}" for name in [*COUNT_NAMES, *IMAGE_SCORES]}
    ends = {f"{name}_{end}" for name in METRICS for end in ("low", "high")}
    metrics = set(METRICS) | ends | {name for one in METRICS.values() for name in one.averages}
    groups = {f"group_{name}" for name in [*metrics, *_AREAS, "name"]}
    fixed = {
        *COUNT_NAMES,
        *IMAGE_SCORES,
        *_CELLS,
        *_CELLS_OF_WEIGHTS,
        WEIGHTED_CONFUSION,
        *_AREAS,
        *_NAMES,
        "confusion",
        "cell",
        "image_edge",
        "images",
    }
    return images | metrics | groups | fixed


def _reserved_by(statistics: Sequence[Statistic], fields: Iterable[str]) -> set[str]:
    """The names that statistics give to their sums and figures."""
    return {*fields, *(name for one in statistics for name in one.array_names)}


def stored_dim(name: str, dim: str) -> str:
    """The name of a dimension of such an array: the classes are those of all arrays, others its own."""
    return "class_name" if dim == "class" else f"{name}_{dim}"


def rows_per_chunk(rest: tuple[int, ...]) -> int:
    """How many images lie in a chunk of an array (image, *rest)."""
    return max(1, min(IMAGES_PER_CHUNK, CELLS_PER_CHUNK // max(1, math.prod(rest))))


class _Growing:
    """An array that grows by whole chunks, so that its chunks do not show how it was appended to.

    It grows along its first dimension; the others, of `rest`, lie whole in every chunk.
    """

    def __init__(
        self,
        store: Path,
        name: str,
        dtype: np.dtype[Any],
        dim: str,
        attributes: Mapping[str, Any],
        rest: tuple[int, ...] = (),
        dims: tuple[str, ...] = (),
    ) -> None:
        self._store, self._name, self._dtype, self._dims = store, name, dtype, dims or (dim,)
        self._chunk = IMAGES_PER_CHUNK if dim.startswith("image") else CELLS_PER_CHUNK
        if rest:
            self._chunk = rows_per_chunk(rest)
        self._rest, self._attributes = rest, attributes
        self._waiting: list[NDArray[Any]] = []
        self._held = self._chunks = 0

    def append(self, values: NDArray[Any]) -> None:
        self._waiting.append(values.astype(self._dtype))
        self._held += len(values)
        if self._held >= self._chunk:
            self._write(self._held // self._chunk)

    def finish(self) -> None:
        """Write what is left, and the metadata."""
        length = self._chunks * self._chunk + self._held
        self._write(-(-self._held // self._chunk))
        shape, chunk = (length, *self._rest), (self._chunk, *self._rest)
        write_document(self._store, self._name, shape, self._dtype, chunk, self._dims, self._attributes)

    def _write(self, chunks: int) -> None:
        if not chunks:
            return
        values = np.concatenate(self._waiting)
        for start in range(0, chunks * self._chunk, self._chunk):
            part = values[start : start + self._chunk]
            place = (self._chunks, *(0 for _ in self._rest))
            write_chunk(self._store, self._name, place, part, (self._chunk, *self._rest))
            self._chunks += 1
        self._waiting = [values[chunks * self._chunk :]]
        self._held = len(self._waiting[0])


def _store(
    store: Path, name: str, values: NDArray[Any], dims: tuple[str, ...], attributes: Mapping[str, Any]
) -> None:
    chunks = tuple(max(1, min(size, CODES_PER_CHUNK)) for size in values.shape)
    write_array(store, name, values, chunks, dims, attributes)


def _texts(values: Sequence[str]) -> NDArray[Any]:
    texts = np.empty(len(values), object)
    texts[:] = [clean_text(value) for value in values]
    return texts


class ResultsReader:
    """Reads a results dataset, some images at a time.

    Attributes:
        path: the folder of the store.
        classes: the K classes.
        columns: metadata column -> kind.
        names: metadata column -> the name of its array.

    Raises:
        InputError: there is no results dataset, or it cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._opened: dict[str, Any] = {}
        self._kept: dict[str, tuple[int, NDArray[Any]]] = {}
        try:
            self._group = zarr.open_group(self.path, mode="r")
            attributes = self._group.attrs.asdict()
            stored = cast(list[tuple[str, str, ColumnKind]], attributes["metadata_columns"])
            colors = tuple(color and tuple(color) for color in cast(Any, attributes["class_colors"]))
            groups = [ClassGroup(name, tuple(of)) for name, of in cast(Any, attributes["class_groups"])]
        except (OSError, ValueError, KeyError, zarr.errors.BaseZarrError) as error:
            raise InputError(self._damage("", error)) from error
        self.columns: dict[str, ColumnKind] = {name: kind for name, _, kind in stored}
        self.names: dict[str, str] = {name: array for name, array, _ in stored}
        self.classes = ClassList(tuple(map(str, self.read("class_name"))), colors, tuple(groups))

    def __len__(self) -> int:
        """The number of images."""
        return int(cast("zarr.Array[Any]", self._group["image"]).shape[0])

    @property
    def rules(self) -> ScoringRules:
        """The rules under which the stored scores were made."""
        return ScoringRules(**cast(Any, self._group.attrs["rules"]))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Part of one array along its first dimension; texts come as an object array."""
        return self._decoded(name, lambda array: array[start:stop])

    def take(self, name: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """Some places of a 1-D array, in the order given."""
        return self._decoded(name, lambda array: array.oindex[places])

    def _decoded(self, name: str, select: Callable[[Any], Any]) -> NDArray[Any]:
        try:
            if name not in self._opened:
                self._opened[name] = self._group[name]
            values = np.asarray(select(self._opened[name]))
        except Exception as error:
            # Codecs raise what they like; whatever it is, the file is not what was written.
            raise InputError(self._damage(name, error)) from error
        if values.dtype.kind not in "iufb":
            return values.astype(object)
        # zarr makes a dtype object of its own, equal to NumPy's but not the same: add.at is 30 times slower.
        return values.view(values.dtype.type)

    @property
    def weighted(self) -> bool:
        """Whether pixels have weights; then the matrices are sums of these."""
        return WEIGHTED_CONFUSION in self._group

    def pixel_weight(self) -> float:
        """The sum of the weights of all pixels, where they have any."""
        return math.fsum(self.read(WEIGHTED_CONFUSION).flat)

    def image_weights(self, rules: ScoringRules) -> ImageWeights | None:
        """The weights of the images, in order; None where neither they nor their pixels have any.

        Raises:
            ConfigError: there is no such column, or it holds text.
            InputError: weights that are negative or not finite; all images are listed.
        """
        values = self.plain_weights(rules)
        if self.weighted:
            return ImageWeights.of_weighted_pixels(values, len(self), self.pixel_weight())
        return None if values is None else ImageWeights.of(values, pixels=int(self.total().sum()))

    def plain_weights(self, rules: ScoringRules) -> NDArray[np.float64] | None:
        """The weights of the images as they are, float64 (image,); None where they have none.

        Raises as `image_weights` does.
        """
        name = rules.image_weights
        if name is None or not len(self):
            return None
        columns = {one: self.column(one) if one == name else np.empty(0) for one in self.columns}
        return check_weights(name, columns, self.ids()).astype(np.float64)

    def scored_total(self, weights: ImageWeights | None) -> NDArray[np.int64]:
        """The sum over all images, int64 (S, S), each times its weight.

        Raises:
            InfrastructureError: the images do not add up to a stored sum: the results are damaged.
        """
        total = self.total()
        if self.weighted:
            self._check_weights()
        return total if weights is None else weighted_total(self.cells(), total, weights)

    def _check_weights(self) -> None:
        """Add up the weights of all images, and compare."""
        sums = UnitSums(((len(self.classes) + 2) ** 2,))
        for cells in self.cells():
            sums.add(cells.cells, cells.counts)
        if not np.array_equal(sums.weights(), self.read(WEIGHTED_CONFUSION).reshape(-1)):
            message = (
                f"{self.path}: the weights of the images do not add up to the stored sum: the results are "
                "damaged; evaluate again"
            )
            raise InfrastructureError(message)

    def total(self) -> NDArray[np.int64]:
        """The sum over all images, int64 (S, S)."""
        return self.read("confusion")

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Image ids, in order."""
        return list(map(str, self.read("image", start, stop)))

    def column(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """A metadata column by its own name."""
        return self.read(self.names[name], start, stop)

    def blocks(self) -> Iterator[Block]:
        """All images, some at a time, so that neither images, cells nor classes fill the memory."""
        ids: list[str] = []
        columns: dict[str, NDArray[Any]] = {}
        for first, start, cells in self._parts():
            if start == 0:
                ids = self.ids(first, first + IMAGES_PER_CHUNK)
                columns = {name: self.column(name, first, first + IMAGES_PER_CHUNK) for name in self.columns}
            here = slice(start, start + len(cells))
            yield Block(ids[here], cells, {name: values[here] for name, values in columns.items()})

    def cells(self) -> Iterator[ConfusionCells]:
        """The matrices alone, some images at a time: what scoring needs."""
        return (cells for _, _, cells in self._parts())

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """What was counted beside the confusion matrix.

        Raises:
            ConfigError: a package that brought one is not installed.
            InputError: it is of another version.
        """
        documents = cast(list[dict[str, Any]], self._group.attrs.get("statistics", []))
        settings = [
            StatisticConfig(kind=one["kind"], **{"name": one.get("name", ""), **one["parameters"]})
            for one in documents
        ]
        statistics = chosen_statistics(settings)
        for one, document in zip(statistics, documents, strict=True):
            if one.version != document["version"]:
                raise InputError(
                    Problem(
                        kind="statistic",
                        found=f"{one.full_name} of version {document['version']}",
                        expected=f"version {one.version}",
                        store=self.path,
                        advice="evaluate again: only this statistic is counted anew",
                    )
                )
        return statistics

    def sums(self, one: Statistic) -> Iterator[Counts]:
        """What was counted of a statistic, int64 (image, *shape) of each field, some images at a time."""
        fields = one.fields(len(self.classes))
        step = min(rows_per_chunk(field.shape) for field in fields)
        for start in range(0, len(self), step):
            yield {
                field.name: self.read(stored_field(one.full_name, field.name), start, start + step)
                for field in fields
            }

    def _parts(self) -> Iterator[tuple[int, int, ConfusionCells]]:
        """Number of the first image of a chunk, number of the first image of the part within it, matrices."""
        images = max(1, min(IMAGES_PER_BLOCK, CLASSES_PER_BLOCK // len(self.classes)))
        for first in range(0, len(self), IMAGES_PER_CHUNK):
            offsets = self.read("cell_offset", first, first + IMAGES_PER_CHUNK + 1)
            for slab in _runs(offsets, IMAGES_PER_CHUNK, CELLS_PER_CHUNK):
                cells = self._cells(offsets[slab.start : slab.stop + 1])
                for part in _runs(cells.offsets, images, CELLS_PER_BLOCK):
                    yield first, slab.start + part.start, _part(cells, part)

    def _cells(self, offsets: NDArray[np.int64]) -> ConfusionCells:
        """The matrices of consecutive images, given their offsets."""
        first, last = int(offsets[0]), int(offsets[-1])
        codes = len(self.classes) + 2
        cells = self._read_on("cell_truth", first, last).astype(np.uint32) * np.uint32(codes)
        cells += self._read_on("cell_pred", first, last)
        pixels = self._read_on("cell_pixels", first, last)
        if not self.weighted:
            return ConfusionCells(codes - 2, offsets - first, cells, pixels)
        weights = self._read_on(CELL_WEIGHTS, first, last)
        return ConfusionCells(codes - 2, offsets - first, cells, weights, pixels)

    def _read_on(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Part of a cell array; the chunk it ends in is kept, for the next part begins there."""
        pieces = [self.read(name, 0, 0)]
        for chunk in range(first // CELLS_PER_CHUNK, -(-last // CELLS_PER_CHUNK)):
            start = chunk * CELLS_PER_CHUNK
            kept, values = self._kept.get(name, (-1, pieces[0]))
            if kept != chunk:
                values = self.read(name, start, start + CELLS_PER_CHUNK)
                self._kept[name] = chunk, values
            pieces.append(values[max(first - start, 0) : last - start])
        return np.concatenate(pieces)

    def _damage(self, array: str, error: Exception) -> Problem:
        return Problem(
            kind="results",
            found=f"{type(error).__name__}: {error}",
            expected="a results dataset written by segpipe",
            store=self.path,
            array=array,
            advice="evaluate again; what was counted is kept, so this is quick",
        )


def _runs(offsets: NDArray[np.int64], images: int, cells: int) -> Iterator[range]:
    """Runs of consecutive images: at most so many, with at most so many cells, but one image at least."""
    start, end = 0, len(offsets) - 1
    while start < end:
        fitting = int(np.searchsorted(offsets, offsets[start] + cells, side="right")) - 1
        stop = min(max(fitting, start + 1), start + images, end)
        yield range(start, stop)
        start = stop


def _part(cells: ConfusionCells, images: range) -> ConfusionCells:
    """Consecutive images of a block, sharing memory."""
    offsets = cells.offsets[images.start : images.stop + 1]
    chosen = slice(int(offsets[0]), int(offsets[-1]))
    pixels = None if cells.of_pixels is None else cells.of_pixels[chosen]
    counts = cells.counts[chosen]
    return ConfusionCells(cells.num_classes, offsets - offsets[0], cells.cells[chosen], counts, pixels)


def write_scores(path: str | Path, scores: Scores) -> None:
    """Add scores to a results dataset that holds counts: per image, per class, and aggregates.

    Args:
        path: the folder of the store.
        scores: of `score_counts` over the blocks of this dataset.
    """
    store = Path(path)
    _write_image_scores(store, scores)
    _write_pooled_scores(store, scores, "class_name")
    if scores.groups is not None:
        names = [one.name for one in scores.classes.groups]
        _store(store, "group_name", _texts(names), ("group_name",), {"long_name": "group of classes"})
        _write_pooled_scores(store, scores.groups, "group_name", "group_")
    for one in scores.statistics:
        _write_statistic(store, one)
    write_group(store, {**group_attributes(store), "rules": scores.rules.document()})


def _write_pooled_scores(store: Path, scores: Scores, dim: str, prefix: str = "") -> None:
    """Areas, scores per class (or group of classes) and aggregates."""
    for name, (side, meaning) in _AREAS.items():
        attributes = {"long_name": meaning, "units": "pixel"}
        areas = getattr(scores.areas, side)
        pixels = areas if scores.units_per_pixel == 1 else areas / scores.units_per_pixel
        _store(store, prefix + name, pixels, (dim,), attributes)
    for name, values in scores.per_class.items():
        attributes = _score_attributes(METRICS[name].title, METRICS[name])
        _store(store, prefix + name, values, (dim,), attributes)
    for name, intervals in scores.class_intervals.items():
        _write_class_intervals(store, METRICS[name], intervals, dim, prefix)
    for name, aggregate in scores.aggregates.items():
        attributes = _aggregate_attributes(aggregate, METRICS[aggregate.metric])
        _store(store, prefix + name, np.asarray(aggregate.value), (), attributes)


def _write_class_intervals(
    store: Path, metric: Figure, intervals: Sequence[Interval], dim: str, prefix: str = ""
) -> None:
    """The two ends of the intervals of classes (or of groups of classes)."""
    for end in ("low", "high"):
        title = f"{metric.title}, {end} end of its interval"
        ends = np.array([getattr(one, end) for one in intervals])
        _store(store, f"{prefix}{metric.name}_{end}", ends, (dim,), _score_attributes(title, metric))


def _write_statistic(store: Path, scores: StatisticScores) -> None:
    """Sums over all images, scores per class, aggregates, and the scores of every image."""
    for field in scores.statistic.fields(scores.num_classes):
        name = stored_field(scores.statistic.full_name, field.name)
        attributes = {"long_name": f"{field.meaning}, over all images", "units": field.units}
        dims = tuple(stored_dim(name, dim) for dim in field.dims)
        _store(store, f"{name}_total", scores.sums[field.name], dims, attributes)
    for metric in scores.statistic.records:
        if metric.per_class:
            attributes = _score_attributes(metric.title, metric)
            _store(store, metric.name, scores.per_class[metric.name], ("class_name",), attributes)
        if metric.name in scores.class_intervals:
            _write_class_intervals(store, metric, scores.class_intervals[metric.name], "class_name")
        attributes = _score_attributes(f"{metric.pooled_title} of the image", metric)
        growing = _Growing(store, f"image_{metric.pooled_name}", np.dtype(np.float64), "image", attributes)
        growing.append(scores.per_image[metric.pooled_name])
        growing.finish()
        for name in metric.averages:
            one = scores.aggregates[name]
            _store(store, name, np.asarray(one.value), (), _aggregate_attributes(one, metric))


def _write_image_scores(store: Path, scores: Scores) -> None:
    for name in IMAGE_SCORES:
        like = scores.aggregates[name]
        attributes = _score_attributes(f"{like.title} of the image", METRICS[like.metric])
        growing = _Growing(store, f"image_{name}", np.dtype(np.float64), "image", attributes)
        if scores.per_image:
            growing.append(scores.per_image[name])
        growing.finish()


def _score_attributes(title: str, one: Figure) -> dict[str, Any]:
    # JSON has no infinity: an end without bound is not named.
    ends = {"valid_min": one.minimum, "valid_max": one.maximum}
    return {
        "long_name": title, "units": "1", "formula": one.formula, "direction": one.direction,
        "best": one.best, **{name: end for name, end in ends.items() if math.isfinite(end)},
    }  # fmt: skip


def _aggregate_attributes(one: Aggregate, metric: Figure) -> dict[str, Any]:
    return {
        **_score_attributes(one.title, metric),
        "averaging": one.averaging,
        "rule": one.rule,
        "classes_used": list(one.classes_used),
        "classes_dropped": dict(one.classes_dropped),
        "flagged": dict(one.flagged),
        "images_used": one.images_used,
        "images_dropped": one.images_dropped,
        **({"interval": _interval_attributes(one.interval)} if one.interval else {}),
    }


def _interval_attributes(one: Interval) -> dict[str, Any]:
    # JSON has no NaN either: where there is no interval, its ends are null.
    return {key: None if value != value else value for key, value in asdict(one).items()}
