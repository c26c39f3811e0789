"""Measure the memory of worker and driver against what the plan projects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.planning.memory import PROCESS_BYTES
from tests.bench.commands import SEGPIPE, Finished, watch
from tests.bench.document import met, mib, table
from tests.bench.scale import Scale
from tests.bench.stores import (
    Form,
    Size,
    dataset,
    shuffle_pred,
    write_config,
    write_copied,
    write_grouped,
    write_grouped_copied,
    write_logits,
    write_raster,
    write_stacked,
)

METHOD = """Peak resident memory of the processes of `segpipe evaluate` with one Dask worker, and with one
thread in the command's own process; the system keeps the peak of each process. *Projected* is what the plan
says one task may need, with what a process takes before it reads. A peak above it would be a fault of the
plan."""

WORKER_LIMIT = 400 << 20
"""What one worker may hold for one label map of 1024 x 2048 per chunk."""

ONE_WORKER = {"kind": "local", "workers": 1}
ONE_THREAD = {"kind": "threads", "threads": 1}
Write = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A dataset, and the settings that evaluate it."""

    words: str
    write: Write
    settings: dict[str, Any]
    ways: tuple[dict[str, Any], ...] = (ONE_WORKER,)


def section(scale: Scale) -> str:
    """The tables as Markdown."""
    return "\n\n".join([METHOD, _projections(scale), _drivers(scale)])


def _projections(scale: Scale) -> str:
    rows = [row for case in _cases(scale) for row in _measured(case)]
    return table(["label maps", "cluster", "peak MiB", "projected MiB", "below"], rows)


def _cases(scale: Scale) -> Iterator[Case]:
    """At least three windows each, so that one is counted while the next is read."""
    for form, images in (
        (Form(), scale.memory_images),
        (Form(chunk=16), scale.memory_images),
        (Form(chunk=64), 3 * scale.memory_images),
        (Form(shard=16), scale.memory_images),
        (Form(shard=64), scale.memory_images),
        (Form(chunk=4, shard=32), scale.memory_images),
        (Form(chunk=4, dtype="int64"), scale.memory_images),
    ):
        yield Case(
            form.words(),
            lambda folder, form=form, images=images: write_stacked(folder, images, scale.size, form),
            {},
            (ONE_WORKER, ONE_THREAD) if form == Form() else (ONE_WORKER,),
        )
    yield Case(
        "uint8, 1 image per chunk, pred in another order", lambda folder: _write_shuffled(folder, scale), {}
    )
    sizes = _different_sizes(scale)
    yield Case(
        f"grouped, uint8, from {sizes[0]} to {sizes[-1]} px",
        lambda folder: write_grouped(folder, sizes, scale.size),
        {"layout": "grouped"},
    )
    side, chunk = scale.raster_px
    yield Case(
        f"raster of {side:,} x {side:,} px, chunks of {chunk} px",
        lambda folder: write_raster(folder, side, chunk),
        {"layout": "raster"},
        (ONE_WORKER, ONE_THREAD),
    )
    yield Case(
        f"grouped, {scale.small_images:,} images of 64 x 64",
        lambda folder: write_grouped_copied(folder, scale.small_images, (64, 64)),
        {"layout": "grouped"},
    )
    for classes in scale.logits_classes:
        yield Case(
            f"float32 logits of {classes} classes, {scale.size[0]} x {scale.size[1]}, in chunks",
            lambda folder, classes=classes: write_logits(folder, 2, scale.size, classes, scale.size[0] // 4),
            {
                "classes": classes,
                "pred": {"store": "pred.zarr", "array": "labels", "representation": "logits"},
            },
            (ONE_WORKER, ONE_THREAD),
        )


def _write_shuffled(folder: Path, scale: Scale) -> None:
    write_stacked(folder, scale.memory_images, scale.size)
    shuffle_pred(folder)


def _different_sizes(scale: Scale) -> list[Size]:
    """Eight sizes up to twice the usual one, four images of each."""
    height, width = scale.size
    return [
        (height * part // 4, width * part // 4)
        for part in range(1, 9)
        for _ in range(max(1, scale.memory_images // 16))
    ]


def _measured(case: Case) -> Iterator[list[str]]:
    with dataset(case.write) as folder:
        for cluster in case.ways:
            finished = _evaluated(folder, cluster, **case.settings)
            peak = finished.worker_bytes if cluster is ONE_WORKER else finished.driver_bytes
            (run,) = (folder / "results" / cluster["kind"]).glob("bench/model/runs/0*")
            planned = json.loads((run / "planned.json").read_text())["summary"]
            projected = planned["task_memory_bytes"] + PROCESS_BYTES
            yield [case.words, cluster["kind"], mib(peak), mib(projected), met(peak <= projected)]


def _drivers(scale: Scale) -> str:
    few, many = scale.tiny_images
    rows = []
    for words, write in (
        (f"{few:,} images of 16 x 16", lambda folder: write_copied(folder, few, Form(), 16)),
        (f"{many:,} images of 16 x 16", lambda folder: write_copied(folder, many, Form(), 16)),
        (
            f"{few:,} images of {scale.size[0]} x {scale.size[1]}",
            lambda folder: write_stacked(folder, few, scale.size),
        ),
    ):
        with dataset(write) as folder:
            finished = _evaluated(folder, ONE_WORKER)
            rows.append([words, mib(finished.driver_bytes), mib(finished.worker_bytes)])
    wanted = f"The driver is to stay flat in pixels, a worker below {mib(WORKER_LIMIT)} MiB for such maps."
    return (
        f"{wanted}\n\n{table(['label maps, 1 image per chunk', 'driver peak MiB', 'worker peak MiB'], rows)}"
    )


def _evaluated(folder: Path, cluster: dict[str, Any], **settings: Any) -> Finished:
    if "pred" in settings:
        settings["pred"] = {**settings["pred"], "store": f"{folder}/{settings['pred']['store']}"}
    config = write_config(folder, cluster=cluster, **settings, results=f"{folder}/results/{cluster['kind']}")
    return watch([*SEGPIPE, "evaluate", config])
