"""Slices of a dataset: images cut by their metadata or by a class they have, each slice scored by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import ClassList
from segpipe.criteria import SliceConfig
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.base import FloatArray
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import SliceScore, slice_score
from segpipe.metrics.scoring import each_group
from segpipe.metrics.weights import ImageWeights

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Columns = Mapping[str, NDArray[Any]]

MAX_SLICE_CLASSES = 200_000
"""Slices times classes of a run: some 150 MB while they are scored."""

WITH, WITHOUT = "has_class", "without_class"
"""What stands in place of a column's name where images are cut by a class that they have."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Images cut in one way.

    Attributes:
        title: what they are cut by, in words.
        where: of each slice that has images enough: column -> value in words, None for the images without
            one.
        slice_of: int64 (image,), the slice of each image; -1 where that has too few.
        small: how many slices have too few images.
    """

    title: str
    where: tuple[Mapping[str, str | None], ...]
    slice_of: IntArray
    small: int


def cut_images(
    rules: ScoringRules, num_classes: int, columns: Columns, has_class: Mapping[str, BoolArray]
) -> list[Slices]:
    """Cut images in the ways of `rules.slices`; every image is in one slice of each.

    Args:
        rules: the settings; `slices` and `min_slice_images` are looked at.
        num_classes: K.
        columns: the metadata columns that they name, (image,).
        has_class: class name -> whether an image has the class in truth, bool (image,).

    Raises:
        ConfigError: a column that is cut into bins holds no numbers, or there are too many slices.

    >>> columns = {"weather": np.array(["rain", "", "fog", "rain"], object)}
    >>> rules = ScoringRules(slices=(SliceConfig(by=("weather",)),))
    >>> slices, = cut_images(rules, 19, columns, {})
    >>> slices.where, slices.slice_of
    (({'weather': 'fog'}, {'weather': 'rain'}, {'weather': None}), array([1, 2, 0, 1]))
    """
    slices: list[Slices] = []
    most = MAX_SLICE_CLASSES // num_classes
    for one in rules.slices:
        codes, where = _by_class(one, has_class) if one.has_class is not None else _by(one, columns)
        found, place, images = np.unique(codes, return_inverse=True, return_counts=True)
        large = images >= rules.min_slice_images
        _check_number(int(large.sum()), sum(len(cut.where) for cut in slices), most, one.title, rules)
        slice_of = np.where(large, np.cumsum(large) - 1, -1)[place].astype(np.int64)
        slices.append(Slices(one.title, where(found[large]), slice_of, int((~large).sum())))
    return slices


def _check_number(number: int, before: int, most: int, title: str, rules: ScoringRules) -> None:
    if number + before > most:
        message = (
            f"slices: {number:,} slices by {title} and {before:,} before them; with so many classes at most "
            f"{most:,} can be scored. Cut numbers into bins, or raise min_slice_images (now "
            f"{rules.min_slice_images})"
        )
        raise ConfigError(message)


Where = Callable[[IntArray], tuple[Mapping[str, str | None], ...]]
"""Codes of slices -> what the images of each have in common."""


def _by_class(slicing: SliceConfig, has_class: Mapping[str, BoolArray]) -> tuple[IntArray, Where]:
    name = str(slicing.has_class)
    pair = ({WITH: name}, {WITHOUT: name})
    return (~has_class[name]).astype(np.int64), lambda codes: tuple(pair[code] for code in codes)


def _by(slicing: SliceConfig, columns: Columns) -> tuple[IntArray, Where]:
    """One or two columns; of two, the pairs of values."""
    cut = [_values(name, columns[name], slicing.bins.get(name)) for name in slicing.by]
    sizes = [max(len(texts), 1) for _, texts in cut]
    codes = np.ravel_multi_index([own for own, _ in cut], sizes)

    def where(chosen: IntArray) -> tuple[Mapping[str, str | None], ...]:
        rows = zip(*(place.tolist() for place in np.unravel_index(chosen, sizes)), strict=True)
        axes = [(name, texts) for name, (_, texts) in zip(slicing.by, cut, strict=True)]
        return tuple(
            {name: texts[code] for (name, texts), code in zip(axes, row, strict=True)} for row in rows
        )

    return np.asarray(codes, np.int64), where


def _values(
    name: str, values: NDArray[Any], bins: int | tuple[float, ...] | None
) -> tuple[IntArray, list[str | None]]:
    """The value or the bin of each image as a number, and what these are in words."""
    if bins is not None:
        return _binned(name, values, bins)
    if values.dtype.kind == "f":
        found, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int64), [value_text(value) for value in found.tolist()]
    plain = values.tolist()
    # Of a million texts, a dictionary finds the different ones ten times as fast as sorting does.
    different = sorted(set(plain), key=lambda value: (value_text(value) is None, value))
    number = {value: place for place, value in enumerate(different)}
    codes = np.fromiter(map(number.__getitem__, plain), np.int64, len(plain))
    return codes, [value_text(value) for value in different]


def value_text(value: Any) -> str | None:
    """A value of a column in words; None for an empty text and for NaN, which are no value.

    >>> value_text(True), value_text(30.0), value_text(0.5), value_text("rain"), value_text("")
    ('true', '30', '0.5', 'rain', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value).removesuffix(".0")
    return str(value) if value is not None and value != "" else None


