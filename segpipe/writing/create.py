"""A new store for predictions: laid out like the truth, or for ids and sizes that are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.config import EvaluationConfig, Side, make_config
from segpipe.errors import ConfigError, InputError, Problem
from segpipe.sources.completeness import ATTRIBUTE, only_written
from segpipe.sources.layouts import LAYOUTS, ImageSet, group_above
from segpipe.sources.metadata import ArrayMeta, StoreView, view_store
from segpipe.sources.storage import open_storage
from segpipe.writing.prediction_store import Chunking, Labels, Plan, make_store, whole_images
from segpipe.writing.writer import PredictionWriter


def create_store(
    path: str | Path,
    *,
    like: str | Path | None = None,
    ids: Iterable[Any] | None = None,
    shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    classes: int | str | Sequence[str] | Mapping[str, Any] | None = None,
    no_class: int | Iterable[int] = (),
) -> PredictionWriter:
    """Make a Zarr store for predictions, and open a writer for it.

    It is format 3, zstd with a checksum; its fill value names no class. With `like` it has the ids, the sizes
    and the chunks (and shards) of the truth. Else every image is a chunk of its own: in one array `labels`
    (image, y, x) where all have one size, in a group `labels` of arrays (y, x) where sizes differ.

    Args:
        path: the folder of the store, which must not exist.
        like: the label maps of truth, as STORE::ARRAY.
        ids: of the images, in place of `like`.
        shape: (y, x) of all images, or one (y, x) for each id.
        classes: how many, their names, a shipped list (`cityscapes`), a YAML file, or the keys of one; not
            needed if a truth that segpipe wrote knows its classes.
        no_class: a label, or labels, that predictions may hold besides the classes (void).

    Returns:
        A writer; other processes open the same store with `PredictionWriter.open(path)`.

    Raises:
        ConfigError: arguments that do not go together, or a folder that exists.
        InputError: the truth cannot be used, or ids cannot.
        InfrastructureError: the store cannot be written.
    """
    folder = local_folder(path)
    given = {"like": like, "ids": ids, "shape": shape}
    if [name for name, value in given.items() if value is not None] not in (["like"], ["ids", "shape"]):
        message = "create_store: give `like` (the truth), or else both `ids` and `shape`"
        raise ConfigError(message)
    void = (no_class,) if isinstance(no_class, int) else tuple(no_class)
    if like is not None:
        plan = _plan_like(str(like), classes, void)
    elif isinstance(ids, str) or not isinstance(ids, Iterable):
        message = f"create_store: ids: found {ids!r:.200}, expected a sequence with an id for each image"
        raise ConfigError(message)
    else:
        plan = _plan_of(ids, shape, classes, void)
    make_store(folder, plan)
    return PredictionWriter(folder)


def local_folder(path: str | Path) -> Path:
    """The folder that a store is written to.

    Raises:
        ConfigError: it is no folder of this machine.
    """
    if "://" in str(path) or "::" in str(path):
        message = f"{path}: label maps are written to a folder of this machine; name one, such as pred.zarr"
        raise ConfigError(message)
    return Path(path).absolute()


def labels_of(classes: Any, no_class: Sequence[int], side: Side) -> Labels:
    """The labels that an evaluation with these classes would know on one side.

    Raises:
        ConfigError: they are no classes, or a label is both.
    """
    keys = {"truth": "ignore_labels", "pred": "void_labels"}
    given = {keys[side]: list(no_class)} if no_class or side == "pred" else {}
    values = {"truth": "truth", "pred": "pred", "classes": classes, **given}
    config: EvaluationConfig = make_config(values, source="classes")
    labels = Labels.of(config.classes, config.rules(side))
    if len(labels.ids) < len(labels.names):
        both = sorted(set(no_class) & set(labels.no_class))
        message = (
            f"no_class: found {both}, which are labels of classes too; expected labels besides the classes"
        )
        raise ConfigError(message)
    return labels


def _plan_of(ids: Iterable[Any], shape: Any, classes: Any, no_class: Sequence[int]) -> Plan:
    names = [str(name) for name in ids]
    sizes = _sizes(shape, len(names))
    labels = _pred_labels(classes, no_class)
    return Plan(names, sizes, whole_images(sizes), labels, labels.dtype(), stacked=len(set(sizes)) == 1)


def _sizes(shape: Any, images: int) -> list[tuple[int, int]]:
    """(y, x) for every image."""
    try:
        sizes = np.asarray(shape)
    except ValueError:  # Sizes of different lengths.
        sizes = np.empty(0)
    if sizes.shape == (2,):
        sizes = np.tile(sizes, (images, 1))
    if sizes.dtype.kind not in "iu" or sizes.shape != (images, 2) or (sizes < 1).any():
        message = f"shape: found {shape!r:.200}, expected (y, x), or one (y, x) for each of {images} ids"
        raise ConfigError(message)
    return [(int(height), int(width)) for height, width in sizes]


def _pred_labels(classes: Any, no_class: Sequence[int]) -> Labels:
    if classes is None:
        message = (
            "create_store: say which classes there are, such as classes=19 or classes='cityscapes', so that "
            "labels outside of them are noticed when they are written"
        )
        raise ConfigError(message)
    return labels_of(classes, no_class, "pred")


def _plan_like(like: str, classes: Any, no_class: Sequence[int]) -> Plan:
    store, _, array = like.partition("::")
    view = view_store(open_storage(store))
    node = view.node(array)
    stacked = isinstance(node, ArrayMeta)
    truth = only_written(view, LAYOUTS["stacked" if stacked else "grouped"](view, array))
    problems = [*_unusable(truth), *_no_pixels(truth)]
    if problems or truth.ids is None:
        raise InputError(problems)
    known = _known_classes(view, truth) if classes is None else classes
    labels = _pred_labels(known, no_class)
    sizes = [(int(height), int(width)) for height, width in truth.sizes]
    chunking = [_chunking(meta) for meta in truth.arrays]
    return Plan(truth.ids, sizes, chunking, labels, labels.dtype(), stacked)


def _unusable(truth: ImageSet) -> list[Problem]:
    if truth.ids is None:
        advice = "write the ids as an array `image` beside the label maps, or as the attribute image_ids"
        found, expected = "no image ids", "image ids, by which predictions are matched"
    elif truth.never_written:
        found, expected = f"{len(truth.never_written)} images that were never written", "a finished store"
        advice = "write the rest of the truth first"
    else:
        return []
    return [Problem(kind="truth", found=found, expected=expected, store=truth.store, advice=advice)]


def _no_pixels(truth: ImageSet) -> list[Problem]:
    """Label maps that are no plain images (y, x)."""
    if truth.sizes.shape[1] == 2 and not truth.corners.any():
        return []
    found = f"label maps of {truth.sizes.shape[1]} dimensions"
    return [Problem(kind="truth", found=found, expected="images (y, x)", store=truth.store)]


def _known_classes(view: StoreView, truth: ImageSet) -> dict[str, Any] | None:
    """The classes that a truth written by segpipe says it has."""
    group = group_above(view, truth.arrays[0].path)
    described = group.attributes.get(ATTRIBUTE) if group else None
    if not isinstance(described, dict) or not described.get("classes"):
        return None
    return {"names": described["classes"], "ids": described.get("class_labels")}


def _chunking(meta: ArrayMeta) -> Chunking:
    if meta.inner_chunks is None:
        return Chunking(meta.chunks)
    return Chunking(meta.inner_chunks, meta.chunks)
