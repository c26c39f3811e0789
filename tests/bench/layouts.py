"""Measure the counting stage on the same pixels in other layouts: as images, and as one scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from segpipe.execution.clusters.threads import Threads
from tests.bench import engine
from tests.bench.document import table
from tests.bench.scale import Scale
from tests.bench.stores import SIDES, WRITTEN, dataset, label_maps, write_config, write_grouped, write_stacked
from tests.bench.timing import take_turns

METHOD = """{images} pairs of smooth label maps of {height} x {width}, the same pixels in every layout. Two
threads; the counting stage alone, given a plan; ways in turns, medians of {repeats}. A raster has the images
below one another; its windows are as large as they are. Where truth and predictions are tiled differently,
the windows cut the tiles of the predictions, which are then decoded {times:.2f} times."""

STACKED = "stacked, 1 image per chunk"


def section(scale: Scale) -> str:
    """The table as Markdown."""
    height, width = scale.size
    images = max(2, scale.images // 4)
    other = (max(1, height * 5 // 8), width)
    forms: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
        STACKED: (lambda folder: write_stacked(folder, images, scale.size), {}),
        "grouped, 1 chunk per image": (
            lambda folder: write_grouped(folder, [scale.size] * images, scale.size),
            {"layout": "grouped"},
        ),
        "raster, one window per chunk": (
            lambda folder: _write_scene(folder, images, scale, scale.size),
            {"layout": {"kind": "raster", "window": list(scale.size)}},
        ),
        "raster, tiled differently": (
            lambda folder: _write_scene(folder, images, scale, other),
            {"layout": {"kind": "raster", "window": list(scale.size)}, "max_read_amplification": 9},
        ),
    }
    with dataset(lambda folder: _write_all(folder, forms)) as folder, Threads(threads=2).open() as pool:
        ways = {
            name: engine._count_stage(
                write_config(folder / str(at), bucket_images=scale.bucket_images, **settings), pool
            )
            for at, (name, (_, settings)) in enumerate(forms.items())
        }
        timings = take_turns(ways, scale.repeats)
        engine._same({name: timing.result for name, timing in timings.items()})
    rows = [
        [
            name,
            f"{1e3 * each.seconds / images:.2f}",
            f"{1e3 * each.cpu_s / images:.2f}",
            f"{each.seconds / timings[STACKED].seconds:.2f}",
        ]
        for name, each in timings.items()
    ]
    starts = np.arange(images) * height
    tiles = -(-(starts + height) // other[0]) - starts // other[0]
    method = METHOD.format(
        images=images,
        height=height,
        width=width,
        repeats=scale.repeats,
        times=tiles.sum() / -(-images * height // other[0]),
    )
    return f"{method}\n\n{table(['layout', 'wall ms per pair', 'CPU ms per pair', 'x stacked'], rows)}"


def _write_all(folder: Path, forms: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]]) -> None:
    for at, (write, _) in enumerate(forms.values()):
        (folder / str(at)).mkdir()
        write(folder / str(at))


def _write_scene(folder: Path, images: int, scale: Scale, pred_chunks: tuple[int, int]) -> None:
    """The images below one another as one scene on each side."""
    height, width = scale.size
    for number, (side, chunks) in enumerate(zip(SIDES, (scale.size, pred_chunks), strict=True)):
        group = zarr.create_group(folder / f"{side}.zarr")
        scene = np.concatenate([label_maps(image, scale.size)[number] for image in range(images)])
        array = group.create_array(
            "labels", shape=(images * height, width), chunks=chunks, dtype="uint8", **WRITTEN
        )
        array[...] = scene
