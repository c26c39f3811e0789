"""Which array is which image: one module for each way in which label maps lie in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import LayoutConfig
from segpipe.errors import ConfigError, Problem, first_of
from segpipe.registry import Registry
from segpipe.sources.claims import claim_problems
from segpipe.sources.columns import FILL_ADVICE, UnreadableColumn, declares_fill
from segpipe.sources.metadata import ArrayMeta, GroupMeta, StoreView, join
from segpipe.sources.representations import REPRESENTATIONS
from segpipe.sources.storage import ObjectInfo

SHOWN_NAMES = 5
"""How many ids or arrays a single problem names."""

FLOAT_ADVICE = (
    "if these are scores, say beside `store` which: `representation: logits` or `representation: "
    "probabilities` with `class_axis: 1` (a number, or the name of a dimension), or `representation: binary` "
    "with `threshold: 0.5`. If they are labels, xarray made floats of them, because they have a _FillValue: "
    "open and write them with mask_and_scale=False"
)

MAX_ID_LETTERS = 4096
"""Of an id: as many as a path may have."""

DIMENSION_ADVICE = {
    2: "set `layout: grouped` on the group above if each of its arrays is one image, `raster` for a scene",
    3: "set `layout: stacked` for images (image, y, x), `layout: volume` for a volume (z, y, x)",
    4: "set `layout: volume` for volumes (image, z, y, x); of logits and the like say beside `store` what "
    "they are, `representation: logits` (probabilities, one_hot), and their `class_axis: 1`",
}
"""Dimensions of an array -> what may be meant, where another number was expected."""


@dataclass(frozen=True)
class ImageSet:
    """The images of one side of an evaluation, in order.

    ids: one a image, all different; None: the store names none, they are told apart by position.
    arrays: the arrays that hold them.
    array_of_image: int64 (image,), position in `arrays`.
    index_in_array: int64 (image,), position along the first dimension; -1: the array has no such dimension.
    corners, sizes: int64 (image, axis), px; the first pixel of the image along each axis of pixels, (y, x) or
        (z, y, x), and how many there are. The axes of pixels are the last ones of a label map.
    columns: name -> values (image,): bool, int64, uint64, float64, or object (str).
    left_out: name -> why a column beside them is not among `columns`.
    objects: every object of the store, key -> info.
    declares_missing_fill: the store itself declares absent chunks to be fill value.
    never_written: ids that the store has room for and whose label maps its writer never wrote, so that they
        are not among the images; None: the store is finished, or keeps no such record.
    cut: the images are windows of larger ones, whose pixels go on beyond them.
    """

    store: str
    ids: list[str] | None
    arrays: list[ArrayMeta]
    array_of_image: NDArray[np.int64]
    index_in_array: NDArray[np.int64]
    corners: NDArray[np.int64]
    sizes: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    objects: Mapping[str, ObjectInfo]
    left_out: dict[str, str] = field(default_factory=dict)
    declares_missing_fill: bool = False
    never_written: tuple[str, ...] | None = None
    cut: bool = False

    def __len__(self) -> int:
        return len(self.array_of_image)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """int64 (image,); how many pixels each image has."""
        pixels: NDArray[np.int64] = self.sizes.prod(axis=1)
        return pixels


def whole_arrays(arrays: Sequence[ArrayMeta]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`corners` and `sizes` of images that each fill an array of their own."""
    sizes = np.array([meta.label_shape for meta in arrays], np.int64)
    return np.zeros_like(sizes), sizes


