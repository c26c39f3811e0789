"""Small stores of predictions for tests, and the processes that write to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

import segpipe
from tests.run.datasets import write_stacked

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES, SIZE, CLASSES = 10, (12, 16), 5

PROCESS = """
import sys
import numpy as np
import segpipe
store, seed, order = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer = segpipe.PredictionWriter.open(store)
maps = np.random.default_rng(seed).integers(0, 5, (len(writer.ids), 12, 16))
print("ready", flush=True)
sys.stdin.readline()
for at in np.random.default_rng(order).permutation(len(writer.ids)):
    try:
        writer.write(writer.ids[at], maps[at])
        print(writer.ids[at], flush=True)
    except segpipe.InputError as error:
        assert [problem.kind for problem in error.problems] == ["different content"], error
"""
"""Writes all images of a store in an order of its own, and names each that was written."""


def image_ids(images: int = IMAGES) -> list[str]:
    """img_0, img_1, ..."""
    return [f"img_{index}" for index in range(images)]


def label_maps(seed: int = 0, images: int = IMAGES) -> NDArray[np.int64]:
    """Noise, int64 like an argmax."""
    return np.random.default_rng(seed).integers(0, CLASSES, (images, *SIZE))


def truth_like(
    folder: Path, chunk: tuple[int, ...] = (1, *SIZE), shard: tuple[int, ...] | None = None
) -> str:
    """A truth store that is chunked so; its address."""
    labels = label_maps(99).astype(np.uint8)
    options: dict[str, Any] = {"shards": shard} if shard else {}
    store = write_stacked(folder / "truth.zarr", labels, chunks=chunk, ids=image_ids(), **options)
    return f"{store}::labels"


def new_store(folder: Path, images_per_chunk: int = 1, name: str = "pred.zarr") -> segpipe.PredictionWriter:
    """An empty store of ten images; with several images in a chunk it is like a truth that has them."""
    if images_per_chunk == 1:
        return segpipe.create_store(folder / name, ids=image_ids(), shape=SIZE, classes=CLASSES)
    if not (folder / "truth.zarr").exists():
        truth_like(folder, (images_per_chunk, *SIZE))
    return segpipe.create_store(folder / name, like=f"{folder}/truth.zarr::labels", classes=CLASSES)


def stored(store: Path) -> NDArray[Any]:
    """All label maps of a stacked store, read by zarr-python."""
    return np.asarray(zarr.open_array(store, path="labels", mode="r")[:])


def objects(store: Path) -> dict[str, bytes]:
    """The bytes of every chunk."""
    files = (path for path in (store / "labels").rglob("c/*/*/*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def writing_process(store: Path, *, seed: int = 0, order: int = 0) -> subprocess.Popen[str]:
    """A process that is about to write all images, and begins at the first line on its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(store), str(seed), str(order)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    """Let it write."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
