"""Measure reading alone: the direct reader, zarr-python behind the same checks, zarr-python, by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc, GZip, Zstd
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from segpipe.sources.codecs import chain_of
from segpipe.sources.direct import DirectReader
from segpipe.sources.metadata import ArrayMeta, view_store
from segpipe.sources.reader import LabelReader
from segpipe.sources.storage import LocalStorage, ObjectInfo
from segpipe.sources.zarr_reader import ZarrReader
from tests.bench.document import met, table
from tests.bench.scale import Scale
from tests.bench.stores import dataset, label_maps
from tests.bench.timing import Timing, take_turns

METHOD = """CPU time of one thread, {images} smooth label maps of {height} x {width} (uint8) in memory,
ways in turns, medians of {repeats}. Windows of {window} images are read one after the other; each way gives
the same labels (asserted). By hand: files read and decoded by numcodecs into memory that is used again,
nothing checked. Tiles are {tile} x {tile}: there the time of each chunk is the overhead of the reader."""

TILE = 64
WINDOW = 4
IMAGES = 16
DIRECT, CHECKED, ZARR, BY_HAND = "segpipe, direct", "segpipe, zarr-python", "zarr-python", "by hand"

Way = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """How label maps are stored, and how the chunks are decoded by hand.

    The direct reader is to be `faster` times as fast as zarr-python, and may take `worse` times as long as
    the way by hand.
    """

    name: str
    compressors: Any
    codec: Any
    tile: int | None = None
    shard: int | None = None
    faster: float = 1.5
    worse: float = 1.2


CASES = (
    Case("zstd with checksum", ZstdCodec(level=3, checksum=True), Zstd()),
    Case("zstd with checksum, shards of 16 images", ZstdCodec(level=3, checksum=True), None, shard=16),
    Case("blosc lz4, no shuffle", BloscCodec(cname="lz4", shuffle="noshuffle"), Blosc()),
    Case("gzip", GzipCodec(level=5), GZip()),
    Case("not compressed", None, None),
    Case("zstd, tiles", ZstdCodec(level=3), Zstd(), tile=TILE, faster=10.0, worse=2.0),
    Case("zstd, tiles in shards of an image", ZstdCodec(level=3), None, tile=TILE, shard=1, faster=10.0),
)


def section(scale: Scale) -> str:
    """The table as Markdown."""
    height, width = scale.size
    images = min(IMAGES, scale.images)
    method = METHOD.format(
        images=images, height=height, width=width, repeats=scale.repeats, window=WINDOW, tile=TILE
    )
    with dataset(partial(_write_all, images=images, scale=scale)) as folder:
        rows = [row for case in CASES for row in _rows(folder / case.name, case, images, scale)]
    head = ["stored as", "way", "ms per image", "us per chunk", f"x {DIRECT}", "target", "met"]
    return f"{method}\n\n{table(head, rows)}"


def _rows(path: Path, case: Case, images: int, scale: Scale) -> list[list[str]]:
    ways = _ways(path, case)
    timings = take_turns(ways, scale.repeats, clock=time.process_time)
    first, *others = [timing.result for timing in timings.values()]
    if not all(np.array_equal(first, other) for other in others):
        message = f"{case.name}: the ways read other labels"
        raise AssertionError(message)
    chunks = images * (-(-scale.size[0] // case.tile) * -(-scale.size[1] // case.tile) if case.tile else 1)
    return [_row(case, name, timings, images, chunks) for name in timings]


def _row(case: Case, name: str, timings: Mapping[str, Timing], images: int, chunks: int) -> list[str]:
    seconds, ours = timings[name].seconds, timings[DIRECT].seconds
    least = {ZARR: case.faster, BY_HAND: 1 / case.worse}.get(name)
    return [
        case.name,
        name,
        f"{1e3 * seconds / images:.2f}",
        f"{1e6 * seconds / chunks:.1f}",
        f"{seconds / ours:.2f}",
        "" if least is None else f"at least {least:.2f}",
        "" if least is None else met(seconds >= least * ours),
    ]


def _write_all(folder: Path, images: int, scale: Scale) -> None:
    for case in CASES:
        _write(folder / case.name, case, images, scale)


def _write(path: Path, case: Case, images: int, scale: Scale) -> None:
    tile = (case.tile or scale.size[0], case.tile or scale.size[1])
    array = zarr.create_array(
        path,
        shape=(images, *scale.size),
        chunks=(1, *(min(pair) for pair in zip(tile, scale.size, strict=True))),
        shards=None if case.shard is None else (min(case.shard, images), *scale.size),
        dtype="uint8",
        compressors=case.compressors,
        config={"write_empty_chunks": True},
    )
    array[...] = np.stack([label_maps(number, scale.size)[0] for number in range(images)])


def _ways(path: Path, case: Case) -> dict[str, Way]:
    view = view_store(LocalStorage(str(path)))
    meta = view.node("")
    assert isinstance(meta, ArrayMeta)
    expected = {meta.chunk_key(coords): view.objects.get(meta.object_key(coords)) for coords in meta.units()}
    ways: dict[str, Way] = {
        DIRECT: partial(_windows, partial(_direct, meta, view.storage, expected), meta.shape),
        CHECKED: partial(_windows, partial(ZarrReader, meta, view.storage, expected), meta.shape),
        ZARR: partial(_slices, path),
    }
    if case.shard is None and (case.codec is not None or case.compressors is None):
        ways[BY_HAND] = partial(_by_hand, path, case.codec, meta)
    return ways


def _direct(meta: ArrayMeta, storage: LocalStorage, expected: dict[str, ObjectInfo | None]) -> LabelReader:
    return DirectReader(meta, storage, expected, chain_of(meta))


def _windows(opened: Callable[[], LabelReader], shape: tuple[int, ...]) -> NDArray[Any]:
    """The last window of all, as a task reads them: values and what is absent."""
    reader = opened()
    for start in range(0, shape[0], WINDOW):
        box = (slice(start, min(start + WINDOW, shape[0])), *(slice(0, size) for size in shape[1:]))
        values = reader.read(box)
        assert not reader.absent(box)
    return values


def _slices(path: Path) -> NDArray[Any]:
    array = zarr.open_array(path, mode="r")
    for start in range(0, array.shape[0], WINDOW):
        values = array[start : start + WINDOW]
    return np.asarray(values)


def _by_hand(path: Path, codec: Any, meta: ArrayMeta) -> NDArray[Any]:
    values = np.empty((min(WINDOW, meta.shape[0]), *meta.shape[1:]), np.uint8)
    scratch = np.empty(meta.chunks, np.uint8)
    grid = [range(count) for count in meta.grid[1:]]
    for image in range(meta.shape[0]):
        for y, x in product(*grid):
            data = (path / "c" / str(image) / str(y) / str(x)).read_bytes()
            if codec is None:
                decoded = np.frombuffer(data, np.uint8).reshape(meta.chunks)
            else:
                decoded = codec.decode(data, scratch.reshape(-1)).reshape(meta.chunks)
            top, left = y * meta.chunks[1], x * meta.chunks[2]
            part = values[image % WINDOW, top : top + meta.chunks[1], left : left + meta.chunks[2]]
            part[...] = decoded[0, : part.shape[0], : part.shape[1]]
    return values
