"""What lies in a Zarr store: arrays and groups, from one listing and as few documents as possible."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

import numpy as np

from segpipe.config import StoredAs
from segpipe.errors import InputError, Problem, first_of
from segpipe.sources import documents
from segpipe.sources.asked import AskedObjects
from segpipe.sources.boxes import Box
from segpipe.sources.consolidated import ADVICE as CONTRADICTION_ADVICE
from segpipe.sources.consolidated import COMPARED, contradiction
from segpipe.sources.documents import (
    DocumentFault,
    Json,
    array_shape,
    decoding_of,
    kept,
    load_json,
    storage_unit,
)
from segpipe.sources.fetching import fetched, requests_at_once
from segpipe.sources.storage import AskingStorage, ObjectInfo, Storage, is_key, read_listed

MAX_DOCUMENT_BYTES = 64 << 20
"""The largest metadata document that is read. A consolidated one may be as large as what it consolidates."""

CONSOLIDATED_GROWTH = 4
"""How much larger a document may be in consolidated metadata (indentation)."""

BELIEVED_BYTES = 1 << 20
"""What a document adds to the size that a consolidated one may have, at most: a file may claim any size."""

KEPT_DOCUMENTS = 16
"""Of documents that were read, so many are kept for others that are the same byte by byte."""

SHOWN_ARRAYS = 20
"""How many arrays of a store an error names."""

KNOWN_V3 = {
    *documents.KEPT_V3,
    *("node_type", "shape", "attributes", "dimension_names", "storage_transformers"),
}
"""Entries of an array's document of format 3; what else it holds must say that it may be ignored."""

EVERYWHERE = 1 << 62
"""The size of a chunk along a dimension that an array does not have: longer than any label map."""

NODE_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
DOCUMENTS = (*NODE_DOCUMENTS, ".zattrs", ".zmetadata")