def _binned(
    name: str, values: NDArray[Any], bins: int | tuple[float, ...]
) -> tuple[IntArray, list[str | None]]:
    """The bin of each number; bins without an image get a number, but no slice."""
    if values.dtype.kind not in "iuf":
        message = f"slices: the column {name!r} holds no numbers, so it has no bins; leave out bins"
        raise ConfigError(message)
    numbers = values.astype(np.float64)
    edges = _even_edges(numbers, bins) if isinstance(bins, int) else np.array(bins)
    codes = np.searchsorted(edges, numbers, side="right")
    codes[numbers == edges[-1]] = len(edges) - 1
    codes[np.isnan(numbers)] = len(edges) + 1
    texts = [str(value_text(edge)) for edge in edges.tolist()]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return codes.astype(np.int64), [f"below {texts[0]}", *between, f"above {texts[-1]}", None]


def _even_edges(numbers: FloatArray, bins: int) -> FloatArray:
    """Edges of bins of about as many images each; fewer bins where many images have one number."""
    known = np.sort(numbers[~np.isnan(numbers)])
    if not len(known):
        return np.zeros(2)
    places = [min(-(-len(known) * step // bins), len(known) - 1) for step in range(bins)]
    edges = np.unique(np.append(known[places], known[-1]))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def check_slices(rules: ScoringRules, columns: Columns, num_classes: int) -> list[Slices]:
    """Cut images by their metadata alone, to find mistakes before anything is counted.

    Args:
        rules: the settings; `slices` and `min_slice_images` are looked at.
        columns: the metadata columns of the images, (image,).
        num_classes: K.

    Returns:
        The slices by columns; those by classes are known when pixels are counted.

    Raises:
        ConfigError: there is no such column, it has no numbers for bins, or too many different values.
    """
    needed_columns(rules.slices, columns)
    by_columns = tuple(one for one in rules.slices if one.by)
    return cut_images(replace(rules, slices=by_columns), num_classes, columns, {})


def untold(columns: Columns) -> list[str]:
    """Sentences on the images that have no value in a column, (image,) each."""
    without = {name: _without_value(values) for name, values in columns.items()}
    return [
        f"{images:,} of {len(columns[name]):,} images have no value in the metadata column {name!r}; "
        "they are a slice of their own."
        for name, images in without.items()
        if images
    ]


def _without_value(values: NDArray[Any]) -> int:
    if values.dtype.kind == "f":
        return int(np.isnan(values).sum())
    return sum(value == "" for value in values.tolist()) if values.dtype.kind == "O" else 0


def needed_columns(slicings: Iterable[SliceConfig], known: Iterable[str], key: str = "slices") -> list[str]:
    """The metadata columns that slices are cut by.

    Raises:
        ConfigError: there is no such column.
    """
    names, there = list(dict.fromkeys(name for one in slicings for name in one.by)), list(known)
    for name in names:
        if name not in there:
            near = get_close_matches(name, there, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{key}: no metadata column {name!r}; there are: {', '.join(there) or 'none'}{hint}"
            raise ConfigError(message)
    return names


def class_presence(
    blocks: Iterable[ConfusionCells], classes: ClassList, names: Sequence[str]
) -> dict[str, BoolArray]:
    """Which images have a class in truth, whatever was predicted there: class name -> bool (image,)."""
    parts: dict[str, list[BoolArray]] = {name: [np.empty(0, np.bool_)] for name in names}
    for cells in blocks if names else ():
        truth, image = cells.truth_codes, cells.image_of_cell
        for name, found in parts.items():
            present = np.zeros(len(cells), np.bool_)
            present[image[truth == classes.names.index(name)]] = True
            found.append(present)
    return {name: np.concatenate(found) for name, found in parts.items()}


def score_slices(
    blocks: Iterable[ConfusionCells],
    cut: Sequence[Slices],
    classes: ClassList,
    rules: ScoringRules,
    weights: ImageWeights | None = None,
) -> tuple[SliceScore, ...]:
    """Score slices, each as a dataset of its own.

    Args:
        blocks: the matrices of all images, some at a time.
        cut: the images, cut in some ways.
        classes: the K classes.
        rules: the settings.
        weights: of the images, in their order.

    Returns:
        Way by way in their order, values in their order.
    """
    if not cut:
        return ()
    groups, number = slice_groups(cut)
    scored = each_group(_with_groups(blocks, groups), number + 1, classes, rules, weights)
    places = ((one.title, where) for one in cut for where in one.where)
    return tuple(
        slice_score(title, where, scores) for (title, where), scores in zip(places, scored, strict=False)
    )


def slice_groups(cut: Sequence[Slices]) -> tuple[IntArray, int]:
    """All slices of all ways as groups: the groups of each image, int64 (way, image); how many there are.

    The images of slices that are too small are in one group more, which nobody looks at.
    """
    first = np.cumsum([0, *(len(one.where) for one in cut)])
    number = int(first[-1])
    rows = [
        np.where(one.slice_of < 0, number, one.slice_of + start)
        for one, start in zip(cut, first, strict=False)
    ]
    return np.stack(rows), number


def _with_groups(
    blocks: Iterable[ConfusionCells], groups: IntArray
) -> Iterator[tuple[ConfusionCells, IntArray]]:
    start = 0
    for cells in blocks:
        yield cells, groups[:, start : start + len(cells)]
        start += len(cells)
