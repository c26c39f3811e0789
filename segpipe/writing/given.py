"""What an inference loop hands over: turned into NumPy arrays and held against the store, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import InputError, Problem, first_of
from segpipe.writing.prediction_store import Labels

SHOWN_LABELS = 5
"""How many labels that are not known a message names, for each image."""


def id_list(ids: Any) -> tuple[list[str], bool]:
    """Ids as text, and whether there is only one: a text, a number, a sequence of them, or a tensor."""
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    one = isinstance(ids, str | int) or not isinstance(ids, Iterable)
    return [str(name) for name in ([ids] if one else ids)], one


def label_maps(given: Any, *, one: bool) -> list[NDArray[Any]]:
    """The label maps of a batch: an array or tensor (image, y, x), or a sequence of (y, x).

    Args:
        given: anything that NumPy can take without a copy to the host: arrays, tensors in the host's memory.
        one: it is a single label map (y, x).

    Raises:
        InputError: NumPy cannot take it.
    """
    if one:
        return [_array(given)]
    if isinstance(given, list | tuple):
        return [_array(each) for each in given]
    return list(_array(given)) if _array(given).ndim else [_array(given)]


def _array(given: Any) -> NDArray[Any]:
    try:
        if not hasattr(given, "__array__") and hasattr(given, "numpy"):
            given = given.numpy()
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        # A tensor on a GPU, one that wants a gradient: its library says so.
        found = f"{type(given).__name__} that is no array ({str(error).splitlines()[0]})"
        advice = "hand over label maps in the host's memory: logits.argmax(1).cpu().numpy()"
        problem = Problem(kind="label map", found=found, expected="an array of labels", advice=advice)
        raise InputError(problem) from error


def batch_problems(
    ids: Sequence[str],
    maps: Sequence[NDArray[Any]],
    sizes: dict[str, tuple[int, int]],
    labels: Labels,
    dtype: np.dtype[Any],
) -> list[Problem]:
    """Everything that keeps a batch from being written.

    Args:
        ids: of the images.
        maps: their label maps.
        sizes: (y, x) of those images that the store has.
        labels: that may be written.
        dtype: of the store.
    """
    if len(ids) != len(maps):
        return [Problem(kind="batch", found=f"{len(ids)} ids and {len(maps)} label maps", expected="as many")]
    counts = Counter(ids)
    problems = [
        Problem(kind="ids", image=name, found=f"an id given {times} times in one batch")
        for name, times in counts.items()
        if times > 1
    ]
    for name, labelled in zip(ids, maps, strict=True):
        if name not in sizes:
            expected = "an id that the store was made with"
            problems.append(
                Problem(kind="unknown image", image=name, found="no such image", expected=expected)
            )
        else:
            problems += map_problems(name, labelled, sizes[name], labels, dtype)
    return problems


def map_problems(
    name: str, labelled: NDArray[Any], size: tuple[int, int], labels: Labels, dtype: np.dtype[Any]
) -> list[Problem]:
    """What is wrong with one label map: its dtype, its shape, its labels."""
    problems = []
    if labelled.dtype.kind not in "iub":
        advice = "write label maps: logits.argmax(1), or argmax over whatever axis holds the classes"
        expected = "an integer dtype"
        found = f"{labelled.dtype} of shape {labelled.shape}"
        problems.append(Problem(kind="dtype", image=name, found=found, expected=expected, advice=advice))
    if labelled.shape != size:
        expected = f"{size}, the (y, x) of this image"
        advice = (
            "nothing is resized unseen: bring predictions to the size of the truth (nearest, or the logits)"
        )
        found = f"the shape {labelled.shape}"
        problems.append(Problem(kind="shape", image=name, found=found, expected=expected, advice=advice))
    return problems or label_problems(name, labelled, labels) or range_problems(name, labelled, dtype)


def range_problems(name: str, labelled: NDArray[Any], dtype: np.dtype[Any]) -> list[Problem]:
    """Labels that the store cannot hold: NumPy would turn them into others, unseen."""
    if np.can_cast(labelled.dtype, dtype):
        return []
    low, high, limits = int(labelled.min()), int(labelled.max()), np.iinfo(dtype)
    if limits.min <= low and high <= limits.max:
        return []
    expected = f"labels from {limits.min} to {limits.max}, which is what {dtype} holds"
    advice = "make a store for these classes or files anew"
    return [
        Problem(
            kind="labels", image=name, found=f"labels from {low} to {high}", expected=expected, advice=advice
        )
    ]


def label_problems(name: str, labelled: NDArray[Any], labels: Labels) -> list[Problem]:
    """Labels that are neither a class nor declared to be none, with their counts and first places."""
    known = labels.known
    if not known:
        return []
    values = unknown_labels(labelled, known)
    if not values:
        return []
    shown = []
    for value, count in list(values.items())[:SHOWN_LABELS]:
        first = np.unravel_index(int(np.argmax(labelled == value)), labelled.shape)
        shown.append(f"{value} ({count} px, first at {tuple(map(int, first))})")
    found = f"the labels {first_of(shown, len(values))}"
    advice = (
        "a label that names no class on purpose (void) is declared when the store is made: no_class=(255,)"
    )
    return [Problem(kind="labels", image=name, found=found, expected=_words(labels), advice=advice)]


def unknown_labels(labelled: NDArray[Any], known: frozenset[int]) -> dict[int, int]:
    """Labels that are not known, with how many pixels they have, in order."""
    if labelled.size and known == frozenset(range(len(known))):
        # The usual case in one pass: labels from 0 to K - 1.
        if int(labelled.min()) >= 0 and int(labelled.max()) < len(known):
            return {}
    values, counts = np.unique(labelled, return_counts=True)
    found = zip(values.tolist(), counts.tolist(), strict=True)
    return {int(value): count for value, count in found if int(value) not in known}


def _words(labels: Labels) -> str:
    ids = sorted(labels.ids)
    run = f"{ids[0]} to {ids[-1]}" if ids == list(range(ids[0], ids[-1] + 1)) else f"{len(ids)} labels"
    rest = f" or {', '.join(map(str, labels.no_class))}" if labels.no_class else ""
    return f"the labels of the {len(ids)} classes ({run}){rest}"