T = TypeVar("T")

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class ArrayMeta:
    """A Zarr array, as far as its metadata tell.

    `path` is within the store ("" is its root). `chunks` is the shape of the storage unit: of the shard if
    the array is sharded, and then `inner_chunks` is the shape of the chunks in it, else None. `fill_value` is
    what an absent chunk is read as. `document` is what of the metadata decides decoding. `has_checksum` tells
    whether a changed bit in a chunk is noticed. `class_axis` is the axis that runs over the classes where
    not labels are stored but logits and the like; None: there is no such axis. `representation` and
    `threshold` say what is stored (see `segpipe.sources.representations`). `laid` is given where an array is
    laid over label maps by the names of its dimensions: for each dimension of these the axis of the array, or
    -1: it has none, and is the same all along.
    """

    path: str
    zarr_format: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    inner_chunks: tuple[int, ...] | None
    fill_value: Any
    dimension_names: tuple[str | None, ...] | None
    attributes: Json
    document: Json
    has_checksum: bool
    class_axis: int | None = None
    representation: str = "labels"
    threshold: float | None = None
    laid: tuple[int, ...] | None = None

    @property
    def label_shape(self) -> tuple[int, ...]:
        """The shape without the axis of classes: that of the label maps."""
        return self.along_labels(self.shape)

    @property
    def label_units(self) -> tuple[int, ...]:
        """The shape of what is decoded at once, chunk or inner chunk, along the dimensions of label maps."""
        return self.along_labels(self.inner_chunks or self.chunks)

    @property
    def label_chunks(self) -> tuple[int, ...]:
        """The shape of the storage unit along the dimensions of label maps."""
        return self.along_labels(self.chunks)

    def without_classes(self, sizes: tuple[T, ...]) -> tuple[T, ...]:
        """One entry for each axis, without that of the axis of classes."""
        if self.class_axis is None:
            return sizes
        return tuple(size for axis, size in enumerate(sizes) if axis != self.class_axis)

    def along_labels(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """One size for each dimension of label maps; `EVERYWHERE` along one that the array does not have."""
        if self.laid is None:
            return self.without_classes(sizes)
        return tuple(EVERYWHERE if axis < 0 else sizes[axis] for axis in self.laid)

    @property
    def along(self) -> tuple[int | None, tuple[int, ...] | None]:
        """How its axes are those of label maps: `class_axis` and `laid`."""
        return self.class_axis, self.laid

    def along_axes(self, of_labels: Sequence[T], of_classes: T) -> tuple[T, ...]:
        """One entry for each axis of the array, out of one for each dimension of label maps."""
        if self.laid is not None:
            return tuple(of_labels[self.laid.index(axis)] for axis in range(len(self.shape)))
        if self.class_axis is None:
            return tuple(of_labels)
        return (*of_labels[: self.class_axis], of_classes, *of_labels[self.class_axis :])

    def stored_box(self, box: Box) -> Box:
        """A box of label maps, as a box of the array: whole along the axis of classes."""
        channels = 0 if self.class_axis is None else self.shape[self.class_axis]
        return self.along_axes(box, slice(0, channels))

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of storage units along each dimension."""
        return tuple(-(-size // max(unit, 1)) for size, unit in zip(self.shape, self.chunks, strict=True))

    def units(self, images: slice | None = None) -> Iterator[tuple[int, ...]]:
        """The storage units that hold a run `start:stop` of the first dimension (None: all of it)."""
        ranges = [range(count) for count in self.grid]
        if images is not None:
            ranges[0] = range(images.start // self.chunks[0], -(-images.stop // self.chunks[0]))
        return product(*ranges)

    def chunk_key(self, coords: Iterable[int]) -> str:
        """The key of a storage unit, relative to the array (`c/0/3`, `0.3`)."""
        prefix, separator = self._key_encoding
        return prefix + separator.join(map(str, coords)) if self.shape else prefix.rstrip("./") or "0"

    def object_key(self, coords: Iterable[int]) -> str:
        """The key of a storage unit, relative to the store."""
        return join(self.path, self.chunk_key(coords))

    def decoding(self) -> Json:
        """All that decides how bytes become labels, as JSON: neither shape nor attributes nor names."""
        return dict(self.document)

    def twin(self, **changed: Any) -> ArrayMeta:
        """The same with another path, attributes or meaning; the texts of its document are made once for all.

        >>> document = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|u1", "order": "C"}
        >>> meta = parse_array("a", {**document, "fill_value": 0}, {})
        >>> meta.twin(path="b").path, meta.twin(path="b").document_text is meta.document_text
        ('b', True)
        """
        other = object.__new__(type(self))
        texts = {"document_text": self.document_text, "codecs_text": self.codecs_text}
        other.__dict__.update(self.__dict__, **texts, **changed)
        return other

    @cached_property
    def document_text(self) -> str:
        """`document` as canonical JSON: what keys and the table of a plan hold of it."""
        return _canonical(self.document)

    @cached_property
    def codecs_text(self) -> str:
        """What of `document` decides how a chunk is decoded, whatever its size, as JSON."""
        return json.dumps({key: self.document[key] for key in documents.CODEC_KEYS if key in self.document})

    @cached_property
    def _key_encoding(self) -> tuple[str, str]:
        """What a chunk key begins with, and what parts its numbers."""
        if self.zarr_format == 2:
            return "", self.document["dimension_separator"]
        encoding = self.document["chunk_key_encoding"]
        settings = encoding.get("configuration") or {}
        if encoding["name"] == "v2":
            return "", settings.get("separator", ".")
        separator = settings.get("separator", "/")
        return f"c{separator}", separator


@dataclass(frozen=True)
class GroupMeta:
    """A Zarr group."""

    path: str
    zarr_format: int
    attributes: Json


@dataclass(frozen=True)
class Outline:
    """An array that need not be readable: its shape, and the names of its dimensions if they have some."""

    shape: tuple[int, ...]
    dimension_names: tuple[str | None, ...] | None


@dataclass(frozen=True)
class StoreView:
    """A store at the moment of its listing: which objects there are, and what the metadata among them say.

    Consolidated metadata are used where they are at least as new as the document they stand for, so that a
    group of 10^5 arrays costs no open per array; an array whose own document is gone is gone. The first
    documents they stand for are read as well, and must say the same. `stored_as` is what the configuration of
    a side says of its label maps.
    """

    storage: Storage
    objects: Mapping[str, ObjectInfo]
    stored_as: StoredAs = field(default_factory=StoredAs)

    def node(self, path: str) -> ArrayMeta | GroupMeta:
        """The array or group at a path.

        Raises:
            InputError: there is none, or its metadata cannot be used.
            InputChangedError: its metadata changed since the listing.
        """
        path = path.strip("/")
        try:
            return self._parse(path)
        except DocumentFault as fault:
            raise InputError(self._problem(path, fault)) from None

    def children(self, path: str) -> list[str]:
        """The names of the arrays and groups directly below a group, sorted."""
        return sorted(self._names.get(path.strip("/"), ()))

    def arrays_below(self, path: str, *, deep: bool = False) -> list[ArrayMeta]:
        """The arrays directly below a group, sorted by name; `deep`: and those of the groups in it.

        Where a request takes long, several documents are under way at a time.

        Raises:
            InputError: the metadata of some cannot be used; all of them are listed.
        """
        arrays: list[ArrayMeta] = []
        problems: list[Problem] = []
        paths = sorted(self._paths_below(path.strip("/"), deep))
        for group in (*_ancestors(path.strip("/")), path.strip("/")):
            # Looked for once, and not by several at the same time.
            self._consolidated(group)
        at_once = requests_at_once(self.storage)
        for below, found in fetched(paths, self._parse, self._document_bytes, at_once):
            if isinstance(found.failure, DocumentFault):
                problems.append(self._problem(below, found.failure))
            elif found.failure is not None:
                raise found.failure
            elif isinstance(found.answer, ArrayMeta):
                arrays.append(found.answer)
        if problems:
            raise InputError(problems)
        return arrays

    def _document_bytes(self, path: str) -> int:
        """The size of a node's own document."""
        keys = (join(path, name) for name in NODE_DOCUMENTS)
        return next((self.objects[key].size for key in keys if key in self.objects), 0)

    def _paths_below(self, path: str, deep: bool) -> Iterator[str]:
        """The nodes in a group."""
        for name in self.children(path):
            below = join(path, name)
            yield below
            if deep:
                yield from self._paths_below(below, deep)

    def outline(self, path: str) -> Outline | None:
        """Shape and names of the dimensions of an array; None if it is no array, or claims nonsense."""
        try:
            raw = self._raw(path)
            if raw["node_type"] == "group":
                return None
            shape = array_shape(raw)
            return Outline(shape, _dimension_names(raw, raw.get("attributes") or {}, len(shape)))
        except DocumentFault:
            return None

    def node_paths(self) -> list[str]:
        """The paths of all arrays and groups below the root, sorted, whatever their documents say."""
        return sorted(join(parent, name) for parent, names in self._names.items() for name in names)

    def array_paths(self) -> list[str]:
        """The paths of all nodes of the store that are arrays, sorted."""
        return [path for path in self.node_paths() if self.outline(path) is not None]

    def consolidated_names(self) -> list[str]:
        """The keys of the documents for which the consolidated metadata of the root stand."""
        try:
            names = list(self._consolidated("").documents)
        except DocumentFault:
            return []  # Whoever looks at the root is told.
        keys = [name if name.endswith(DOCUMENTS) else join(name, "zarr.json") for name in names]
        return [key for key in keys if is_key(key)]

    def _parse(self, path: str) -> ArrayMeta | GroupMeta:
        raw = self._raw(path)
        attributes = raw.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise DocumentFault(found=f"attributes {attributes!r}", expected="a JSON object")
        if raw["node_type"] == "group":
            return GroupMeta(path, raw["zarr_format"], attributes)
        shape = array_shape(raw)
        parsed, like = self._parsed.get(shape, (None, None))
        if like is not None and parsed is raw:
            return like.twin(path=path)
        meta = parse_array(path, raw, attributes, like=like)
        self._parsed[shape] = raw, meta
        return meta

    def _raw(self, path: str) -> Json:
        """The document of a node, in the form of format 3: with node_type and attributes."""
        if join(path, "zarr.json") in self.objects:
            raw = self._document(path, "zarr.json")
            if raw.get("zarr_format") != 3 or raw.get("node_type") not in ("array", "group"):
                found = f"zarr_format {raw.get('zarr_format')!r}, node_type {raw.get('node_type')!r}"
                raise DocumentFault(found=found, expected="zarr_format 3 and node_type `array` or `group`")
            return raw
        for name, node_type in ((".zarray", "array"), (".zgroup", "group")):
            if join(path, name) in self.objects:
                raw = self._document(path, name)
                if raw.get("zarr_format") != 2:
                    raise DocumentFault(
                        found=f"zarr_format {raw.get('zarr_format')!r} in {name}", expected="2"
                    )
                attributes = self._document(path, ".zattrs") if join(path, ".zattrs") in self.objects else {}
                return raw | {"node_type": node_type, "attributes": attributes}
        raise self._absent(path)

    def _document(self, path: str, name: str) -> Json:
        """A listed document of a node: from consolidated metadata if they are not older, else read."""
        key = join(path, name)
        for group in _ancestors(path):
            consolidated = self._consolidated(group)
            relative = path[len(group) :].lstrip("/")
            entry = consolidated.documents.get(relative if name == "zarr.json" else join(relative, name))
            if isinstance(entry, dict) and consolidated.modified_ns >= self.objects[key].modified_ns:
                self._compare(key, entry)
                return entry
        return self._read(key)

    def _compare(self, key: str, entry: Json) -> None:
        """Hold what consolidated metadata say against the document itself, for the first few documents."""
        if key not in self._compared and len(self._compared) < COMPARED:
            self._compared[key] = contradiction(self._read(key), entry)
        if self._compared.get(key):
            expected = "the same in both"
            raise DocumentFault(found=self._compared[key], expected=expected, advice=CONTRADICTION_ADVICE)

    def _consolidated(self, group: str) -> _Consolidated:
        """The consolidated metadata of a group, of either format; empty if it has none."""
        if group not in self._consolidations:
            self._consolidations[group] = self._load_consolidated(group)
        return self._consolidations[group]

    def _load_consolidated(self, group: str) -> _Consolidated:
        for name in ("zarr.json", ".zmetadata"):
            key = join(group, name)
            if key not in self.objects:
                continue
            document = self._read(key)
            inner = document if name == ".zmetadata" else document.get("consolidated_metadata")
            entries = inner.get("metadata") if isinstance(inner, dict) else None
            if isinstance(entries, dict):
                return _Consolidated(self.objects[key].modified_ns, entries)
        return _Consolidated(0, {})

    def _read(self, key: str) -> Json:
        if key in self._documents:
            return self._documents[key]
        listed = self.objects[key]
        limit = MAX_DOCUMENT_BYTES
        if key.endswith(("zarr.json", ".zmetadata")):
            # Itself it does not consolidate.
            limit += CONSOLIDATED_GROWTH * (self._documents_bytes - _believed(listed))
        if listed.size > limit:
            raise DocumentFault(
                found=f"{key} of {listed.size >> 20} MiB", expected=f"at most {limit >> 20} MiB"
            )
        try:
            data = read_listed(self.storage, key, listed).data
            same = self._latest.get(data)
            if same is not None:
                return same
            document = load_json(data)
        except DocumentFault as fault:
            raise DocumentFault(found=f"{fault.found} in {key}", expected=fault.expected) from None
        except OSError as error:
            raise DocumentFault(found=f"{key} cannot be read ({error.strerror})") from None
        if len(document) and ("consolidated_metadata" in document or "metadata" in document):
            self._documents[key] = document
        else:
            if len(self._latest) >= KEPT_DOCUMENTS:
                self._latest.clear()
            self._latest[data] = document
        return document

    def _absent(self, path: str) -> DocumentFault:
        if not self._names and not any(name in self.objects for name in NODE_DOCUMENTS):
            advice = "give the folder that holds zarr.json (format 3), or .zarray or .zgroup (format 2)"
            if isinstance(self.storage, AskingStorage):
                advice += "; a web server cannot be listed, so what lies deeper must be named"
            return DocumentFault(
                found="no Zarr metadata anywhere in the store", expected="a Zarr store", advice=advice
            )
        arrays = self.array_paths()
        if isinstance(self.storage, AskingStorage) and not arrays:
            advice = "name the array as STORE::array: a web server lists nothing but consolidated metadata"
            return DocumentFault(found=f"no array or group at {path!r}", advice=advice)
        shown = first_of(arrays[:SHOWN_ARRAYS], len(arrays)) or "none"
        advice = f"name an array as STORE::array; the arrays of the store are: {shown}"
        return DocumentFault(found=f"no array or group at {path or 'the root of the store'!r}", advice=advice)

    def _problem(self, path: str, fault: DocumentFault) -> Problem:
        return Problem(
            kind="metadata",
            found=fault.found,
            expected=fault.expected,
            store=self.storage.url,
            array=path,
            advice=fault.advice,
        )

    @cached_property
    def _names(self) -> dict[str, set[str]]:
        """Group -> the names of the nodes directly below it, by the documents that are listed."""
        names: dict[str, set[str]] = {}
        for key in self.objects:
            if key.endswith(NODE_DOCUMENTS):
                path, slash, document = key.rpartition("/")
                if slash and document in NODE_DOCUMENTS:
                    parent, _, name = path.rpartition("/")
                    names.setdefault(parent, set()).add(name)
        return names

    @cached_property
    def _documents_bytes(self) -> int:
        return sum(_believed(info) for key, info in self.objects.items() if key.endswith(DOCUMENTS))

    @cached_property
    def _consolidations(self) -> dict[str, _Consolidated]:
        return {}

    @cached_property
    def _compared(self) -> dict[str, str]:
        """Key of a document -> how consolidated metadata contradict it."""
        return {}

    @cached_property
    def _parsed(self) -> dict[tuple[int, ...], tuple[Json, ArrayMeta]]:
        """The array of each shape that was parsed last, and out of what; most of one shape are alike."""
        return {}

    @cached_property
    def _latest(self) -> dict[bytes, Json]:
        """Some documents by their bytes: many arrays have one and the same."""
        return {}

    @cached_property
    def _documents(self) -> dict[str, Json]:
        """Documents that are asked for more than once: those with consolidated metadata."""
        return {}


@dataclass(frozen=True)
class _Consolidated:
    modified_ns: int
    documents: Mapping[str, Any]


def view_store(storage: Storage) -> StoreView:
    """List a store once; of one that cannot be listed, ask for what consolidated metadata name.

    Raises:
        InputError: it can neither be listed nor asked.
    """
    if not isinstance(storage, AskingStorage):
        return StoreView(storage, storage.list())
    objects = AskedObjects(storage)
    objects.ask(DOCUMENTS)
    view = StoreView(storage, objects)
    objects.ask(view.consolidated_names())
    return view


def parse_array(path: str, raw: Json, attributes: Json, like: ArrayMeta | None = None) -> ArrayMeta:
    """The array that a document of format 2 or 3 describes.

    Args:
        path: of the array in the store.
        raw: the document.
        attributes: of the array.
        like: an array that was parsed before. If all that decides decoding is written alike, to the letter,
            and its shape is the same, what follows from that is taken from there.

    Raises:
        DocumentFault: it is no such document, it claims absurd sizes, or reading the array could run code.
    """
    shape = array_shape(raw)
    document = kept(raw)
    _refuse_extensions(raw)
    if like is not None and like.shape == shape and like.document_text == _canonical(document):
        names = _dimension_names(raw, attributes, len(shape))
        return like.twin(path=path, dimension_names=names, attributes=attributes)
    decoding = decoding_of(document, len(shape))
    return ArrayMeta(
        path=path,
        zarr_format=raw["zarr_format"],
        shape=shape,
        dtype=decoding.dtype,
        chunks=storage_unit(document, shape, decoding),
        inner_chunks=decoding.inner_chunks,
        fill_value=decoding.fill_value,
        dimension_names=_dimension_names(raw, attributes, len(shape)),
        attributes=attributes,
        document=document,
        has_checksum=decoding.has_checksum,
    )


def join(*parts: str) -> str:
    """Parts of a path or key with slashes between them; empty ones are left out.

    >>> join("", "a", "zarr.json")
    'a/zarr.json'
    """
    return "/".join(part for part in parts if part)


def _refuse_extensions(raw: Json) -> None:
    """Format 3 only: what would change the meaning of the chunks, and is not understood here."""
    if raw["zarr_format"] == 2:
        return
    encoding = raw.get("chunk_key_encoding")
    if not isinstance(encoding, dict) or encoding.get("name") not in ("default", "v2"):
        raise DocumentFault(found=f"the chunk key encoding {encoding!r}", expected="`default` or `v2`")
    if raw.get("storage_transformers"):
        raise DocumentFault(found="storage transformers", expected="none")
    for name in raw.keys() - KNOWN_V3:
        if not isinstance(raw[name], dict) or raw[name].get("must_understand") is not False:
            expected = "entries that may be ignored (must_understand: false)"
            raise DocumentFault(found=f"the unknown entry {name!r}", expected=expected)


def _dimension_names(raw: Json, attributes: Json, ndim: int) -> tuple[str | None, ...] | None:
    """The names of format 3, or the attribute by which xarray names the dimensions in format 2."""
    names = raw.get("dimension_names") if raw["zarr_format"] == 3 else attributes.get("_ARRAY_DIMENSIONS")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != ndim or not all(isinstance(n, str | None) for n in names):
        raise DocumentFault(found=f"dimension names {names!r}", expected=f"{ndim} names")
    return tuple(names)


def _ancestors(path: str) -> Iterator[str]:
    """The groups above a path, the root of the store first."""
    parts = path.split("/") if path else []
    for depth in range(len(parts)):
        yield "/".join(parts[:depth])


def _believed(info: ObjectInfo) -> int:
    return min(info.size, BELIEVED_BYTES)
