"""Which images of a store were written: the record that a prediction writer keeps beside the ids.

A store that keeps one has, in the attributes of the group with the label maps, `segpipe: {complete: false}`.
Until it says true, JSON lines below `image/.segpipe/written` tell which images are in the store whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from segpipe.errors import InputError, Problem
from segpipe.sources.layouts import ImageSet, group_above
from segpipe.sources.metadata import GroupMeta, StoreView, join
from segpipe.sources.storage import AskingStorage, Storage

ATTRIBUTE = "segpipe"
"""The attribute of the group that describes the store to segpipe."""

RECORD_FOLDER = "image/.segpipe"
"""Below the group with the label maps. Zarr looks for nothing in the folder of an array but its chunks."""

WRITTEN_FOLDER = "written"

MAX_DOCUMENT_BYTES = 16 << 20
"""The largest document of a group that is read to learn whether the store is finished."""

MAX_RECORD_BYTES = 2 << 30
"""The largest record that is read; an image takes some 70 bytes in it."""


class Entry(NamedTuple):
    """A line of the record: an image, for the how manieth time, with the hash of its label map.

    An empty hash says that the image is being written anew, and must not be trusted until the next line.
    """

    image: str
    take: int
    content: str

    def line(self) -> bytes:
        """The entry as a line of JSON."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def entries(data: bytes) -> Iterator[Entry]:
    """The entries of one file of the record; a last line that was not finished is none.

    Raises:
        ValueError: a finished line is no entry.

    >>> list(entries(b'["a",1,"0c"]\\n["b",1'))
    [Entry(image='a', take=1, content='0c')]
    """
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        values = json.loads(line)
        if not isinstance(values, list) or list(map(type, values)) != [str, int, str]:
            message = f"the line {line[:80]!r}"
            raise ValueError(message)
        yield Entry(*values)


def newest(found: Iterable[Entry]) -> dict[str, Entry]:
    """The last word on each image, in whatever order the entries come."""
    last: dict[str, Entry] = {}
    for entry in found:
        if entry.image not in last or last[entry.image].take < entry.take:
            last[entry.image] = entry
    return last


def only_written(view: StoreView, images: ImageSet) -> ImageSet:
    """The images that were written, and the names of the others, if the store says that it is unfinished.

    Raises:
        InputError: the record cannot be used.
    """
    group = group_above(view, images.arrays[0].path) if images.arrays else None
    if group is None or images.ids is None or not _is_unfinished(view, group):
        return images
    written = _written(view, group)
    kept = np.array([name in written for name in images.ids], np.bool_)
    chosen: dict[str, Any] = {
        field.name: values[kept]
        for field in fields(images)
        if isinstance(values := getattr(images, field.name), np.ndarray)
    }
    return replace(
        images,
        ids=[name for name in images.ids if name in written],
        columns={name: values[kept] for name, values in images.columns.items()},
        never_written=tuple(name for name in images.ids if name not in written),
        **chosen,
    )


def declared_complete(storage: Storage, array: str) -> bool | None:
    """Whether a store says that its writer has finished; None: it says nothing. Two requests at most.

    Args:
        storage: the store.
        array: the path of the label maps, or of the group of them.
    """
    for path in dict.fromkeys((array, array.rpartition("/")[0])):
        for name in ("zarr.json", ".zattrs"):
            blob = storage.get(join(path, name), 0, MAX_DOCUMENT_BYTES)
            document = _plain(blob.data) if blob else {}
            attributes = document.get("attributes") if name == "zarr.json" else document
            described = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
            if isinstance(described, dict) and isinstance(described.get("complete"), bool):
                return bool(described["complete"])
    return None


def _plain(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_unfinished(view: StoreView, group: GroupMeta) -> bool:
    described = group.attributes.get(ATTRIBUTE)
    complete = described.get("complete", True) if isinstance(described, dict) else True
    if not isinstance(complete, bool):
        found = f"the attribute `{ATTRIBUTE}` that declares complete: {complete!r}"
        raise InputError(_problem(view, group, found))
    return not complete


def _written(view: StoreView, group: GroupMeta) -> set[str]:
    """The images that the record tells of, as far as it was written when the store was listed."""
    if isinstance(view.storage, AskingStorage):
        raise InputError(_unlisted(view, group))
    prefix = join(group.path, RECORD_FOLDER, WRITTEN_FOLDER) + "/"
    listed = {key: info.size for key, info in view.objects.items() if key.startswith(prefix)}
    if sum(listed.values()) > MAX_RECORD_BYTES:
        raise InputError(_problem(view, group, f"a record of {sum(listed.values()) >> 20} MiB"))
    found: list[Entry] = []
    for key, size in listed.items():
        blob = view.storage.get(key, 0, size)
        try:
            found += entries(blob.data if blob else b"")
        except (ValueError, RecursionError) as error:
            raise InputError(_problem(view, group, f"{key} is no record ({error})")) from None
    return {name for name, entry in newest(found).items() if entry.content}


def _unlisted(view: StoreView, group: GroupMeta) -> Problem:
    return Problem(
        kind="unfinished store",
        found="a store whose writer has not finished, at a place that cannot be listed",
        expected="a finished store, or one whose record can be listed",
        store=view.storage.url,
        array=group.path,
        advice="finish writing it, or evaluate it where it lies",
    )


def _problem(view: StoreView, group: GroupMeta, found: str) -> Problem:
    return Problem(
        kind="record of completeness",
        found=found,
        expected="the record that a prediction writer keeps",
        store=view.storage.url,
        array=group.path,
        advice="write the store again with segpipe.PredictionWriter or `segpipe import`",
    )