def whole_slices(meta: ArrayMeta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`corners` and `sizes` of images that lie one after the other along the first axis of an array."""
    sizes = np.tile(np.array(meta.label_shape[1:], np.int64), (meta.label_shape[0], 1))
    return np.zeros_like(sizes), sizes


Layout = Callable[..., ImageSet]
"""`find_images(view, array_path, *, option=default, ...)`: the images at a path.

Raises InputError that lists all problems, and ConfigError for the value of an option.
"""

LAYOUTS: Registry[Layout] = Registry(
    "layout",
    tuple(
        f"{__name__}.{name}"
        for name in ("stacked", "grouped", "nested", "padded", "raster", "volume", "manifest")
    ),
)

AxisKinds = tuple[frozenset[str], ...]
"""For each dimension, what it may be: `image`, `z`, `y`, `x`."""

Y_X: AxisKinds = (frozenset("y"), frozenset("x"))
Z_Y_X: AxisKinds = (frozenset("z"), *Y_X)

NAMES_OF_AXES = {
    "image": {"image"},
    "z": {"z", "depth", "d", "slice", "plane", "level"},
    "y": {"y", "height", "h", "row", "rows", "lat", "latitude"},
    "x": {"x", "width", "w", "col", "cols", "column", "columns", "lon", "longitude"},
    "channel": {"c", "channel", "channels", "class", "classes", "band", "bands"},
}
"""What the names of dimensions say; other names say nothing."""


def find_images(layout: LayoutConfig, view: StoreView, array_path: str) -> ImageSet:
    """The images of one side, as the layout finds them.

    Raises:
        ConfigError: no such layout, or it has no such option.
        InputError: what is wrong with the store, all of it.
    """
    find = LAYOUTS[layout.kind]
    parameters = signature(find).parameters.values()
    known = {
        parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
    given = layout.options()
    for name in given:
        if name not in known:
            listed = ", ".join(known) or "none"
            message = f"layout.{name}: the layout {layout.kind} has no such option; it has: {listed}"
            raise ConfigError(message)
    for name, parameter in known.items():
        if name not in given and parameter.default is parameter.empty:
            message = f"layout.{name}: is missing; the layout {layout.kind} needs it"
            raise ConfigError(message)
    return find(view, array_path, **given)


def dimension_problems(view: StoreView, meta: ArrayMeta, kinds: AxisKinds) -> list[Problem]:
    """Dimensions that are not those expected, by their number or by their names; and sizes of 0."""
    expected = f"({', '.join(sorted(kind)[0] for kind in kinds)})"
    if len(meta.label_shape) != len(kinds):
        found = f"{len(meta.label_shape)} dimensions, shape {meta.label_shape}"
        advice = DIMENSION_ADVICE.get(len(meta.label_shape), "")
        wanted = f"{len(kinds)} {expected}"
        return [problem(view, "shape", found, wanted, array=meta.path, advice=advice)]
    problems = []
    if meta.label_shape[0] == 0 and "image" in kinds[0]:
        problems.append(problem(view, "empty dataset", "0 images", "at least one", array=meta.path))
    elif 0 in meta.label_shape:
        found = (
            f"images of {' x '.join(map(str, meta.label_shape[-len(kinds) + ('image' in kinds[0]) :]))} px"
        )
        problems.append(problem(view, "shape", found, "at least one pixel", array=meta.path))
    names = meta.without_classes(meta.dimension_names) if meta.dimension_names else ()
    if any(axis_kind(name) not in {None, *kind} for name, kind in zip(names, kinds, strict=False)):
        found = f"the dimensions {', '.join(map(str, names))}"
        advice = f"write the array again with its dimensions in the order {expected}"
        problems.append(problem(view, "dims", found, expected, array=meta.path, advice=advice))
    return problems


def axis_kind(name: str | None) -> str | None:
    """What the name of a dimension says it is; None: nothing.

    >>> axis_kind("Height"), axis_kind("dim_0")
    ('y', None)
    """
    return next((kind for kind, names in NAMES_OF_AXES.items() if (name or "").lower() in names), None)


def with_class_axis(view: StoreView, meta: ArrayMeta) -> tuple[ArrayMeta, list[Problem]]:
    """An array of label maps with the axis that runs over the classes, if it has one; and what is wrong.

    The axis is declared, or read from the names of the dimensions; it is never guessed from a size.
    """
    find = _named_axis if view.stored_as.class_axis is None else _declared_axis
    axis, problems = find(view, meta)
    stored = view.stored_as
    meta = meta.twin(representation=stored.representation, threshold=stored.threshold)
    if problems:
        return meta, problems
    if REPRESENTATIONS[view.stored_as.representation].channels:
        if axis is None:
            problems = [_no_class_axis(view, meta)]
    elif axis is not None and meta.shape[axis] != 1:
        if view.stored_as.class_axis is None:
            # Whether it may be there at all is for the layout to say.
            return meta, []
        found = f"{meta.shape[axis]} channels along the class axis"
        advice = "say beside `store` what they are: `representation: logits`, `probabilities` or `one_hot`"
        problems = [problem(view, "class axis", found, "1", array=meta.path, advice=advice)]
    return meta.twin(class_axis=axis), problems


def _declared_axis(view: StoreView, meta: ArrayMeta) -> tuple[int | None, list[Problem]]:
    axis, names = view.stored_as.class_axis, meta.dimension_names or ()
    if isinstance(axis, int) and -len(meta.shape) <= axis < len(meta.shape):
        return axis % len(meta.shape), []
    if isinstance(axis, str) and names.count(axis) == 1:
        return names.index(axis), []
    listed = f"the dimensions {', '.join(map(str, names))}" if names else "dimensions without names"
    found = f"class_axis: {axis}, in an array of shape {meta.shape}, {listed}"
    return None, [
        problem(view, "class axis", found, "the number or the name of a dimension", array=meta.path)
    ]


def _named_axis(view: StoreView, meta: ArrayMeta) -> tuple[int | None, list[Problem]]:
    names = meta.dimension_names or ()
    axes = [axis for axis, name in enumerate(names) if axis_kind(name) == "channel"]
    if len(axes) < 2:
        return next(iter(axes), None), []
    found = f"the dimensions {' and '.join(str(names[axis]) for axis in axes)}"
    advice = f"say beside `store` which of them it is: `class_axis: {names[axes[0]]}`"
    return None, [problem(view, "class axis", found, "one of classes", array=meta.path, advice=advice)]


def _no_class_axis(view: StoreView, meta: ArrayMeta) -> Problem:
    names = ", ".join(map(str, meta.dimension_names or ("none",)))
    found = f"an array of shape {meta.shape}, names of its dimensions: {names}"
    advice = "say beside `store` which axis runs over the classes: `class_axis: 1`, or -1 for the last"
    expected = "a dimension named class, classes, channel, channels or c"
    return problem(view, "class axis", found, expected, array=meta.path, advice=advice)


def label_problems(view: StoreView, meta: ArrayMeta) -> list[Problem]:
    """What is wrong with the dtype of an array of label maps, or with the shape that it claims."""
    problems = claim_problems(view, meta)
    expected = REPRESENTATIONS[meta.representation]
    if meta.dtype.kind in expected.dtypes:
        return problems
    labels = meta.representation == "labels"
    advice = FLOAT_ADVICE if meta.dtype.kind == "f" and labels else ""
    found = str(meta.dtype) if labels else f"{meta.dtype} for representation: {meta.representation}"
    wrong = problem(view, "dtype", found, expected.expected, array=meta.path, advice=advice)
    return [*problems, wrong]


def id_problems(view: StoreView, array: str, ids: Sequence[str]) -> list[Problem]:
    """Empty and endless ids, ids that are no text, and ids that are given twice."""
    longest = max(map(len, ids), default=0)
    if longest > MAX_ID_LETTERS:
        found, expected = f"an id of {longest:,} letters", f"at most {MAX_ID_LETTERS:,}"
        return [problem(view, "ids", found, expected, array=array)]
    if len(set(ids)) == len(ids) and all(map(str.strip, ids)) and _is_text("".join(ids)):
        return []
    problems = []
    empty = [str(position) for position, name in enumerate(ids) if not name.strip()]
    if empty:
        problems.append(problem(view, "ids", f"empty ids at positions {_some(empty)}", "an id", array=array))
    strange = [repr(name) for name in ids if not _is_text(name)]
    if strange:
        found = f"ids that are no valid text: {_some(strange)}"
        problems.append(problem(view, "ids", found, "Unicode text", array=array))
    if len(set(ids)) < len(ids):
        times: dict[str, int] = {}
        for name in ids:
            times[name] = times.get(name, 0) + 1
        twice = [f"{name!r} ({count} times)" for name, count in times.items() if count > 1 and name.strip()]
        if twice:
            found = f"ids given more than once: {_some(twice)}"
            problems.append(problem(view, "ids", found, "one id for each image", array=array))
    return problems


def fill_declared(view: StoreView, meta: ArrayMeta, group: GroupMeta | None) -> tuple[bool, list[Problem]]:
    """Whether an array, or else its group, declares absent chunks to be fill value; and what is wrong."""
    try:
        return declares_fill(meta.attributes, group.attributes if group else {}), []
    except UnreadableColumn as why:
        expected = "`are_fill_value`, or no such attribute"
        return False, [problem(view, "attribute", str(why), expected, array=meta.path, advice=FILL_ADVICE)]


def group_above(view: StoreView, path: str) -> GroupMeta | None:
    """The group that a node lies in; None at the root of the store, or if the group has no document."""
    parent, _, name = path.rpartition("/")
    if not name or not any(join(parent, document) in view.objects for document in ("zarr.json", ".zgroup")):
        return None
    node = view.node(parent)
    return node if isinstance(node, GroupMeta) else None


def problem(
    view: StoreView, kind: str, found: str, expected: str = "", *, array: str = "", advice: str = ""
) -> Problem:
    """A problem of this store."""
    return Problem(
        kind=kind, found=found, expected=expected, store=view.storage.url, array=array, advice=advice
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return first_of(listed[:SHOWN_NAMES], len(listed))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
