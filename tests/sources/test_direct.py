"""The direct reader against zarr-python: the same values from every encoding, and no garbage from damage."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segpipe.sources.boxes import Box
from segpipe.sources.direct import DirectReader
from segpipe.sources.reader import DamagedChunkError, LabelReader, reader_of
from segpipe.sources.zarr_reader import ZarrReader
from tests.sources import encodings
from tests.sources.encodings import DIRECT, DTYPES, LEFT, SHAPE
from tests.sources.stores import array_meta, box_of, label_maps, view, write
from tests.sources.stores import reader_of as open_store

FILL = 3


def values_of(dtype: str, seed: int) -> NDArray[Any]:
    """Numbers over the whole range, the extremes among them; two boxes hold the fill value."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        values = rng.integers(0, 2, SHAPE).astype(bool)
    elif kind.kind == "f":
        values = rng.standard_normal(SHAPE).astype(kind)
        values[0, 0, :4] = np.nan, np.inf, -0.0, np.finfo(kind).tiny
    else:
        bounds = np.iinfo(kind)
        values = rng.integers(bounds.min, bounds.max, SHAPE, kind.newbyteorder("="), endpoint=True)
    values[2:4, 4:12] = values[1, :, 10:] = FILL
    return values.astype(kind)


def some_boxes(seed: int) -> list[Box]:
    """The whole array, an image, a pixel, nothing, and four others."""
    rng = np.random.default_rng(seed)
    drawn = [[sorted(rng.integers(0, size + 1, 2).tolist()) for size in SHAPE] for _ in range(4)]
    return [
        box_of(SHAPE),
        box_of(SHAPE, slice(3, 4)),
        (slice(4, 5), slice(10, 11), slice(12, 13)),
        (slice(1, 1), slice(0, 11), slice(0, 13)),
        *(tuple(slice(first, last) for first, last in box) for box in drawn),
    ]


@pytest.mark.parametrize("name", DIRECT)
def test_both_readers_read_the_same(tmp_path: Path, name: str) -> None:
    """Some of the dtypes, in chunks and byte orders that change: every bit, and what was never stored."""
    first = DIRECT.index(name)
    for turn, dtype in enumerate(DTYPES[first % 3 :: 3], first):
        path = tmp_path / dtype
        data = values_of(encodings.stored_dtype(name, dtype, turn), turn)
        write(path, data, fill_value=data.dtype.type(FILL), **encodings.settings(name, turn))
        direct, through_zarr = open_store(path), open_store(path, opener=ZarrReader)
        assert isinstance(direct, DirectReader)
        assert reader_of(array_meta(view(path))) == ("direct", "")
        for box in some_boxes(turn):
            values = direct.read(box)
            assert values.dtype == (np.uint8 if dtype == "bool" else np.dtype(dtype))
            assert values.flags.c_contiguous
            assert values.tobytes() == through_zarr.read(box).tobytes() == data[box].astype(dtype).tobytes()
            assert covered(direct.absent(box), box) == covered(through_zarr.absent(box), box)


def covered(regions: list[Box], box: Box) -> bytes:
    """How often each element of a box is covered by regions of it."""
    times = np.zeros([part.stop - part.start for part in box], np.uint8)
    for region in regions:
        times[region] += 1
    return times.tobytes()


@pytest.mark.parametrize("name", LEFT)
def test_zarr_python_reads_what_is_left_and_the_reason_is_told(tmp_path: Path, name: str) -> None:
    """Other codecs and dtypes are read all the same."""
    changes, reason = LEFT[name]
    changes = dict(changes)
    data = label_maps(SHAPE, changes.pop("dtype", "uint8"))
    write(tmp_path, data, chunks=(2, 4, 5), **changes)
    kind, why = reader_of(array_meta(view(tmp_path)))
    assert kind == "zarr-python"
    assert reason in why
    np.testing.assert_array_equal(open_store(tmp_path).read(box_of(SHAPE)), data)


# ---- damage

Decode = Callable[[bytes], bytes]

