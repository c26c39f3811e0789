"""One Zarr metadata document: checked, parsed by zarr-python, reduced to what decides decoding."""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numcodecs.errors import UnknownCodecError as UnknownNumcodecError
from zarr.core.metadata.v2 import ArrayV2Metadata
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.errors import UnknownCodecError

MAX_CHUNK_BYTES = 8 << 30
"""The largest decoded storage unit (chunk or shard) that metadata may claim."""

MAX_INDEX_BYTES = 64 << 20
"""The largest shard index that metadata may claim; it takes 16 bytes for each inner chunk."""

CODE_CODECS = {"pickle", "numcodecs.pickle"}
"""Codecs whose decoder runs code that the store brings."""

CHECKSUM_CODECS = {"crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "gzip", "zlib", "bz2"}
"""Codecs that notice a changed bit, always; zstd does if its `checksum` is set."""

KEPT_V2 = ("zarr_format", "dtype", "chunks", "compressor", "filters", "fill_value", "order")
KEPT_V3 = ("zarr_format", "data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value")

CODEC_KEYS = ("zarr_format", "data_type", "codecs", "order", "filters", "compressor")
"""What of a document decides how a chunk is decoded, whatever its size."""

Json = dict[str, Any]
ZarrMetadata = ArrayV2Metadata | ArrayV3Metadata

_quiet = threading.Lock()
_as_text = json.JSONEncoder().encode


class DocumentFault(Exception):
    """A document that cannot be used, in words; who knows the place makes a Problem of it."""

    def __init__(self, *, found: str, expected: str = "", advice: str = "") -> None:
        self.found, self.expected, self.advice = found, expected, advice
        super().__init__(found)


@dataclass(frozen=True)
class Decoding:
    """What a document says of all arrays that have it, whatever their shapes and the shapes of their chunks.

    `fill_value` is what an absent chunk is read as (format 2 may leave it undefined: then 0).
    `inner_chunks` is the shape of the chunks in a shard; None: not sharded.
    """

    dtype: np.dtype[Any]
    fill_value: Any
    inner_chunks: tuple[int, ...] | None
    has_checksum: bool


def load_json(data: bytes) -> Json:
    """The document as a dict.

    Raises:
        DocumentFault: it is no JSON object.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentFault(found=f"no JSON ({error})", expected="a JSON document") from None
    if not isinstance(document, dict):
        raise DocumentFault(found=f"a JSON {type(document).__name__}", expected="a JSON object")
    return document


def array_shape(raw: Json) -> tuple[int, ...]:
    """The shape of the array, sizes of 0 included."""
    return _sizes(raw.get("shape"), "shape")


def kept(raw: Json) -> Json:
    """What of an array's document decides decoding: neither shape nor attributes nor names.

    The values stay as they are written, so that a newer zarr-python does not read them differently.
    """
    if raw.get("zarr_format") == 2:
        separator = raw.get("dimension_separator") or "."
        return {key: raw.get(key) for key in KEPT_V2} | {"dimension_separator": separator}
    return {key: raw[key] for key in KEPT_V3 if key in raw}


def storage_unit(document: Json, shape: Sequence[int], decoding: Decoding) -> tuple[int, ...]:
    """The shape of the chunk, or of the shard.

    Raises:
        DocumentFault: it does not fit the array or its inner chunks, or is absurdly large.
    """
    grid = document.get("chunk_grid")
    if document["zarr_format"] == 2:
        unit = _sizes(document["chunks"], "chunks")
    elif isinstance(grid, dict) and grid.get("name") == "regular":
        unit = _sizes(_configuration(grid).get("chunk_shape"), "chunk_shape")
    else:
        raise DocumentFault(found=f"the chunk grid {grid!r}", expected="a regular grid")
    if len(unit) != len(shape) or any(size == 0 < length for size, length in zip(unit, shape, strict=True)):
        expected = f"sizes above 0 for an array of shape {tuple(shape)}"
        raise DocumentFault(found=f"chunks of shape {unit}", expected=expected)
    size_bytes = math.prod(unit) * decoding.dtype.itemsize
    if size_bytes > MAX_CHUNK_BYTES:
        found = f"chunks of shape {unit}, {size_bytes / 2**30:.4g} GiB each"
        raise DocumentFault(found=found, expected=f"at most {MAX_CHUNK_BYTES >> 30} GiB decoded")
    if decoding.inner_chunks is not None:
        _check_inner(decoding.inner_chunks, unit)
    return unit


def decoding_of(document: Json, ndim: int) -> Decoding:
    """What decides decoding, parsed once for all arrays that differ in sizes only.

    Raises:
        DocumentFault: zarr-python cannot read such an array, or reading it could run code.
    """
    if document["zarr_format"] == 2:
        sizeless = document | {"chunks": None}
    else:
        sizeless = document | {"chunk_grid": None}
    return _decoding(_as_text(sizeless), ndim)


def zarr_metadata(document: Json, shape: Sequence[int]) -> ZarrMetadata:
    """zarr-python's own metadata object for an array of this shape.

    Raises:
        DocumentFault: zarr-python does not accept the document.
    """
    full = document | {"shape": list(shape), "attributes": {}}
    try:
        with _quietly():
            if document["zarr_format"] == 2:
                return ArrayV2Metadata.from_dict(full | {"filters": full["filters"] or None})
            return ArrayV3Metadata.from_dict(full | {"node_type": "array"})
    except (UnknownCodecError, UnknownNumcodecError) as error:
        advice = "install the package that provides the codec"
        raise DocumentFault(
            found=f"a codec that is not installed ({_first_line(error)})", advice=advice
        ) from None
    except Exception as error:
        found = f"metadata that zarr-python does not accept ({type(error).__name__}: {_first_line(error)})"
        raise DocumentFault(found=found) from None


def shard_index(document: Json) -> tuple[str, bool, bool]:
    """How the index of a shard is written: location (`start` or `end`), big-endian, with crc32c."""
    settings = _configuration(document["codecs"][0])
    codecs = _flat(settings.get("index_codecs", ["bytes", "crc32c"]))
    big_endian = codecs[0][1].get("endian", "little") == "big"
    return settings.get("index_location", "end"), big_endian, len(codecs) == 2


def chunk_codecs(document: Json) -> list[tuple[str, Json]]:
    """Name and settings of the codecs of a chunk, of an inner chunk in shards, in the order of encoding."""
    sharding = _sharding(document)
    return _flat(_codecs(document) if sharding is None else _configuration(sharding).get("codecs", []))


def codec_names(document: Json) -> list[str]:
    """The names of the codecs in the order of writing, with what matters of their settings.

    >>> codec_names({"zarr_format": 2, "filters": None, "compressor": {"id": "zstd", "checksum": True}})
    ['zstd (checksum)']
    """
    return [
        f"{name} (checksum)" if settings.get("checksum") else name
        for name, settings in _flat(_codecs(document), index=False)
    ]


@lru_cache(maxsize=4096)
def _decoding(sizeless: str, ndim: int) -> Decoding:
    document = json.loads(sizeless)
    if CODE_CODECS & {name for name, _ in _flat(_codecs(document))}:
        raise DocumentFault(
            found="the codec pickle",
            expected="a codec that only carries data",
            advice="pickled data can run code: write the array with another codec",
        )
    inner = _inner_chunks(document, ndim)
    metadata = _smallest(document, inner or (1,) * ndim)
    dtype = metadata.dtype.to_native_dtype()
    if dtype.hasobject and dtype.kind != "T":
        raise DocumentFault(found=f"Python objects ({dtype})", expected="numbers or variable-length strings")
    fill_value = metadata.dtype.default_scalar() if metadata.fill_value is None else metadata.fill_value
    plain = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    return Decoding(dtype, plain, inner, _has_checksum(document))


def _smallest(document: Json, chunk: tuple[int, ...]) -> ZarrMetadata:
    """The metadata of an array that is one smallest chunk."""
    if document["zarr_format"] == 2:
        return zarr_metadata(document | {"chunks": list(chunk)}, chunk)
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}
    return zarr_metadata(document | {"chunk_grid": grid}, chunk)


def _has_checksum(document: Json) -> bool:
    if _sharding(document) and not shard_index(document)[2]:
        return False
    return any(
        name.removeprefix("numcodecs.") in CHECKSUM_CODECS
        or (name.endswith("zstd") and settings.get("checksum"))
        for name, settings in _flat(_codecs(document), index=False)
    )


def _codecs(document: Json) -> list[Any]:
    if document["zarr_format"] == 2:
        codecs = [*(document.get("filters") or []), document.get("compressor")]
        return [codec for codec in codecs if codec is not None]
    listed = document.get("codecs")
    if not isinstance(listed, list):
        raise DocumentFault(found=f"the codecs {listed!r}", expected="a list")
    return listed


def _flat(codecs: Any, index: bool = True) -> list[tuple[str, Json]]:
    """(name, settings) of codecs of either format, and of the codecs within them."""
    found: list[tuple[str, Json]] = []
    for codec in codecs if isinstance(codecs, list | tuple) else [codecs]:
        name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
        if not isinstance(name, str):
            raise DocumentFault(found=f"the codec {codec!r}", expected="a codec with a name")
        settings = _configuration(codec) if isinstance(codec, dict) and "name" in codec else codec
        settings = settings if isinstance(settings, dict) else {}
        found.append((name, settings))
        for part in ("codecs", "index_codecs") if index else ("codecs",):
            found += _flat(settings.get(part, []), index)
    return found


def _sharding(document: Json) -> Json | None:
    """The sharding codec, which must be the only one.

    Around other codecs, or in another shard, an inner chunk that is absent could not be told.
    """
    codecs = _codecs(document)
    names = [name for name, _ in _flat(codecs)]
    if "sharding_indexed" not in names:
        return None
    if len(codecs) != 1 or names.count("sharding_indexed") != 1 or names[0] != "sharding_indexed":
        raise DocumentFault(
            found=f"the codecs {', '.join(names)}",
            expected="sharding_indexed as the only codec, once, with the others inside of it",
        )
    _check_index(_configuration(codecs[0]))
    sharding: Json = codecs[0]
    return sharding


def _check_index(settings: Json) -> None:
    names = [name for name, _ in _flat(settings.get("index_codecs", ["bytes", "crc32c"]))]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise DocumentFault(
            found=f"a shard index with the codecs {', '.join(names)}", expected="bytes, or bytes and crc32c"
        )
    if settings.get("index_location", "end") not in ("start", "end"):
        raise DocumentFault(
            found=f"a shard index at {settings['index_location']!r}", expected="`start` or `end`"
        )


def _inner_chunks(document: Json, ndim: int) -> tuple[int, ...] | None:
    sharding = _sharding(document)
    if sharding is None:
        return None
    inner = _sizes(_configuration(sharding).get("chunk_shape"), "chunk_shape")
    if len(inner) != ndim or 0 in inner:
        raise DocumentFault(found=f"inner chunks of shape {inner}", expected=f"{ndim} sizes above 0")
    return inner


def _check_inner(inner: tuple[int, ...], unit: tuple[int, ...]) -> None:
    if any(size % part for part, size in zip(inner, unit, strict=True)):
        expected = f"parts of a shard of shape {unit}"
        raise DocumentFault(found=f"inner chunks of shape {inner}", expected=expected)
    if math.prod(unit) // math.prod(inner) * 16 > MAX_INDEX_BYTES:
        found = f"shards of shape {unit} with inner chunks of shape {inner}"
        raise DocumentFault(found=found, expected="fewer inner chunks")


def _sizes(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        raise DocumentFault(found=f"{name} {value!r}", expected="a list of whole numbers")
    return tuple(value)


def _configuration(named: Any) -> Json:
    settings = named.get("configuration", {}) if isinstance(named, Mapping) else {}
    return settings if isinstance(settings, dict) else {}


@contextmanager
def _quietly() -> Iterator[None]:
    """Without zarr-python's warnings of what a reader of the store cannot change (extension codecs, ...)."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or "no reason given"
