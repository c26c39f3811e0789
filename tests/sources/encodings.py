"""Every way of storing an array that the direct reader is meant to read, and some that it leaves alone."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    TransposeCodec,
    ZstdCodec,
)

SHAPE = (5, 11, 13)

DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
)
CHUNKS = ((2, 4, 5), (1, 11, 13), (5, 11, 13), (3, 20, 6), (1, 1, 13), (2, 11, 3))
"""Edge chunks along every axis, whole images, one chunk, larger than the array, rows, columns."""

SHARDS = ({"chunks": (1, 4, 5), "shards": (2, 8, 15)}, {"chunks": (2, 11, 13), "shards": (4, 11, 13)})


def numcodec(name: str, **settings: Any) -> dict[str, Any]:
    """A codec of numcodecs in format 3."""
    return {"name": f"numcodecs.{name}", "configuration": settings}


FORMAT_3: dict[str, dict[str, Any]] = {
    "no compression": {"compressors": None},
    "zstd": {"compressors": ZstdCodec(level=3)},
    "zstd with checksum": {"compressors": ZstdCodec(level=9, checksum=True)},
    "blosc lz4": {"compressors": BloscCodec(cname="lz4", shuffle="noshuffle")},
    "blosc lz4hc, bits": {"compressors": BloscCodec(cname="lz4hc", shuffle="bitshuffle", blocksize=64)},
    "blosc zstd, bytes": {"compressors": BloscCodec(cname="zstd", shuffle="shuffle")},
    "blosc blosclz": {"compressors": BloscCodec(cname="blosclz")},
    "blosc zlib": {"compressors": BloscCodec(cname="zlib")},
    "gzip": {"compressors": GzipCodec(level=5)},
    "crc32c": {"compressors": Crc32cCodec()},
    "zstd, crc32c": {"compressors": [ZstdCodec(level=1), Crc32cCodec()]},
    "crc32c, gzip, crc32c": {"compressors": [Crc32cCodec(), GzipCodec(level=1), Crc32cCodec()]},
    "transpose": {"filters": TransposeCodec(order=(2, 0, 1)), "compressors": None},
    "transpose twice, zstd": {
        "filters": [TransposeCodec(order=(1, 2, 0)), TransposeCodec(order=(0, 2, 1))],
        "compressors": ZstdCodec(level=1),
    },
    "numcodecs zlib": {"compressors": numcodec("zlib", level=1)},
    "numcodecs lz4": {"compressors": numcodec("lz4", acceleration=1)},
    "numcodecs zstd": {"compressors": numcodec("zstd", level=1)},
    "numcodecs blosc": {"compressors": numcodec("blosc", cname="lz4", clevel=5, shuffle=1)},
    "numcodecs gzip": {"compressors": numcodec("gzip", level=1)},
    "keys with dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "keys of format 2": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
}
SHARDED: dict[str, dict[str, Any]] = {
    "shards": {},
    "shards, no compression": {"compressors": None},
    "shards, gzip, crc32c": {"compressors": [GzipCodec(level=1), Crc32cCodec()]},
    "shards, transpose": {"filters": TransposeCodec(order=(2, 1, 0))},
}
FORMAT_2: dict[str, dict[str, Any]] = {
    "format 2": {},
    "format 2, no compression": {"compressors": None},
    "format 2, zlib": {"compressors": numcodecs.Zlib(level=1)},
    "format 2, gzip, F": {"compressors": numcodecs.GZip(level=1), "order": "F"},
    "format 2, lz4": {"compressors": numcodecs.LZ4()},
    "format 2, zstd": {"compressors": numcodecs.Zstd(level=1, checksum=True)},
    "format 2, blosc, F": {"compressors": numcodecs.Blosc(shuffle=2), "order": "F"},
    "format 2, no compression, F": {"compressors": None, "order": "F"},
    "format 2, keys with slashes": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "format 2, crc32c": {"filters": [numcodecs.CRC32C()], "compressors": None},
}
DIRECT = (*FORMAT_3, *SHARDED, *FORMAT_2)

LEFT: dict[str, tuple[dict[str, Any], str]] = {
    "delta": ({"zarr_format": 2, "dtype": "<i2", "filters": [numcodecs.Delta(dtype="<i2")]}, "codec delta"),
    "bz2": ({"zarr_format": 2, "compressors": numcodecs.BZ2()}, "codec bz2"),
    "lzma of format 3": ({"compressors": numcodec("lzma")}, "codec numcodecs.lzma"),
    "zstd twice": ({"compressors": [ZstdCodec(), ZstdCodec()]}, "more than one compression"),
    "complex numbers": ({"dtype": "complex64"}, "dtype complex64"),
    "shuffle": ({"zarr_format": 2, "filters": [numcodecs.Shuffle(1)]}, "codec shuffle"),
    "checksum in front": ({"zarr_format": 2, "filters": [numcodecs.CRC32()]}, "codec crc32"),
}
"""What zarr-python reads: settings, and the reason that is told."""


def is_big(turn: int) -> bool:
    """Whether the byte order is big-endian: every other turn, with other chunks each time."""
    return (turn + turn // len(CHUNKS)) % 2 == 1


def settings(name: str, turn: int) -> dict[str, Any]:
    """What `write` takes for an encoding; chunks and byte order change with the turn."""
    if name in FORMAT_2:
        return {"zarr_format": 2, "chunks": CHUNKS[turn % len(CHUNKS)], **FORMAT_2[name]}
    order = BytesCodec(endian="big" if is_big(turn) else "little")
    if name in SHARDED:
        return {"serializer": order, **SHARDS[turn % len(SHARDS)], **SHARDED[name]}
    return {"serializer": order, "chunks": CHUNKS[turn % len(CHUNKS)], **FORMAT_3[name]}


def stored_dtype(name: str, dtype: str, turn: int) -> str:
    """Format 2 has the byte order in the dtype."""
    if name not in FORMAT_2:
        return dtype
    return np.dtype(dtype).newbyteorder(">" if is_big(turn) else "<").str