UNIT = (1, 24, 32)
"""The chunks, inner chunks too, of the stores that are damaged."""


def exactly_inflated(window_bits: int) -> Decode:
    """All members of a gzip file, or the one stream of zlib, with nothing behind it."""

    def decode(data: bytes) -> bytes:
        decoded = b""
        while True:
            stream = zlib.decompressobj(window_bits)
            decoded += stream.decompress(data, 1 << 16)
            if not stream.eof or (stream.unused_data and window_bits < 16):
                raise ValueError
            data = stream.unused_data
            if not data:
                return decoded

    return decode


def exactly_unblosced(data: bytes) -> bytes:
    decoded, _, stored = struct.unpack_from("<III", data, 4)
    if stored != len(data) or decoded > 1 << 16:
        raise ValueError
    return bytes(numcodecs.Blosc().decode(data))


def exactly_unpacked(data: bytes) -> bytes:
    if struct.unpack_from("<I", data)[0] > 1 << 16:
        raise ValueError
    return bytes(numcodecs.LZ4().decode(data))


def exactly_unzstd(data: bytes) -> bytes:
    # A frame of a size beyond memory is an error as well.
    return bytes(numcodecs.Zstd().decode(data))


def with_crc(inner: Decode) -> Decode:
    def decode(data: bytes) -> bytes:
        if google_crc32c.value(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise ValueError
        return inner(data[:-4])

    return decode


ORACLES: dict[str, tuple[Decode, bool]] = {
    "no compression": (bytes, False),
    "zstd": (exactly_unzstd, False),
    "zstd with checksum": (exactly_unzstd, True),
    "blosc lz4": (exactly_unblosced, False),
    "blosc zstd, bytes": (exactly_unblosced, False),
    "blosc blosclz": (exactly_unblosced, False),
    "gzip": (exactly_inflated(31), True),
    "numcodecs zlib": (exactly_inflated(15), True),
    "numcodecs lz4": (exactly_unpacked, False),
    "crc32c": (with_crc(bytes), True),
    "zstd, crc32c": (with_crc(exactly_unzstd), True),
}
"""Encoding -> how its bytes are decoded exactly, and whether a checksum guards them."""


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Cut off, emptied, made longer, zeroed, some bits flipped, or some bytes set so that sizes are huge."""
    kind = draw(st.sampled_from(["cut", "longer", "zeroed", "bits", "bits", "huge"]))
    at = draw(st.lists(st.floats(0, 0.999) | st.floats(0, 0.1), min_size=1, max_size=3))
    bit, more = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=20))

    def damage(data: bytes) -> bytes:
        places = [int(part * len(data)) for part in at]
        if kind in ("cut", "longer", "zeroed"):
            return {"cut": data[: places[0]], "longer": data + more, "zeroed": bytes(len(data))}[kind]
        damaged = bytearray(data)
        for place in places:
            damaged[place : place + 1] = bytes([damaged[place] ^ 1 << bit]) if kind == "bits" else b"\xff"
        return bytes(damaged)

    return damage


def smooth() -> NDArray[np.uint8]:
    """Label maps of two images in runs, so that they can be compressed; no 0."""
    runs = np.random.default_rng(5).integers(1, 19, (2, 24, 4)).astype(np.uint8)
    return np.repeat(runs, 8, axis=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for each encoding, and one of shards."""
    path = tmp_path_factory.mktemp("damaged")
    for name in ORACLES:
        write(path / name, smooth(), chunks=UNIT, **encodings.FORMAT_3[name])
    for name, index in SHARD_INDEXES.items():
        codecs = [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1, "checksum": True}}]
        settings = {"chunk_shape": list(UNIT), "codecs": codecs, "index_codecs": index}
        serializer = {"name": "sharding_indexed", "configuration": settings}
        write(path / name, smooth(), chunks=(2, *UNIT[1:]), serializer=serializer, compressors=None)
    return path


INDEX_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
SHARD_INDEXES = {
    "guarded index": [INDEX_BYTES, {"name": "crc32c"}],
    "index without checksum": [INDEX_BYTES],
}

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def decoded(decode: Decode, data: bytes) -> NDArray[np.uint8] | None:
    """What an exact decoder makes of a chunk; None: an error."""
    try:
        return np.frombuffer(decode(data), np.uint8).reshape(UNIT)
    except Exception:
        return None


def read_or_damage(reader: LabelReader) -> NDArray[Any] | DamagedChunkError:
    """Both images, or the error."""
    try:
        return reader.read(box_of((2, 24, 32)))
    except DamagedChunkError as error:
        return error


@pytest.mark.parametrize("name", ORACLES)
@FUZZ
@given(damage=damages())
def test_damage_is_an_error_or_what_an_exact_decoder_reads(
    folder: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    """The other chunk is read as ever; behind a checksum nothing but the labels that were written is read."""
    decode, guarded = ORACLES[name]
    chunk = folder / name / "c/1/0/0"
    sound = chunk.read_bytes()
    try:
        chunk.write_bytes(damage(sound))
        expected = decoded(decode, chunk.read_bytes())
        reader = open_store(folder / name)
        np.testing.assert_array_equal(reader.read(box_of((2, 24, 32), slice(0, 1))), smooth()[:1])
        found = read_or_damage(reader)
        if isinstance(found, DamagedChunkError):
            assert expected is None
            assert [problem.chunk for problem in found.problems] == ["c/1/0/0"]
            assert found.regions == [(slice(1, 2), slice(0, 24), slice(0, 32))]
        else:
            assert expected is not None
            np.testing.assert_array_equal(found, np.concatenate([smooth()[:1], expected]))
            assert not guarded or (found == smooth()).all()
    finally:
        chunk.write_bytes(sound)


def inner_chunks(data: bytes, has_crc: bool) -> list[Any] | None:
    """What a shard's two inner chunks hold (0: not stored, None: damaged); None: the index is damaged."""
    index = data[-32 - 4 * has_crc :]
    if len(index) != 32 + 4 * has_crc:
        return None
    if has_crc and google_crc32c.value(index[:32]) != struct.unpack("<I", index[32:])[0]:
        return None
    found: list[Any] = []
    for offset, length in struct.iter_unpack("<QQ", index[:32]):
        if offset == length == 2**64 - 1:
            found.append(np.zeros(UNIT, np.uint8))
        elif length == 0 or offset + length > len(data):
            return None
        else:
            found.append(decoded(exactly_unzstd, data[offset : offset + length]))
    return found


@pytest.mark.parametrize("name", SHARD_INDEXES)
@FUZZ
@given(damage=damages())
def test_damage_in_a_shard_is_named_to_the_inner_chunk(
    folder: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    """Both inner chunks, one, or the shard as a whole where its index is lost."""
    shard = folder / name / "c/0/0/0"
    sound = shard.read_bytes()
    try:
        shard.write_bytes(damage(sound))
        inner = inner_chunks(shard.read_bytes(), has_crc=name == "guarded index")
        bad = {"c/0/0/0"}
        if inner is not None:
            bad = {f"c/0/0/0 (inner chunk {at}, 0, 0)" for at, part in enumerate(inner) if part is None}
        found = read_or_damage(open_store(folder / name))
        if isinstance(found, DamagedChunkError):
            assert {problem.chunk for problem in found.problems} == bad
        else:
            assert not bad
            np.testing.assert_array_equal(found, np.concatenate(inner))
    finally:
        shard.write_bytes(sound)


def huge_zstd(data: bytes) -> bytes:
    """The same frame, but its header tells 2^40 bytes of content."""
    assert data[4] >> 5 == 3, "one segment, with the size in two bytes"
    return data[:4] + bytes([0xE0 | data[4] & 7]) + struct.pack("<Q", 1 << 40) + data[7:]


HUGE: dict[str, Callable[[bytes], bytes]] = {
    "zstd": huge_zstd,
    "blosc lz4": lambda data: data[:4] + struct.pack("<I", 0x7FFFFFE0) + data[8:],
    "numcodecs lz4": lambda data: struct.pack("<I", 0x7E000000) + data[4:],
    "gzip": lambda _: zlib.compress(bytes(32 << 20), 1, 31),
    "numcodecs zlib": lambda _: zlib.compress(bytes(32 << 20), 1),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_chunk_that_claims_to_be_huge_takes_no_memory(folder: Path, name: str) -> None:
    """Refused by its own words, or when one byte more than the chunk has is decoded."""
    chunk = folder / name / "c/1/0/0"
    sound = chunk.read_bytes()
    try:
        chunk.write_bytes(HUGE[name](sound))
        reader = open_store(folder / name)
        tracemalloc.start()
        with pytest.raises(DamagedChunkError) as caught:
            reader.read(box_of((2, 24, 32)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert [problem.kind for problem in caught.value.problems] == ["decode"]
    finally:
        tracemalloc.stop()
        chunk.write_bytes(sound)


@pytest.mark.parametrize("rows", [23, 25], ids=["smaller", "larger"])
@pytest.mark.parametrize("name", ORACLES)
def test_a_sound_chunk_of_another_size_is_an_error(
    folder: Path, tmp_path: Path, name: str, rows: int
) -> None:
    """Well encoded with every checksum right, but by a writer that had other chunks in mind."""
    chunk = folder / name / "c/1/0/0"
    sound = chunk.read_bytes()
    other = np.resize(smooth()[:1], (1, rows, 32))
    write(tmp_path, other, chunks=(1, rows, 32), **encodings.FORMAT_3[name])
    try:
        chunk.write_bytes((tmp_path / "c/0/0/0").read_bytes())
        with pytest.raises(DamagedChunkError, match=r"bytes|destination buffer too small") as caught:
            open_store(folder / name).read(box_of((2, 24, 32)))
        assert [problem.chunk for problem in caught.value.problems] == ["c/1/0/0"]
    finally:
        chunk.write_bytes(sound)


def without_size(frame: bytes) -> bytes:
    """A zstd frame as one that was written as a stream, which does not tell its size."""
    assert frame[4] >> 5 == 3
    return frame[:4] + bytes([frame[4] & 7, 40]) + frame[7:]


def test_zstd_frames_may_keep_their_size_to_themselves_and_be_several(tmp_path: Path) -> None:
    """As other writers make them: read if they fill the chunk exactly, else an error."""
    data = smooth()
    write(tmp_path, data, chunks=UNIT, compressors=encodings.FORMAT_3["zstd"]["compressors"])
    chunk, labels = tmp_path / "c/1/0/0", data[1].tobytes()
    half = [bytes(numcodecs.Zstd().encode(part)) for part in (labels[:384], labels[384:])]
    whole = bytes(numcodecs.Zstd().encode(labels))
    skipped = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    for frames in (half, [without_size(whole)], [without_size(part) for part in half], [skipped, whole]):
        chunk.write_bytes(b"".join(frames))
        np.testing.assert_array_equal(open_store(tmp_path).read(box_of(data.shape)), data)
    for frames in (half[:1], [*half, half[0]], [without_size(half[0])], [without_size(whole), half[0]]):
        chunk.write_bytes(b"".join(frames))
        with pytest.raises(DamagedChunkError, match="cannot be decoded"):
            open_store(tmp_path).read(box_of(data.shape))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], r"767 bytes where the chunk has 768"),
        (lambda data: data + b"x", r"769 bytes decoded where the chunk has 768"),
    ],
    ids=["a byte less", "a byte more"],
)
def test_bytes_that_are_not_compressed_must_be_as_many_as_the_chunk_has(
    folder: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    """Nothing else would tell that an object was cut off or is another's."""
    chunk = folder / "no compression" / "c/1/0/0"
    sound = chunk.read_bytes()
    try:
        chunk.write_bytes(change(sound))
        with pytest.raises(DamagedChunkError, match=words):
            open_store(folder / "no compression").read(box_of((2, 24, 32)))
    finally:
        chunk.write_bytes(sound)
